/**
 * Message: every message comes back as it was, and no bytes do harm.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import type { Hlc } from "../src/hlc.ts";
import {
  decodeMessage,
  encodeMessage,
  failureOf,
  failureReply,
  type Message,
  type PeerReply,
  type PeerRequest,
} from "../src/message.ts";
import { ByteWriter } from "../src/message_bytes.ts";

const test = suite("message");

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u48 = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const version = fc.record({ hlc: u64.map((value) => value as Hlc), origin: u64 });
const text = fc.string({ maxLength: 60, unit: "grapheme" });
const common = {
  epoch: u48,
  namespaceNumber: u32,
  n: fc.integer({ min: 1, max: 9 }),
  requestId: text,
};
const durability = fc.constantFrom("fsync" as const, "memory" as const);
const json = fc.jsonValue().filter((value) => JSON.stringify(value) !== undefined);

const request: fc.Arbitrary<PeerRequest> = fc.oneof(
  fc.record({
    kind: fc.constant("write" as const),
    ...common,
    durability,
    source: fc.constantFrom("client", "client-again", "hint", "write-back", "repair"),
    key: bytes(40),
    record: bytes(300),
  }) as fc.Arbitrary<PeerRequest>,
  fc.record({
    kind: fc.constant("read" as const),
    ...common,
    durability,
    wants: fc.constantFrom("record" as const, "version" as const),
    coverMs: u48,
    key: bytes(40),
  }),
  fc.record(
    {
      kind: fc.constant("scan" as const),
      ...common,
      partition: u32,
      limit: u32,
      prefix: bytes(20),
      reverse: fc.boolean(),
      from: bytes(20),
      to: bytes(20),
      segments: bytes(128),
    },
    {
      requiredKeys: [
        "kind",
        "epoch",
        "namespaceNumber",
        "n",
        "requestId",
        "partition",
        "limit",
        "prefix",
        "reverse",
      ],
    },
  ) as fc.Arbitrary<PeerRequest>,
  fc.record({
    kind: fc.constant("digest" as const),
    epoch: u48,
    n: common.n,
    requestId: text,
    partition: u32,
    wants: fc.constantFrom("state" as const, "total" as const, "sums" as const),
    adopt: u64.map((value) => value as Hlc),
    promise: u64.map((value) => value as Hlc),
  }),
  fc.record({ kind: fc.constant("cold" as const), topic: text, body: json }),
);
const entry = fc.record(
  {
    tableKey: bytes(20),
    key: bytes(20),
    version,
    tombstone: fc.boolean(),
    expiresAtMs: u48,
    contentType: text,
    valueBytes: u32,
  },
  { requiredKeys: ["tableKey", "key", "version", "tombstone", "contentType", "valueBytes"] },
);
const reply = fc.oneof(
  fc.constantFrom({ kind: "took" }, { kind: "covered" }, { kind: "nothing" }),
  fc.record({ kind: fc.constant("superseded"), version }),
  fc.record({ kind: fc.constant("later"), stamp: u64 }),
  fc.record(
    {
      kind: fc.constant("refused"),
      reason: fc.constantFrom("epoch", "failed", "read-only"),
      detail: text,
      document: fc.constant({ epoch: 7 }),
      mayHold: fc.constant(true),
    },
    { requiredKeys: ["kind", "reason", "detail"] },
  ),
  fc.record(
    {
      kind: fc.constant("found"),
      version,
      tombstone: fc.boolean(),
      expiresAtMs: u48,
      record: bytes(300),
      watermark: u64,
    },
    { requiredKeys: ["kind", "version", "tombstone"] },
  ),
  fc.record({ kind: fc.constant("nothing"), watermark: u64 }),
  fc.record(
    {
      kind: fc.constant("sums"),
      promise: u64,
      watermark: u64,
      isDamaged: fc.boolean(),
      total: u64,
      sums: fc.uint8Array({ minLength: 1, maxLength: 100 }),
    },
    { requiredKeys: ["kind", "promise", "watermark", "isDamaged", "total"] },
  ),
  fc.record({
    kind: fc.constant("page"),
    entries: fc.array(entry, { maxLength: 5 }),
    more: fc.boolean(),
    last: fc.option(bytes(20), { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("said"), body: json }),
) as fc.Arbitrary<PeerReply>;
const facts = fc.record({
  epoch: u48,
  syncedSequence: u48,
  clockHlc: u64.map((value) => value as Hlc),
  counts: fc.boolean(),
});
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ is: fc.constant("request" as const), id: u32, timeoutMs: u32, request }),
  fc.record({ is: fc.constant("reply" as const), id: u32, facts, reply }),
);

function encoded(one: Message): Uint8Array {
  const writer = new ByteWriter();
  encodeMessage(one, writer);
  return writer.take();
}

/** JSON turns -0 into 0 and forgets prototypes: both sides go through it where they hold JSON. */
function plain(one: Message | undefined): unknown {
  return JSON.parse(
    JSON.stringify(one, (_, value) =>
      typeof value === "bigint" ? `${value}n` : value instanceof Uint8Array ? [...value] : value,
    ),
  );
}

test("a message comes back as it was", () => {
  fc.assert(
    fc.property(message, (one) => {
      assert.equal(plain(decodeMessage(encoded(one))), plain(one));
    }),
    { numRuns: 500 },
  );
});

test("P7: a refusal says on its way too that the write may be there all the same", () => {
  const reply: PeerReply = {
    kind: "refused",
    reason: "read-only",
    detail: "EIO",
    mayHold: true,
  };
  const about = { epoch: 1, syncedSequence: 1, clockHlc: 0n as Hlc, counts: true };
  const sent: Message = { is: "reply", id: 1, facts: about, reply };
  assert.equal(decodeMessage(encoded(sent)), sent);
});

test("whatever bytes come, they are a message or none: nothing throws", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (given) => {
      decodeMessage(given);
    }),
    { numRuns: 2000 },
  );
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(message, fc.array(change, { maxLength: 4 }), fc.nat(), (one, changes, cut) => {
      const given = encoded(one).slice();
      for (const [at, byte] of changes) given[at % given.length] = byte;
      decodeMessage(given);
      decodeMessage(given.subarray(0, cut % (given.length + 1)));
    }),
    { numRuns: 2000 },
  );
});

test("corrupt-length-allocates-nothing: a page that claims more entries than its bytes hold is none", () => {
  const page: PeerReply = { kind: "page", entries: [], more: false, last: undefined };
  const about = { epoch: 1, syncedSequence: 1, clockHlc: 1n as Hlc, counts: true };
  const given = encoded({ is: "reply", id: 1, facts: about, reply: page }).slice();
  new DataView(given.buffer).setUint32(given.length - 4, 0xffff_ffff);
  assert.is(decodeMessage(given), undefined);
});

test("a failure arrives as the failure that was sent, and an unknown one as internal", () => {
  const sent = new QuorateError("contention", "Another won.", { outcome: "none", hint: "Again." });
  const failed = failureReply(sent);
  assert.is(failed.kind, "failed");
  if (failed.kind !== "failed") return;
  const { slug, detail, outcome, hint } = failureOf(failed);
  assert.equal([slug, detail, outcome, hint], ["contention", "Another won.", "none", "Again."]);
  assert.is(failureOf({ ...failed, slug: "constructor" }).slug, "internal");
});

test.run();
