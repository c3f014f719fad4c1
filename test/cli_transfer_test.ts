/**
 * Import, export and bench, against the HTTP edge over a fake node that fails when it is told to.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BatchRequest, BatchResult } from "../src/api.ts";
import { parseLine, putAt } from "../src/cli_import_line.ts";
import { QuorateClient } from "../src/client.ts";
import { QuorateError } from "../src/errors.ts";
import { type Stand, withFolder, withStand } from "./cli_harness.ts";

const test = suite("cli transfer");

function ndjson(lines: readonly object[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

/** Lets a test see each batch, and answer it in the node's place. */
function interceptBatches(
  { edge }: Stand,
  answer: (
    request: BatchRequest,
    pass: () => Promise<readonly BatchResult[]>,
  ) => Promise<readonly BatchResult[]>,
): void {
  const original = edge.api.batch.bind(edge.api);
  edge.api.batch = (request) => answer(request, () => original(request));
}

function keysOf(request: BatchRequest): string[] {
  return request.operations.map(({ key }) => Buffer.from(key).toString());
}

test("what export prints, import stores again: values, types, metadata and expiry", () =>
  withStand(async (from) => {
    await from.ask("put", "text", "é\n", "--meta", "a=b", "--content-type", "text/x");
    await from.ask("put", "--key64", "_wA", "v");
    await from.askWith({ input: [new Uint8Array([0, 255, 10])] }, "put", "bytes", "-");
    await from.askWith({ input: [new Uint8Array(300)] }, "put", "zeros", "-");
    await from.ask("put", "empty", "");
    const exported = await from.ask("export");
    assert.is(exported.code, 0);
    assert.match(exported.err, /^Exported 5 keys in /);
    await withStand(async (to) => {
      const imported = await to.askWith({ input: exported.out }, "import");
      assert.is(imported.code, 0, imported.err);
      assert.match(imported.err, /^Imported 5 keys in /);
      assert.is(imported.out, "");
      assert.is((await to.ask("export")).out, exported.out);
    });
  }));

test("an exported expiry is what is left of it when it is imported", () =>
  withStand(async ({ askWith, edge }) => {
    const inAnHour = new Date(Date.now() + 3_600_000).toISOString();
    const input = ndjson([
      { key: "later", value: "1", expiresAt: inAnHour },
      { key: "over", value: "1", expiresAt: "2020-01-01T00:00:00.000Z" },
      { key: "ttl", value: "1", ttl: 60 },
    ]);
    const { code, err, out } = await askWith({ input }, "import", "-o", "json");
    assert.is(code, 0, err);
    assert.equal(JSON.parse(out), { stored: 2, expired: 1 });
    assert.match(err, /1 left out because they had expired/);
    const ttls = edge.api.requests.map(
      (request) => (request as { ttlSeconds?: number }).ttlSeconds,
    );
    assert.equal(ttls.filter((ttl) => ttl !== undefined).slice(-2), [3600, 60]);
  }));

test("import reads the NDJSON of a list with its end line, empty lines and CRLF", () =>
  withStand(async ({ askWith, edge, ask }) => {
    for (let index = 0; index < 3; index += 1) await ask("put", `k${index}`, "v");
    const listed = await fetch(`http://${edge.authority}/v1/keys/default?values=1`, {
      headers: { Accept: "application/x-ndjson" },
    });
    const input = `\ufeff${(await listed.text()).replaceAll("\n", "\r\n\r\n")}`;
    const { code, err } = await askWith({ input }, "import");
    assert.is(code, 0, err);
    assert.match(err, /Imported 3 keys/);
  }));

test("lines arrive in pieces of any size, and the last needs no line end", () =>
  withStand(async ({ askWith, ask }) => {
    const bytes = Buffer.from(
      ndjson([
        { key: "ключ", value: "значение" },
        { key: "b", value: "" },
      ]),
    );
    const pieces = [...bytes.subarray(0, -1)].map((byte) => new Uint8Array([byte]));
    assert.is((await askWith({ input: pieces }, "import")).code, 0);
    assert.is((await ask("get", "ключ")).out, "значение");
    assert.is((await ask("count")).out, "2\n");
  }));

