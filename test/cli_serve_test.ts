/**
 * `quorate serve` as a process: what it prints, how it stops, and what it says when it cannot go on.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import * as net from "node:net";
import * as path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askReady } from "../src/cli_demo_ready.ts";
import { withFolder } from "./cli_harness.ts";
import { Running, root, startCli, withServe } from "./cli_process.ts";

const test = suite("cli_serve");
const cli = `${JSON.stringify(process.execPath)} --import tsx src/cli.ts`;

function put(url: string, key: string, body: string): Promise<Response> {
  return fetch(`${url}/v1/kv/default/${key}`, { method: "PUT", body });
}

async function get(url: string, key: string): Promise<string> {
  const answer = await fetch(`${url}/v1/kv/default/${key}`);
  return `${answer.status} ${await answer.text()}`;
}

/** A PUT whose body is sent in two halves; `finish` sends the second and gives the answer. */
async function halfPut(url: string): Promise<{ finish(): Promise<string>; socket: net.Socket }> {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname).setEncoding("utf8");
  let answer = "";
  socket.on("data", (text: string) => {
    answer += text;
  });
  const closed = new Promise<void>((settle) => socket.on("close", () => settle()));
  // The node answers 100 when it has read the head: from then on the request is accepted.
  const accepted = new Promise<void>((settle) => socket.once("data", () => settle()));
  socket.on("error", () => {});
  socket.write(
    `PUT /v1/kv/default/slow HTTP/1.1\r\nHost: ${hostname}:${port}\r\n` +
      "Content-Length: 4\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
  );
  await accepted;
  socket.write("ab");
  return {
    socket,
    async finish() {
      socket.write("cd");
      await closed;
      return answer;
    },
  };
}

test("serve prints where it listens and what to type next, and keeps its data over a stop", () =>
  withFolder(async (folder) => {
    await withServe(folder, ["--name", "ada"], async (server, url) => {
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
      assert.match(server.out, `curl ${url}/v1/kv/default/users/1`);
      assert.is((await put(url, "a", "kept")).status, 204);
      const { code, signal } = await server.end("SIGTERM");
      assert.is(code, 0, `${signal} ${server.err}`);
      assert.not.ok(fs.existsSync(path.join(folder, "LOCK")), "the folder is free");
    });
    await withServe(folder, [], async (server, url) => {
      assert.is(await get(url, "a"), "200 kept");
      assert.match(server.out, "node ada, ", "the name is that of the first start");
      assert.match(server.out, "(1 key)");
    });
  }));

test("what was acknowledged survives kill -9", () =>
  withFolder(async (folder) => {
    await withServe(folder, [], async (server, url) => {
      assert.is((await put(url, "a", "kept")).status, 204);
      await server.end("SIGKILL");
    });
    await withServe(folder, [], async (_, url) => {
      assert.is(await get(url, "a"), "200 kept");
    });
  }));

test("a stopping node finishes what it has accepted", () =>
  withFolder(async (folder) => {
    await withServe(folder, [], async (server, url) => {
      const { finish } = await halfPut(url);
      server.process.kill("SIGTERM");
      await server.said(/not ready from now on/);
      assert.match(await finish(), "HTTP/1.1 204");
      assert.is((await server.ended).code, 0, server.err);
    });
    await withServe(folder, [], async (_, url) => {
      assert.is(await get(url, "slow"), "200 abcd");
    });
  }));

test("a request that does not end is cut after the shutdown timeout", () =>
  withFolder((folder) =>
    withServe(folder, ["--shutdown-timeout", "1ms"], async (server, url) => {
      const { socket } = await halfPut(url);
      assert.is((await server.end("SIGTERM")).code, 0, server.err);
      assert.match(server.err, "still under way after 1ms");
      socket.destroy();
    }),
  ));

