/**
 * What `quorate demo` starts in place of `quorate serve`: a small server that is told how to end.
 *
 * In its data folder it writes `started.json` (its words, its secret, its process), and a line in
 * `signals` for every SIGTERM. `POST /end?code=3` ends it, `POST /deaf` makes it ignore SIGTERM, and
 * with `QUORATE_TEST_UNREADY=n2` the node n2 is never ready.
 */
import * as fs from "node:fs";
import * as http from "node:http";
import * as path from "node:path";

const words = process.argv.slice(2);
const flagOf = (flag: string): string => words[words.indexOf(flag) + 1] ?? "";
const folder = flagOf("--data-dir");
const name = flagOf("--name");
let isDeaf = false;

fs.mkdirSync(folder, { recursive: true });
const secret = process.env["QUORATE_CLUSTER_SECRET"];
const started = { pid: process.pid, words, secret };
fs.writeFileSync(path.join(folder, "started.json"), JSON.stringify(started));

process.on("SIGTERM", () => {
  fs.appendFileSync(path.join(folder, "signals"), "SIGTERM\n");
  process.stderr.write("told to stop\n");
  if (!isDeaf) process.exit(0);
});
// Interrupts would reach it if it were in the terminal's process group.
process.on("SIGINT", () => fs.appendFileSync(path.join(folder, "signals"), "SIGINT\n"));
process.on("disconnect", () => {
  fs.appendFileSync(path.join(folder, "signals"), "disconnect\n");
  process.exit(0);
});

http
  .createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://n");
    if (pathname === "/readyz" && process.env["QUORATE_TEST_UNREADY"] === name) {
      const detail = "The node waits for: cluster (two more nodes).";
      response.writeHead(503).end(JSON.stringify({ type: "/problems/not-ready", detail }));
      return;
    }
    response.end("ok\n");
    if (pathname === "/deaf") isDeaf = true;
    if (pathname !== "/end") return;
    // The last line has no end: it must be told all the same.
    process.stderr.write("error: A test\nwhy:   it was told to\nlast words", () => {
      process.exit(Number(searchParams.get("code")));
    });
  })
  .listen(Number(flagOf("--port")), "127.0.0.1", () => {
    process.stdout.write(`listening on http://127.0.0.1:${flagOf("--port")}\n`);
    process.stderr.write("a line of the log\n");
  });