test("an import that meets a bad line stores all before it, and says where to go on", () =>
  withStand(async ({ ask, edge }) =>
    withFolder(async (folder) => {
      const lines = Array.from({ length: 500 }, (_, index) => ({ key: `k${index}`, value: "v" }));
      const file = path.join(folder, "keys.ndjson");
      const bad = ndjson(lines).split("\n");
      bad[449] = '{"key":"k449","vlaue":"v"}';
      fs.writeFileSync(file, bad.join("\n"));
      const { code, err } = await ask("import", file);
      assert.is(code, 1, "some lines are stored");
      assert.match(err, /why: +Line 450 of .*keys\.ndjson: The field 'vlaue' is not known\./);
      assert.match(err, new RegExp(`hint: .*quorate import --from-line 450 ${file}`));
      assert.is((await ask("count")).out, "449\n");
      // Where to is a part of it: taken as it is, it must not go on in another namespace.
      const url = `http://${edge.authority}/`;
      const elsewhere = await ask("import", file, "-n", "default", "--url", url, "-w", "1");
      const words = `--from-line 450 --url ${url} -n default -w 1 ${file}`;
      assert.match(elsewhere.err, `quorate import ${words}`);
      fs.writeFileSync(file, ndjson(lines));
      assert.is((await ask("import", ...words.split(" "))).code, 0);
      assert.is((await ask("count")).out, "500\n");
    }),
  ));

test("the command to go on with is the same in a shell: with its config file, its time, and any path", () =>
  withStand(async ({ ask, edge }) =>
    withFolder(async (folder) => {
      const config = path.join(folder, "prod.toml");
      fs.writeFileSync(config, `url = "http://${edge.authority}"\n`);
      const file = path.join(folder, "all my keys.ndjson");
      fs.writeFileSync(file, '{"key":"a","value":"1"}\nnot JSON\n');
      const { err } = await ask("import", "--config", config, "--timeout", "20s", file);
      assert.match(
        err,
        `with: quorate import --from-line 2 --config ${config} --timeout 20s '${file}'`,
      );
    }),
  ));

test("an import ends with 2 only when nothing of it can be stored", () =>
  withStand(async (stand) => {
    const importing = (input: string) => stand.askWith({ input }, "import");
    assert.is((await importing("notjson\n")).code, 2);
    assert.is((await stand.ask("count")).out, "0\n");
    const partly = await importing('{"key":"ok1","value":"b"}\nnotjson\n');
    assert.is(partly.code, 1);
    assert.match(partly.err, /All lines before it are stored/);
    assert.is((await stand.ask("count")).out, "1\n");
    const error = new QuorateError("invalid-key", "No.", { outcome: "none" });
    interceptBatches(stand, async ({ operations }, pass) => {
      const results = await pass();
      return operations.map(({ key }, index): BatchResult => {
        const isRefused = Buffer.from(key).toString() === "bad";
        return isRefused ? { kind: "error", error } : (results[index] as BatchResult);
      });
    });
    const lines = ["bad", "behind"].map((key) => ({ key, value: "v" }));
    const { code, err } = await importing(ndjson(lines));
    assert.match(err, /Line 1 of/);
    assert.is(code, 1, "the line behind it is stored");
    assert.is((await importing(ndjson(lines.slice(0, 1)))).code, 2);
  }));

test("an import that the node refuses in the middle names the first line that is not stored", () =>
  withStand(async (stand) => {
    interceptBatches(stand, async (request, pass) => {
      const results = await pass();
      const error = new QuorateError("disk-full", "No space.", { outcome: "none" });
      return request.operations.map((operation, index): BatchResult => {
        const isRefused = Buffer.from(operation.key).toString() >= "k0300";
        return isRefused ? { kind: "error", error } : (results[index] as BatchResult);
      });
    });
    const lines = Array.from({ length: 1000 }, (_, index) => {
      return { key: `k${String(index).padStart(4, "0")}`, value: "v" };
    });
    const { code, err } = await stand.askWith({ input: ndjson(lines) }, "import");
    assert.is(code, 1);
    assert.match(err, /Line 301 of the standard input: No space\./);
    assert.match(err, /--from-line 301 -/);
  }));

test("a node that is busy for a moment is asked again, from the line that failed on", () =>
  withStand(async (stand) => {
    const seen: string[][] = [];
    interceptBatches(stand, async (request, pass) => {
      seen.push(keysOf(request));
      const results = [...(await pass())];
      if (seen.length === 1) {
        const error = new QuorateError("overloaded", "Busy.", { outcome: "none" });
        results[1] = { kind: "error", error };
      }
      return results;
    });
    const input = ndjson(["a", "b", "c"].map((key) => ({ key, value: key })));
    const { code, err } = await stand.askWith({ input }, "import");
    assert.is(code, 0, err);
    assert.match(err, /Imported 3 keys/);
    assert.equal(seen, [
      ["a", "b", "c"],
      ["b", "c"],
    ]);
  }));

