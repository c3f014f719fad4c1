/**
 * The store when its disk fails: every call in turn, every block in turn.
 *
 * First the k-th call fails, for every k and in several ways; then every 4 KiB block of every file is
 * damaged. A node may refuse to start or to answer, and says so with a slug; it never acknowledges
 * what is not durable and never serves a value that was not written for its key.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CallFault, SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { equal, utf8Bytes } from "../src/bytes.ts";
import type { DiskFile } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import type { QuorateNode } from "../src/node.ts";
import { Ring } from "../src/ring.ts";
import { metaKey, partitionMetaKey } from "../src/store_meta.ts";
import { MemoryTableDisk, type TableImage } from "../src/table_memory.ts";
import { segmentName } from "../src/wal_segment.ts";
import {
  check,
  Ledger,
  newWorld,
  openIn,
  read,
  requestId,
  type World,
  work,
  write,
} from "./store_harness.ts";

const isLong = process.env["QUORATE_LONG"] === "1";
const blockBytes = 4096;
const fault = suite("store fault");

interface Run {
  readonly world: World;
  readonly ledger: Ledger;
}

/** A workload on a disk whose `call`th call fails; whatever it meets is kept out of the ledger. */
async function runWithFault(seed: number, call: number, how: CallFault): Promise<Run> {
  const world = newWorld({ seed });
  world.disk.failCall(call, how);
  const ledger = new Ledger();
  const random = new SimRandom(seed);
  try {
    const node = await openIn(world);
    for (let round = 0; round < 25; round += 1) await tryWrites(node, world, ledger, random);
    await node.close();
  } catch (error) {
    assert.ok(isExpected(error), `call ${call}: ${String(error)}`);
  }
  return { world, ledger };
}

async function tryWrites(
  node: QuorateNode,
  world: World,
  ledger: Ledger,
  random: SimRandom,
): Promise<void> {
  const keys = new Set([`k${random.below(6)}`, `k${random.below(6)}`]);
  await Promise.all(
    [...keys].map(async (key) => {
      const kind = random.below(4) === 0 ? "delete" : "put";
      const attempt = ledger.attempt(key, kind, random.below(1500));
      try {
        await write(node, key, attempt);
        ledger.acknowledge(key, attempt.number);
      } catch (error) {
        assert.instance(error, QuorateError, String(error));
        const { outcome, slug } = error as QuorateError;
        assert.ok(outcome === "none" || outcome === "unknown", `${slug} says ${outcome}`);
        if (outcome === "none") forget(ledger, key, attempt.number);
      }
    }),
  );
  await world.clock.advance(random.below(120));
}

/** P7: what was said to be `none` must never appear, so the check shall not allow it. */
function forget(ledger: Ledger, key: string, number: number): void {
  const attempts = ledger.attempts.get(key) ?? [];
  ledger.attempts.set(
    key,
    attempts.filter((attempt) => attempt.number !== number),
  );
}

/** What a failing disk may make a start or a close say. */
function isExpected(error: unknown): boolean {
  if (error instanceof QuorateError) return error.slug !== "internal";
  return /^E[A-Z]+/.test((error as { code?: string }).code ?? "");
}

/** Opens what is left of a run and compares it with what was acknowledged. */
async function checkAfter({ world, ledger }: Run, disk: SimDisk, what: string): Promise<void> {
  world.table.kill();
  const image = world.table.image;
  const after = newWorld({ seed: 99, nowMs: world.clock.nowMs() + 1000, disk, image });
  const node = await openIn(after).catch((error: unknown) => {
    throw new Error(`${what}: it does not open: ${String(error)}`);
  });
  await check(node, ledger, ledger.acknowledged, what);
  await node.close();
}

const ways: readonly CallFault[] = [
  { code: "EIO" },
  { code: "ENOSPC" },
  { code: "EIO", writtenBytes: 700 },
  { code: "EIO", isLasting: true },
];

fault(
  "P1, P7: whichever call of the disk fails, nothing is acknowledged that is not durable",
  async () => {
    const { world } = await runWithFault(1, 1_000_000, { code: "EIO" });
    const calls = world.disk.callCount;
    assert.ok(calls > 100, `${calls} calls`);
    const step = isLong ? 1 : 3;
    for (let call = 1; call <= calls; call += step) {
      for (const [index, how] of ways.entries()) {
        if (!isLong && (call + index) % 2 === 0) continue;
        const run = await runWithFault(1, call, how);
        const what = `call ${call} of ${calls}, ${JSON.stringify(how)}`;
        const crashed = (call + index) % 3;
        const { disk } = run.world;
        const left =
          crashed === 0 ? disk.kill() : disk.crash(crashed === 1 ? "durable" : new SimRandom(call));
        await checkAfter(run, left, what);
      }
    }
  },
);

