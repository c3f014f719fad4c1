/**
 * One end of a stream by itself, which is given frames that the other end would never make. What two
 * ends say to each other is in `peers_test`.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Channel } from "../src/channel.ts";
import type { Message } from "../src/message.ts";
import { HandClock } from "./http_harness.ts";

const test = suite("channel");

/** A frame of pieces, each of the same group, and none the last. */
function piecesFrame(count: number, bytes: number): Uint8Array {
  const each = 4 + 5 + bytes;
  const frame = new Uint8Array(count * each);
  const view = new DataView(frame.buffer);
  for (let at = 0; at < frame.length; at += each) {
    view.setUint32(at, (0x8000_0000 | (5 + bytes)) >>> 0);
    view.setUint32(at + 4, 1);
  }
  return frame;
}

for (const bytes of [0, 1, 100]) {
  test(`pieces of ${bytes} bytes that go on end the channel: they would count for nothing`, () => {
    const ends: (Error | undefined)[] = [];
    const channel = new Channel(
      new HandClock(),
      { onRaw: () => {}, onMessage: () => {}, onEnd: (reason) => ends.push(reason) },
      { queueBytesMax: 1024 * 1024, messageBytesMax: 1024 * 1024 },
    );
    channel.open();
    channel.onFrame(piecesFrame(1000, bytes));
    assert.is(ends.length, 1);
    assert.match(ends[0]?.message ?? "", "could not be read");
  });
}

test("pieces of the size that channels make are waited for", () => {
  const ends: (Error | undefined)[] = [];
  const channel = new Channel(
    new HandClock(),
    { onRaw: () => {}, onMessage: () => {}, onEnd: (reason) => ends.push(reason) },
    { queueBytesMax: 1024 * 1024, messageBytesMax: 1024 * 1024 },
  );
  channel.open();
  channel.onFrame(piecesFrame(3, 64 * 1024));
  assert.equal(ends, []);
});

test("a large message gets through although small ones wait all the time for more than the stream takes", async () => {
  const clock = new HandClock();
  const limits = { queueBytesMax: 64 * 1024 * 1024, messageBytesMax: 1024 * 1024 };
  const heard: Message[] = [];
  const source = new Channel(
    clock,
    { onRaw: () => {}, onMessage: () => {}, onEnd: () => {} },
    limits,
  );
  const target = new Channel(
    clock,
    { onRaw: () => {}, onMessage: (message) => heard.push(message), onEnd: () => {} },
    limits,
  );
  source.open();
  target.open();
  const say = (id: number, bytes: number): boolean => {
    const request = { kind: "cold", topic: "t", body: "x".repeat(bytes) } as const;
    return source.send({ is: "request", id, timeoutMs: 1, request });
  };
  // Two frames of small messages come for each that goes.
  const fill = (): void => {
    for (let count = 0; count < 12; count += 1) assert.ok(say(2, 50_000));
  };
  fill();
  assert.ok(say(1, 300_000));
  for (let frames = 0; frames < 20; frames += 1) {
    fill();
    const frame = await source.next();
    assert.ok(frame !== undefined);
    target.onFrame(frame as Uint8Array);
  }
  const [large] = heard.filter(({ id }) => id === 1);
  assert.is(large?.is === "request" && large.request.kind, "cold");
  assert.ok(heard.length > 50, "and the small ones do not wait for it");
});

/** The most bytes that the other end holds of messages which have not come to their end. */
async function openBytesOf(queueBytesMax: number, bytes: number): Promise<number> {
  const limits = { queueBytesMax, messageBytesMax: 2 * bytes };
  const source = new Channel(
    new HandClock(),
    { onRaw: () => {}, onMessage: () => {}, onEnd: () => {} },
    limits,
  );
  source.open();
  const groups = new Map<number, number>();
  let most = 0;
  for (let frames = 0; frames < 100; frames += 1) {
    const request = { kind: "cold", topic: "t", body: "x".repeat(bytes) } as const;
    while (source.send({ is: "request", id: 1, timeoutMs: 1, request }));
    const frame = (await source.next()) as Uint8Array;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const group = view.getUint32(4);
    const piece = (view.getUint32(0) & 0x7fff_ffff) - 5;
    groups.set(group, (groups.get(group) ?? 0) + piece);
    most = Math.max(
      most,
      Array.from(groups.values()).reduce((sum, one) => sum + one, 0),
    );
    if (view.getUint8(8) === 1) groups.delete(group);
  }
  return most;
}

test("what is put together at a time is no more than an older program with the same settings takes", async () => {
  const queueBytesMax = 1024 * 1024;
  const open = await openBytesOf(queueBytesMax, 600_000);
  assert.ok(open > 500_000 && open <= queueBytesMax, `${open} bytes`);
});

test("an older program with the same settings may put together more than 64 MiB at a time", () => {
  const ends: (Error | undefined)[] = [];
  const channel = new Channel(
    new HandClock(),
    { onRaw: () => {}, onMessage: () => {}, onEnd: (reason) => ends.push(reason) },
    { queueBytesMax: 128 * 1024 * 1024, messageBytesMax: 34 * 1024 * 1024 },
  );
  channel.open();
  const frame = piecesFrame(1, 1024 * 1024);
  for (let number = 0; number < 80; number += 1) {
    new DataView(frame.buffer).setUint32(4, number % 4);
    channel.onFrame(frame);
  }
  assert.equal(ends, []);
});

test.run();