test("lines of the same key are stored in the order of the file, however many are under way", () =>
  withStand(async (stand) => {
    let underWay = 0;
    let mostUnderWay = 0;
    const busy = new Map<string, number>();
    interceptBatches(stand, async (request, pass) => {
      underWay += 1;
      mostUnderWay = Math.max(mostUnderWay, underWay);
      for (const key of new Set(keysOf(request))) {
        assert.is(busy.get(key) ?? 0, 0, `${key} is under way twice`);
        busy.set(key, 1);
      }
      // The first of several under way is answered last.
      for (let turn = 0; turn < 20; turn += 1) await new Promise((done) => setImmediate(done));
      const results = await pass();
      for (const key of keysOf(request)) busy.set(key, 0);
      underWay -= 1;
      return results;
    });
    const lines = Array.from({ length: 3000 }, (_, index) => {
      return { key: `k${index % 2 === 0 ? index % 700 : index}`, value: String(index) };
    });
    const { code, err } = await stand.askWith({ input: ndjson(lines) }, "import");
    assert.is(code, 0, err);
    assert.ok(mostUnderWay > 1 && mostUnderWay <= 4, `${mostUnderWay} under way`);
    const last = new Map(lines.map(({ key, value }) => [key, value]));
    const exported = (await stand.ask("export")).out.trimEnd().split("\n");
    const stored = exported.map((line) => JSON.parse(line) as { key: string; value: string });
    assert.is(stored.length, last.size);
    for (const { key, value } of stored) assert.is(value, last.get(key), key);
  }));

test("lines of the same key keep their order where they are too large for one batch", () =>
  withStand(async (stand) => {
    let isFirst = true;
    interceptBatches(stand, async (request, pass) => {
      if (!isFirst) return pass();
      isFirst = false;
      const busy = new QuorateError("overloaded", "Busy.", { outcome: "none" });
      return request.operations.map(() => ({ kind: "error", error: busy }) as const);
    });
    const values = ["1", "2"].map((letter) => letter.repeat(600_000));
    const input = ndjson(values.map((value) => ({ key: "k", value })));
    const { code, err } = await stand.askWith({ input }, "import");
    assert.is(code, 0, err);
    assert.is((await stand.ask("get", "k")).out.slice(0, 3), "222");
  }));

test("large values go one by one, beyond what a batch may hold", () =>
  withStand(async ({ askWith, ask, edge }) => {
    const client = new QuorateClient({ url: `http://${edge.authority}` });
    await client.putNamespace("default", { valueBytesMax: 32 * 1024 * 1024 });
    const value = "x".repeat(9 * 1024 * 1024);
    const input = ndjson([
      { key: "a", value: "1" },
      { key: "big", value, contentType: "text/x", meta: { a: "b" } },
      { key: "c", value: "2" },
    ]);
    const { code, err } = await askWith({ input }, "import");
    assert.is(code, 0, err);
    const record = JSON.parse((await ask("get", "big", "-o", "json")).out) as {
      value: string;
      contentType: string;
      meta: object;
    };
    assert.ok(record.value === value);
    assert.is(record.contentType, "text/x");
    assert.equal(record.meta, { a: "b" });
  }));

test("nobody there ends an import at once, rather than asking again and again", () =>
  withStand(async ({ askWith }) => {
    const environment = { QUORATE_URL: "http://127.0.0.1:1" };
    const input = ndjson([{ key: "a", value: "1" }]);
    const { code, err } = await askWith({ environment, input }, "import");
    assert.is(code, 1);
    assert.match(err, /Line 1 of the standard input: No connection/);
  }));

test("an export that fails half-way is not taken for a whole one, and says where it ends", () =>
  withStand(async ({ ask, edge }) => {
    for (let index = 0; index < 1200; index += 1) {
      const key = Buffer.from(`k${String(index).padStart(4, "0")}`);
      const options = { namespace: "default", requestId: "t", contentType: "x", meta: [] };
      await edge.api.put({ ...options, key, value: new Uint8Array(100) });
    }
    edge.api.failure = new QuorateError("corruption", "Partition 7 is damaged.");
    edge.api.pagesBeforeFailure = 1;
    const batch = edge.api.batch.bind(edge.api);
    edge.api.batch = (request) => {
      const failure = edge.api.failure;
      edge.api.failure = undefined;
      return batch(request).finally(() => {
        edge.api.failure = failure;
      });
    };
    const { code, out, err } = await ask("export");
    assert.is(code, 1);
    assert.match(err, /The export is incomplete: Partition 7 is damaged\./);
    const last = JSON.parse(out.trimEnd().split("\n").at(-1) ?? "") as { key: string };
    const key64 = Buffer.from(last.key).toString("base64url");
    assert.match(err, `The output ends after the key64 ${key64}: run the export again, or `);
  }));