fault("P1, P7: whichever commit of the table fails, nothing acknowledged is lost", async () => {
  for (let commit = 1; commit <= 40; commit += 1) {
    for (const how of [
      { code: "ENOSPC" },
      { code: "EIO", leaves: "nothing" },
      { code: "EIO", leaves: "all" },
    ] as const) {
      const world = newWorld({ seed: commit });
      world.table.failCommit(commit, how);
      const ledger = new Ledger();
      const random = new SimRandom(commit);
      try {
        const node = await openIn(world);
        for (let round = 0; round < 25; round += 1) {
          await tryWrites(node, world, ledger, random);
          await world.clock.advance(1100);
        }
        const closing = node.close();
        await world.clock.advance(5000);
        await closing;
      } catch (error) {
        assert.ok(isExpected(error), `commit ${commit}: ${String(error)}`);
      }
      const what = `commit ${commit}, ${JSON.stringify(how)}`;
      await checkAfter({ world, ledger }, world.disk.crash("durable"), what);
    }
  }
});

fault(
  "D4: what a start has read from the page cache is durable before it is believed",
  async () => {
    let reread = 0;
    for (let seed = 1; seed <= 60; seed += 1) {
      const world = newWorld({ seed });
      const ledger = new Ledger();
      const random = new SimRandom(seed);
      const node = await openIn(world);
      await work(node, ledger, { random, count: 12, keys: 4, bytesMax: 300 });
      // The last batch is written and its sync has not come: the process is killed in between.
      const attempt = ledger.attempt("k0", "put", 100);
      void write(node, "k0", attempt).catch(() => {});
      const callsBefore = world.disk.callCount;
      while (world.disk.callCount < callsBefore + 2) await undefined;
      const cached = newWorld({
        seed: seed + 1,
        nowMs: world.clock.nowMs() + 1000,
        disk: world.disk.kill(),
        image: world.table.image,
      });
      const second = await openIn(cached);
      const seen = await read(second, "k0");
      // Its power fails at once after the answer.
      const last = newWorld({
        seed: seed + 2,
        nowMs: cached.clock.nowMs() + 1000,
        disk: cached.disk.crash("durable"),
        image: cached.table.image,
      });
      const third = await openIn(last);
      assert.equal(await read(third, "k0"), seen, `seed ${seed}: it read what it had named`);
      if (seen !== undefined && Buffer.compare(seen, attempt.value) === 0) reread += 1;
      await third.close();
    }
    assert.ok(reread > 0, "the unsynced batch was read at least once");
  },
);

fault(
  "D4: what the page cache alone had, and half a checkpoint, is no loss when it is gone",
  async () => {
    let goneCount = 0;
    for (let seed = 1; seed <= 20; seed += 1) {
      const world = newWorld({ seed });
      const ledger = new Ledger();
      const random = new SimRandom(seed);
      const filled = await openIn(world);
      await work(filled, ledger, { random, count: 12, keys: 4, bytesMax: 300 });
      await filled.close();
      const node = await openIn(world);
      // The last batch is written and its sync has not come: the process is killed in between.
      void write(node, "k0", ledger.attempt("k0", "put", 100)).catch(() => {});
      const callsBefore = world.disk.callCount;
      while (world.disk.callCount < callsBefore + 2) await undefined;
      const disk = world.disk.kill();
      // Summaries are damaged as well: their partitions are marked, and that takes a checkpoint.
      world.table.damage((entries) =>
        entries
          .filter(({ key }) => [0, 1, 2, 3].some((one) => equal(key, partitionMetaKey(one))))
          .map(({ key, value }) => ({ key, value: value.fill(1) })),
      );
      const crashes: { readonly disk: SimDisk; readonly image: TableImage }[] = [];
      const nowMs = world.clock.nowMs() + 1000;
      const cached = newWorld({ seed: seed + 1, nowMs, disk });
      const onChange = (image: TableImage): void => {
        crashes.push({ disk: disk.copy().crash("durable"), image });
      };
      const table = new MemoryTableDisk({ onChange }, world.table.image);
      await openIn({ ...cached, table });
      for (const crash of crashes) {
        const after = newWorld({ seed: seed + 2, nowMs: nowMs + 1000, ...crash });
        // It starts, although it is the only copy: nothing that was acknowledged is lost.
        const third = await openIn(after);
        goneCount += 1;
        await third.close();
      }
    }
    assert.ok(goneCount > 0, "a power loss came into the checkpoint of a start");
  },
);

