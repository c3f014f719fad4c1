/**
 * The demo: a real process that starts real processes. Most tests run a small program in place of a
 * node (`demo_child.ts`), which shows what it was given and ends as it is told; the last ones run nodes.
 */
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";
import { type Ended, Running, type RunningOptions, startCli } from "./cli_process.ts";

const test = suite("cli demo");
const parent = fileURLToPath(new URL("demo_parent.ts", import.meta.url));
const ready = /Ctrl-C stops all/;

interface Begun {
  readonly pid: number;
  readonly words: readonly string[];
  readonly secret?: string;
}

/** A demo that is under way. */
class Stage {
  readonly demo: Running;
  readonly folder: string;

  constructor(demo: Running, folder: string) {
    this.demo = demo;
    this.folder = folder;
  }

  begun(name: string): Begun {
    return JSON.parse(fs.readFileSync(path.join(this.folder, name, "started.json"), "utf8"));
  }

  /** The signals that a node had, in their order. */
  signals(name: string): string[] {
    const file = path.join(this.folder, name, "signals");
    return fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim().split("\n") : [];
  }

  urlOf(name: string): string {
    const { words } = this.begun(name);
    return `http://127.0.0.1:${words[words.indexOf("--port") + 1]}`;
  }

  async post(name: string, target: string): Promise<void> {
    await (await fetch(`${this.urlOf(name)}${target}`, { method: "POST" })).text();
  }
}

async function withDemo(
  count: number,
  use: (stage: Stage) => Promise<void>,
  options: RunningOptions = {},
): Promise<void> {
  await withFolder(async (own) => {
    const folder = path.join(own, "demo");
    const words = ["--import", "tsx", parent, folder, `${count}`];
    const demo = new Running(process.execPath, words, options);
    const stage = new Stage(demo, folder);
    try {
      await use(stage);
    } finally {
      await demo.end("SIGKILL");
      // The nodes notice it by themselves; what is left of a test that failed is ended here.
      for (let index = 1; index <= count; index += 1) {
        const name = `n${index}`;
        if (!fs.existsSync(path.join(folder, name, "started.json"))) continue;
        await goneOf(stage.begun(name).pid);
      }
    }
  });
}

/** Whether a process is there, and has not ended. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const status = `/proc/${pid}/status`;
  // On Linux one that has ended is there until its parent, or init, has taken note.
  return !(fs.existsSync(status) && /^State:\s+Z/m.test(fs.readFileSync(status, "utf8")));
}

/** Resolves when a process has ended that is no child of this one; the runner's limit ends the wait. */
async function goneOf(pid: number): Promise<void> {
  while (isRunning(pid)) await new Promise((settle) => setTimeout(settle, 20));
}

test("the nodes get their own ports and folders, each other's addresses, and one secret by the environment", () =>
  withDemo(3, async (stage) => {
    const { demo, folder } = stage;
    await demo.said(ready);
    const names = ["n1", "n2", "n3"];
    const begun = names.map((name) => stage.begun(name));
    const peers = names.map((name) => new URL(stage.urlOf(name)).host).join(",");
    begun.forEach(({ words, secret }, index) => {
      const name = names[index] ?? "";
      const port = new URL(stage.urlOf(name)).port;
      const own = ["serve", "--name", name, "--port", port, "--data-dir", path.join(folder, name)];
      const cluster = ["--peers", peers, "--bootstrap-expect", "3", "--log-format", "text"];
      assert.equal(words, [...own, ...cluster]);
      assert.match(secret ?? "", /^[0-9a-f]{64}$/);
      assert.not.ok(words.includes(secret ?? ""), "a list of processes does not show it");
    });
    assert.is(new Set(begun.map(({ secret }) => secret)).size, 1);
    const file = path.join(folder, "secret");
    assert.is(fs.readFileSync(file, "utf8").trim(), begun[0]?.secret);
    assert.is(fs.statSync(file).mode & 0o777, 0o600);
    for (const name of names) assert.match(demo.err, `${name} a line of the log\n`);
    for (const name of names)
      assert.match(demo.out, `curl ${stage.urlOf(name)}/v1/kv/default/users/1`);
    assert.match(demo.out, `kill -9 ${begun[2]?.pid}\n`);
    assert.match(demo.out, / status --url http:/);
    assert.is((await demo.end("SIGTERM")).code, 0);
  }));

