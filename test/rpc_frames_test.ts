/** Frames as messages of gRPC: what the RPC library makes of ours, and we of its, however it is cut. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { FrameSource } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { LinkRequestSchema } from "../src/gen/quorate/peer/v1/peer_pb.ts";
import { FrameReader, frameBytesMax, messageOf, sendFrames } from "../src/rpc_frames.ts";

const frames = suite("rpc frames");

/** Around every length at which its own length takes a byte more. */
const lengths = [0, 1, 126, 127, 128, 16_383, 16_384, 2_097_000];

function frameOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + length) & 0xff);
}

/** A message of the RPC library, in its envelope. */
function enveloped(message: Uint8Array, flags = 0): Uint8Array {
  const bytes = new Uint8Array(5 + message.length);
  bytes[0] = flags;
  new DataView(bytes.buffer).setUint32(1, message.length);
  bytes.set(message, 5);
  return bytes;
}

interface Read {
  readonly frames: Uint8Array[];
  readonly failure: QuorateError | undefined;
}

function readAll(pieces: Iterable<Uint8Array>, bytesMax = frameBytesMax): Read {
  const found: Uint8Array[] = [];
  const reader = new FrameReader(
    () => bytesMax,
    (frame) => found.push(frame),
  );
  for (const piece of pieces) {
    const failure = reader.take(piece);
    if (failure !== undefined) return { frames: found, failure };
  }
  return { frames: found, failure: undefined };
}

function* cut(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

for (const length of lengths) {
  frames(`rpc frames: a frame of ${length} bytes is the RPC library's message, both ways`, () => {
    const frame = frameOf(length);
    const message = messageOf(frame);
    assert.is(new DataView(message.buffer).getUint32(1), message.length - 5);
    const theirs = fromBinary(LinkRequestSchema, message.subarray(5)).frame;
    assert.ok(Buffer.compare(theirs, frame) === 0, "the library reads ours");
    const sent = enveloped(toBinary(LinkRequestSchema, create(LinkRequestSchema, { frame })));
    const { frames: found, failure } = readAll([sent, message]);
    assert.is(failure, undefined);
    assert.is(found.length, 2);
    for (const one of found) assert.ok(Buffer.compare(one, frame) === 0);
  });
}

for (const size of [1, 2, 3, 4, 5, 6, 7, 64, 1000]) {
  frames(`rpc frames: a stream in pieces of ${size} bytes gives the frames as they were`, () => {
    const sent = [0, 3, 127, 128, 0, 700].map(frameOf);
    const { frames: found, failure } = readAll(cut(Buffer.concat(sent.map(messageOf)), size));
    assert.is(failure, undefined);
    assert.equal(
      found.map((frame) => [...frame]),
      sent.map((frame) => [...frame]),
    );
  });
}

frames("rpc frames: an end is in order between two messages, and within one is told", () => {
  const message = messageOf(Uint8Array.of(1, 2, 3));
  for (let length = 0; length <= message.length; length += 1) {
    const reader = new FrameReader(
      () => frameBytesMax,
      () => {},
    );
    reader.take(message);
    reader.take(message.subarray(0, length));
    const isWhole = length === 0 || length === message.length;
    assert.is(reader.finish()?.message.includes("It is cut short."), isWhole ? undefined : true);
  }
});

frames("rpc frames: what is given is no view of what the stream has brought", () => {
  const message = messageOf(Uint8Array.of(1, 2, 3));
  const { frames: found } = readAll([message]);
  message.fill(9);
  assert.equal([...(found[0] ?? [])], [1, 2, 3]);
});

frames("rpc frames: fields that a later version may add are passed over", () => {
  const later = enveloped(Uint8Array.of(0x0a, 2, 7, 8, 0x10, 1));
  const { frames: found, failure } = readAll([later]);
  assert.is(failure, undefined);
  assert.equal(
    found.map((frame) => [...frame]),
    [[7, 8]],
  );
});

/** What no reader can go on from -> what it says. */
const unreadable: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
  "a compressed message": [enveloped(Uint8Array.of(0x0a, 0), 1), /compressed/],
  "the end of a stream of Connect": [enveloped(Uint8Array.of(0x7b, 0x7d), 2), /another protocol/],
  "a length beyond the message": [enveloped(Uint8Array.of(0x0a, 5, 1)), /cannot be read/],
  "a length without an end": [enveloped(new Uint8Array(12).fill(0xff)), /cannot be read/],
  "a message above the limit": [
    enveloped(new Uint8Array(101)),
    /^\[value-too-large\] A message may have 100 bytes; this one has 101\./,
  ],
};
for (const [name, [bytes, words]] of Object.entries(unreadable)) {
  frames(`rpc frames: ${name} is told, and nothing behind it is read`, () => {
    const behind = Buffer.concat([messageOf(Uint8Array.of(1)), bytes, messageOf(Uint8Array.of(2))]);
    const { frames: found, failure } = readAll([behind], 100);
    assert.instance(failure, QuorateError);
    assert.match(failure?.message ?? "", words);
    assert.is(found.length, 1);
  });
}

frames(
  "rpc frames: a source is asked for one frame at a time, and for none while there is no room",
  async () => {
    let asked = 0;
    const source: FrameSource = {
      next: async () => {
        asked += 1;
        return asked <= 5 ? Uint8Array.of(asked) : undefined;
      },
    };
    const written: Uint8Array[] = [];
    let drain: (() => void) | undefined;
    let isDone = false;
    sendFrames(
      source,
      {
        write: (bytes) => written.push(bytes) !== 3,
        once: (_, listener) => {
          drain = listener;
        },
      },
      () => false,
      () => {
        isDone = true;
      },
    );
    await new Promise((go) => setImmediate(go));
    assert.equal([asked, written.length, isDone], [3, 3, false]);
    drain?.();
    await new Promise((go) => setImmediate(go));
    assert.equal([asked, written.length, isDone], [6, 5, true]);
  },
);

frames.run();
