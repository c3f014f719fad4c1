/**
 * Sim: whole clusters of real nodes from one seed, and the machinery that makes them so.
 *
 * The seeds are fixed: the first of them found something once, with the simulator as it was then
 * (docs/track-record.md). `npm run sim` runs as many others as there is time for.
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Chance } from "../sim/chance.ts";
import { type Focus, focuses } from "../sim/focus.ts";
import { drive, ReachedReality } from "../sim/guard.ts";
import { drawKnobs } from "../sim/knobs.ts";
import { hasLostOnlyCopies, isDropping } from "../sim/members.ts";
import { mutations } from "../sim/mutations.ts";
import { SimNetwork } from "../sim/network.ts";
import { SimProcess } from "../sim/node_process.ts";
import { Scheduler } from "../sim/scheduler.ts";
import { shrink } from "../sim/shrink.ts";
import { type Run, simulate } from "../sim/simulate.ts";
import { troubleKinds } from "../sim/trouble_list.ts";
import { WallClock } from "../sim/wall_clock.ts";
import type { RepairAnswer } from "../src/api_cluster.ts";
import type { FrameSink, FrameSource } from "../src/capability.ts";

const test = suite("sim");

const isLong = process.env["QUORATE_LONG"] === "1";
const seeds = [66, 10_014_108, 40_010_280, 80_001_358];
/** Those below 400 are among the seeds of `.ci/run` as well. */
const olderSeeds = [
  ...[1, 3, 60, 64, 85, 190, 235, 293, 5002, 5023, 5115, 20_179, 20_327, 20_460, 20_522],
  ...[21_263, 21_898, 22_385, 100_295, 300_817, 301_703, 303_676, 80_010_302],
];
const moreSeeds = isLong
  ? [...olderSeeds, ...Array.from({ length: 300 }, (_, index) => 10_000 + index)]
  : [];

for (const seed of [...seeds, ...moreSeeds]) {
  test(`sim: seed ${seed} keeps every promise`, async () => {
    const { violations } = await simulate({ seed });
    assert.equal(violations, []);
  });
}

/** The quickest one, and what was found in others; `.ci/run` runs some seeds of each. */
const focused = [
  ["one key", 1],
  ["restarts", 77],
  ["moves of those away", 2117],
  ["writes of those away", 1005],
] as const;

for (const [focus, seed] of isLong ? focused : focused.slice(0, 2)) {
  test(`sim: every promise is kept in a world of '${focus}', seed ${seed}`, async () => {
    const { violations } = await simulate({ seed, focus });
    assert.equal(violations, []);
  });
}

test("sim: where a drop waits for who has lost the only copy, an operator accepts that", async () => {
  const { violations } = await simulate({ seed: 90_002_043, moves: "many" });
  assert.equal(violations, []);
});

test("sim: a loss is accepted for nothing but a drop that waits, and where nobody else has what is lost", () => {
  const move = {
    ...{ begun: 11, phase: 4, doing: "", isReverting: false, partitions: 2, copies: [] },
    ...{ joining: [], leaving: [], waitsFor: "n2 drops what it does not hold any more" },
  };
  assert.ok(isDropping(move));
  const takesNotice = "partition 0 waits for n3 to take notice of phase 4";
  for (const other of [undefined, { ...move, phase: 3 }, { ...move, waitsFor: takesNotice }]) {
    assert.not(isDropping(other));
  }
  const place = (
    whys: readonly string[],
    parts: { hasLost?: boolean; isReplaced?: boolean; damage?: string } = {},
  ) => {
    const { hasLost = true, isReplaced = false, damage: detail } = parts;
    const lacking = whys.map((why) => ({ partition: 0, n: 1, why }));
    const status = { lacking, lackingCount: lacking.length } as unknown as RepairAnswer;
    const data = { name: "data", ok: true, ...(detail === undefined ? {} : { detail }) };
    return { hasLost, isReplaced, node: { readiness: () => [data], repair: () => status } };
  };
  const alone = "nobody else has what it had: start it with --accept-data-loss";
  assert.ok(hasLostOnlyCopies(place([alone])));
  assert.ok(hasLostOnlyCopies(place([alone, alone])));
  for (const other of [
    // A move that waits though nothing was lost, or all of it is filled, is a finding.
    place([alone], { hasLost: false }),
    place([]),
    // Others fill it.
    place([alone, "1 of 2 other replicas that are needed have data: n1 is not reached"]),
    place([alone], { damage: "1 partitions have lost records" }),
    place(["that it was rolled back is being written down"]),
    // It waits to be taken in.
    place([alone], { isReplaced: true }),
    { ...place([alone]), node: undefined },
  ]) {
    assert.not(hasLostOnlyCopies(other));
  }
});

