/**
 * Contract slow: clients that begin and do not end.
 *
 * These take as long as the server's deadlines, so they are begun first and looked at when the other
 * checks of the runtime are done. While they hold their connections the others must be served.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Check } from "./checks.ts";
import { framesIn, headers } from "./contract_frames.ts";
import { ask, RawConnection } from "./http_client.ts";
import { type Stand, stillAnswers } from "./stand.ts";

const host = "Host: localhost\r\n";
const slowCount = 100;
/** Above the deadlines for a head (10 s) and a body (30 s), and the time between two looks at them. */
const endLimitMs = 60_000;
const checkLimitMs = endLimitMs + 15_000;
const dribbleMs = 2000;

/** Begins everything; each check waits for the end of its own. */
export function beginSlow(stand: Stand): Check[] {
  const checks: readonly (readonly [string, () => Promise<void>])[] = [
    ["slowloris: a hundred heads that never end", () => slowHeads(stand)],
    ["connections that say nothing", () => ends(stand, "", /^$/)],
    ["half of an HTTP/2 preface", () => ends(stand, "PRI * HT", /^(?!HTTP\/1.1 2)/)],
    ["a second head that never ends", () => secondHead(stand)],
    ["a body that never ends is 408", () => slowBody(stand, "Content-Length: 100\r\n", "some")],
    [
      "a chunked body that comes a byte at a time is 408",
      () => slowBody(stand, "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n"),
    ],
    ["an HTTP/2 body that never ends is 408", () => slowStream(stand)],
  ];
  return checks.map(([name, run]) => {
    // It runs from now on; its outcome is asked for later.
    const result = run().then(
      () => undefined,
      (error: unknown) => error,
    );
    return {
      name,
      limitMs: checkLimitMs,
      run: async () => {
        const error = await result;
        if (error !== undefined) throw error;
        await stillAnswers(stand);
      },
    };
  });
}

async function ends(stand: Stand, send: string, said: RegExp): Promise<void> {
  const raw = new RawConnection(stand.port);
  try {
    raw.send(send);
    assert.match(await raw.ended(endLimitMs), said);
  } finally {
    raw.destroy();
  }
}

/** Each sends a byte now and then, which must not win it more time. */
async function slowHeads(stand: Stand): Promise<void> {
  const raws = Array.from({ length: slowCount }, () => new RawConnection(stand.port));
  for (const raw of raws) raw.send(`GET /livez HTTP/1.1\r\n${host}X-Slow: `);
  const dribble = setInterval(() => {
    for (const raw of raws) raw.send("x");
  }, dribbleMs);
  try {
    await stillAnswers(stand);
    const texts = await Promise.all(raws.map((raw) => raw.ended(endLimitMs)));
    for (const text of texts) assert.match(text, /^$|^HTTP\/1\.1 408 [\s\S]*request-timeout/);
    assert.ok(
      texts.some((text) => text.startsWith("HTTP/1.1 408 ")),
      "one at least was told why",
    );
  } finally {
    clearInterval(dribble);
    for (const raw of raws) raw.destroy();
  }
}

async function secondHead(stand: Stand): Promise<void> {
  const raw = new RawConnection(stand.port);
  try {
    raw.send(`GET /livez HTTP/1.1\r\n${host}\r\n`);
    await raw.until(() => raw.text.includes("ok\n"));
    raw.send("GET /livez HTTP/1.1\r\nX-Slow: ");
    assert.match(await raw.ended(endLimitMs), /200 [\s\S]*ok\n(?:HTTP\/1\.1 408 [\s\S]*)?$/);
  } finally {
    raw.destroy();
  }
}

async function slowBody(stand: Stand, lengthHeader: string, piece: string): Promise<void> {
  const key = `/v1/kv/default/slow-${piece.length}`;
  const raw = new RawConnection(stand.port);
  raw.send(`PUT ${key} HTTP/1.1\r\n${host}${lengthHeader}\r\n${piece}`);
  const isChunked = lengthHeader.startsWith("Transfer");
  const dribble = setInterval(() => raw.send(isChunked ? piece : "y"), dribbleMs);
  try {
    const text = await raw.ended(endLimitMs);
    assert.match(text, /^HTTP\/1\.1 408 [\s\S]*request-timeout[\s\S]*"outcome":"none"/);
    assert.equal((await ask(stand.port, "HTTP/1.1", { target: key })).status, 404);
  } finally {
    clearInterval(dribble);
    raw.destroy();
  }
}

async function slowStream(stand: Stand): Promise<void> {
  const key = "/v1/kv/default/slow-stream";
  const raw = new RawConnection(stand.port);
  try {
    const fields: [string, string][] = [
      [":method", "PUT"],
      [":scheme", "http"],
      [":authority", "localhost"],
      [":path", key],
    ];
    const settings = Buffer.alloc(9);
    settings[3] = 4;
    raw.send(
      Buffer.concat([
        Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        settings,
        headers(1, fields, 0),
      ]),
    );
    const dataKind = 0;
    const body = () =>
      Buffer.concat(
        framesIn(raw.bytes)
          .filter(({ type, stream }) => type === dataKind && stream === 1)
          .map(({ payload }) => payload),
      ).toString();
    await raw.until(() => body().includes("request-timeout"), endLimitMs);
    assert.equal((await ask(stand.port, "HTTP/1.1", { target: key })).status, 404);
  } finally {
    raw.destroy();
  }
}