fault(
  "V1: where the batch that held the ceiling is lost, no version is minted once more",
  async () => {
    for (const damaged of ["log", "table"] as const) {
      const world = newWorld({ seed: 5 });
      const node = await openIn(world);
      await world.clock.advance(400);
      const { version } = await node.put({
        ...{ namespace: "default", requestId, key: utf8Bytes("k") },
        ...{ value: utf8Bytes("old"), contentType: "text/plain", meta: [] },
      });
      const nowMs = world.clock.nowMs();
      if (damaged === "table") await node.close();
      const disk = await copyOf(world.disk.kill());
      // The newest batch of each segment, or the whole log and what the table says of itself.
      for (const one of disk.files().filter((name) => name.startsWith("wal/"))) {
        const block = batchBlocks(disk.bytesOf(one)).at(-1);
        if (damaged === "table") await disk.remove(one);
        else if (block !== undefined) disk.flip(one, block * blockBytes + 9);
      }
      if (damaged === "table") {
        world.table.damage((entries) =>
          entries
            .filter(({ key }) => equal(key, metaKey))
            .map(({ key, value }) => ({ key, value: value.fill(1) })),
        );
      }
      // The clock was set back while the node was down: by as much as that took.
      const after = newWorld({ seed: 6, nowMs, disk, image: world.table.image });
      const next = await openIn(after, { acceptDataLoss: true });
      const again = await next.put({
        ...{ namespace: "default", requestId, key: utf8Bytes("other") },
        ...{ value: utf8Bytes("new"), contentType: "text/plain", meta: [] },
      });
      assert.not.equal(again.version, version, `the ${damaged} was damaged`);
      await next.close();
    }
  },
);

fault("D5: a table that opens at the commit before finds the rest in the log", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const world = newWorld({ seed });
    const ledger = new Ledger();
    const random = new SimRandom(seed);
    const node = await openIn(world);
    await work(node, ledger, { random, count: 120, keys: 8, bytesMax: 1500 });
    if (seed % 2 === 0) await node.close();
    const disk = world.disk.kill();
    world.table.crash({ keep: "flushed" });
    world.table.rollBack(1);
    const after = newWorld({ seed, nowMs: world.clock.nowMs(), disk, image: world.table.image });
    const again = await openIn(after);
    await check(again, ledger, ledger.acknowledged, `seed ${seed}`);
    await again.close();
  }
});

type Damage = (disk: SimDisk, path: string, block: number, blocks: number) => void;

const damages: Readonly<Record<string, Damage>> = {
  flipped: (disk, path, block) => {
    const bytes = Math.min(blockBytes, disk.bytesOf(path).length - block * blockBytes);
    disk.flip(path, block * blockBytes + ((block * 797) % bytes), 1 << (block % 8));
  },
  "flipped at its head": (disk, path, block) => disk.flip(path, block * blockBytes + 20),
  zeroed: (disk, path, block) => disk.zeroBlock(path, block),
  unreadable: (disk, path, block) => disk.loseBlock(path, block),
  swapped: (disk, path, block, blocks) => disk.swapBlocks(path, block, (block + 1) % blocks),
};

/** A disk with data in the log and in the table, its process killed after an idle moment. */
async function filled(count = 90): Promise<Run> {
  const world = newWorld({ seed: 7 });
  const ledger = new Ledger();
  const random = new SimRandom(7);
  const node = await openIn(world, { memtableBytesMax: 24 * 1024 });
  await work(node, ledger, { random, count, keys: 12, bytesMax: 2500 });
  await world.clock.advance(500);
  return { world, ledger };
}

fault("P8: whichever block of whichever file is damaged, nothing false is served", async () => {
  const { world, ledger } = await filled();
  const dead = world.disk.kill();
  const { image } = world.table;
  const told = { refused: 0, marked: 0, whole: 0 };
  for (const path of dead.files()) {
    const blocks = Math.ceil(dead.bytesOf(path).length / blockBytes);
    for (let block = 0; block < blocks; block += 1) {
      for (const [name, damage] of Object.entries(damages)) {
        if (name === "swapped" && blocks === 1) continue;
        const disk = await copyOf(dead);
        damage(disk, path, block, blocks);
        const what = `block ${block} of ${path} ${name}`;
        const after = newWorld({ seed: 3, nowMs: world.clock.nowMs() + 1000, disk, image });
        told[await judge(after, ledger, what)] += 1;
      }
    }
  }
  assert.ok(told.whole > 0 && told.marked > 0, JSON.stringify(told));
});