test("an export that failed names the command that prints the rest, whatever the first was given", () =>
  withStand(async ({ ask, edge }) => {
    const put = (key: Uint8Array) => {
      const options = { namespace: "default", requestId: "t", contentType: "x", meta: [] };
      return edge.api.put({ ...options, key, value: new Uint8Array(200) });
    };
    const keys = Array.from({ length: 1200 }, (_, index) =>
      Buffer.from(`users/${String(index).padStart(4, "0")}`),
    );
    // No key is longer, so none can be made from the last one by adding to it.
    const longest = keys.map((key) => Buffer.concat([key, new Uint8Array(1024 - key.length)]));
    for (const group of [keys, longest]) {
      for (const key of group) await put(key);
      const batch = edge.api.batch.bind(edge.api);
      let batches = 0;
      edge.api.batch = (request) => {
        batches += 1;
        if (batches <= 2) return batch(request);
        throw new QuorateError("corruption", "Partition 7 is damaged.");
      };
      const url = `http://${edge.authority}`;
      const words = ["users/", "--end", "users/1150", "--url", url, "-n", "default"];
      const half = await ask("export", ...words);
      edge.api.batch = batch;
      assert.is(half.code, 1);
      const command = /quorate (export .*?)\.?$/m.exec(half.err)?.[1] ?? "";
      // The last one that was printed may be gone by then, and so be the first of the rest no more.
      const last = JSON.parse(half.out.trimEnd().split("\n").at(-1) ?? "") as { key: string };
      await edge.api.delete({
        ...{ namespace: "default", requestId: "t" },
        key: Buffer.from(last.key),
      });
      const rest = await ask(...command.split(" "));
      assert.is(rest.code, 0, rest.err);
      await put(Buffer.from(last.key));
      const whole = await ask("export", ...words);
      assert.is(half.out + rest.out, whole.out, command);
    }
  }));

test("a bar is drawn on a terminal, and taken away before the last line", () =>
  withStand(async ({ askWith, edge }) => {
    const batch = edge.api.batch.bind(edge.api);
    edge.api.batch = async (request) => {
      await new Promise((done) => setTimeout(done, 110));
      return batch(request);
    };
    await withFolder(async (folder) => {
      const file = path.join(folder, "keys.ndjson");
      const lines = Array.from({ length: 500 }, (_, index) => ({ key: `k${index}`, value: "v" }));
      fs.writeFileSync(file, ndjson(lines));
      const { err } = await askWith({ columns: 100 }, "import", "--concurrency", "1", file);
      const drawn = err.split("\r\u001b[K");
      assert.match(drawn[1] ?? "", /^█+░+ +\d+ % {2}[\d,]+ keys in/);
      assert.match(drawn.at(-1) ?? "", /^Imported 500 keys in .*\n$/);
    });
  }));

test("parseLine() says what is wrong with a line", () => {
  const cases: readonly (readonly [string | Uint8Array, RegExp])[] = [
    [new Uint8Array([0x22, 0xff]), /not valid UTF-8/],
    ["[1]", /not a JSON object/],
    ["nonsense", /not a JSON object/],
    ['{"value":"v"}', /Exactly one of 'key' and 'key64'/],
    ['{"key":"k","key64":"aw","value":"v"}', /Exactly one of 'key' and 'key64'/],
    ['{"key":"k"}', /Exactly one of 'value' and 'value64'/],
    ['{"key64":"!","value":"v"}', /'key' or 'key64' is not valid/],
    ['{"key":1,"value":"v"}', /'key' or 'key64' is not valid/],
    ['{"key":"\\ud800","value":"v"}', /half of a surrogate pair/],
    ['{"key":"k","value":"v","meta":{"a":1}}', /'meta'/],
    ['{"key":"k","value":"v","contentType":1}', /'contentType'/],
    ['{"key":"k","value":"v","ttl":0}', /'ttl' has to be whole seconds, at least 1/],
    ['{"key":"k","value":"v","ttl":1.5}', /'ttl' has to be whole seconds, at least 1/],
    ['{"key":"k","value":"v","ttl":315360001}', /at most 315,360,000/],
    ['{"key":"k","value":"v","expiresAt":"9999-01-01"}', /'expiresAt' is more than/],
    ['{"key":"k","value":"v","expiresAt":"soon"}', /'expiresAt' is not a time/],
    ['{"key":"k","value":"v","ttl":1,"expiresAt":"2030-01-01"}', /Both/],
    ['{"error":{"type":"/problems/internal"}}', /incomplete/],
    ['{"key":"k","value":"v","end":true}', /The field 'end' is not known/],
    ['{"key":"k","value":"v","key":"l"}', /The line has the field 'key' twice/],
    ['{"key":"k","value":"v","val\\u0075e":"w"}', /The line has the field 'value' twice/],
    ['{"key":"k","value":"v","meta":{"a":"1","a":"2"}}', /The line has the field 'a' twice/],
  ];
  for (const [line, expected] of cases) {
    const parsed = parseLine(Buffer.from(line), 1, 0);
    assert.is(parsed.kind, "error", String(line));
    if (parsed.kind === "error") assert.match(parsed.error.detail, expected);
  }
  assert.is(parseLine(Buffer.from(" "), 1, 0).kind, "nothing");
  assert.is(parseLine(Buffer.from('{"end":true,"count":3}'), 1, 0).kind, "nothing");
});

