/** The frames are made by hand, and cut into chunks at every place where a chunk can end. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GoawayFilter } from "../src/server_goaway.ts";

const test = suite("server goaway");

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

function frame(kind: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = kind;
  return Buffer.concat([head, payload]);
}

const settings = frame(4, new Uint8Array());
const goaway = frame(7, new Uint8Array(8));
const emptyGoaway = frame(7, new Uint8Array());
const data = frame(0, Buffer.from("\x07 payload \x07"));

test("GoawayFilter takes GOAWAY frames out and leaves every other byte, however they are cut", () => {
  const sent = Buffer.concat([
    preface,
    settings,
    goaway,
    data,
    emptyGoaway,
    goaway,
    settings,
    data,
  ]);
  const kept = Buffer.concat([preface, settings, data, settings, data]);
  for (let size = 1; size <= sent.length; size += 1) {
    const filter = new GoawayFilter();
    const passed: Buffer[] = [];
    for (let at = 0; at < sent.length; at += size) {
      passed.push(filter.take(sent.subarray(at, at + size)));
    }
    assert.equal(Buffer.concat(passed), kept, `in chunks of ${size} bytes`);
  }
});

test("GoawayFilter passes a GOAWAY that is longer than a frame may be, for the parser to refuse", () => {
  const long = frame(7, new Uint8Array(16 * 1024 + 1));
  const sent = Buffer.concat([preface, long, settings]);
  assert.equal(new GoawayFilter().take(sent), sent);
});

test("what the filter has given does not change when the next frame comes", () => {
  const filter = new GoawayFilter();
  const first = filter.take(Buffer.concat([preface, settings]));
  const copy = Buffer.from(first);
  filter.take(data);
  assert.equal(first, copy);
});

test.run();
