/**
 * Runs what the README, `docs/embedding.md` and `docs/simulator.md` show, as it stands there.
 *
 * A `sh` block is run line by line by bash, in a folder that has what a clone has after `npm start`,
 * against the three nodes of `quorate demo` there, on free ports instead of 8080 and those after it.
 * `# → …` after a command is what it prints, in which `…` stands for anything; a command without it
 * prints nothing, so that an error never passes. What a line that ends with `&` starts lives until all
 * blocks have run; functions stay, as in the reader's shell. A `ts` block is type-checked against the
 * built package and run; `// → …` after a `console.log` is what that prints. `npm start` and `npm test`
 * are run with a port and a pattern of their own.
 */

import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";
import { Running, root, withServe } from "./cli_process.ts";

const test = suite("readme");
const shownCharactersMax = 4000;
const node = process.execPath;

/** The code blocks of a document in one language, in order. */
function blocksOf(document: string, language: string): string[] {
  const text = fs.readFileSync(path.join(root, document), "utf8");
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm");
  return [...text.matchAll(fence)].map(([, code = ""]) => code);
}

interface Command {
  readonly line: string;
  /** What it prints; `…` stands for anything. */
  readonly prints: string;
}

function commandsOf(block: string): Command[] {
  const commands: { line: string; prints: string }[] = [];
  for (const line of block.replaceAll("\\\n", "").split("\n")) {
    if (line.trim() === "") continue;
    const last = commands.at(-1);
    if (line.startsWith("# → ") && last !== undefined) last.prints = line.slice(4);
    else commands.push({ line, prints: "" });
  }
  return commands;
}

function patternOf(prints: string): RegExp {
  const parts = prints.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  return new RegExp(`^${parts.join("[\\s\\S]*")}$`);
}

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(command: string, words: readonly string[], cwd: string, more = {}): Promise<Said> {
  // The program takes every QUORATE_ variable for a setting.
  const env = { ...process.env, QUORATE_LONG: undefined, NO_COLOR: "1", ...more };
  return new Promise((settle) => {
    execFile(command, [...words], { cwd, env, timeout: 100_000 }, (error, out, err) => {
      settle({ code: error === null ? 0 : Number(error.code ?? 1), out, err });
    });
  });
}

/** Builds `dist` when a source is newer, as `npm start` and `npm test` do. */
async function setUp(): Promise<void> {
  const { code, out, err } = await run(node, ["deploy/setup.mjs"], root);
  assert.is(code, 0, (out + err).slice(0, shownCharactersMax));
}

/** A folder that has what a clone has, and can be written to. */
async function withClone(use: (folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    for (const name of ["dist", "node_modules", "proto"]) {
      fs.symlinkSync(path.join(root, name), path.join(folder, name));
    }
    await use(folder);
  });
}

const special = ["npm start", "npm test"];
/** What `npm start` prints of a node when all are ready. */
const nodePattern = /^ {2}n\d {2}(http:\S+) {2}process \d+$/gm;
const whatToType = /Ctrl-C stops all/;

function nodesOf(demo: Running): string[] {
  return [...demo.out.matchAll(nodePattern)].map(([, url = ""]) => url);
}

/** The cluster of `npm start`, in a folder. */
async function withDemo(
  folder: string,
  use: (urls: readonly string[]) => Promise<void>,
): Promise<void> {
  const words = ["dist/src/cli.js", "demo", "--port", "0"];
  const environment = { QUORATE_SCRUB_RATE: "0", QUORATE_SEGMENT_BYTES: "2MiB" };
  const demo = new Running(node, words, { cwd: folder, environment });
  try {
    await demo.said(whatToType);
    await use(nodesOf(demo));
  } finally {
    await demo.end("SIGINT");
  }
}

/** Ports that were free a moment ago, all at once. */
async function freePorts(count: number): Promise<string[]> {
  const servers = Array.from({ length: count }, () => net.createServer());
  const ports: string[] = [];
  for (const server of servers) {
    await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
    ports.push(String((server.address() as net.AddressInfo).port));
  }
  await Promise.all(servers.map((server) => new Promise((settle) => server.close(settle))));
  return ports;
}

const functionPattern = /^\w+\(\) \{.*\}$/;
const mark = "\u0001";

/** Runs the commands of a block in one shell; what they start is ended by who ends its group. */
async function runBlock(commands: readonly Command[], shell: Shell): Promise<void> {
  const lines = commands.map(({ line }) => line.replace(/ &$/, " >>served.log 2>&1 &"));
  const marked = lines.map((line) => `${line}\nprintf '${mark}'\n`).join("");
  const script = `${shell.functions.join("\n")}\n${marked}`;
  shell.functions.push(...lines.filter((line) => functionPattern.test(line)));
  const bash = new Running("bash", ["-eo", "pipefail", "-c", script], {
    cwd: shell.folder,
    environment: { NO_COLOR: "1", QUORATE_URL: shell.url },
    detached: true,
  });
  shell.groups.push(bash.process.pid ?? Number.NaN);
  const { code } = await bash.ended;
  const log = path.join(shell.folder, "served.log");
  const served = fs.existsSync(log) ? fs.readFileSync(log, "utf8") : "";
  assert.is(code, 0, `${script}\n${bash.out}${bash.err}${served.slice(-shownCharactersMax)}`);
  const outputs = bash.out.split(mark);
  commands.forEach(({ line, prints }, index) => {
    const output = (outputs[index] ?? "").trim();
    assert.ok(patternOf(prints).test(output), `${line}\nshows: ${prints}\nprints: ${output}`);
  });
}

