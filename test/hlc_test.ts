/**
 * Laws of the clock and of what mints with it: stamps ascend, stay below a ceiling and near the wall
 * clock, wherever that goes.
 */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimRandom } from "../sim/random.ts";
import {
  ceilingAheadMs,
  ceilingFor,
  guardMs,
  type Hlc,
  HybridClock,
  hlcAt,
  hlcNext,
  hlcWallMs,
  isBeyondGuard,
  needsNewOrigin,
} from "../src/hlc.ts";
import { Mint } from "../src/store_mint.ts";
import { compareVersions, type Version } from "../src/version.ts";
import { runs } from "./samples.ts";

const test = suite("hlc");
const beganMs = 1_700_000_000_000;
const zero = 0n as Hlc;

test("hlcAt() and hlcWallMs() are each other's inverse on milliseconds of 48 bits", () => {
  const property = fc.property(fc.integer({ min: 0, max: 2 ** 48 - 1 }), (wallMs) => {
    assert.is(hlcWallMs(hlcAt(wallMs)), wallMs);
    assert.is(hlcWallMs(hlcNext(hlcAt(wallMs))), wallMs);
    assert.ok(hlcAt(wallMs) < hlcNext(hlcAt(wallMs)));
  });
  fc.assert(property, runs(200));
  assert.is(hlcAt(1), 65_536n);
  for (const wallMs of [-1, 2 ** 48, Number.NaN]) assert.throws(() => hlcAt(wallMs));
});

test("HybridClock: ticks ascend strictly and are never below the wall clock, however that jumps", () => {
  const property = fc.property(
    fc.array(fc.integer({ min: -10_000, max: 10_000 }), { maxLength: 50, size: "max" }),
    fc.nat(20_000),
    (jumps, ahead) => {
      const floor = hlcAt(beganMs + ahead);
      const clock = new HybridClock(floor);
      let nowMs = beganMs;
      let before = floor;
      for (const jump of jumps) {
        nowMs += jump;
        const stamp = clock.tick(nowMs);
        assert.ok(stamp > before, "above all before it, and above the floor");
        assert.ok(stamp >= hlcAt(nowMs));
        assert.is(clock.last, stamp);
        before = stamp;
      }
    },
  );
  fc.assert(property, runs(200));
});

test("HybridClock: 65,536 ticks in one millisecond run into the next one, still ascending", () => {
  const clock = new HybridClock(zero);
  let before = clock.tick(beganMs);
  for (let count = 0; count < 70_000; count += 1) {
    const stamp = clock.tick(beganMs);
    if (stamp !== before + 1n) assert.unreachable(`${stamp} after ${before}`);
    before = stamp;
  }
  assert.is(hlcWallMs(before), beganMs + 1);
});

test("V2: observe() moves the clock up to the guard ahead of the wall clock, and no further", () => {
  const property = fc.property(fc.integer({ min: -5000, max: 5000 }), (aheadMs) => {
    const clock = new HybridClock(hlcAt(beganMs));
    const before = clock.last;
    const stamp = hlcAt(beganMs + aheadMs);
    const isTaken = clock.observe(stamp, beganMs);
    assert.is(isTaken, aheadMs <= guardMs);
    assert.is(isTaken, !isBeyondGuard(stamp, beganMs));
    assert.is(clock.last, isTaken && stamp > before ? stamp : before);
    assert.ok(clock.tick(beganMs) > (isTaken ? stamp : before));
    assert.ok(hlcWallMs(clock.last) <= beganMs + guardMs + 1);
  });
  fc.assert(property, runs(300));
});

test("V1: a ceiling is less than half the guard ahead, and a new origin is needed above half of it", () => {
  assert.ok(ceilingAheadMs < guardMs / 2);
  const property = fc.property(fc.integer({ min: 0, max: 1000 }), (aheadMs) => {
    assert.is(needsNewOrigin(hlcAt(beganMs + aheadMs), beganMs), aheadMs > guardMs / 2);
    assert.not.ok(needsNewOrigin(ceilingFor(beganMs), beganMs));
  });
  fc.assert(property, runs(100));
});

interface Home {
  readonly clock: SimClock;
  readonly mint: Mint;
  readonly renewed: bigint[];
}

function mintOf(floor: Hlc = zero): Home {
  const clock = new SimClock(beganMs);
  const renewed: bigint[] = [];
  const renewOrigin = async (): Promise<bigint> => {
    await undefined;
    renewed.push(BigInt(100 + renewed.length));
    return renewed.at(-1) as bigint;
  };
  const random = new SimRandom(1);
  return { clock, mint: new Mint({ clock, random, origin: 7n, floor, renewOrigin }), renewed };
}

