/**
 * Chaos: troubles as they are drawn, the ways under them, the verdict on what clients saw, and real
 * clusters that are troubled by the program and by hand.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heldBy, Ledger, readableOf } from "../chaos/ledger.ts";
import {
  clockOffsetMs,
  drawTroubles,
  parseKinds,
  type Trouble,
  troubleKinds,
  troubleText,
  wayUnder,
  wayUnderAll,
  wellWay,
} from "../chaos/trouble.ts";
import { Chance } from "../sim/chance.ts";
import type { Operation, Told } from "../sim/history.ts";
import { faultOf } from "../src/cli_chaos.ts";
import { tellControl } from "../src/cli_demo_control.ts";
import { QuorateError } from "../src/errors.ts";
import { withFolder } from "./cli_harness.ts";
import { type Ended, type Running, startCli } from "./cli_process.ts";

const test = suite("chaos");
const isLong = process.env["QUORATE_LONG"] === "1";
function long(name: string, run: () => Promise<void>): void {
  if (isLong) test(name, run);
}

const options = { nodes: 3, timeMs: 60_000, kinds: troubleKinds };

test("troubles: the same seed draws the same list, another one another", () => {
  const drawn = (seed: number) => drawTroubles(new Chance(seed), options);
  for (let seed = 0; seed < 50; seed += 1) assert.equal(drawn(seed), drawn(seed));
  assert.is.not(JSON.stringify(drawn(1)), JSON.stringify(drawn(2)));
});

test("troubles: every kind comes, in order of time, over before the time is, with two different nodes", () => {
  const met = new Set<string>();
  for (let seed = 0; seed < 300; seed += 1) {
    let beforeMs = 0;
    for (const { kind, atMs, lastsMs, one, other, much } of drawTroubles(
      new Chance(seed),
      options,
    )) {
      met.add(kind);
      assert.ok(atMs >= beforeMs && lastsMs >= 0 && atMs + lastsMs <= options.timeMs);
      assert.ok(one !== other && [one, other].every((node) => node >= 0 && node < 3));
      assert.ok(much >= 0 && much < 1);
      if (kind === "disk full") assert.is(one, 2, "only the last one has a small disk");
      beforeMs = atMs;
    }
  }
  assert.equal([...met].sort(), [...troubleKinds].sort());
});

test("troubles: only the kinds that are asked for are drawn, and of none none", () => {
  const kinds = ["kill", "reset"] as const;
  const drawn = drawTroubles(new Chance(1), { ...options, timeMs: 600_000, kinds });
  assert.equal([...new Set(drawn.map(({ kind }) => kind))].sort(), ["kill", "reset"]);
  assert.equal(drawTroubles(new Chance(1), { ...options, kinds: [] }), []);
});

test("--fault takes names with commas between them, 'none', and says which name is none", () => {
  assert.equal(parseKinds("kill, one way,kill"), { value: ["kill", "one way"] });
  assert.equal(parseKinds("none"), { value: [] });
  assert.equal(parseKinds("kill,flood"), { error: "'flood' is no trouble." });
  assert.equal(parseKinds(""), { error: "'' is no trouble." });
});

function trouble(kind: Trouble["kind"], more: Partial<Trouble> = {}): Trouble {
  return { kind, atMs: 0, lastsMs: 1000, one: 0, other: 1, much: 0.5, ...more };
}

/** The ways that are held under a trouble, as `source target`. */
function heldUnder(one: Trouble): string[] {
  const held: string[] = [];
  for (const source of [0, 1, 2]) {
    for (const target of [0, 1, 2]) {
      if (source !== target && wayUnder(one, source, target).isHeld)
        held.push(`${source} ${target}`);
    }
  }
  return held;
}

test("ways: each trouble holds what it says, and no more", () => {
  assert.equal(heldUnder(trouble("isolate")), ["0 1", "0 2", "1 0", "2 0"]);
  assert.equal(heldUnder(trouble("split")), ["0 1", "1 0", "1 2", "2 1"]);
  assert.equal(heldUnder(trouble("cut pair")), ["0 1", "1 0"]);
  assert.equal(heldUnder(trouble("one way")), ["0 1"]);
  for (const kind of ["kill", "slow node", "reset", "disk full"] as const) {
    assert.equal(heldUnder(trouble(kind)), []);
  }
  assert.is(wayUnder(trouble("isolate", { much: 0.1 }), 0, 2).isSevered, true);
  assert.is(wayUnder(trouble("slow node", { much: 0.5 }), 2, 0).delayMs, 100);
});

