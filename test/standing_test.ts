/**
 * Standing: a table of what each rule allows, and the law that a standing only rises.
 */
import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Standing, Standings } from "../src/standing.ts";

const test = suite("standing");

function standings(
  change: {
    wasCut?: boolean;
    others?: readonly string[];
    sets?: readonly (readonly string[])[];
    down?: string[];
    onLost?: (sequence: number) => void;
  } = {},
) {
  const { wasCut = false, others = ["b", "c"], down = [], onLost = () => {} } = change;
  const { sets = [others] } = change;
  const byN = new Map(sets.map((set) => [set.length + 1, set]));
  return new Standings({
    openedSequence: 100,
    wasCut,
    partitions: 1,
    othersOf: () => others,
    othersByN: () => byN,
    isDown: (nodeId) => down.includes(nodeId),
    onLost,
  });
}

test("I3: a replica answers nothing until every other one that is up, and at least one, has told", () => {
  const two = standings();
  assert.is(two.of(0), "asked");
  two.tell("b", 0);
  assert.is(two.of(0), "asked");
  two.tell("c", 100);
  assert.is(two.of(0), "whole");
  const alone = standings({ down: ["b", "c"] });
  assert.is(alone.of(0), "asked");
  alone.tell("b", 5);
  assert.is(alone.of(0), "whole");
});

test("I3: the vote of a store is void until the others have told, and for good when it was rolled back", () => {
  const others = ["b", "c"];
  const fresh = standings();
  assert.match(fresh.whyNoVote(others) ?? "", "have not told yet");
  fresh.tell("b", 100);
  assert.match(fresh.whyNoVote(others) ?? "", "have not told yet");
  fresh.tell("c", 0);
  assert.is(fresh.whyNoVote(others), undefined);
  assert.is(standings().whyNoVote([]), undefined, "a cluster of one asks nobody");
  const alone = standings({ down: ["c"] });
  alone.tell("b", 0);
  assert.is(alone.whyNoVote(others), undefined);
  const founder = standings({ down: ["b"] });
  assert.match(founder.whyNoVote(["b"]) ?? "", "have not told yet");
  assert.is(founder.whyNoVote(["b"], ["b"]), undefined, "who joins may never come");
  assert.match(founder.whyNoVote(["b", "c"], ["b"]) ?? "", "have not told yet");
  assert.match(standings().whyNoVote(["b"], ["b"]) ?? "", "have not told yet", "it is there");
  const rolledBack = standings();
  rolledBack.tell("b", 101);
  rolledBack.tell("c", 0);
  assert.match(rolledBack.whyNoVote(others) ?? "", "rolled back");
});

test("a partition without another replica waits for nobody", () => {
  const own = standings({ others: [] });
  assert.is(own.of(0), "whole");
  assert.ok(own.isWhole);
});

test("I3: a partition that others come to hold by a newer topology waits until these have told", () => {
  for (const wasCut of [false, true]) {
    let others: readonly string[] = [];
    const own = new Standings({
      ...{ openedSequence: 100, wasCut, partitions: 1 },
      othersOf: () => others,
      isDown: () => false,
    });
    // By the topology of its folder it is alone: that may have been rolled back with the rest.
    assert.is(own.of(0), "whole");
    assert.ok(own.isWhole);
    others = ["b", "c"];
    assert.is(own.of(0), "asked");
    assert.not(own.isWhole);
    own.tell("b", 0);
    assert.is(own.of(0), "asked");
    own.tell("c", 0);
    assert.is(own.of(0), "whole", "of what it had no part in nothing can have been cut");
    others = ["b", "d"];
    assert.is(own.of(0), "whole", "what has risen stays");
  }
});

test("I3: a store whose peer remembers more than it opened with is lost, whatever others say, and that is told", () => {
  const heard: number[] = [];
  const rolledBack = standings({ onLost: (sequence) => heard.push(sequence) });
  rolledBack.tell("b", 101);
  assert.ok(rolledBack.isLost);
  rolledBack.tell("c", 0);
  assert.ok(rolledBack.isLost);
  assert.equal(heard, [101]);
});

test("I3: what a peer remembers later is of this run, and rolls nothing back", () => {
  const running = standings();
  running.tell("b", 90);
  running.tell("b", 5000);
  running.tell("c", 0);
  assert.is(running.of(0), "whole");
});

test("D3: after a cut, reads count when every other replica that is up, and one, was compared", () => {
  const down: string[] = [];
  const cut = standings({ wasCut: true, down });
  cut.tell("b", 100);
  cut.tell("c", 100);
  assert.is(cut.of(0), "told");
  assert.equal(cut.toCompare(0), ["b", "c"]);
  cut.compare(0, "b");
  assert.is(cut.of(0), "told");
  assert.equal(cut.toCompare(0), ["c"]);
  down.push("c");
  assert.is(cut.of(0), "whole");
  assert.equal(cut.toCompare(0), []);
});

test("D3: for each n one of its replicas was compared: another one's may be up alone", () => {
  const down = ["b", "c"];
  const sets = [
    ["b", "c"],
    ["b", "c", "d", "e"],
  ];
  const cut = standings({ wasCut: true, others: sets[1] as string[], sets, down });
  for (const nodeId of ["d", "e"]) {
    cut.tell(nodeId, 0);
    cut.compare(0, nodeId);
  }
  assert.is(cut.of(0), "told", "a majority of the first three may know more than it does");
  cut.compare(0, "b");
  assert.is(cut.of(0), "whole");
});

test("D3: what was compared for one n counts for it, though nobody of another n is up", () => {
  const down = ["b"];
  const sets = [["b"], ["b", "c"]];
  const cut = standings({ wasCut: true, others: sets[1] as string[], sets, down });
  const counts = (): boolean[] => [1, 2, 3].map((n) => cut.counts(0, n));
  assert.equal(counts(), [false, false, false]);
  cut.tell("c", 0);
  assert.equal(counts(), [true, false, false], "what it alone has is compared with nobody");
  cut.compare(0, "c");
  assert.is(cut.of(0), "told");
  assert.equal(counts(), [true, false, true]);
  down.pop();
  assert.equal(counts(), [true, false, true], "what has risen stays");
  cut.tell("b", 0);
  cut.compare(0, "b");
  assert.equal([cut.of(0), ...counts()], ["whole", true, true, true]);
});

test("a standing never falls, whoever tells, is compared or comes back", () => {
  const rank: Record<Standing, number> = { asked: 0, told: 1, whole: 2 };
  const events = fc.array(
    fc.record({
      kind: fc.constantFrom("tell" as const, "compare" as const, "down" as const, "up" as const),
      node: fc.constantFrom("b", "c"),
      remembered: fc.integer({ min: 0, max: 101 }),
    }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(events, fc.boolean(), (given, wasCut) => {
      const down: string[] = [];
      const one = standings({ wasCut, down });
      let before: Standing = one.of(0);
      for (const { kind, node, remembered } of given) {
        if (kind === "tell") one.tell(node, remembered);
        else if (kind === "compare") one.compare(0, node);
        else if (kind === "down") down.push(node);
        else down.splice(0, down.length);
        const now = one.of(0);
        assert.ok(rank[now] >= rank[before], `${before} to ${now}`);
        before = now;
      }
    }),
  );
});

test.run();
