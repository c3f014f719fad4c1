/**
 * The bytes of the log: what was written is read back, and from damaged bytes nothing is handed on
 * that was not in a whole batch. What is missing is called torn only where nothing says otherwise.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { silentReport } from "../src/capability.ts";
import { crc32 } from "../src/hash.ts";
import {
  alignUp,
  batchBody,
  batchBytes,
  batchHeaderBytes,
  batchPartitions,
  blockBytes,
  bodyEntries,
  encodeBatch,
  encodeSegmentHeader,
  entryBytes,
  isZero,
  parseBatchHeader,
  parseSegmentHeader,
  type WalEntry,
} from "../src/wal_format.ts";
import { recoverWal, removeBlank } from "../src/wal_open.ts";
import { type Judgement, judge, type SegmentScan, scanSegment } from "../src/wal_scan.ts";
import { segmentName, walFolder } from "../src/wal_segment.ts";
import { bytesUpTo, isLong, rejectsSlug, runs } from "./samples.ts";

const test = suite("wal_scan");
const storeId = new Uint8Array(16).fill(3);
const salt = 0x0123456789abcdefn;

const anyEntry: fc.Arbitrary<WalEntry> = fc.record({
  partition: fc.integer({ min: 0, max: 1023 }),
  payload: fc.oneof(bytesUpTo(40), bytesUpTo(3000), bytesUpTo(9000)),
});
const anyBatch = fc.array(anyEntry, { maxLength: 5 });

interface Written {
  readonly offset: number;
  readonly end: number;
  readonly first: number;
  readonly entries: readonly WalEntry[];
}

interface Segment {
  readonly bytes: Uint8Array;
  readonly batches: readonly Written[];
}

/** A segment with these batches, one after another from `first` on, and some zeros behind them. */
function segmentOf(batches: readonly (readonly WalEntry[])[], first = 1, index = 1): Segment {
  const bodies = batches.map((entries) =>
    entries.reduce((sum, { payload }) => sum + entryBytes(payload.length), 0),
  );
  const length = bodies.reduce((sum, body) => sum + batchBytes(body), blockBytes);
  const bytes = new Uint8Array(length + 3 * blockBytes);
  encodeSegmentHeader({ index, salt, firstSequence: first, storeId, bytes: bytes.length }, bytes);
  const written: Written[] = [];
  let offset = blockBytes;
  let sequence = first;
  for (const entries of batches) {
    const facts = {
      salt,
      firstSequence: sequence,
      syncedSequence: sequence - 1,
      ceiling: BigInt(sequence),
    };
    const end = offset + encodeBatch(entries, facts, bytes, offset);
    written.push({ offset, end, first: sequence, entries });
    sequence += entries.length;
    offset = end;
  }
  return { bytes, batches: written };
}

function scanned(bytes: Uint8Array): {
  readonly scan: SegmentScan;
  readonly entries: ReadonlyMap<number, string>;
} {
  const entries = new Map<number, string>();
  let before = 0;
  const scan = scanSegment(bytes, (batch, body) => {
    assert.ok(batch.first >= before, "batches come in the order of their sequences");
    before = batch.first;
    const found = bodyEntries(body);
    assert.is(found.length, batch.count);
    for (const [at, entry] of found.entries()) entries.set(batch.first + at, shown(entry));
  });
  return { scan, entries };
}

function shown({ partition, payload }: WalEntry): string {
  return `${partition} ${payload.length} ${crc32(payload)}`;
}

function lastOf({ batches }: Segment): number {
  const last = batches.at(-1);
  return last === undefined ? 0 : last.first + last.entries.length - 1;
}