test("a start that finds a secret keeps it, takes it from others, and refuses what is none", () =>
  withFolder(async (folder) => {
    const file = path.join(folder, "secret");
    const kept = "0123456789abcdef-kept";
    fs.writeFileSync(file, `${kept}\n`, { mode: 0o644 });
    const begin = () => new Running(process.execPath, ["--import", "tsx", parent, folder, "2"]);
    const demo = begin();
    await demo.said(ready);
    assert.is(new Stage(demo, folder).begun("n2").secret, kept);
    assert.is(fs.statSync(file).mode & 0o777, 0o600);
    assert.not.match(demo.out, "kill -9", "of two none can be missed");
    assert.is((await demo.end("SIGINT")).code, 0);
    fs.writeFileSync(file, "short\n");
    const refused = begin();
    assert.is((await refused.ended).code, 2);
    assert.match(refused.err, /secret holds no secret/);
  }));

test("Ctrl-C in the terminal tells each node once, by SIGTERM, and the demo exits with 0 when all have ended", () =>
  withDemo(
    3,
    async (stage) => {
      const { demo } = stage;
      await demo.said(ready);
      const pids = ["n1", "n2", "n3"].map((name) => stage.begun(name).pid);
      // A terminal sends it to the whole foreground group.
      process.kill(-(demo.process.pid ?? Number.NaN), "SIGINT");
      assert.equal(await demo.ended, { code: 0, signal: null } satisfies Ended);
      for (const name of ["n1", "n2", "n3"]) {
        assert.equal(stage.signals(name), ["SIGTERM"]);
        assert.match(demo.err, `${name} told to stop\n`);
      }
      assert.not.ok(pids.some(isRunning));
      assert.match(demo.err, /All nodes have stopped; everything acknowledged is kept\.\n$/);
    },
    { detached: true },
  ));

test("a second Ctrl-C ends a node that does not stop, and the exit code says so", () =>
  withDemo(2, async (stage) => {
    const { demo } = stage;
    await demo.said(ready);
    await stage.post("n2", "/deaf");
    demo.process.kill("SIGINT");
    await demo.said(/n2 told to stop/);
    await demo.said(/n1 told to stop/);
    // Two within 250 ms are one key press: the signal is sent again until it is taken for another.
    const again = setInterval(() => demo.process.kill("SIGINT"), 100);
    const { code } = await demo.ended;
    clearInterval(again);
    assert.is(code, 1);
    assert.match(demo.err, /n2 did not stop in order: by SIGKILL/);
    assert.not.match(demo.err, /n1 did not stop/);
    assert.equal(stage.signals("n2"), ["SIGTERM"]);
    assert.not.ok(isRunning(stage.begun("n2").pid));
  }));

test("a node that ends by itself is told with its reason and its command, and the others go on", () =>
  withDemo(3, async (stage) => {
    const { demo, folder } = stage;
    await demo.said(ready);
    await stage.post("n2", "/end?code=3");
    await demo.said(/n2 has ended: exit code 3, it was told to\./);
    assert.match(demo.err, "n2 last words\n");
    const command = (await demo.said(/To start it again, .*:\n {2}(.*)\n/))[1] ?? "";
    assert.match(command, `serve --name n2 --port ${new URL(stage.urlOf("n2")).port} `);
    assert.ok(command.endsWith(` --cluster-secret-file ${path.join(folder, "secret")}`), command);
    assert.is((await fetch(stage.urlOf("n1"))).status, 200);
    process.kill(stage.begun("n3").pid, "SIGKILL");
    await demo.said(/n3 has ended: by SIGKILL\./);
    // What ended before it was told to is no failure of the stop.
    assert.is((await demo.end("SIGTERM")).code, 0);
  }));

test("when all nodes have ended the demo ends too, with 1", () =>
  withDemo(2, async (stage) => {
    const { demo } = stage;
    await demo.said(ready);
    for (const name of ["n1", "n2"]) await stage.post(name, "/end?code=1");
    assert.is((await demo.ended).code, 1);
    assert.match(demo.err, /All nodes have ended, and so does the demo\./);
  }));

test("a program that cannot be started is told like one that has ended", () =>
  withFolder(async (folder) => {
    const missing = path.join(folder, "missing.ts");
    const words = ["--import", "tsx", parent, folder, "1", "0", missing];
    const demo = new Running(process.execPath, words);
    assert.is((await demo.ended).code, 1);
    assert.match(demo.err, /n1 has ended: exit code 1/);
  }));

test("what to type is only printed when all are ready, and until then what is waited for", () =>
  withDemo(
    2,
    async ({ demo }) => {
      await demo.said(/n2 is not ready: The node waits for: cluster \(two more nodes\)\./);
      assert.not.match(demo.out, "Try, in another terminal");
      assert.is((await demo.end("SIGTERM")).code, 0);
      assert.not.match(demo.out, "Try, in another terminal");
    },
    { environment: { QUORATE_TEST_UNREADY: "n2" } },
  ));