interface Shell {
  readonly folder: string;
  readonly url: string;
  readonly functions: string[];
  /** Process groups. */
  readonly groups: number[];
}

/** Ends what the blocks have started and left running. */
function endGroups({ groups }: Shell): void {
  for (const group of groups) {
    try {
      process.kill(-group, "SIGKILL");
    } catch {
      // Nothing of it is left.
    }
  }
}

test("every command of the README does what it shows", async () => {
  await setUp();
  const blocks = blocksOf("README.md", "sh").filter((block) => !special.includes(block.trim()));
  assert.ok(blocks.length >= 5, "the blocks were found");
  await withClone((folder) =>
    withDemo(folder, async (urls) => {
      const demoPorts = urls.map((url) => new URL(url).port);
      assert.is(demoPorts.length, 3);
      const ownPorts = await freePorts(4);
      const ports = new Map<string, string>();
      for (const [index, port] of demoPorts.entries()) ports.set(`${8080 + index}`, port);
      for (const [index, port] of ownPorts.entries()) ports.set(`${9001 + index}`, port);
      const shell: Shell = { folder, url: urls[0] ?? "", functions: [], groups: [] };
      try {
        for (const block of blocks) {
          const here = block.replace(
            /\b(?:808[0-2]|900[1-4])\b/g,
            (port) => ports.get(port) ?? port,
          );
          await runBlock(commandsOf(here), shell);
        }
      } finally {
        endGroups(shell);
      }
    }),
  );
});

test("the two commands stand in the README, each in a block of its own", () => {
  const blocks = blocksOf("README.md", "sh").map((block) => block.trim());
  for (const command of special) assert.ok(blocks.includes(command), command);
});

test("npm start serves three nodes, and Ctrl-C in its terminal stops them in order", () =>
  withFolder(async (folder) => {
    const words = ["start", "--", "--port", "0", "--data-dir", path.join(folder, "data")];
    const npm = new Running("npm", words, { detached: true });
    const group = -(npm.process.pid ?? Number.NaN);
    try {
      await npm.said(whatToType);
      const urls = nodesOf(npm);
      assert.is(urls.length, 3);
      const [first = "", second = ""] = urls;
      const put = { method: "PUT", body: "Ada" };
      assert.is((await fetch(`${first}/v1/kv/default/users/1`, put)).status, 204);
      assert.is(await (await fetch(`${second}/v1/kv/default/users/1`)).text(), "Ada");
      assert.match(npm.out, `curl ${first}/v1/kv/default/users/1`);
      // A terminal sends the signal to the whole group, and npm hands its own on to the demo.
      process.kill(group, "SIGINT");
      // npm ends itself by the signal that it was sent; how the nodes ended, the log says.
      await npm.ended;
      assert.match(npm.err, "All nodes have stopped; everything acknowledged is kept.");
      assert.not.match(npm.err, "at once");
    } finally {
      if (npm.process.exitCode === null && npm.process.signalCode === null) {
        process.kill(group, "SIGKILL");
      }
    }
  }));

test("npm test runs the tests and says so in its last line", async () => {
  const { code, out, err } = await run("npm", ["test", "--", "test/json_test"], root);
  assert.is(code, 0, out + err);
  assert.match(out, /\n\d+ passed, 0 failed\n$/);
});

/** The lines that a program's `// → …` comments say it prints. */
function printsOf(code: string): string[] {
  return [...code.matchAll(/ \/\/ → (.*)$/gm)].map(([, prints = ""]) => prints);
}

for (const document of ["README.md", "docs/embedding.md", "docs/simulator.md"]) {
  test(`the programs in ${document} are typed and run`, async () => {
    await setUp();
    const blocks = blocksOf(document, "ts");
    assert.ok(blocks.length > 0, "the blocks were found");
    await withFolder((folder) =>
      withServe(path.join(folder, "served"), [], async (_, url) => {
        const modules = path.join(folder, "node_modules");
        fs.mkdirSync(modules);
        fs.symlinkSync(root, path.join(modules, "quorate"));
        fs.symlinkSync(path.join(root, "node_modules/@types"), path.join(modules, "@types"));
        fs.writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
        fs.writeFileSync(path.join(folder, "tsconfig.json"), tsconfig);
        const memberPorts = await freePorts(3);
        blocks.forEach((block, index) => {
          const code = block
            .replaceAll("http://127.0.0.1:8080", url)
            .replace("7001, 7002, 7003", memberPorts.join(", "));
          fs.writeFileSync(path.join(folder, `example_${index}.ts`), code);
        });
        const compiler = path.join(root, "node_modules/typescript/bin/tsc");
        const checked = await run(node, [compiler, "-p", "tsconfig.json"], folder);
        assert.is(checked.code, 0, checked.out.slice(0, shownCharactersMax));
        for (const [index, block] of blocks.entries()) {
          const said = await run(node, [`example_${index}.js`], folder);
          assert.is(said.code, 0, block + said.err);
          const printed = said.out.trimEnd().split("\n");
          const shown = printsOf(block);
          assert.ok(shown.length > 0, `the example shows what it prints:\n${block}`);
          assert.is(printed.length, shown.length, said.out);
          shown.forEach((prints, at) => {
            const line = printed[at] ?? "";
            assert.ok(patternOf(prints).test(line), `shows: ${prints}\nprints: ${line}`);
          });
        }
      }),
    );
  });
}

const tsconfig = JSON.stringify({
  compilerOptions: {
    target: "es2023",
    module: "nodenext",
    lib: ["es2023", "dom", "dom.iterable"],
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
  },
  include: ["*.ts"],
});

test.run();