test("a segment's header and its batches are read back as they were written", () => {
  const property = fc.property(
    fc.array(anyBatch, { maxLength: 6 }),
    fc.integer({ min: 1, max: 2 ** 50 }),
    (batches, first) => {
      const segment = segmentOf(batches, first, 7);
      const { scan, entries } = scanned(segment.bytes);
      const { length } = segment.bytes;
      assert.equal(scan.header, { index: 7, salt, firstSequence: first, storeId, bytes: length });
      assert.equal(scan.bad, []);
      assert.equal(scan.unreadable, []);
      assert.is(scan.blank, false);
      assert.equal(
        scan.batches.map(({ offset, count, synced, ceiling }) => [offset, count, synced, ceiling]),
        segment.batches.map(({ offset, entries: own, first: sequence }) => {
          return [offset, own.length, sequence - 1, BigInt(sequence)];
        }),
      );
      const expected = segment.batches.flatMap(({ entries: own, first: sequence }) =>
        own.map((entry, at) => [sequence + at, shown(entry)] as const),
      );
      assert.equal([...entries], expected);
      const judgement = judge([scan], first - 1);
      assert.is(judgement.last, Math.max(first - 1, lastOf(segment)));
      assert.equal(judgement.lost, []);
      assert.is(judgement.torn, undefined);
    },
  );
  fc.assert(property, runs(80));
});

test("encodeBatch() writes whole blocks, zeros after its end, and names its partitions", () => {
  const property = fc.property(anyBatch, (entries) => {
    const target = new Uint8Array(80 * 1024).fill(0xee);
    const facts = { salt, firstSequence: 1, syncedSequence: 0, ceiling: 0n };
    const length = encodeBatch(entries, facts, target, blockBytes);
    const body = entries.reduce((sum, { payload }) => sum + entryBytes(payload.length), 0);
    assert.is(length, alignUp(batchHeaderBytes + body));
    assert.is(length % blockBytes, 0);
    assert.ok(isZero(target.slice(blockBytes + batchHeaderBytes + body, blockBytes + length)));
    assert.ok(target.subarray(0, blockBytes).every((byte) => byte === 0xee));
    assert.ok(target.subarray(blockBytes + length).every((byte) => byte === 0xee));
    const partitions = [...new Set(entries.map(({ partition }) => partition))];
    assert.equal(
      batchPartitions(target, blockBytes),
      partitions.sort((a, b) => a - b),
    );
  });
  fc.assert(property, runs(100));
});

test("a header with one flipped bit is not believed, nor one of another salt", () => {
  const { bytes } = segmentOf([[{ partition: 3, payload: new Uint8Array(10).fill(1) }]]);
  for (let bit = 0; bit < batchHeaderBytes * 8; bit += 1) {
    const damaged = bytes.slice();
    flip(damaged, blockBytes * 8 + bit);
    assert.is(parseBatchHeader(damaged, blockBytes, salt), undefined, `bit ${bit} of the batch`);
  }
  for (let bit = 0; bit < 56 * 8; bit += 1) {
    const damaged = bytes.slice();
    flip(damaged, bit);
    assert.is(parseSegmentHeader(damaged), undefined, `bit ${bit} of the segment`);
  }
  assert.is(parseBatchHeader(bytes, blockBytes, salt + 1n), undefined);
  assert.is(parseBatchHeader(bytes, blockBytes, undefined)?.salt, salt);
  assert.is(parseBatchHeader(bytes.subarray(0, blockBytes + 255), blockBytes, salt), undefined);
});

function flip(bytes: Uint8Array, bit: number): void {
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
}

test("corrupt-length-allocates-nothing: nonsense lengths under good checksums are refused within the bytes", () => {
  const { bytes, batches } = segmentOf([
    [
      { partition: 1, payload: new Uint8Array(10).fill(1) },
      { partition: 2, payload: new Uint8Array(10).fill(2) },
    ],
    [{ partition: 3, payload: new Uint8Array(10).fill(3) }],
  ]);
  const [batch] = batches as [Written, Written];
  const bodyAt = batch.offset + batchHeaderBytes;
  for (const length of [11, 27, 1000, 2 ** 31, 2 ** 32 - 1]) {
    // An entry that claims to be longer than its batch.
    const long = bytes.slice();
    const view = new DataView(long.buffer);
    view.setUint32(bodyAt, length);
    reseal(long, batch.offset);
    assert.equal([...scanned(long).entries.keys()], [3], `an entry of ${length}`);
    // A batch that claims to be longer than its segment, and a count that does not fit.
    const whole = bytes.slice();
    new DataView(whole.buffer).setUint32(batch.offset + 28, 1024 * length);
    resealHeader(whole, batch.offset);
    assert.not.ok(scanned(whole).entries.has(1), `a body of ${length}`);
    const counted = bytes.slice();
    new DataView(counted.buffer).setUint32(batch.offset + 24, length);
    resealHeader(counted, batch.offset);
    assert.equal([...scanned(counted).entries.keys()], [3], `a count of ${length}`);
  }
});