test("kill -9 of the demo ends its nodes: they see their channel closed", () =>
  withDemo(3, async (stage) => {
    const { demo } = stage;
    await demo.said(ready);
    const names = ["n1", "n2", "n3"];
    const pids = names.map((name) => stage.begun(name).pid);
    assert.ok(pids.every(isRunning));
    await demo.end("SIGKILL");
    for (const pid of pids) await goneOf(pid);
    for (const name of names) assert.equal(stage.signals(name), ["disconnect"]);
  }));

test("a signal to npm alone stops the demo too, though npm's shell passes nothing on", () =>
  withFolder(async (own) => {
    const folder = path.join(own, "demo");
    const words = ["--import", "tsx", parent, folder, "2"];
    const environment = { npm_lifecycle_event: "start" };
    const shell = new Running("sh", ["-c", '"$@"; exit', "sh", process.execPath, ...words], {
      environment,
    });
    const stage = new Stage(shell, folder);
    await shell.said(ready);
    // It has ended when all that write to its streams have.
    await shell.end("SIGTERM");
    assert.match(shell.err, /The parent process has ended: stopping\./);
    assert.match(shell.err, /All nodes have stopped/);
    for (const name of ["n1", "n2"]) {
      assert.equal(stage.signals(name), ["SIGTERM"]);
      assert.not.ok(isRunning(stage.begun(name).pid));
    }
  }));

test("a taken port is told before anything is started, with what to do", () =>
  withFolder(async (own) => {
    const folder = path.join(own, "demo");
    const server = net.createServer();
    await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
    const { port } = server.address() as net.AddressInfo;
    try {
      const words = ["--import", "tsx", parent, folder, "1", `${port}`];
      const demo = new Running(process.execPath, words);
      assert.is((await demo.ended).code, 2);
      assert.match(demo.err, `Port ${port} cannot be used: another program listens there.`);
      assert.match(demo.err, /hint: .*--port 9080/);
      assert.not.ok(fs.existsSync(folder), "nothing was made");
    } finally {
      server.close();
    }
    const beyond = startCli(["demo", "--port", "65535", "--data-dir", folder]);
    assert.is((await beyond.ended).code, 2);
    assert.match(beyond.err, /3 nodes from port 65535 on/);
  }));

test("one real node: it is ready, takes a write, and stops in order", () =>
  withFolder(async (own) => {
    const folder = path.join(own, "demo");
    const demo = startCli(["demo", "--nodes", "1", "--port", "0", "--data-dir", folder]);
    try {
      const url = (await demo.said(/n1 {2}(http:\S+)/))[1] ?? "";
      await demo.said(ready);
      const put = { method: "PUT", body: "Ada" };
      assert.is((await fetch(`${url}/v1/kv/default/users/1`, put)).status, 204);
      assert.not.ok(fs.existsSync(path.join(folder, "secret")), "one node needs none");
      assert.is((await demo.end("SIGINT")).code, 0);
      assert.match(demo.err, /n1 .*Stopped: everything acknowledged is on disk\./);
    } finally {
      await demo.end("SIGKILL");
    }
  }));

test("three real nodes: a write through one is read through the others, also when one was killed, and kill -9 of the demo leaves no node", () =>
  withFolder(async (own) => {
    const folder = path.join(own, "demo");
    const demo = startCli(["demo", "--port", "0", "--data-dir", folder]);
    const pids: number[] = [];
    try {
      await demo.said(ready);
      const found = [...demo.out.matchAll(/n\d {2}(http:\S+) {2}process (\d+)/g)];
      pids.push(...found.map(([, , pid]) => Number(pid)));
      const [first = "", second = ""] = found.map(([, url]) => url);
      const key = "/v1/kv/default/users/1";
      assert.is((await fetch(first + key, { method: "PUT", body: "Ada" })).status, 204);
      assert.is(await (await fetch(second + key)).text(), "Ada");
      process.kill(pids[2] ?? Number.NaN, "SIGKILL");
      await demo.said(/n3 has ended: by SIGKILL/);
      assert.is((await fetch(second + key, { method: "PUT", body: "Grace" })).status, 204);
      assert.is(await (await fetch(first + key)).text(), "Grace");
    } finally {
      await demo.end("SIGKILL");
      for (const pid of pids) await goneOf(pid);
    }
    assert.is(pids.length, 3);
  }));

test.run();