test("ways: of several troubles the worst counts, and of none all is well", () => {
  const both = [trouble("slow node"), trouble("one way")];
  assert.equal(wayUnderAll(both, 0, 1), { isHeld: true, isSevered: false, delayMs: 100 });
  assert.equal(wayUnderAll(both, 1, 2), wellWay);
  assert.equal(wayUnderAll([], 0, 1), wellWay);
});

test("clocks: off by less than replicas bear, or by an hour", () => {
  for (let much = 0; much < 1; much += 0.01) {
    const offMs = Math.abs(clockOffsetMs(trouble("clock jump", { much })));
    assert.ok(offMs < 500 || offMs === 3_600_000, `${offMs}`);
  }
});

test("troubles are told with node, and how long they last", () => {
  assert.is(troubleText(trouble("stall", { one: 2 })), "stall n3 (SIGSTOP) for 1.0 s");
  assert.is(troubleText(trouble("one way")), "one way: what n1 says to n2 is lost, for 1.0 s");
});

test("by hand: what cannot be is told before anybody is asked", () => {
  assert.is(faultOf(["kill", "n3"]), undefined);
  assert.is(faultOf(["cut", "n1", "n2"], { "data-dir": "x", time: undefined }), undefined);
  assert.is(faultOf(["heal"]), undefined);
  assert.is(faultOf(["stop", "n3"]), "'stop' is nothing that can be done to a node.");
  assert.is(faultOf(["toString", "n3"]), "'toString' is nothing that can be done to a node.");
  assert.is(faultOf(["kill"]), "'kill' takes one node.");
  assert.is(faultOf(["cut", "n1"]), "'cut' takes two nodes.");
  assert.is(faultOf(["cut", "n1", "n1"]), "'cut' takes two different nodes.");
  assert.is(faultOf(["heal", "n1"]), "'heal' takes no node.");
  assert.is(faultOf(["kill", "n3"], { seed: 1 }), "--seed is for a cluster that is started.");
});

let tick = 0;
function operation(kind: Operation["kind"], key: string, told: Told, value?: string): Operation {
  tick += 2;
  const level = { level: "quorum", needed: 2, replicas: 3 } as const;
  const moment = { number: tick, begun: tick, ended: tick + 1 };
  const life = { durability: "fsync", ttlMs: undefined } as const;
  const clocks = { leastMs: Number.NEGATIVE_INFINITY, mostMs: Number.POSITIVE_INFINITY };
  return { ...moment, ...level, ...life, clocks, client: "c1", kind, key, value, node: "n1", told };
}

function judged(told: Told): ReturnType<Ledger["judge"]> {
  const ledger = new Ledger();
  const key = ledger.current.keys[0] ?? "";
  const write = operation("put", key, { kind: "written", version: "2-a" }, "v1");
  ledger.current.history.push(write);
  ledger.count(write);
  ledger.final.history.push(operation("get", key, told));
  return ledger.judge();
}

test("P1: the verdict counts what is readable, and names an acknowledged write that is not", () => {
  const kept = judged({ kind: "found", version: "2-a", value: "v1" });
  assert.equal(kept, { violations: [], readable: 1 });
  const lost = judged({ kind: "absent", named: undefined });
  assert.is(lost.readable, 0);
  assert.ok(lost.violations.some(({ promise }) => promise === "P1"));
  const older = judged({ kind: "absent", named: "1-a" });
  assert.ok(older.violations.some(({ promise }) => promise === "P1"));
});

test("P2: a chapter that is over is judged as well, and its writes are read at the end", () => {
  const ledger = new Ledger();
  const first = ledger.current;
  const key = first.keys[0] ?? "";
  first.history.push(operation("put", key, { kind: "written", version: "2-a" }, "v1"));
  first.history.push(operation("get", key, { kind: "absent", named: undefined }));
  while (ledger.current === first) {
    first.history.push(operation("get", first.keys[1] ?? "", { kind: "absent", named: undefined }));
  }
  const second = ledger.current;
  assert.is(second.keys.includes(key), false, "a chapter has keys of its own");
  ledger.final.history.push(operation("get", key, { kind: "found", version: "2-a", value: "v1" }));
  const { violations, readable } = ledger.judge();
  assert.is(readable, 1);
  assert.equal(
    violations.map(({ promise }) => promise),
    ["P2"],
  );
});