/** Makes the checksums of a batch fit its bytes again. */
function reseal(bytes: Uint8Array, offset: number): void {
  const view = new DataView(bytes.buffer);
  const bodyAt = offset + batchHeaderBytes;
  view.setUint32(offset + 48, crc32(bytes.subarray(bodyAt, bodyAt + view.getUint32(offset + 28))));
  resealHeader(bytes, offset);
}

function resealHeader(bytes: Uint8Array, offset: number): void {
  const crc = crc32(bytes.subarray(offset + 8, offset + batchHeaderBytes));
  new DataView(bytes.buffer).setUint32(offset + 4, crc);
}

test("arbitrary bytes are a segment without entries, and nothing is read outside of them", () => {
  const property = fc.property(bytesUpTo(20_000), (bytes) => {
    const { scan, entries } = scanned(bytes);
    assert.is(entries.size, 0);
    assert.equal(scan.batches, []);
    assert.is(parseSegmentHeader(bytes), undefined);
  });
  fc.assert(property, runs(60));
  const { scan } = scanned(new Uint8Array(8 * blockBytes));
  assert.ok(scan.blank, "zeros are a segment that was never used");
});

type Damage = (bytes: Uint8Array, chance: number) => void;

const damages: Readonly<Record<string, Damage>> = {
  "a bit flipped": (bytes, chance) => flip(bytes, chance % (bytes.length * 8)),
  "a block zeroed": (bytes, chance) => {
    const block = chance % (bytes.length / blockBytes);
    bytes.fill(0, block * blockBytes, (block + 1) * blockBytes);
  },
  "a block of noise": (bytes, chance) => {
    const block = chance % (bytes.length / blockBytes);
    for (let at = 0; at < blockBytes; at += 1) bytes[block * blockBytes + at] = (at * chance) >> 3;
  },
  "two blocks exchanged": (bytes, chance) => {
    const count = bytes.length / blockBytes;
    const one = (chance % count) * blockBytes;
    const other = ((chance >> 8) % count) * blockBytes;
    const kept = bytes.slice(one, one + blockBytes);
    bytes.copyWithin(one, other, other + blockBytes);
    bytes.set(kept, other);
  },
  "a block over another": (bytes, chance) => {
    const count = bytes.length / blockBytes;
    const from = ((chance >> 8) % count) * blockBytes;
    bytes.copyWithin((chance % count) * blockBytes, from, from + blockBytes);
  },
  "a tail of zeros": (bytes, chance) => bytes.fill(0, chance % bytes.length),
};

test("P8, D2: whatever is damaged, only whole batches are handed on, and what is lost below a mark is named", () => {
  const anyDamage = fc.tuple(fc.constantFrom(...Object.keys(damages)), fc.nat());
  const property = fc.property(
    fc.array(anyBatch, { minLength: 1, maxLength: 6 }),
    fc.array(anyDamage, { minLength: 1, maxLength: 3 }),
    fc.nat(10),
    (batches, all, checkpoint) => {
      const segment = segmentOf(batches);
      const bytes = segment.bytes.slice();
      for (const [name, chance] of all) (damages[name] as Damage)(bytes, chance);
      const { scan, entries } = scanned(bytes);
      const whole = new Map<number, string>();
      for (const { first, entries: own } of segment.batches) {
        for (const [at, entry] of own.entries()) whole.set(first + at, shown(entry));
      }
      for (const [sequence, entry] of entries) {
        assert.is(entry, whole.get(sequence), `sequence ${sequence}`);
      }
      const checkpointSequence = Math.min(checkpoint, lastOf(segment));
      const judgement = judge([scan], checkpointSequence);
      assertJudgement(judgement, segment, scan, { entries, checkpointSequence });
      // A batch none of whose bytes were touched is found.
      for (const { offset, end, first, entries: own } of segment.batches) {
        const isSame =
          Buffer.compare(bytes.subarray(offset, end), segment.bytes.subarray(offset, end)) === 0;
        if (!isSame || own.length === 0) continue;
        assert.ok(entries.has(first), `the whole batch of ${first} is found`);
      }
    },
  );
  fc.assert(property, runs(400));
});