fault("P8: a block of the log that cannot be read costs no more than a damaged one", async () => {
  const { world, ledger } = await filled();
  const dead = world.disk.kill();
  const { image } = world.table;
  const told: Record<string, number> = {};
  for (const path of dead.files().filter((one) => one.startsWith("wal/"))) {
    const bytes = dead.bytesOf(path);
    for (let block = 0; block * blockBytes < bytes.length; block += 1) {
      const what = `block ${block} of ${path}`;
      const outcomes: string[] = [];
      for (const isUnreadable of [true, false]) {
        const disk = await copyOf(dead);
        const others = bytes.slice();
        others.fill(0xff, block * blockBytes, (block + 1) * blockBytes);
        if (isUnreadable) disk.loseBlock(path, block);
        else disk.replace(path, others);
        const after = newWorld({ seed: 3, nowMs: world.clock.nowMs() + 1000, disk, image });
        outcomes.push(await judge(after, ledger, what));
      }
      // What would be cut without a word is not given up where nobody else has it.
      const isKept = outcomes[0] === "refused" && outcomes[1] === "whole";
      if (!isKept) assert.is(outcomes[0], outcomes[1], what);
      told[outcomes[0] ?? ""] = (told[outcomes[0] ?? ""] ?? 0) + 1;
    }
  }
  for (const outcome of ["marked", "whole", "refused"]) {
    assert.ok((told[outcome] ?? 0) > 0, JSON.stringify(told));
  }
});

/** A disk that cannot read one block of a file for now. */
function without(disk: SimDisk, path: string, block: number): SimDisk {
  const open = async (name: string, mode: "read" | "write" | "create"): Promise<DiskFile> => {
    const file = await disk.open(name, mode);
    const read: DiskFile["read"] = async (target, position) => {
      const end = position + target.length;
      if (name === path && position < (block + 1) * blockBytes && end > block * blockBytes) {
        throw Object.assign(new Error("EIO: read"), { code: "EIO" });
      }
      return file.read(target, position);
    };
    return new Proxy(file, {
      get: (of, key) => (key === "read" ? read : boundOf(of, key)),
    });
  };
  return new Proxy(disk, { get: (of, key) => (key === "open" ? open : boundOf(of, key)) });
}

function boundOf(of: object, key: string | symbol): unknown {
  const value: unknown = Reflect.get(of, key, of);
  return typeof value === "function" ? value.bind(of) : value;
}

fault(
  "D2: what a start could not read, and cut, does not come back over what was written since",
  async () => {
    const world = newWorld({ seed: 8 });
    const ledger = new Ledger();
    const first = await openIn(world);
    for (const key of ["a", "b", "c"]) await write(first, key, ledger.attempt(key, "put", 20));
    const dead = world.disk.kill();
    const path = dead.files().find((name) => name.endsWith(".wal")) as string;
    const block = batchBlocks(dead.bytesOf(path)).at(-1) as number;
    const nowMs = world.clock.nowMs() + 1000;
    const image = world.table.image;
    const parts = { seed: 9, nowMs, image };
    // The fault may pass: alone, nothing is given up unasked.
    const unasked = newWorld({ ...parts, disk: without(await copyOf(dead), path, block) });
    const refused = await openIn(unasked).catch((error: unknown) => error as QuorateError);
    if (!("slug" in refused)) throw new Error("it was opened");
    assert.is(refused.slug, "corruption");
    assert.match(refused.detail, /cannot read 1 blocks at the end of the log/);
    const passed = await openIn(newWorld({ ...parts, disk: await copyOf(dead) }));
    assert.equal(await read(passed, "c"), ledger.attempts.get("c")?.[0]?.value);
    await passed.close();
    const cut = newWorld({ ...parts, disk: without(dead, path, block) });
    const second = await openIn(cut, { acceptDataLoss: true });
    for (const key of ["d", "e", "f"]) {
      const attempt = ledger.attempt(key, "put", 20);
      await write(second, key, attempt);
      ledger.acknowledge(key, attempt.number);
    }
    const later = { seed: 10, nowMs: nowMs + 1000, image: cut.table.image };
    const third = await openIn(newWorld({ ...later, disk: cut.disk.kill() }));
    for (const key of ["d", "e", "f"]) {
      assert.equal(await read(third, key), ledger.attempts.get(key)?.[0]?.value, key);
    }
    await third.close();
  },
);