test("an expiry becomes whole seconds to live, never fewer than are left, and less than one more", () => {
  const parsed = parseLine(
    Buffer.from('{"key":"k","value":"v","expiresAt":"1970-01-01T00:00:10.001Z"}'),
    1,
    0,
  );
  if (parsed.kind !== "put") throw new Error(parsed.kind);
  const { line } = parsed;
  for (const [nowMs, ttlSeconds] of [
    [0, 11],
    [1, 10],
    [2, 10],
    [9000, 2],
    [9001, 1],
    [10_000, 1],
    // Over by now: it was not when it was read, and one second is the least that a node takes.
    [20_000, 1],
  ] as const) {
    assert.is(putAt(line, nowMs).ttlSeconds, ttlSeconds, `at ${nowMs}`);
  }
});

test("a line that is sent again later has less time to live", () =>
  withStand(async (stand) => {
    const ttls: (number | undefined)[] = [];
    const realNow = Date.now;
    interceptBatches(stand, async (request, pass) => {
      for (const operation of request.operations) {
        if (operation.kind === "put") ttls.push(operation.ttlSeconds);
      }
      if (ttls.length > 1) return pass();
      Date.now = () => realNow() + 10_000;
      return [
        { kind: "error", error: new QuorateError("overloaded", "Busy.", { outcome: "none" }) },
      ];
    });
    try {
      const expiresAt = new Date(realNow() + 3_600_000).toISOString();
      const input = ndjson([{ key: "k", value: "v", expiresAt }]);
      const { code, err } = await stand.askWith({ input }, "import");
      assert.is(code, 0, err);
    } finally {
      Date.now = realNow;
    }
    const [first = 0, second = 0] = ttls;
    assert.ok(first <= 3600 && first > second && second <= 3590, `${first} ${second}`);
  }));

test("bench counts what it did, and leaves no keys behind", () =>
  withStand(async ({ ask, edge }) => {
    const sizes = ["--count", "300", "--connections", "4", "--keys", "50", "--value-size", "64B"];
    const { code, out, err } = await ask("bench", ...sizes, "-o", "json");
    assert.is(code, 0, err);
    const measured = JSON.parse(out) as {
      put: { count: number; p50Ms: number; p999Ms: number };
      get: { count: number };
      failed: number;
    };
    assert.is(measured.put.count + measured.get.count, 300);
    assert.ok(measured.put.p50Ms > 0 && measured.put.p999Ms >= measured.put.p50Ms);
    assert.is(measured.failed, 0);
    assert.is((await ask("count")).out, "0\n");
    edge.api.failure = new QuorateError("overloaded", "Busy.", { outcome: "none" });
    const failing = ["--count", "20", "--gets", "0", "--cleanup", "no", "-o", "json"];
    const failed = await ask("bench", ...failing);
    assert.is(failed.code, 1);
    assert.equal((JSON.parse(failed.out) as { errors: object }).errors, { overloaded: 20 });
  }));

test("what bench prints for programs has numbers that they read", () =>
  withStand(async ({ ask, edge }) => {
    const sizes = ["--count", "1200", "--gets", "0", "--keys", "10", "--value-size", "1B"];
    const { out } = await ask("bench", ...sizes, "-o", "raw");
    const [, count, perSecond] = out.split("\n")[1]?.split("\t") ?? [];
    assert.is(count, "1200");
    assert.match(perSecond ?? "", /^\d+$/);
    edge.api.failure = new QuorateError("overloaded", "Busy.", { outcome: "none" });
    const failing = [...sizes, "--cleanup", "no", "-o"];
    assert.match((await ask("bench", ...failing, "raw")).out, /^overloaded: 1200$/m);
    assert.match((await ask("bench", ...failing, "table")).out, /^overloaded: 1,200$/m);
  }));

test.run();