/** The invariants of a judgement over one segment. */
function assertJudgement(
  judgement: Judgement,
  segment: Segment,
  scan: SegmentScan,
  {
    entries,
    checkpointSequence,
  }: { entries: ReadonlyMap<number, string>; checkpointSequence: number },
): void {
  const marks = scan.batches.flatMap(({ synced, first, count }) => [synced, first + count - 1]);
  const highest = Math.max(checkpointSequence, ...marks);
  assert.is(judgement.last, highest);
  const lost = new Set<number>();
  for (const { first, last } of judgement.lost) {
    assert.ok(first <= last);
    for (let sequence = first; sequence <= last; sequence += 1) lost.add(sequence);
  }
  for (let sequence = 1; sequence <= lastOf(segment); sequence += 1) {
    const isLost = sequence > checkpointSequence && sequence <= highest && !entries.has(sequence);
    assert.is(lost.has(sequence), isLost, `sequence ${sequence}`);
  }
  for (const { first, last, partitions } of judgement.lost) {
    if (partitions === undefined) continue;
    const touched = segment.batches
      .filter((batch) => batch.first <= last && batch.first + batch.entries.length > first)
      .flatMap((batch) => batch.entries.map(({ partition }) => partition));
    for (const one of touched) assert.ok(partitions.includes(one), "its partition is named");
  }
}

test("D2: blocks that a disk has exchanged do not make a synced batch look like a torn one", () => {
  const large = { partition: 5, payload: new Uint8Array(6000).fill(0x61) };
  const small = { partition: 6, payload: new Uint8Array(100).fill(0x62) };
  for (const batches of [
    [[small], [large], []],
    [[small], [large], [small], []],
    [[small], [large], [small]],
  ]) {
    const segment = segmentOf(batches);
    const [, wide, next] = segment.batches as [Written, Written, Written];
    // A block of the wide batch's body and the block of the batch behind it change places.
    const bytes = segment.bytes.slice();
    const body = wide.offset + blockBytes;
    bytes.set(segment.bytes.subarray(next.offset, next.end), body);
    bytes.set(segment.bytes.subarray(body, body + blockBytes), next.offset);
    const { scan, entries } = scanned(bytes);
    const judgement = judge([scan], 0);
    assert.not.ok(entries.has(wide.first));
    assert.equal(judgement.lost, [{ first: 2, last: 2, partitions: [5] }]);
    assert.is(judgement.last, lastOf(segment));
  }
});

async function diskOf(segments: readonly Segment[]): Promise<SimDisk> {
  const disk = new SimDisk({ isRecorded: false });
  await disk.makeFolder(walFolder);
  for (const [at, { bytes }] of segments.entries()) disk.replace(segmentName(at + 1), bytes);
  return disk;
}

function recovered(disk: SimDisk, checkpointSequence = 0) {
  const sequences: number[] = [];
  return recoverWal({
    disk,
    report: silentReport,
    storeId,
    checkpointSequence,
    apply: (_, sequence) => sequences.push(sequence),
  }).then((recovery) => ({ recovery, sequences }));
}

test("torn-tail-opens: at every byte at which the last batch may be cut, the rest is there and the tail kept aside", async () => {
  const entry = (fill: number, bytes: number): WalEntry => ({
    partition: fill,
    payload: new Uint8Array(bytes).fill(fill),
  });
  const segment = segmentOf([[entry(1, 100)], [entry(2, 5000)], [entry(3, 9000), entry(4, 10)]]);
  const last = segment.batches.at(-1) as Written;
  const step = isLong ? 1 : 61;
  for (let cut = last.offset + 1; cut < last.end; cut += step) {
    const bytes = segment.bytes.slice();
    // What was not written yet is zeros, or what a used segment held before it was overwritten.
    bytes.fill(0, cut);
    const isWhole = Buffer.compare(bytes, segment.bytes) === 0;
    const disk = await diskOf([{ bytes, batches: [] }]);
    const { recovery, sequences } = await recovered(disk);
    const what = `cut at ${cut}`;
    assert.equal(sequences, isWhole ? [1, 2, 3, 4] : [1, 2], what);
    assert.equal(recovery.lost, [], what);
    assert.is(recovery.last, isWhole ? 4 : 2, what);
    assert.is((await disk.list("aside")).length, isWhole ? 0 : 1, what);
    if (isWhole) continue;
    assert.equal(recovery.torn, { segment: 0, offset: last.offset }, what);
  }
});