test("a write is readable when it, or a newer one, is held", () => {
  assert.is(readableOf(["1-a", "2-a", "3-a"], "2-a"), 2);
  assert.is(readableOf(["1-a"], undefined), 0);
  assert.is(heldBy(operation("get", "k", { kind: "absent", named: "4-a" })), "4-a");
  assert.is(heldBy(operation("get", "k", { kind: "nothing" })), undefined);
});

async function withChaos(
  words: readonly string[],
  use: (run: Running, folder: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (own) => {
    const folder = path.join(own, "chaos");
    const run = startCli(["chaos", "--data-dir", folder, ...words]);
    try {
      await use(run, folder);
    } finally {
      // In order, so that it ends its nodes and leaves no file system behind; then whatever is left.
      run.process.kill("SIGTERM");
      await run.ended;
    }
  });
}

/** As the command does it, without a process for each word. */
async function told(folder: string, ...words: readonly string[]): Promise<string> {
  return (await tellControl(folder, words)) ?? "nobody is there";
}

async function assertRefused(asked: Promise<string>, why: RegExp): Promise<void> {
  const error = await asked.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instance(error, QuorateError);
  assert.match((error as QuorateError).detail, why);
}

test("a real cluster: troubled by hand and by the seed, it keeps every promise", () =>
  withChaos(["--seed", "1", "--time", "1h", "--fault", "reset"], async (run, folder) => {
    await run.said(/n3 serves/);
    const hand = startCli(["chaos", "cut", "n1", "n2", "--data-dir", folder]);
    assert.is((await hand.ended).code, 0);
    assert.match(hand.err, /n1 and n2 do not hear each other/);
    assert.match(await told(folder, "pause", "n1"), /n1 is paused/);
    assert.match(await told(folder, "kill", "n3"), /n3 is killed/);
    assert.match(await told(folder, "resume", "n1"), /n1 goes on/);
    await run.said(/n3 is killed; 'quorate chaos restart n3' starts it again/);
    await assertRefused(told(folder, "kill", "n3"), /n3 does not run/);
    await assertRefused(told(folder, "cut", "n1", "n1"), /Two different nodes/);
    await assertRefused(told(folder, "pause", "n9"), /There is no node 'n9'/);
    assert.match(await told(folder, "heal"), /Every way is well/);
    assert.match(await told(folder, "restart", "n3"), /n3 is started/);
    await run.said(/writes acknowledged; of [1-9]/);
    assert.equal(await run.end("SIGINT"), { code: 0, signal: null } satisfies Ended);
    const [, written, readable] =
      /(\d+) writes acknowledged, (\d+) readable, 0 promises broken\n$/.exec(run.out) ?? [];
    assert.ok(Number(written) > 0 && written === readable, run.out);
    const late = startCli(["chaos", "heal", "--data-dir", folder]);
    assert.is((await late.ended).code, 1);
    assert.match(late.err, /No demo and no chaos cluster runs in/);
  }));

test("a folder that holds something else is left alone", () =>
  withFolder(async (own) => {
    const file = path.join(own, "n1");
    fs.writeFileSync(file, "mine");
    const run = startCli(["chaos", "--data-dir", own]);
    assert.is((await run.ended).code, 2);
    assert.match(run.err, /holds something else already/);
    assert.is(fs.readFileSync(file, "utf8"), "mine");
  }));

for (const seed of [1, 2, 3, 4]) {
  long(
    `a real cluster keeps every promise through two minutes of the troubles of seed ${seed}`,
    () =>
      withChaos(["--seed", `${seed}`, "--time", "2m"], async (run) => {
        assert.is((await run.ended).code, 0, run.out);
        assert.match(run.out, /, 0 promises broken\n$/);
      }),
  );
}

long("nodes that have lost everything break a promise, and the exit code says so", () =>
  withChaos(["--time", "1h", "--fault", "none"], async (run, folder) => {
    await run.said(/writes acknowledged; of [1-9]/);
    const names = ["n1", "n2", "n3"];
    for (const name of names) assert.match(await told(folder, "kill", name), /is killed/);
    for (const name of names) fs.rmSync(path.join(folder, name), { recursive: true });
    for (const name of names) assert.match(await told(folder, "restart", name), /is started/);
    assert.is((await run.end("SIGINT")).code, 1);
    assert.match(run.out, /broken: \[P1\] an acknowledged write is lost/);
    assert.not.match(run.out, / 0 promises broken/);
  }),
);

test.run();
