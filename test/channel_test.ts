/**
 * One end of a stream by itself, which is given frames that the other end would never make. What two
 * ends say to each other is in `peers_test`.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Channel } from "../src/channel.ts";
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

test.run();