/** A disk of its own with the same files. */
async function copyOf(disk: SimDisk): Promise<SimDisk> {
  const copy = new SimDisk({ isRecorded: false });
  await copy.makeFolder("wal");
  for (const path of disk.files()) copy.replace(path, disk.bytesOf(path));
  return copy;
}

/** How a node takes a damaged folder; asserts that it serves nothing false. */
async function judge(
  world: World,
  ledger: Ledger,
  what: string,
): Promise<"refused" | "marked" | "whole"> {
  let node: QuorateNode;
  try {
    node = await openIn(world);
  } catch (error) {
    assert.ok(isExpected(error), `${what}: ${String(error)}`);
    return "refused";
  }
  const { clusterId, partitions, damagedPartitions } = await node.info();
  const ring = new Ring(clusterId, partitions);
  for (const [key, attempts] of ledger.attempts) {
    const { partition } = ring.place(0, utf8Bytes(key));
    const isMarked = damagedPartitions.includes(partition);
    const least = isMarked ? 0 : (ledger.acknowledged.get(key) ?? 0);
    try {
      const value = await read(node, key);
      const fits = attempts.some(
        (attempt) =>
          attempt.number >= least &&
          (attempt.kind === "delete"
            ? value === undefined
            : value !== undefined && Buffer.compare(value, attempt.value) === 0),
      );
      assert.ok(fits, `${what}: '${key}' in a ${isMarked ? "marked" : "whole"} partition`);
      // A tombstone is found as well; only "nothing at all" cannot be told from "lost".
    } catch (error) {
      assert.is((error as QuorateError).slug, "corruption", `${what}: ${String(error)}`);
      assert.ok(isMarked, what);
    }
  }
  await node.close();
  return damagedPartitions.length > 0 ? "marked" : "whole";
}

fault(
  "I4: a partition that lost records serves what it has, says corruption for the rest, and takes writes",
  async () => {
    const { world, ledger } = await filled();
    const disk = world.disk.kill();
    const batches = disk
      .files()
      .filter((path) => path.endsWith(".wal"))
      .flatMap((path) => batchBlocks(disk.bytesOf(path)).map((block) => ({ path, block })));
    // The last one is a mark, which says that all before it was synced.
    const { path, block } = batches.at(-3) as { path: string; block: number };
    disk.zeroBlock(path, block);
    const after = newWorld({
      seed: 3,
      nowMs: world.clock.nowMs() + 1000,
      disk,
      image: world.table.image,
    });
    const node = await openIn(after);
    const { damagedPartitions, clusterId, partitions } = await node.info();
    assert.ok(damagedPartitions.length > 0);
    const ring = new Ring(clusterId, partitions);
    const fresh = Array.from({ length: 100 }, (_, index) => `fresh${index}`).find((key) =>
      damagedPartitions.includes(ring.place(0, utf8Bytes(key)).partition),
    ) as string;
    await assertSlug(() => read(node, fresh), "corruption");
    await assertSlug(() => node.list({ namespace: "default", requestId }), "corruption");
    const attempt = ledger.attempt(fresh, "put", 20);
    await write(node, fresh, attempt);
    assert.equal(await read(node, fresh), attempt.value);
    await node.close();
    // The mark is durable, until an operator takes the loss as final.
    const again = newWorld({
      seed: 4,
      nowMs: world.clock.nowMs() + 2000,
      disk: after.disk.kill(),
      image: after.table.image,
    });
    const second = await openIn(again);
    assert.equal((await second.info()).damagedPartitions, damagedPartitions);
    await second.close();
    const third = await openIn(
      newWorld({
        seed: 5,
        nowMs: world.clock.nowMs() + 3000,
        disk: again.disk.kill(),
        image: again.table.image,
      }),
      { acceptDataLoss: true },
    );
    assert.equal((await third.info()).damagedPartitions, []);
    assert.is(await read(third, "surely absent"), undefined);
    await third.close();
  },
);

/** The blocks in which batches of a segment begin. */
function batchBlocks(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = blockBytes; at < bytes.length; at += blockBytes) {
    if (new TextDecoder().decode(bytes.subarray(at, at + 4)) === "QBAT")
      found.push(at / blockBytes);
  }
  return found;
}