test("V1: Mint gives versions that ascend, each below the ceiling and near the wall clock, each once", async () => {
  const anyStep = fc.record({
    jumpMs: fc.oneof(
      fc.constant(0),
      fc.integer({ min: -600, max: 600 }),
      fc.integer({ min: -9e6, max: 9e6 }),
    ),
    kind: fc.constantFrom("mint", "mint", "above", "twice"),
    aboveMs: fc.integer({ min: -700, max: 5000 }),
  });
  const property = fc.asyncProperty(
    fc.array(anyStep, { maxLength: 25, size: "max" }),
    async (steps) => {
      const { clock, mint } = mintOf();
      const seen = new Set<string>();
      const last = new Map<bigint, bigint>();
      const note = (version: Version): void => {
        const name = `${version.hlc}-${version.origin}`;
        assert.not.ok(seen.has(name), "a version is minted once");
        seen.add(name);
        assert.ok(version.hlc > (last.get(version.origin) ?? 0n), "an origin's stamps ascend");
        last.set(version.origin, version.hlc);
      };
      for (const { jumpMs, kind, aboveMs } of steps) {
        clock.setNowMs(clock.nowMs() + jumpMs);
        if (kind === "above") {
          const met = { hlc: hlcAt(clock.nowMs() + aboveMs), origin: 3n };
          const version = await mint.mintAbove(met);
          assert.is(compareVersions(version, met), 1, "above what was met");
          note(version);
          continue;
        }
        const versions = await Promise.all(
          Array.from({ length: kind === "twice" ? 3 : 1 }, () => mint.mint()),
        );
        for (const version of versions) {
          note(version);
          assert.ok(version.hlc < mint.ceiling());
          assert.ok(version.hlc >= hlcAt(clock.nowMs()));
          assert.ok(hlcWallMs(version.hlc) <= clock.nowMs() + guardMs);
        }
        assert.ok(mint.nowMs() >= clock.nowMs());
      }
    },
  );
  await fc.assert(property, runs(300));
});

test("V1: a clock set back by no more than half the guard keeps its origin, one set back further takes a new one", async () => {
  for (const [backMs, isNew] of [
    [0, false],
    [guardMs / 2, false],
    [guardMs / 2 + 1, true],
    [3_600_000, true],
  ] as const) {
    const { clock, mint, renewed } = mintOf();
    const before = await mint.mint();
    clock.setNowMs(beganMs - backMs);
    const after = await mint.mint();
    assert.is(after.origin, isNew ? 100n : before.origin, `${backMs} ms`);
    assert.is(renewed.length, isNew ? 1 : 0);
    if (!isNew) assert.is(compareVersions(after, before), 1);
    else assert.is(after.hlc, hlcAt(beganMs - backMs), "it begins again at the wall clock");
  }
});

test("V1: a start with a floor far ahead takes a new origin once, for all who wait for it", async () => {
  const { mint, renewed } = mintOf(hlcAt(beganMs + 3_600_000));
  const versions = await Promise.all([
    mint.mint(),
    mint.mint(),
    mint.settle().then(() => mint.mint()),
  ]);
  assert.equal(renewed, [100n]);
  assert.is(new Set(versions.map(({ hlc }) => hlc)).size, 3);
  const near = mintOf(hlcAt(beganMs + 100));
  assert.ok((await near.mint.mint()).hlc > hlcAt(beganMs + 100), "above the floor");
  assert.equal(near.renewed, []);
});

test("V3: above a stamp beyond the guard, each version has an origin used once", async () => {
  const { clock, mint, renewed } = mintOf();
  const met = { hlc: hlcAt(beganMs + 10_000), origin: 9n };
  const versions = [await mint.mintAbove(met), await mint.mintAbove(met)];
  for (const { hlc, origin } of versions) {
    assert.is(hlc, hlcNext(met.hlc));
    assert.ok(origin !== 7n);
  }
  assert.is.not(versions[0]?.origin, versions[1]?.origin);
  // The clock itself did not follow.
  assert.is((await mint.mint()).hlc, hlcAt(clock.nowMs()));
  assert.equal(renewed, []);
});

test("V1: an origin that could not be made durable is not used, and the next mint tries again", async () => {
  const clock = new SimClock(beganMs);
  let tries = 0;
  const mint = new Mint({
    clock,
    random: new SimRandom(1),
    origin: 7n,
    floor: hlcAt(beganMs + 10_000),
    renewOrigin: async () => {
      tries += 1;
      if (tries === 1) throw new Error("EIO");
      return 8n;
    },
  });
  let failure: unknown;
  await Promise.resolve(mint.mint()).catch((error: unknown) => {
    failure = error;
  });
  assert.match(String(failure), /EIO/);
  assert.equal(await mint.mint(), { hlc: hlcAt(beganMs), origin: 8n });
});

test.run();