test("D2: sixteen torn tails are kept aside, and what else is there stays", async () => {
  const segment = segmentOf([[{ partition: 1, payload: new Uint8Array(100).fill(1) }]]);
  const bytes = segment.bytes.slice();
  bytes.fill(0, (segment.batches[0] as Written).offset + 300);
  const disk = await diskOf([{ bytes, batches: [] }]);
  await disk.makeFolder("aside");
  const older = Array.from({ length: 20 }, (_, at) => `torn-00000000${10 + at}-4096`);
  // A table that was set aside: what it holds may be the only copy of something.
  for (const name of ["table.lmdb", ...older]) {
    await (await disk.open(`aside/${name}`, "create")).close();
  }
  await recovered(disk);
  const kept = await disk.list("aside");
  assert.ok(kept.includes("table.lmdb"), `${kept}`);
  assert.is(kept.length, 17);
});

test("D2: the same damage below a mark is corruption: nothing is cut, and the partitions are named", async () => {
  const entry = (partition: number): WalEntry => ({
    partition,
    payload: new Uint8Array(5000).fill(9),
  });
  const batches = [[entry(1)], [entry(2), entry(3)], [entry(4)], []];
  const segment = segmentOf(batches);
  const bad = segment.batches[1] as Written;
  // The body: its header still tells whose it was.
  const body = segment.bytes.slice();
  body[bad.offset + blockBytes + 5] = 0;
  const known = await recovered(await diskOf([{ bytes: body, batches: [] }]));
  assert.equal(known.recovery.lost, [{ first: 2, last: 3, partitions: [2, 3] }]);
  assert.equal(known.sequences, [1, 4]);
  assert.is(known.recovery.torn, undefined);
  // The header too: it may be anyone's.
  const header = segment.bytes.slice();
  header[bad.offset + 9] = (header[bad.offset + 9] as number) ^ 1;
  const unknown = await recovered(await diskOf([{ bytes: header, batches: [] }]));
  assert.equal(unknown.recovery.lost, [{ first: 2, last: 3, partitions: undefined }]);
  // And what the checkpoint has is not lost.
  const covered = await recovered(await diskOf([{ bytes: header, batches: [] }]), 3);
  assert.equal(covered.recovery.lost, []);
  assert.equal(covered.sequences, [4]);
});

test("D2: a later segment is a mark for all before it, damaged as its head may be", async () => {
  const entry = (partition: number): WalEntry => ({
    partition,
    payload: new Uint8Array(50).fill(9),
  });
  const one = segmentOf([[entry(1)], [entry(2)]]);
  const other = segmentOf([[entry(3)]], 3, 2);
  const cut = one.bytes.slice();
  const last = one.batches.at(-1) as Written;
  cut.fill(0, last.offset);
  const gone = await recovered(await diskOf([{ bytes: cut, batches: [] }, other]));
  assert.equal(gone.recovery.lost, [{ first: 2, last: 2, partitions: undefined }]);
  assert.is(gone.recovery.torn, undefined);
  const headless = other.bytes.slice();
  headless.fill(0xaa, 0, blockBytes);
  const found = await recovered(await diskOf([one, { bytes: headless, batches: [] }]));
  assert.equal(found.sequences, [1, 2, 3]);
  assert.equal(found.recovery.lost, []);
});