test("sim: a focus draws the same world again", () => {
  const drawn = (focus: Focus): string => {
    const knobs = focus.knobs(drawKnobs(new Chance(7)));
    const troubles = focus.troubles(new Chance(8), {
      nodes: knobs.nodes,
      safetyMs: knobs.safetyMs,
    });
    assert.is(knobs.clocks.length, knobs.nodes);
    assert.ok(troubles.every(({ one, atMs }) => one < knobs.nodes && atMs < knobs.safetyMs));
    return JSON.stringify([knobs, troubles]);
  };
  for (const focus of Object.values(focuses)) assert.is(drawn(focus), drawn(focus));
});

test("sim: every focus is in the page on the simulator with its meaning, and in what a release runs", () => {
  const read = (path: string): string =>
    readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
  const [page, release] = [read("docs/simulator.md"), read(".ci/run")];
  const all = Object.entries(focuses);
  const rows = all.map(([name, { meaning }]) => `| \`${name}\` | ${meaning} |\n`);
  assert.equal(
    rows.filter((row) => !page.includes(row)),
    [],
  );
  assert.equal(
    all.filter(([name]) => !release.includes(`"${name}"`)),
    [],
  );
});

/** These are noticed at once; `npm run sim:mutations` tries all. */
for (const [name, promise, world] of [
  ["the last to arrive wins", "P2", { only: troubleKinds }],
  ["what was sent is said to have done nothing", "P7", { only: troubleKinds }],
  ["no hints are kept", "P5", { focus: "restarts" }],
  ["one voter chooses a document", "P6", { only: ["split", "isolate", "cut pair"] }],
] as const) {
  test(`sim: a broken rule is noticed: ${name}`, async () => {
    const mutation = mutations.find((each) => each.name === name);
    assert.ok(mutation !== undefined);
    const broken = new Set<string>();
    for (let seed = 1; seed <= 30 && !broken.has(promise); seed += 1) {
      const { violations } = await simulate({ seed, ...world, ...(mutation && { mutation }) });
      for (const violation of violations) broken.add(violation.promise);
    }
    assert.ok(broken.has(promise), [...broken].join());
  });
}

test("sim: what a mutation replaced is back after its run", async () => {
  const before = await simulate({ seed: 66 });
  for (const mutation of mutations) {
    const end = mutation.begin?.();
    end?.();
  }
  const after = await simulate({ seed: 66 });
  assert.is(before.hash, after.hash);
});

test("sim: one seed is one run, event for event; another is another", async () => {
  const [first, again, other] = [
    await simulate({ seed: 66 }),
    await simulate({ seed: 66 }),
    await simulate({ seed: 293 }),
  ];
  assert.is(first.hash, again.hash);
  assert.is(first.events, again.events);
  assert.equal(first.history, again.history);
  assert.is.not(first.hash, other.hash);
});

test("guard: a run that reaches real time or chance fails, and both are back afterwards", async () => {
  const reaches: readonly (() => unknown)[] = [
    () => Math.random(),
    () => Date.now(),
    () => performance.now(),
    () => crypto.getRandomValues(new Uint8Array(1)),
    () => setTimeout(() => {}, 1),
  ];
  for (const reach of reaches) {
    const scheduler = new Scheduler();
    scheduler.after(1, () => void Promise.resolve().then(() => reach()));
    scheduler.after(2, () => {});
    const failed = await drive(scheduler, () => false).then(
      () => undefined,
      (error: unknown) => error,
    );
    assert.instance(failed, ReachedReality);
  }
  assert.type(Math.random(), "number");
  assert.type(Date.now(), "number");
});

test("guard: promises settle between two events, however long their chain is", async () => {
  const scheduler = new Scheduler();
  const seen: string[] = [];
  scheduler.after(1, () => {
    void (async () => {
      for (let turn = 0; turn < 5000; turn += 1) await undefined;
      seen.push("settled");
    })();
  });
  scheduler.after(1, () => seen.push("next"));
  await drive(scheduler, () => false);
  assert.equal(seen, ["settled", "next"]);
});

test("scheduler: events run in the order of their times, then of their making", async () => {
  const scheduler = new Scheduler();
  const seen: number[] = [];
  for (const [delayMs, name] of [
    [5, 3],
    [1, 1],
    [5, 4],
    [2, 2],
  ] as const) {
    scheduler.after(delayMs, () => seen.push(name));
  }
  scheduler.after(3, () => seen.push(99))();
  await drive(scheduler, () => false);
  assert.equal(seen, [1, 2, 3, 4]);
});

test("WallClock: the latest that it has ever shown stays, wherever it is set", () => {
  const scheduler = new Scheduler();
  const wall = new WallClock(scheduler, 1000, 0);
  assert.is(wall.latestMs, 1000);
  wall.set(5000, 1000);
  wall.set(-500, 1000);
  assert.equal([wall.nowMs(), wall.latestMs], [500, 6000]);
  wall.correct(1000);
  assert.equal([wall.nowMs(), wall.latestMs], [1000, 6000]);
});