test("a node stops in order although an HTTP/2 client left without reading its answer", () =>
  withFolder((folder) =>
    withServe(folder, ["--shutdown-timeout", "500ms"], async (server, url) => {
      assert.is((await put(url, "large", "v".repeat(1024 * 1024))).status, 204);
      // With a window of 0 bytes the answer can never be sent: its request stays under way.
      const socket = net.connect(Number(new URL(url).port), "127.0.0.1");
      const session = http2.connect(url, {
        settings: { initialWindowSize: 0 },
        createConnection: () => socket,
      });
      session.on("error", () => {});
      const stream = session.request({ ":path": "/v1/kv/default/large" });
      stream.on("error", () => {});
      await once(stream, "response");
      socket.destroy();
      const { code } = await server.end("SIGTERM");
      assert.is(code, 0, server.err);
      assert.match(server.err, "everything acknowledged is on disk");
    }),
  ));

test("a second signal stops at once", () =>
  withFolder(async (folder) => {
    await withServe(folder, ["--shutdown-timeout", "10min"], async (server, url) => {
      assert.is((await put(url, "a", "kept")).status, 204);
      const { socket } = await halfPut(url);
      server.process.kill("SIGINT");
      await server.said(/SIGINT: stopping/);
      // Within 250 ms it would be the same key press.
      await new Promise((resolve) => setTimeout(resolve, 300));
      const { code } = await server.end("SIGINT");
      assert.is(code, 1, server.err);
      assert.match(server.err, "SIGINT again: stopping at once");
      socket.destroy();
    });
    await withServe(folder, [], async (_, url) => {
      assert.is(await get(url, "a"), "200 kept");
    });
  }));

test("two signals of one key press are one", () =>
  withFolder((folder) =>
    withServe(folder, [], async (server) => {
      server.process.kill("SIGINT");
      const { code } = await server.end("SIGTERM");
      assert.is(code, 0, server.err);
    }),
  ));

test("a data folder that another process serves is refused, and that one goes on", () =>
  withFolder((folder) =>
    withServe(folder, [], async (server, url) => {
      const second = startCli(["serve", "--port", "0", "--data-dir", folder]);
      assert.is((await second.ended).code, 1);
      assert.is(second.out, "");
      assert.match(second.err, "(data-folder-in-use)");
      assert.match(second.err, `process ${server.process.pid}`);
      assert.is((await put(url, "a", "1")).status, 204);
    }),
  ));

test("a port that is taken is refused, and the folder is free again", () =>
  withFolder((folder) =>
    withServe(path.join(folder, "a"), [], async (_, url) => {
      const other = path.join(folder, "b");
      const { port } = new URL(url);
      const second = startCli(["serve", "--port", port, "--data-dir", other]);
      assert.is((await second.ended).code, 2);
      assert.match(second.err, `Cannot listen on 127.0.0.1 port ${port}: another program listens`);
      assert.not.ok(fs.existsSync(path.join(other, "LOCK")));
    }),
  ));

test("on loopback a node answers under the address that it tells the others, too", () =>
  withFolder((folder) =>
    withServe(folder, ["--advertise-address", "n1.test:4711"], async (_, url) => {
      const statusFor = (host: string): Promise<number | undefined> =>
        new Promise((settle, fail) => {
          const request = http.get(`${url}/livez`, { headers: { host } }, (answer) => {
            answer.resume();
            settle(answer.statusCode);
          });
          request.on("error", fail);
        });
      assert.is(await statusFor("n1.test:4711"), 200);
      assert.is(await statusFor("n2.test:4711"), 421);
    }),
  ));

test("a host that others can reach needs --insecure, before anything is made", () =>
  withFolder(async (folder) => {
    const data = path.join(folder, "data");
    const server = startCli(["serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", data]);
    assert.is((await server.ended).code, 2);
    assert.match(server.err, /has no TLS and no login.*\nhint: .*--insecure/);
    assert.not.ok(fs.existsSync(data));
    const phi = startCli(["serve", "--phi-down", "3", "--data-dir", data]);
    assert.is((await phi.ended).code, 2);
    assert.match(phi.err, "is not above --phi-suspect 3");
  }));