async function assertSlug(run: () => Promise<unknown>, slug: string, what = "it"): Promise<void> {
  try {
    await run();
  } catch (error) {
    assert.is((error as QuorateError).slug, slug, String(error));
    return;
  }
  assert.unreachable(`${what} should have thrown ${slug}`);
}

fault(
  "D5: a log or a table that is gone as a whole is a refusal that names the lost sequences",
  async () => {
    for (const gone of ["log", "table", "topology"] as const) {
      // So many that the log's first segments are not needed any more.
      const { world } = await filled(400);
      const disk = world.disk.kill();
      if (gone === "log")
        for (const name of await disk.list("wal")) await disk.remove(`wal/${name}`);
      if (gone === "topology") for (const end of ["a", "b"]) await disk.remove(`topology.${end}`);
      const image = gone === "table" ? {} : { image: world.table.image };
      const after = newWorld({ seed: 3, nowMs: world.clock.nowMs(), disk, ...image });
      await assertSlug(() => openIn(after), "corruption", `without the ${gone}`);
      assert.is((await disk.list("")).includes("identity.a"), true);
    }
  },
);

fault(
  "the newest segment of the log gone, or cut short, marks what nobody can tell any more",
  async () => {
    for (const how of ["gone", "cut at a batch", "emptied behind its header"] as const) {
      const { world } = await filled(400);
      const disk = await copyOf(world.disk.kill());
      const segments = disk.files().filter((path) => path.endsWith(".wal"));
      const used = segments.filter((path) => disk.bytesOf(path).some((byte) => byte !== 0));
      const newest = used.at(-1) as string;
      const bytes = disk.bytesOf(newest);
      if (how === "gone") await disk.remove(newest);
      if (how === "cut at a batch") disk.replace(newest, bytes.slice(0, 2 * blockBytes));
      if (how === "emptied behind its header") disk.replace(newest, bytes.slice(0, blockBytes));
      const { image } = world.table;
      const after = newWorld({ seed: 3, nowMs: world.clock.nowMs() + 1000, disk, image });
      const node = await openIn(after);
      assert.is((await node.info()).damagedPartitions.length, 4, how);
      await node.close();
      // Taken as final, it is not found again.
      for (const acceptDataLoss of [true, false]) {
        const next = newWorld({
          seed: 5,
          nowMs: world.clock.nowMs() + 2000,
          disk: after.disk,
          image: after.table.image,
        });
        const again = await openIn(next, { acceptDataLoss });
        assert.equal((await again.info()).damagedPartitions, [], how);
        await again.close();
        after.table.kill();
        Object.assign(after, { table: next.table });
      }
    }
  },
);

fault(
  "a loss in the log is found again after a start that ended before it was marked",
  async () => {
    const { world } = await filled(400);
    const disk = await copyOf(world.disk.kill());
    const segments = disk.files().filter((path) => path.endsWith(".wal"));
    const used = segments.filter((path) => disk.bytesOf(path).some((byte) => byte !== 0));
    assert.ok(used.length < segments.length, "another one was made ready");
    await disk.remove(used.at(-1) as string);
    const { image } = world.table;
    const first = newWorld({ seed: 3, nowMs: world.clock.nowMs() + 1000, disk, image });
    // The first commit is that of the marks.
    first.table.failCommit(1, { code: "EIO", leaves: "nothing" });
    await openIn(first).then(
      () => assert.unreachable("it starts"),
      () => {},
    );
    first.table.kill();
    const next = newWorld({
      seed: 5,
      nowMs: world.clock.nowMs() + 2000,
      disk: first.disk,
      image: first.table.image,
    });
    const node = await openIn(next);
    assert.is((await node.info()).damagedPartitions.length, 4);
    await node.close();
  },
);

fault("an empty segment among used ones says nothing of the log's newest", async () => {
  const { world } = await filled(400);
  const disk = await copyOf(world.disk.kill());
  const [oldest = ""] = disk.files().filter((path) => path.endsWith(".wal"));
  const before = Number(/\d+/.exec(oldest)?.[0]) - 1;
  assert.ok(before > 1, "the first segments are not needed any more");
  // Its sync had failed, what it held was copied, and the power took the rest; its turn to go is next.
  disk.replace(segmentName(before), new Uint8Array(disk.bytesOf(oldest).length));
  const { image } = world.table;
  const after = newWorld({ seed: 3, nowMs: world.clock.nowMs() + 1000, disk, image });
  const node = await openIn(after);
  assert.equal((await node.info()).damagedPartitions, []);
  await node.close();
});

fault.run();