test("a segment of another store is refused, names that are none are removed, a file too large is not read", async () => {
  const segment = segmentOf([[{ partition: 1, payload: new Uint8Array(5) }]]);
  const foreign = segment.bytes.slice();
  encodeSegmentHeader(
    {
      index: 1,
      salt,
      firstSequence: 1,
      storeId: new Uint8Array(16).fill(4),
      bytes: foreign.length,
    },
    foreign,
  );
  await rejectsSlug(
    "wrong-data-folder",
    recovered(await diskOf([{ bytes: foreign, batches: [] }])),
  );
  const disk = await diskOf([segment, { bytes: new Uint8Array(4 * blockBytes), batches: [] }]);
  disk.replace(`${walFolder}/spare`, new Uint8Array(10));
  const { recovery } = await recovered(disk);
  await removeBlank(disk, recovery.blank);
  assert.equal(
    await disk.list(walFolder),
    ["0000000001.wal"],
    "the spare and the blank one are gone",
  );
  assert.is(recovery.nextIndex, 2, "indexes have no gap: one would tell of a lost segment");
  // A size that no segment has is refused before anything is allocated for it.
  const huge = {
    ...recoveryOn(disk, 2 ** 52),
  };
  await rejectsSlug("corruption", recoverWal(huge));
});

/** A disk on which every file claims to be of this size. */
function recoveryOn(disk: SimDisk, size: number): Parameters<typeof recoverWal>[0] {
  const lying = Object.create(disk) as SimDisk;
  lying.list = (folder) => disk.list(folder);
  lying.open = async (path, mode) => {
    const file = await disk.open(path, mode);
    return {
      read: async () => {
        throw new Error("it was read");
      },
      write: (source, position) => file.write(source, position),
      writeSynced: (source, position) => file.writeSynced(source, position),
      sync: () => file.sync(),
      size: async () => size,
      close: () => file.close(),
    };
  };
  return { disk: lying, report: silentReport, storeId, checkpointSequence: 0, apply: () => {} };
}

test("batchBody() gives nothing for a body that reaches beyond the bytes", () => {
  const { bytes, batches } = segmentOf([[{ partition: 1, payload: new Uint8Array(6000).fill(1) }]]);
  const [batch] = batches as [Written];
  const header = parseBatchHeader(bytes, batch.offset, salt);
  assert.ok(header !== undefined);
  if (header === undefined) return;
  const body = batchBody(bytes, batch.offset, header);
  assert.is(body === undefined ? 0 : bodyEntries(body).length, 1);
  assert.is(batchBody(bytes.subarray(0, batch.offset + 5000), batch.offset, header), undefined);
});

test("isZero() finds a single bit wherever it is, and however the bytes lie", () => {
  const anyCase = fc.record({
    start: fc.nat(8),
    length: fc.nat(100),
    at: fc.nat(99),
    bit: fc.nat(7),
  });
  const property = fc.property(anyCase, ({ start, length, at, bit }) => {
    const buffer = new Uint8Array(128).fill(255);
    const bytes = buffer.subarray(start, start + length).fill(0);
    assert.ok(isZero(bytes));
    if (at >= length) return;
    bytes[at] = 1 << bit;
    assert.not(isZero(bytes));
  });
  fc.assert(property, runs(500));
});

test("D2: a torn batch that a start has cut does not name the partitions of a lost one that came in its place", () => {
  const [torn, acknowledged] = [5, 7].map((partition) => ({
    partition,
    payload: new Uint8Array(100).fill(partition),
  })) as [WalEntry, WalEntry];
  const older = segmentOf([[torn]]);
  const newer = segmentOf([[acknowledged], []], 1, 2);
  const at = blockBytes + batchHeaderBytes;
  older.bytes[at] = (older.bytes[at] ?? 0) ^ 1;
  const header = newer.bytes.slice();
  header.fill(0xff, blockBytes, 2 * blockBytes);
  newer.bytes[at] = (newer.bytes[at] ?? 0) ^ 1;
  const judged = (bytes: Uint8Array): unknown =>
    judge([scanned(older.bytes).scan, scanned(bytes).scan], 0).lost;
  assert.equal(judged(newer.bytes), [{ first: 1, last: 1, partitions: [7] }]);
  assert.equal(judged(header), [{ first: 1, last: 1, partitions: undefined }]);
});

test.run();