test("process: a dead one does nothing more; one that stands still does it later, in order", async () => {
  const scheduler = new Scheduler();
  const wall = new WallClock(scheduler, 1000, 0);
  const [one, other] = [new SimProcess(scheduler, wall), new SimProcess(scheduler, wall)];
  const seen: string[] = [];
  one.after(4, () => seen.push("never"));
  scheduler.after(1, () => one.kill());
  other.after(3, () => seen.push(`second at ${scheduler.nowMs}`));
  other.after(2, () => seen.push(`first at ${scheduler.nowMs}`));
  scheduler.after(1, () => other.stall(9));
  await drive(scheduler, () => false);
  assert.equal(seen, ["first at 10", "second at 10"]);
});

/** Two ends on a network whose messages take a millisecond. */
function pair(): {
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly heard: string[];
  readonly say: (text: string) => void;
} {
  const scheduler = new Scheduler();
  const knobs = { leastMs: 1, mostMs: 1, slowShare: 0, slowFactor: 1, bytesPerMs: 1000 };
  const more = { windowBytes: 1000, pingPeriodMs: 50, answerMsMax: 50 };
  const network = new SimNetwork(scheduler, new Chance(1), { ...knobs, ...more });
  const heard: string[] = [];
  const waiting: string[] = [];
  let wake: () => void = () => {};
  const source: FrameSource = {
    next: async () => {
      while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return new TextEncoder().encode(waiting.shift());
    },
  };
  const silent: FrameSource = { next: () => new Promise(() => {}) };
  const sink = (name: string): FrameSink => ({
    onFrame: (frame) => heard.push(`${name} ${new TextDecoder().decode(frame)}`),
    onEnd: (reason) => heard.push(`${name} ends: ${reason?.message ?? "closed"}`),
  });
  const owner = { isDead: false, stalledUntilMs: 0 };
  network.listen("b", () => ({ source: silent, sink: sink("b") }), owner);
  network.from("a", owner).dial("b", source, sink("a"));
  return {
    scheduler,
    network,
    heard,
    say: (text) => {
      waiting.push(text);
      wake();
    },
  };
}

async function until(scheduler: Scheduler, ms: number): Promise<void> {
  await drive(scheduler, () => scheduler.nowMs >= ms);
}

test("network: frames come in order; what a block held back comes when it is lifted in time", async () => {
  const { scheduler, network, heard, say } = pair();
  scheduler.after(5, () => say("1"));
  scheduler.after(6, () => network.block("a", "b"));
  scheduler.after(7, () => say("2"));
  scheduler.after(8, () => say("3"));
  scheduler.after(9, () => network.unblock("a", "b"));
  await until(scheduler, 450);
  assert.equal(heard, ["b 1", "b 2", "b 3"]);
});

test("network: whoever is blocked one way is found out by both ends, by their pings", async () => {
  const { scheduler, network, heard } = pair();
  scheduler.after(5, () => network.block("b", "a"));
  await until(scheduler, 400);
  assert.ok(heard.includes("a ends: it answered no ping for 50 ms"), heard.join());
  assert.is(heard.filter((line) => line.startsWith("b ends")).length, 1, heard.join());
});

test("network: a reset loses what is on the wire, and both ends hear one end", async () => {
  const { scheduler, network, heard, say } = pair();
  scheduler.after(5, () => {
    say("lost");
    scheduler.after(0.1, () => network.cut("a", "b"));
  });
  await until(scheduler, 100);
  assert.equal(heard.sort(), [
    "a ends: the connection was reset",
    "b ends: the connection was reset",
  ]);
});

test("shrink: leaves out what a failure does not need", async () => {
  const mutation = mutations.find(({ name }) => name === "the last to arrive wins");
  assert.ok(mutation !== undefined);
  const isStale = ({ violations }: Run): boolean =>
    violations.some(({ promise }) => promise === "P2");
  // Which seed notices it changes with the program.
  let failed: Run | undefined;
  for (let seed = 1; seed <= 50 && failed === undefined; seed += 1) {
    const run = await simulate({ seed, mutation });
    if (run.troubles.length > 1 && isStale(run)) failed = run;
  }
  assert.ok(failed !== undefined);
  const least = await shrink(failed, { mutation });
  assert.ok(least.troubles.length < failed.troubles.length, "the rule is broken without all these");
  assert.ok(isStale(least));
});

test("shrink: leaves what a failure needs", async () => {
  const run = await simulate({ seed: 66 });
  const broken = { ...run, violations: [{ promise: "P1", detail: "made up" }] as const };
  // Nothing fails, so nothing may be left out.
  const same = await shrink({ ...broken, troubles: run.troubles.slice(0, 2) });
  assert.equal(same.troubles, run.troubles.slice(0, 2));
});

test.run();