test("the root of a fresh ext4 volume is an empty data folder", () =>
  withFolder(async (folder) => {
    fs.mkdirSync(path.join(folder, "lost+found"), { mode: 0o700 });
    await withServe(folder, [], async (_server, url) => {
      assert.ok((await fetch(`${url}/v1/kv/default/k`, { method: "PUT", body: "v" })).ok);
    });
    assert.ok(fs.existsSync(path.join(folder, "lost+found")));
  }));

test("--cluster-id takes only the folder of that cluster, and never begins an empty one", () =>
  withFolder(async (folder) => {
    const words = ["serve", "--port", "0", "--data-dir", folder, "--cluster-id"];
    const empty = startCli([...words, "a-1"]);
    assert.is((await empty.ended).code, 1);
    assert.match(
      empty.err,
      /\(wrong-data-folder\)\nwhy: .*is empty, and --cluster-id asks for a-1/,
    );
    assert.equal(fs.readdirSync(folder), []);
    let clusterId = "";
    await withServe(folder, [], async (server, url) => {
      const info = (await (await fetch(`${url}/v1/info`)).json()) as { clusterId: string };
      clusterId = info.clusterId;
      await server.end("SIGTERM");
    });
    const other = startCli([...words, "a-1"]);
    assert.is((await other.ended).code, 1);
    assert.match(other.err, `belongs to the cluster ${clusterId}, and --cluster-id asks for a-1`);
    await withServe(folder, ["--cluster-id", clusterId], async (_, url) => {
      assert.is((await fetch(`${url}/livez`)).status, 200);
    });
  }));

test("a folder that cannot be made or read is an error that names it", () =>
  withFolder(async (folder) => {
    const file = path.join(folder, "file");
    fs.writeFileSync(file, "");
    const server = startCli(["serve", "--port", "0", "--data-dir", file]);
    assert.is((await server.ended).code, 2);
    assert.match(server.err, `Cannot use the data folder ${file}: it is not a folder.`);
    assert.match(server.err, /^error: .*\nwhy: .*\nhint: .*--data-dir/);
    const long = startCli([
      "serve",
      "--port",
      "0",
      "--data-dir",
      path.join(folder, "a".repeat(300)),
    ]);
    assert.is((await long.ended).code, 2);
    assert.match(long.err, /Cannot use the data folder .*: the path is too long\./);
  }));

test("a failed write ends the node, which says why", () =>
  withFolder((folder) =>
    withServe(folder, [], async (server, url) => {
      assert.is((await put(url, "a", "1")).status, 204);
      // From now on the system refuses every write to a file, as a broken disk does.
      execFileSync("prlimit", ["--pid", String(server.process.pid), "--fsize=1:1"]);
      const refused = await put(url, "b", "2");
      assert.ok(refused.status >= 500, String(refused.status));
      assert.is((await server.ended).code, 1);
      assert.match(server.err, /EFBIG|too large/i);
      assert.match(server.err, /^error: .*\nwhy: /m);
    }),
  ));

test("a node whose folder was taken away from it stops, and says who did it", () =>
  withFolder((folder) =>
    withServe(folder, [], async (server) => {
      fs.rmSync(path.join(folder, "LOCK"));
      assert.is((await server.ended).code, 1);
      assert.match(server.err, /\(data-folder-in-use\)\nwhy: .*LOCK was removed/);
    }),
  ));

