/**
 * Contract keys: a key is bytes, and each of them has a value of its own, however it is written.
 *
 * Each row puts a value by one spelling and reads it by the key's bytes as `?key64=`. What runtimes
 * and their URL classes do to a path (`..`, `%2E`, `//`, `%FF`) would make two of these keys one.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Check } from "./checks.ts";
import { ask, protocols } from "./http_client.ts";
import type { Stand } from "./stand.ts";

const latin1 = (text: string) => Buffer.from(text, "latin1");

const rows: readonly (readonly [spelling: string, key: Buffer])[] = [
  ["/k%2Fb", latin1("k/b")],
  ["//k", latin1("/k")],
  ["/k//b", latin1("k//b")],
  ["/k/", latin1("k/")],
  ["/k//", latin1("k//")],
  ["/k+b", latin1("k+b")],
  ["?key=k+b", latin1("k b")],
  ["?key=k%2Bb", latin1("k+b")],
  ["/k%20b", latin1("k b")],
  ["/%25FF", latin1("%FF")],
  ["/%FF", latin1("\xff")],
  ["/%ff%FE", latin1("\xff\xfe")],
  ["/%00", latin1("\0")],
  ["/k%00b%C3%28", latin1("k\0b\xc3\x28")],
  ["/..k/...", latin1("..k/...")],
  ["/k/%2E%2E%2E", latin1("k/...")],
  ["/k\\..\\b", latin1("k\\..\\b")],
  ["?key=..", latin1("..")],
  ["?key=.", latin1(".")],
  ["?key=../../v1/kv/default/k", latin1("../../v1/kv/default/k")],
  ["?key=%2e%2e%2fx", latin1("../x")],
  ["/k?key".replace("?", "%3F"), latin1("k?key")],
  ["/k%23b", latin1("k#b")],
  ["/k;b=1", latin1("k;b=1")],
  ["/k&b", latin1("k&b")],
  ["?key=%26%3D", latin1("&=")],
  ["/__proto__", latin1("__proto__")],
  ["/constructor", latin1("constructor")],
  ["/%C3%A9", Buffer.from("é")],
  ["/e%CC%81", Buffer.from("é".normalize("NFD"))],
  ["/%EF%BB%BFk", Buffer.from("\ufeffk")],
  ["/%ED%A0%80", latin1("\xed\xa0\x80")],
  ["/%0D%0AX:%201", latin1("\r\nX: 1")],
  [`/${"%41".repeat(1024)}`, Buffer.alloc(1024, 0x41)],
  [`?key=${"%FF".repeat(1024)}`, Buffer.alloc(1024, 0xff)],
];

export function keyChecks(stand: Stand): Check[] {
  const base = "/v1/kv/default";
  return protocols.flatMap((protocol) => [
    ...rows.map(([spelling, key]) => ({
      name: `the key ${JSON.stringify(spelling.slice(0, 40))} [${protocol}]`,
      run: async () => {
        const body = Buffer.concat([latin1(`${protocol} ${spelling} `), key]);
        const put = await ask(stand.port, protocol, {
          method: "PUT",
          target: `${base}${spelling}`,
          body,
        });
        assert.equal(put.status, 204, put.text);
        const key64 = `${base}?key64=${key.toString("base64url")}`;
        const got = await ask(stand.port, protocol, { target: key64 });
        assert.ok(got.body.equals(body), `${got.status} ${got.text.slice(0, 200)}`);
        const same = await ask(stand.port, protocol, { target: `${base}${spelling}` });
        assert.ok(same.body.equals(body));
        assert.equal(same.headers["etag"], put.headers["etag"]);
      },
    })),
    {
      name: `every key is listed once, in bytewise order [${protocol}]`,
      run: async () => {
        const ndjson = { accept: "application/x-ndjson" };
        const heard = await ask(stand.port, protocol, {
          target: "/v1/keys/default",
          headers: ndjson,
        });
        const keys = heard.text
          .split("\n")
          .filter((line) => line.startsWith('{"key'))
          .map((line) => JSON.parse(line) as { key?: string; key64?: string })
          .map(({ key, key64 = "" }) =>
            key === undefined ? Buffer.from(key64, "base64url") : Buffer.from(key),
          );
        for (let index = 1; index < keys.length; index += 1) {
          assert.ok(Buffer.compare(keys[index - 1] as Buffer, keys[index] as Buffer) < 0);
        }
        const hex = new Set(keys.map((key) => key.toString("hex")));
        for (const [spelling, key] of rows) assert.ok(hex.has(key.toString("hex")), spelling);
      },
    },
  ]);
}
