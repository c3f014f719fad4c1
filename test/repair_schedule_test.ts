/** Whose turn it is: on a schedule whose clock is a number, and chance a seed. */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { RepairSchedule, type Visit } from "../src/repair_schedule.ts";

const test = suite("repair_schedule");
const limits = { periodMs: 1000, retryMs: 100 };
const all = (): boolean => true;

function pairs(partitions: number, nodes: readonly string[] = ["b", "c"]): Visit[] {
  return Array.from({ length: partitions }, (_, partition) =>
    nodes.map((nodeId) => ({ partition, n: 3, nodeId })),
  ).flat();
}

function scheduled(visits: readonly Visit[]): RepairSchedule {
  const schedule = new RepairSchedule(limits);
  schedule.set(visits, 0, new SimRandom(1));
  return schedule;
}

test("every pair is visited once in a period, the first time within the first, spread over it", () => {
  const visits = pairs(8);
  const schedule = scheduled(visits);
  const counts = new Map<Visit, number[]>();
  for (let nowMs = 0; nowMs < 5000; nowMs += 10) {
    for (;;) {
      const next = schedule.begin(nowMs, all);
      if (next === undefined) break;
      counts.set(next.visit, [...(counts.get(next.visit) ?? []), nowMs]);
      schedule.end(next.visit, nowMs, nowMs, true);
    }
  }
  assert.is(counts.size, visits.length);
  for (const times of counts.values()) assert.is(times.length, 5);
  const firsts = [...counts.values()].map(([first]) => first as number);
  assert.ok(Math.max(...firsts) < 1010);
  assert.ok(new Set(firsts).size > 8, "they do not all come at once");
});

test("a partition is compared with one replica at a time", () => {
  const schedule = scheduled(pairs(2));
  const [one, other] = [schedule.begin(1000, all), schedule.begin(1000, all)];
  assert.is.not(one?.visit.partition, other?.visit.partition);
  assert.is(schedule.begin(1000, all), undefined);
  schedule.end(one?.visit as Visit, 1000, 1001, true);
  assert.is(schedule.begin(1001, all)?.visit.partition, one?.visit.partition);
});

test("a pair that is asked for comes first, and once", () => {
  const schedule = scheduled(pairs(8));
  assert.is(
    schedule.ask(({ partition }) => partition === 5),
    2,
  );
  assert.is(schedule.status(0).asked, 2);
  for (let count = 0; count < 2; count += 1) {
    const next = schedule.begin(0, all);
    assert.is(next?.visit.partition, 5);
    assert.ok(next?.wasAsked);
    schedule.end(next?.visit as Visit, 0, 1, true);
  }
  assert.is.not(schedule.begin(2000, all)?.wasAsked, true);
});

test("whoever cannot be reached holds up nobody, and is visited when it can", () => {
  const schedule = scheduled(pairs(3));
  const seen = new Set<string>();
  const isUp = ({ nodeId }: Visit): boolean => nodeId !== "b";
  for (;;) {
    const next = schedule.begin(1000, isUp);
    if (next === undefined) break;
    seen.add(next.visit.nodeId);
    schedule.end(next.visit, 1000, 1000, true);
  }
  assert.equal([...seen], ["c"]);
  assert.is(schedule.status(1000).due, 3);
  assert.is(schedule.begin(1000, all)?.visit.nodeId, "b");
});

test("a visit that was broken off is tried again soon, one that came to its end after a period", () => {
  const schedule = scheduled(pairs(1, ["b"]));
  const visit = schedule.begin(1000, all)?.visit as Visit;
  schedule.end(visit, 1000, 1200, false);
  assert.is(schedule.status(1250).visited, 0);
  assert.is(schedule.begin(1299, all), undefined);
  assert.ok(schedule.begin(1300, all));
  schedule.end(visit, 1300, 1400, true);
  const { visited, oldestMs, nextMs } = schedule.status(1500);
  assert.equal([visited, oldestMs, nextMs], [1, 1300, 2300]);
  assert.is(schedule.begin(2299, all), undefined);
  assert.ok(schedule.begin(2300, all));
});

test("the pairs follow the topology, and keep what is known of those that stay", () => {
  const any = fc.uniqueArray(
    fc.record({ partition: fc.nat(3), nodeId: fc.constantFrom("b", "c") }),
    {
      selector: ({ partition, nodeId }) => `${partition}${nodeId}`,
    },
  );
  fc.assert(
    fc.property(fc.array(any, { minLength: 1, maxLength: 6 }), (topologies) => {
      const schedule = new RepairSchedule(limits);
      let nowMs = 0;
      for (const topology of topologies) {
        const visits = topology.map((pair) => ({ ...pair, n: 3 }));
        schedule.set(visits, nowMs, new SimRandom(nowMs));
        assert.is(schedule.status(nowMs).pairs, visits.length);
        nowMs += 2000;
        const met = new Set<string>();
        for (;;) {
          const next = schedule.begin(nowMs, all);
          if (next === undefined) break;
          met.add(`${next.visit.partition}${next.visit.nodeId}`);
          schedule.end(next.visit, nowMs, nowMs, true);
        }
        assert.is(met.size, visits.length);
      }
    }),
    { numRuns: 100 },
  );
});

test.run();