test("a node whose folder is taken away while it stops writes no checkpoint into it", () =>
  withFolder((folder) =>
    withServe(folder, ["--shutdown-timeout", "6s"], async (server, url) => {
      assert.is((await put(url, "a", "kept")).status, 204);
      const table = () => fs.readFileSync(path.join(folder, "table.lmdb"));
      const before = table();
      // A request under way holds the stop up for longer than the lock goes without a look at it.
      const { socket } = await halfPut(url);
      server.process.kill("SIGTERM");
      await server.said(/not ready from now on/);
      fs.rmSync(path.join(folder, "LOCK"));
      assert.is((await server.ended).code, 1, server.err);
      assert.match(server.err, /\(data-folder-in-use\)\nwhy: .*LOCK was removed/);
      assert.ok(table().equals(before), "the table is the other process's");
      socket.destroy();
    }),
  ));

test("a reader that has enough ends a command quietly", () =>
  withFolder((folder) =>
    withServe(folder, [], async (_, url) => {
      const lines = Array.from({ length: 20_000 }, (_, index) => `{"key":"k${index}","value":"v"}`);
      const file = path.join(folder, "many.ndjson");
      fs.writeFileSync(file, lines.join("\n"));
      const script = `${cli} import ${file} && ${cli} export | head -n 1`;
      const environment = { QUORATE_URL: url };
      const bash = new Running("bash", ["-o", "pipefail", "-c", script], {
        cwd: root,
        environment,
      });
      const { code } = await bash.ended;
      assert.is(code, 0, bash.err);
      assert.is((JSON.parse(bash.out) as { key: string }).key, "k0");
    }),
  ));

test("what a command came to is its exit code, also where nobody reads what it says", async () => {
  const nobody = ["--url", "http://127.0.0.1:1"];
  const wanted: readonly (readonly [words: readonly string[], code: number])[] = [
    [["put", "a", "b", ...nobody], 1],
    [["get", "--no-such-option"], 2],
  ];
  for (const [words, code] of wanted) {
    const command = startCli(words);
    command.process.stderr?.destroy();
    assert.is((await command.ended).code, code, words.join(" "));
  }
});

test("what a command has yet to do is done, also where nobody reads what it prints", () =>
  withFolder((folder) =>
    withServe(folder, [], async (_, url) => {
      const words = ["bench", "--url", url, "--count", "20", "--keys", "10", "--gets", "0"];
      const bench = startCli(words);
      bench.process.stdout?.destroy();
      assert.is((await bench.ended).code, 0, bench.err);
      const counted = await fetch(`${url}/v1/count/default?prefix=quorate-bench/`);
      assert.is(((await counted.json()) as { keys: number }).keys, 0, "its keys are deleted");
    }),
  ));

test("Ctrl-C ends a bench early: what it measured is printed, and its keys are deleted", () =>
  withFolder((folder) =>
    withServe(folder, [], async (_, url) => {
      const keys = async () => {
        const counted = await fetch(`${url}/v1/count/default?prefix=quorate-bench/`);
        return ((await counted.json()) as { keys: number }).keys;
      };
      const bench = startCli(["bench", "--url", url, "--duration", "10m", "--keys", "600"]);
      while ((await keys()) < 600) await pause(50);
      await pause(300);
      assert.is((await bench.end("SIGINT")).code, 0, bench.err);
      assert.match(bench.out, /^put\t\d+\t/m);
      assert.is(await keys(), 0);
    }),
  ));

test("a demo goes on when nobody reads what it prints", () =>
  withFolder(async (folder) => {
    const free = net.createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as net.AddressInfo;
    free.close();
    const demo = startCli(["demo", "--nodes", "1", "--port", `${port}`, "--data-dir", folder]);
    demo.process.stdout?.destroy();
    let isReady = false;
    for (let look = 0; look < 300 && !isReady && demo.process.exitCode === null; look += 1) {
      isReady = (await askReady(`http://127.0.0.1:${port}`)) === undefined;
      await pause(100);
    }
    // It asks as often itself, and then says what to type.
    await pause(1000);
    const { code } = await demo.end("SIGINT");
    assert.match(demo.err, /All nodes have stopped; everything acknowledged is kept\./);
    assert.is(code, 0);
  }));

test.run();
