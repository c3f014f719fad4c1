/**
 * The command line, run in this process against the HTTP edge over a fake node. What only a real
 * process shows (start time, signals, broken pipes, a real node) is in `cli_serve_test.ts`.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { utf8Bytes } from "../src/bytes.ts";
import { commands } from "../src/cli_commands.ts";
import { buildProgram } from "../src/cli_program.ts";
import { programVersion } from "../src/cli_version.ts";
import type { Kind } from "../src/config_kinds.ts";
import { QuorateError } from "../src/errors.ts";
import { quorate, withFolder, withStand } from "./cli_harness.ts";
import { cliFile, cliText } from "./reference.ts";

const test = suite("cli");
const root = fileURLToPath(new URL("..", import.meta.url));

/** Everything that is loaded together with some files: sources by path, packages by name. */
function loadedWith(files: readonly string[]): string[] {
  const seen = new Set<string>(files);
  for (const file of seen) {
    if (!file.endsWith(".ts")) continue;
    const source = fs.readFileSync(path.join(root, file), "utf8");
    // What is imported as a type is not loaded, nor what `import()` names.
    for (const [, names = "", from = ""] of source.matchAll(
      /^(?:import|export) (?!type )([^;"]*?from )?"([^"]+)";/gm,
    )) {
      if (/^\{(?:\s*type \w+,?)+\s*\} from /.test(names)) continue;
      seen.add(from.startsWith(".") ? path.posix.join(path.posix.dirname(file), from) : from);
    }
  }
  return [...seen].sort();
}

/** Beside the command line, the client and the settings. */
const small = [
  "src/api.ts",
  "src/assert.ts",
  "src/bytes.ts",
  "src/capability.ts",
  "src/errors.ts",
  "src/figures.ts",
  "src/protocol.ts",
];

test("cli-get-without-a-key-is-a-usage-error", () =>
  withStand(async ({ ask, edge }) => {
    const { code, out, err } = await ask("get");
    assert.is(code, 2);
    assert.is(out, "");
    assert.match(err, /^error: .*\nwhy: +Missing required argument 'key'\.\nhint: .*get --help/);
    assert.is(edge.api.requests.length, 0, "nothing was sent");
  }));

test("an error of the program is printed whatever it has for a code: none, a word or a number", async () => {
  for (const code of [undefined, "EIO", -30_796]) {
    const input: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject(Object.assign(new Error("the input broke"), { code })),
      }),
    };
    const { code: exit, err } = await quorate(["put", "a", "-"], { input });
    assert.is(exit, 1, err);
    assert.match(err, /^error: .*\nwhy: +the input broke\nhint: /);
  }
});

test("put and get carry a value byte for byte, from an argument, the input and a file", () =>
  withStand(async ({ ask, askWith }) => {
    assert.is((await ask("put", "a", "Ada ☕")).code, 0);
    assert.is((await ask("get", "a")).out, "Ada ☕");
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    await askWith({ input: [bytes.subarray(0, 100), bytes.subarray(100)] }, "put", "b", "-");
    assert.equal((await ask("get", "b")).bytes, bytes);
    await withFolder(async (folder) => {
      const file = path.join(folder, "value.bin");
      fs.writeFileSync(file, bytes);
      await ask("put", "c", `@${file}`);
      assert.equal((await ask("get", "c")).bytes, bytes);
      const missing = await ask("put", "d", `@${file}.not`);
      assert.is(missing.code, 2);
      assert.match(missing.err, /there is no such file/);
    });
    await ask("put", "--", "e", "-5");
    assert.is((await ask("get", "e")).out, "-5");
  }));

test("an input that never ends is read as far as a value may go, and no further", () =>
  withStand(async ({ edge, askWith }) => {
    let given = 0;
    const piece = new Uint8Array(1024 * 1024);
    const input = (async function* () {
      for (; given < 1000; given += 1) yield piece;
    })();
    const { code, err } = await askWith({ input }, "put", "a", "-");
    assert.is(code, 2);
    assert.match(err, /value-too-large/);
    assert.ok(given < 100, "a value has at most 32 MiB");
    await withFolder(async (folder) => {
      const file = path.join(folder, "large.bin");
      fs.writeFileSync(file, "");
      fs.truncateSync(file, 5 * 1024 ** 3);
      const large = await askWith({}, "put", "a", `@${file}`);
      assert.is(large.code, 2);
      assert.match(large.err, /value-too-large/);
    });
    assert.is((await edge.ask("/v1/kv/default/a")).status, 404);
  }));

test("an output that cannot be written is told, and is exit code 1", () =>
  withFolder(async (folder) => {
    const file = path.join(folder, "read-only");
    fs.writeFileSync(file, "");
    // Opened for reading, so that each write to it fails, as on a full disk.
    const output = fs.openSync(file, "r");
    const words = ["--import", "tsx", "src/cli.ts", "config", "show"];
    const { status, stderr } = spawnSync(process.execPath, words, {
      stdio: ["ignore", output, "pipe"],
      encoding: "utf8",
    });
    fs.closeSync(output);
    assert.is(status, 1);
    assert.match(stderr, /error: The output could not be written/);
    assert.match(stderr, /EBADF/);
  }));

test("a key that is not there is exit code 3, with nothing on the standard output", () =>
  withStand(async ({ ask }) => {
    const { code, out, err } = await ask("get", "nothing");
    assert.is(code, 3);
    assert.is(out, "");
    assert.match(err, /error: There is no such key \(key-not-found\)\nwhy: .*'nothing'.*\nhint: /);
  }));

test("a value that the system could not decode is refused, and the input takes it as it is", () =>
  withStand(async ({ ask, askWith, edge }) => {
    const { code, err } = await ask("put", "a", "caf\ufffd");
    assert.is(code, 2, "it was another byte on the command line");
    assert.match(
      err,
      /why: +The value on the command line is not valid UTF-8\.\nhint: .* put <key> -/,
    );
    assert.is((await edge.ask("/v1/kv/default/a")).status, 404);
    await askWith({ input: [Buffer.from("caf\xe9", "latin1")] }, "put", "a", "-");
    assert.equal([...(await ask("get", "a")).bytes], [99, 97, 102, 0xe9]);
  }));

test("del deletes, and a second time too", () =>
  withStand(async ({ ask }) => {
    await ask("put", "a", "1");
    assert.is((await ask("del", "a")).code, 0);
    assert.is((await ask("get", "a")).code, 3);
    assert.is((await ask("del", "a")).code, 0);
  }));

test("ring prints the members, and the replicas of a key, in each form", () =>
  withStand(async ({ ask, askWith }) => {
    const all = JSON.parse((await ask("ring")).out);
    assert.equal([all.clusterId, all.members[0].node, all.place], ["c", "n1", undefined]);
    const one = JSON.parse((await ask("ring", "a/é", "-o", "json")).out);
    assert.equal([one.place.partition, one.place.replicas[0].zone], [4, "z1"]);
    assert.match((await ask("ring", "--key64", "_w", "-o", "yaml")).out, /partition: 1\n/);
    assert.is((await ask("ring", "k", "-o", "raw")).out, "n1\n");
    const members = await askWith({ columns: 80 }, "ring");
    assert.match(members.out, /node +zone +addresses +weight +first of +replica of +share +voter/);
    assert.match(members.out, /n1 +z1 +10\.0\.0\.1:8080 +100 +256 +256 +100\.0 % +yes/);
    assert.match(members.err, /Cluster c: 256 partitions, epoch 1\./);
    const key = await askWith({ columns: 80 }, "ring", "users/1");
    assert.match(key.out, /1 +n1 +z1 +10\.0\.0\.1:8080 +http:\/\/10\.0\.0\.1:8080/);
    assert.match(key.err, /Partition 7 of 256, n = 1 in 'default', epoch 1\./);
    assert.is((await ask("ring", "k", "-n", "none")).code, 3);
  }));

test("binary keys are given as base64url with --key64", () =>
  withStand(async ({ ask, edge }) => {
    await ask("put", "--key64", "__4", "v");
    assert.is((await ask("get", "--key64", "__4")).out, "v");
    assert.is((await ask("get", "--key64", "__4=")).out, "v", "padding does no harm");
    const kept = await edge.api.list({ namespace: "default", requestId: "t" });
    assert.equal(kept.items[0]?.key, new Uint8Array([255, 254]));
    const bad = await ask("get", "--key64", "!!");
    assert.is(bad.code, 2);
    assert.match(bad.err, /not base64url/);
    assert.is((await ask("get", "\ufffd")).code, 2, "what the system could not decode is no key");
  }));

test("put keeps type, metadata and ttl, and get -o json shows them", () =>
  withStand(async ({ ask }) => {
    const options = ["--content-type", "application/json", "--meta", "a=1=2", "--meta", "b="];
    await ask("put", "k", "{}", ...options, "--ttl", "1min");
    const record = JSON.parse((await ask("get", "k", "-o", "json")).out) as Record<string, unknown>;
    assert.is(record["key"], "k");
    assert.is(record["value"], "{}");
    assert.is(record["contentType"], "application/json");
    assert.equal(record["meta"], { a: "1=2", b: "" });
    assert.is(record["expiresAt"], new Date(1_700_000_060_000).toISOString());
    assert.is((await ask("put", "k", "v", "--ttl", "0")).code, 2);
    assert.is((await ask("put", "k", "v", "--ttl", "1500ms")).code, 2);
  }));

test("each form of output says the same", () =>
  withStand(async ({ ask }) => {
    await ask("put", "k", "line\nbreak");
    const yaml = (await ask("get", "k", "-o", "yaml")).out;
    assert.match(yaml, /^key: "k"\nvalue: "line\\nbreak"\ncontentType: "text\/plain/);
    const table = (await ask("get", "k", "-o", "table")).out;
    assert.match(table, /^field +value\nkey +k\nvalue +"line\\nbreak"\n/);
    assert.is((await ask("get", "k", "-o", "raw")).out, "line\nbreak");
    const written = JSON.parse((await ask("put", "k", "v", "-o", "json")).out) as object;
    assert.equal(Object.keys(written), [
      "key",
      "version",
      "acks",
      "replicas",
      "consistency",
      "durability",
      "node",
    ]);
    assert.match((await ask("put", "k", "v", "-o", "raw")).out, /^[0-9a-f]{16}-[0-9a-f]{16}\n$/);
    assert.is((await ask("put", "k", "v")).out, "", "unasked, a write prints nothing");
    const bad = await ask("get", "k", "-o", "xml");
    assert.is(bad.code, 2);
    assert.match(bad.err, /'xml' is not one of these words/);
  }));

test("YAML says the same to readers of 1.1 and 1.2, whatever names and texts are in it", () =>
  withStand(async ({ ask }) => {
    const names = ["null", "true", "no", "y", "off", "plain"].map((name) => [
      "--meta",
      `${name}=no`,
    ]);
    const value = "one\u0085 two\u2028 three\u007f\u0090\ufeff \u{1f600} end";
    assert.is((await ask("put", "null", value, ...names.flat())).code, 0);
    const wanted = JSON.parse((await ask("get", "null", "-o", "json")).out);
    const { out } = await ask("get", "null", "-o", "yaml");
    for (const version of ["1.1", "1.2"] as const) {
      assert.equal(parse(out, { version }), wanted, version);
    }
    assert.not.match(out, /[\u007f-\u009f\u2028\u2029\ufeff]/);
    assert.match(out, /\n {2}"no": "no"\n/, "else it is false to a reader of 1.1");
  }));

test("a value on a terminal ends with a line end, and bytes are not thrown at it", () =>
  withStand(async ({ ask, askWith }) => {
    await ask("put", "text", "hello");
    assert.is((await askWith({ columns: 80 }, "get", "text")).out, "hello\n");
    await ask("put", "evil", "\u001b[2J");
    const evil = await askWith({ columns: 80 }, "get", "evil");
    assert.is(evil.out, "");
    assert.match(evil.err, /4 bytes of text\/plain; charset=utf-8: not text/);
    assert.is((await askWith({ columns: 80 }, "get", "evil", "-o", "raw")).out, "\u001b[2J");
  }));

async function fill(count: number, put: (key: string) => Promise<unknown>): Promise<string[]> {
  const keys = Array.from({ length: count }, (_, index) => `k/${String(index).padStart(4, "0")}`);
  for (const key of keys) await put(key);
  return keys;
}

test("list prints keys in order, a page at a time, and says when there are more", () =>
  withStand(async ({ ask, edge }) => {
    const options = { namespace: "default", requestId: "t", contentType: "x/y", meta: [] };
    const keys = await fill(1005, (key) =>
      edge.api.put({ ...options, key: utf8Bytes(key), value: utf8Bytes(key) }),
    );
    const first = await ask("list");
    assert.equal(first.out.trimEnd().split("\n"), keys.slice(0, 100));
    const cursor = /--cursor (\S+) goes on/.exec(first.err)?.[1] ?? "";
    const second = await ask("list", "--cursor", cursor, "--limit", "5");
    assert.equal(second.out.trimEnd().split("\n"), keys.slice(100, 105));
    assert.equal((await ask("list", "--all")).out.trimEnd().split("\n"), keys);
    assert.equal((await ask("list", "--limit", "1003")).out.trimEnd().split("\n").length, 1003);
    const reversed = await ask("list", "k/000", "--reverse");
    assert.equal(reversed.out.trimEnd().split("\n"), keys.slice(0, 10).reverse());
    assert.is(reversed.err, "");
    const range = await ask("list", "--start", "k/0003", "--end", "k/0005");
    assert.is(range.out, "k/0003\nk/0004\n");
    assert.is((await ask("list", "zzz")).out, "");
    assert.is((await ask("count")).out, "1005\n");
    assert.is((await ask("count", "k/00")).out, "100\n");
    const counted = JSON.parse((await ask("count", "-o", "json")).out) as object;
    assert.equal(counted, { keys: 1005, bytes: 6030, exact: false });
  }));

test("list as JSON is one document, with values on demand and 64 forms for bytes", () =>
  withStand(async ({ ask }) => {
    await ask("put", "a", "1");
    await ask("put", "--key64", "_w", "2");
    type List = { items: Record<string, unknown>[]; next?: string };
    const plain = JSON.parse((await ask("list", "-o", "json")).out) as List;
    assert.equal(
      plain.items.map(({ key, key64, value }) => [key, key64, value]),
      [
        ["a", undefined, undefined],
        [undefined, "_w", undefined],
      ],
    );
    const limited = await ask("list", "-o", "json", "--values", "--limit", "1");
    const page = JSON.parse(limited.out) as List;
    assert.is(page.items[0]?.["value"], "1");
    assert.is(typeof page.next, "string");
    assert.equal(JSON.parse((await ask("list", "none", "-o", "json")).out), { items: [] });
    assert.is((await ask("list", "none", "-o", "yaml")).out, "items: []\n");
    assert.match((await ask("list", "-o", "yaml")).out, /^items:\n {2}- key: "a"\n {4}version: "/);
    const raw = await ask("list");
    assert.is(raw.out, "a\nkey64:_w\n");
    assert.match(raw.err, /1 of these keys/);
  }));

test("tables come on a terminal only, unless asked for", () =>
  withStand(async ({ ask, askWith }) => {
    await ask("put", "a", "x".repeat(1536));
    const table = /^key +value +type +expires\na +1\.5 KiB +text\/plain/;
    assert.match((await askWith({ columns: 80 }, "list")).out, table);
    assert.match((await ask("list", "-o", "table")).out, table);
    assert.match(
      (await askWith({ columns: 80 }, "count")).out,
      /^keys +values +exact\n1 +1\.5 KiB/,
    );
    assert.match((await askWith({ columns: 80 }, "put", "a", "b")).err, /Stored a on 1 of 1/);
  }));

test("the choices of the command line reach the node", () =>
  withStand(async ({ ask, askWith, edge }) => {
    const options = ["--consistency", "all", "-w", "1", "--durability", "memory"];
    await ask("put", "k", "v", ...options, "--timeout", "250ms");
    const { consistency, w, durability, timeoutMs } = edge.api.requests.at(-1) ?? {};
    assert.equal([consistency, w, durability, timeoutMs], ["all", 1, "memory", 250]);
    await askWith({ environment: { QUORATE_R: "quorum" } }, "get", "k");
    assert.is(edge.api.requests.at(-1)?.r, "quorum");
    const { code } = await ask("get", "k", "-n", "nope");
    assert.is(code, 3, "namespace-not-found is a 404");
  }));

test("an error is printed as error, why and hint, with its exit code by what is known", () =>
  withStand(async ({ ask, edge }) => {
    const cases: readonly (readonly [QuorateError, number])[] = [
      [new QuorateError("write-quorum-not-met", "1 of 2.", { outcome: "partial" }), 5],
      [new QuorateError("write-quorum-not-met", "0 of 2.", { outcome: "none" }), 4],
      [new QuorateError("timeout", "Late.", { outcome: "unknown" }), 5],
      [new QuorateError("quorum-unavailable", "1 of 3.", { outcome: "none" }), 4],
      [new QuorateError("overloaded", "Busy.", { outcome: "none" }), 1],
      [new QuorateError("value-too-large", "Large.", { outcome: "none", limit: 1 }), 2],
    ];
    for (const [failure, expected] of cases) {
      edge.api.failure = failure;
      const { code, err } = await ask("put", "k", "v");
      assert.is(code, expected, failure.slug);
      assert.match(err, new RegExp(`^error: .*\\(${failure.slug}\\)\nwhy: .*${failure.detail}`));
      assert.match(err, /\nhint: .*\nrequest .+\n$/);
    }
    edge.api.failure = new QuorateError("write-quorum-not-met", "1 of 2.", {
      outcome: "partial",
      replicas: [{ node: "n2", status: "down", reason: "no answer" }],
    });
    const { err } = await ask("put", "k", "v");
    assert.match(err, /n2: down \(no answer\)\nwrite: partial: some replicas have it\n/);
  }));

test("nobody there is exit code 1 for a read and a write, since nothing can have been written", async () => {
  const nobody = { environment: { QUORATE_URL: "http://127.0.0.1:1" } };
  assert.is((await quorate(["get", "k"], nobody)).code, 1);
  const write = await quorate(["put", "k", "v"], nobody);
  assert.is(write.code, 1);
  assert.match(write.err, /^error: No node could be reached \(unreachable\)/);
});

test("wrong usage is exit code 2, with what was meant", async () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [["gte", "k"], /Did you mean get\?/],
    [["get", "--nmaespace", "x", "k"], /Did you mean --namespace\?/],
    [["get", "a", "b"], /Too many arguments[^\n]* but got 2\.\n/],
    [["put", "k"], /Missing required argument 'value'/],
    [["list", "--limit", "no"], /--limit: 'no' is not a whole number/],
    [["get", "k", "--timeout", "5"], /--timeout: '5' has no unit/],
    [["config"], /Usage: quorate config/],
    [[], /Usage: quorate \[options\]/],
    [["serve", "--phi-down", "3"], /is not above --phi-suspect 3/],
    [["serve", "--host", "0.0.0.0"], /--insecure/],
    [["serve", "extra"], /Too many arguments/],
  ];
  for (const [words, expected] of cases) {
    const { code, out, err } = await quorate(words);
    assert.is(code, 2, words.join(" "));
    assert.is(out, "");
    assert.match(err, expected);
  }
});

test("a write that was refused says that nothing was written; a read says nothing of writes", () =>
  withStand(async ({ ask, edge }) => {
    edge.api.failure = new QuorateError("not-ready", "It waits.", { outcome: "none" });
    const refused = await ask("put", "a", "b");
    assert.is(refused.code, 1);
    assert.match(refused.err, "write: none: nothing was written\n");
    const read = await ask("get", "a");
    assert.is(read.code, 1);
    assert.not.match(read.err, "write:");
    const url = ["--url", "http://127.0.0.1:1"];
    assert.match(
      (await quorate(["put", "a", "b", ...url])).err,
      "write: none: nothing was written",
    );
    assert.not.match((await quorate(["get", "a", ...url])).err, "write:");
  }));

test("the help of a group says what it is for", async () => {
  for (const out of [(await quorate(["--help"])).out, (await quorate(["cluster", "--help"])).out]) {
    assert.match(out, /Plans who is a member/);
  }
  assert.match((await quorate(["config", "--help"])).out, "Looks at the settings.");
});

test("help and version go to the standard output, with exit code 0", async () => {
  const help = await quorate(["put", "--help"]);
  assert.is(help.code, 0);
  assert.match(help.out, /^Usage: quorate put \[options\] <key> <value>\n[\s\S]*Examples:/);
  assert.is((await quorate(["help"])).code, 0);
  const { version } = JSON.parse(fs.readFileSync("package.json", "utf8")) as { version: string };
  assert.is((await quorate(["--version"])).out, `${version}\n`);
  assert.is(programVersion, version);
});

test("config show says every value and where it came from", () =>
  withFolder(async (folder) => {
    const file = path.join(folder, "q.toml");
    fs.writeFileSync(file, 'port = 4711\nlog-level = "warn"\n');
    const environment = { QUORATE_LOG_LEVEL: "debug" };
    const words = ["config", "show", "--config", file, "--max-value", "2MiB"];
    const json = JSON.parse(
      (await quorate([...words, "-o", "json"], { environment })).out,
    ) as Record<string, unknown>;
    assert.equal(json["port"], { value: "4711", source: `port in ${file}` });
    assert.equal(json["log-level"], { value: "debug", source: "QUORATE_LOG_LEVEL" });
    assert.equal(json["max-value"], { value: "2MiB", source: "--max-value" });
    assert.equal(json["host"], { value: "127.0.0.1", source: "default" });
    const table = (await quorate(words, { environment, columns: 120 })).out;
    assert.match(table, /^setting +value +from +variable\n/);
    assert.match(table, /\nmax-value +2MiB +--max-value +QUORATE_MAX_VALUE\n/);
    // Without a terminal it is a config file that says the same.
    const raw = (await quorate(words, { environment })).out;
    const again = path.join(folder, "again.toml");
    fs.writeFileSync(again, raw);
    const copied = await quorate(["config", "show", "--config", again, "-o", "json"]);
    const values = (text: string) =>
      Object.entries(JSON.parse(text) as Record<string, { value: unknown }>)
        .filter(([name]) => name !== "output")
        .map(([name, { value }]) => [name, value]);
    assert.equal(values(copied.out), values(JSON.stringify(json)));
  }));

test("a config file that is missing, broken or misspelt is an error that names it", () =>
  withFolder(async (folder) => {
    const missing = await quorate(["config", "show", "--config", path.join(folder, "no.toml")]);
    assert.is(missing.code, 2);
    assert.match(missing.err, /no\.toml cannot be read: there is no such file/);
    const broken = path.join(folder, "broken.toml");
    fs.writeFileSync(broken, "port = 1\nhost = \n");
    const { code, err } = await quorate(["get", "k"], { environment: { QUORATE_CONFIG: broken } });
    assert.is(code, 2);
    assert.match(err, /broken\.toml is not valid TOML at line 2/);
    fs.writeFileSync(broken, "prot = 1\n");
    const misspelt = await quorate(["get", "k", "--config", broken]);
    assert.match(misspelt.err, /There is no setting 'prot'[\s\S]*Did you mean port\?/);
    const limits = await quorate(["config", "show", "--memtable-bytes", "512KiB"]);
    assert.is(limits.code, 2);
    assert.match(limits.err, /--memtable-bytes 512KiB is below --max-value 1MiB/);
  }));

test("every example of the help is a command line that the program takes", async () => {
  for (const row of commands) {
    for (const example of row.examples) {
      const line = /quorate ([^|>]*)/.exec(example)?.[1]?.trim() ?? "";
      let name = "";
      const program = buildProgram({
        version: "0",
        write: () => {},
        run: async (parsed) => {
          name = parsed.row.name;
        },
      });
      await program.parseAsync(line.split(/\s+/), { from: "user" });
      assert.ok(
        commands.some((known) => known.name === name),
        example,
      );
    }
  }
});

test("every option that is given reaches its command, and no other does", async () => {
  for (const { name, arguments: forms, options } of commands) {
    const words = forms.filter(([form]) => form.startsWith("<")).map(() => "a");
    for (const option of options) {
      const given = option.kind === undefined ? [] : [valueFor(option.kind)];
      let found: Readonly<Record<string, unknown>> = {};
      const program = buildProgram({
        version: "0",
        write: () => {},
        run: async (parsed) => {
          found = parsed.options;
        },
      });
      const line = [...name.split(" "), ...words, `--${option.name}`, ...given];
      await program.parseAsync(line, { from: "user" });
      const set = Object.keys(found).filter((one) => found[one] !== undefined);
      assert.equal(set, [option.name], line.join(" "));
      if (option.kind === undefined) assert.is(found[option.name], true, line.join(" "));
    }
  }
});

/** Something that a kind takes. */
function valueFor({ parse }: Kind<unknown>): string {
  const text = ["4", "4s", "yes", "a=b"].find((one) => "value" in parse(one));
  assert.ok(text !== undefined);
  return text ?? "";
}

test("docs/cli.md describes the commands as the program does", () => {
  assert.ok(cliText(cliFile()) === cliFile(), "run 'node --import tsx test/reference.ts'");
});

test("a command that only talks to a node loads none of the server", () => {
  for (const row of commands) {
    if (row.name === "serve") continue;
    const file = /import\("\.\/(\w+\.ts)"\)/.exec(String(row.load))?.[1];
    assert.ok(file !== undefined, `${row.name} is loaded when it runs`);
    const loaded = loadedWith(["src/cli.ts", `src/${file}`]);
    assert.ok(loaded.includes("src/cli_main.ts"), "the files were found");
    const server = loaded.filter((name) =>
      /^(?!node:|commander$|src\/(?:cli|client|config))/.test(name),
    );
    // An import reads its lines as the server reads a body: by the same rules.
    const rules = ["src/api_limit.ts", "src/json.ts", "src/target.ts"];
    const own = row.name === "import" ? [...rules] : [];
    // The simulator is asked for when it is to run, and needs no client.
    const all = row.name === "sim" ? small.filter((name) => name !== "src/bytes.ts") : small;
    if (loaded.includes("src/client.ts")) own.push("src/option_kinds.ts");
    assert.equal(server, [...all, ...own].sort(), `${row.name} loads more`);
  }
  assert.ok(loadedWith(["src/cli_serve.ts"]).includes("lmdb"), "the server would be found");
});

test.run();
