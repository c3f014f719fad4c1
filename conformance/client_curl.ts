/**
 * Client curl: what people type, over HTTP/1.1, an upgrade to h2c, and h2c from the start.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "./checks.ts";
import type { Nodes } from "./nodes.ts";
import { run } from "./processes.ts";

/** The flag, and the version of HTTP that curl has to report. */
export const curlWays: readonly (readonly [flag: string, version: string])[] = [
  ["--http1.1", "1.1"],
  // An upgrade is refused by ignoring it, as RFC 9113 wants: HTTP/1.1 goes on.
  ["--http2", "1.1"],
  ["--http2-prior-knowledge", "2"],
];

interface Said {
  readonly status: number;
  readonly version: string;
  readonly body: Buffer;
  readonly text: string;
  /** In lower case, a line each. */
  readonly head: string;
}

const tailPattern = /\n(\d{3}) ([\d.]+)$/;
const MiB = 1024 * 1024;

/** Each request goes to the next node. `folder` is for the files that curl reads and writes. */
export function curlChecks(
  nodes: Nodes,
  [flag, version]: (typeof curlWays)[number],
  folder: string,
): Check[] {
  const headFile = join(folder, "head");

  async function curl(...words: string[]): Promise<Said> {
    const fixed = ["-sS", flag, "-m", "20", "-D", headFile, "-w", "\n%{http_code} %{http_version}"];
    const ran = await run("curl", [...fixed, ...words.map((word) => nodes.elsewhere(word))]);
    assert.equal(ran.code, 0, ran.err);
    const tail = ran.bytes.toString("latin1").match(tailPattern);
    const body = ran.bytes.subarray(0, tail?.index ?? 0);
    const head = readFileSync(headFile, "latin1").toLowerCase();
    const said = { status: Number(tail?.[1]), version: tail?.[2] ?? "", body, head };
    return { ...said, text: body.toString("utf8") };
  }

  const { origin } = nodes;
  const key = `curl${flag}`;
  const url = `${origin}/v1/kv/default/${key}`;
  return [
    {
      name: "speaks the version of HTTP that was asked for",
      run: async () => {
        const said = await curl(`${origin}/livez`);
        assert.deepEqual([said.status, said.version, said.text], [200, version, "ok\n"]);
      },
    },
    {
      name: "-X PUT -d, get, -I and -X DELETE",
      run: async () => {
        assert.equal((await curl("-X", "PUT", url, "-d", '{"name":"Ada"}')).status, 204);
        const read = await curl(url);
        assert.equal(read.text, '{"name":"Ada"}');
        assert.match(read.head, /content-type: application\/octet-stream/);
        const head = await curl("-I", url);
        assert.equal(head.status, 200);
        assert.match(head.head, /content-length: 14/);
        assert.equal((await curl("-X", "DELETE", url)).status, 204);
        const missing = await curl(url);
        assert.equal(missing.status, 404);
        assert.equal(JSON.parse(missing.text).type, "/problems/key-not-found");
      },
    },
    {
      name: "-T uploads 1 MiB from a file, and a pipe without a length",
      run: async () => {
        const value = Buffer.from(Uint8Array.from({ length: MiB }, (_, n) => (n * 31) % 256));
        const file = join(folder, "value");
        writeFileSync(file, value);
        assert.equal((await curl("-T", file, url)).status, 204);
        assert.ok((await curl(url)).body.equals(value));
        const fixed = ["-sS", flag, "-m", "20", "-o", "-", "-w", "%{http_code}"];
        const piped = await run("curl", [...fixed, "-T", "-", nodes.elsewhere(url)], {
          input: "from a pipe",
        });
        assert.equal(piped.out, "204", piped.err);
        assert.equal((await curl(url)).text, "from a pipe");
        writeFileSync(file, Buffer.concat([value, Buffer.from("x")]));
        const over = await curl("-T", file, url);
        assert.equal(over.status, 413);
        assert.equal(JSON.parse(over.text).limit, MiB);
      },
    },
    {
      name: "--data-binary @file with every byte, -G --data-urlencode for any key",
      run: async () => {
        const every = Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte));
        writeFileSync(join(folder, "every"), every);
        const file = `@${join(folder, "every")}`;
        const key64 = `${origin}/v1/kv/default?key64=${every.toString("base64url")}`;
        assert.equal((await curl("-X", "PUT", key64, "--data-binary", file)).status, 204);
        assert.ok((await curl(key64)).body.equals(every));
        assert.equal((await curl("-X", "PUT", `${url}%20%2B`, "-d", "encoded")).status, 204);
        const found = await curl(
          "-G",
          `${origin}/v1/kv/default`,
          "--data-urlencode",
          `key=${key} +`,
        );
        assert.equal(found.text, "encoded");
        const dots = await curl("--path-as-is", `${origin}/v1/kv/default/../x`);
        assert.equal(dots.status, 400);
        assert.equal(JSON.parse(dots.text).type, "/problems/invalid-key");
      },
    },
    {
      name: "the original program's lines",
      run: async () => {
        const body = JSON.stringify({ key, value: "world" });
        const put = await curl("-X", "POST", `${origin}/put`, "-d", body);
        assert.equal(JSON.parse(put.text).ok, true);
        const read = JSON.parse((await curl(`${origin}/get?key=${key}`)).text);
        assert.deepEqual([read.value, read.found], ["world", true]);
        const gone = await curl("-X", "DELETE", `${origin}/delete?key=${key}`);
        assert.equal(JSON.parse(gone.text).ok, true);
        assert.equal(JSON.parse((await curl(`${origin}/get?key=${key}`)).text).found, false);
        assert.equal(JSON.parse((await curl(`${origin}/health`)).text).status, "ok");
      },
    },
    {
      name: "lists, counts, batches, namespaces",
      run: async () => {
        for (const n of [1, 2, 3]) await curl("-X", "PUT", `${url}-list/${n}`, "-d", `${n}`);
        const prefix = `prefix=${key}-list/`;
        const list = await curl(`${origin}/v1/keys/default?${prefix}&values=1`);
        const values = JSON.parse(list.text).items.map((item: { value: string }) => item.value);
        assert.deepEqual(values, ["1", "2", "3"]);
        const ndjson = [
          "-H",
          "Accept: application/x-ndjson",
          `${origin}/v1/keys/default?${prefix}`,
        ];
        assert.match((await curl(...ndjson)).text, /\{"end":true,"count":3\}\n$/);
        const count = JSON.parse((await curl(`${origin}/v1/count/default?${prefix}`)).text);
        assert.deepEqual(count, { keys: 3, bytes: 3, exact: true });
        const ops = JSON.stringify({
          ops: [{ get: `${key}-list/1` }, { delete: `${key}-list/1` }],
        });
        const batch = await curl(`${origin}/v1/batch/default`, "-d", ops);
        const statuses = JSON.parse(batch.text).results.map(
          (one: { status: number }) => one.status,
        );
        assert.deepEqual(statuses, [200, 204]);
        const space = `${origin}/v1/namespaces/curl`;
        assert.equal((await curl("-X", "PUT", space, "-d", '{"ttl":60}')).status, 200);
        assert.equal((await curl("-X", "DELETE", space)).status, 204);
      },
    },
    {
      name: "errors, conditions and deadlines",
      run: async () => {
        await curl("-X", "PUT", url, "-d", "1");
        const etag = (await curl(url)).head.match(/etag: ("[^"]+")/)?.[1] ?? "";
        assert.equal((await curl("-H", `If-None-Match: ${etag}`, url)).status, 304);
        const slugs: [words: string[], status: number, slug: string][] = [
          [["-H", 'If-Match: "x"', url], 412, "precondition-failed"],
          [["-H", "Quorate-Timeout: 61s", url], 400, "invalid-request"],
          [["-X", "PUT", "-H", "If-Match: *", url, "-d", "2"], 400, "conditional-needs-strong"],
          [["-X", "PATCH", url, "-d", "2"], 405, "method-not-allowed"],
          [["-H", "Origin: https://evil.example", url], 403, "forbidden"],
          [["-H", "Host: evil.example", url], 421, "misdirected-request"],
          [
            ["-X", "PUT", "-H", "Content-Encoding: br", url, "-d", "2"],
            415,
            "unsupported-media-type",
          ],
        ];
        for (const [words, status, slug] of slugs) {
          const said = await curl(...words);
          assert.equal(said.status, status, `${words.join(" ")}: ${said.text}`);
          assert.equal(JSON.parse(said.text).type, `/problems/${slug}`);
        }
        assert.equal((await curl("-H", "Quorate-Timeout: 2s", url)).text, "1");
      },
    },
  ];
}
