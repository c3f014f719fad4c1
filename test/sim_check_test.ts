/**
 * Sim check: histories that are known to be bad, each of which has to be rejected with the promise
 * that it breaks, and good ones that look like them.
 *
 * How a history is written is told in `sim_history.ts`. Beside those that are written out there are
 * families: for each promise at least twenty, made from the ways in which it can be broken.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Promised } from "../sim/check.ts";
import { checkReplicas, type Holding } from "../sim/check_replicas.ts";
import { type Hlc, hlcAt } from "../src/hlc.ts";
import type { Version } from "../src/version.ts";
import { isQuorumOf, promisesBroken } from "./sim_history.ts";

const test = suite("sim check");

interface Case {
  readonly what: string;
  readonly lines: readonly string[];
  readonly final?: readonly string[];
  readonly breaks: readonly Promised[];
}

const bad: readonly Case[] = [
  {
    what: "a write has an older version than one that was acknowledged before",
    lines: ["1-2 put a 05", "3-4 put b 04"],
    breaks: ["P2"],
  },
  {
    what: "a write has the version of what was read before",
    lines: ["1-? put a lost", "2-3 get a 05", "4-5 delete 05"],
    breaks: ["P2", "P8"],
  },
  {
    what: "a read after an acknowledged write finds nothing",
    lines: ["1-2 put a 05", "3-4 get nothing"],
    breaks: ["P2"],
  },
  {
    what: "a read after two writes returns the first",
    lines: ["1-2 put a 05", "3-4 put b 06", "5-6 get a 05"],
    breaks: ["P2"],
  },
  {
    what: "a write at all is missed by a quorum read",
    lines: ["1-2 put a 05", "3-4 put@all b 06", "5-6 get a 05"],
    breaks: ["P2"],
  },
  {
    what: "two reads go backwards while nobody was told of the newer write",
    lines: ["1-2 put a 05", "3-? put b lost", "4-5 get b 06", "6-7 get a 05"],
    breaks: ["P3"],
  },
  {
    what: "a read at all is followed by an older one",
    lines: ["1-2 put a 05", "3-4 put b partial", "5-6 get@all b 06", "7-8 get a 05"],
    breaks: ["P3"],
  },
  {
    what: "what was read is not there any more",
    lines: ["1-? put a lost", "2-3 get a 05", "4-5 get nothing"],
    breaks: ["P3"],
  },
  {
    what: "nothing is found, and the delete that is named is older",
    lines: ["1-2 delete 03", "3-4 put a 05", "5-6 get nothing 03"],
    breaks: ["P2"],
  },
  {
    what: "nothing is found and named, and the only delete is older",
    lines: ["1-2 delete 03", "3-4 put a 05", "5-6 get nothing"],
    breaks: ["P2"],
  },
  {
    what: "a value is read again after its delete, which was named no more",
    lines: ["1-2 put a 05", "3-4 delete 06", "5-6 get nothing", "7-8 get a 05"],
    breaks: ["P4"],
  },
  {
    what: "a deleted value is read again",
    lines: ["1-2 put a 05", "3-4 delete 06", "5-6 get a 05"],
    breaks: ["P4"],
  },
  {
    what: "a deleted value comes back after it was gone",
    lines: ["1-2 put a 05", "3-4 delete 06", "5-6 get nothing 06", "7-8 get a 05"],
    breaks: ["P4"],
  },
  {
    what: "a delete without an answer was seen, and the value comes back",
    lines: ["1-2 put a 05", "3-? delete lost", "4-5 get nothing 06", "6-7 get a 05"],
    breaks: ["P4"],
  },
  {
    what: "a value that was read comes back after a delete that nobody answered",
    lines: [
      "1-? put a lost",
      "2-3 get a 05",
      "3-? delete lost",
      "4-5 get nothing 06",
      "6-7 get a 05",
    ],
    breaks: ["P4"],
  },
  {
    what: "a write that did nothing is read",
    lines: ["1-2 put a none", "3-4 get a 05"],
    breaks: ["P7"],
  },
  {
    what: "a write that did nothing is read at a weak level",
    lines: ["1-2 put a none", "3-4 get@one a 05"],
    breaks: ["P7"],
  },
  {
    what: "a write that will have done nothing is read while it is under way",
    lines: ["1-9 put a none", "3-4 get a 05"],
    breaks: ["P7"],
  },
  {
    what: "a value that nobody wrote is read",
    lines: ["1-2 get x 05"],
    breaks: ["P8"],
  },
  {
    what: "a value is read before it is written",
    lines: ["1-2 get a 05", "3-4 put a 05"],
    breaks: ["P2", "P8"],
  },
  {
    what: "one version has two values",
    lines: ["1-2 put a 05", "1-3 put b 05"],
    breaks: ["P8"],
  },
  {
    what: "one version was written as one value and is read as another",
    lines: ["1-4 put a 05", "1-? put b lost", "2-3 get b 05"],
    breaks: ["P8"],
  },
  {
    what: "a delete has the version of a put",
    lines: ["1-2 put a 05", "1-3 delete 05"],
    breaks: ["P8"],
  },
  {
    what: "what a majority had taken is gone with one disk",
    lines: ["1-2 put a 05", "3 loses"],
    final: ["8-9 get@all nothing"],
    breaks: ["P1"],
  },
  {
    what: "what one replica had taken after a disk was lost is gone",
    lines: ["1 loses", "2-3 put@one a 05"],
    final: ["8-9 get@all nothing"],
    breaks: ["P1"],
  },
  {
    what: "an acknowledged write is lost in the end",
    lines: ["1-2 put a 05"],
    final: ["8-9 get@all nothing"],
    breaks: ["P1"],
  },
  {
    what: "a weak write is lost in the end",
    lines: ["1-2 put@one a 05", "3-4 put@one b 06"],
    final: ["8-9 get@all a 05"],
    breaks: ["P1"],
  },
  {
    what: "an acknowledged delete is lost in the end",
    lines: ["1-2 put@one a 05", "3-4 delete@one 06"],
    final: ["8-9 get@all a 05"],
    breaks: ["P1"],
  },
  {
    what: "a weak read misses what all replicas took",
    lines: ["1-2 put@all a 05", "3-4 get@one nothing"],
    breaks: ["L1"],
  },
  {
    what: "a list misses a key",
    lines: ["1-2 put a 05", "3-4 list"],
    breaks: ["P2"],
  },
  {
    what: "a list has an older version",
    lines: ["1-2 put a 05", "3-4 put b 06", "5-6 list k:05"],
    breaks: ["P2"],
  },
  {
    what: "a list names a key twice",
    lines: ["1-2 put a 05", "3-4 list k:05 k:05"],
    breaks: ["P8"],
  },
  {
    what: "a list misses what was read before",
    lines: ["1-? put a lost", "2-3 get a 05", "4-5 list"],
    breaks: ["P3"],
  },
  {
    what: "a list has an older version than what was read before",
    lines: ["1-2 put a 05", "3-? put b lost", "4-5 get b 06", "6-7 list k:05"],
    breaks: ["P3"],
  },
  {
    what: "a list of one replica misses what all took",
    lines: ["1-2 put@all a 05", "3-4 list@one"],
    breaks: ["L1"],
  },
  {
    what: "a list names what was deleted, by the delete",
    lines: ["1-2 put a 05", "3-4 delete 06", "5-6 list@one k:06"],
    breaks: ["P4"],
  },
  {
    what: "a list names a key that nobody has written yet",
    lines: ["1-2 list k:05", "3-4 put a 05"],
    breaks: ["P8"],
  },
  {
    what: "a deleted key is counted",
    lines: ["1-2 put a 05", "3-? put x none", "3-4 delete 06", "5-6 count 1"],
    breaks: ["P4"],
  },
  {
    what: "nothing is found, and what is named is a newer value that lives on",
    lines: ["1-2 put a 05", "3-4 put@one b 06", "5-6 get nothing 06"],
    breaks: ["P2"],
  },
  {
    what: "an answer comes after its deadline",
    lines: ["1-2 get nothing late"],
    breaks: ["other"],
  },
  {
    what: "a value is shorter than it was written",
    lines: ["1-2 put a 05 long:9", "3-4 get a 05 long:8"],
    breaks: ["P8"],
  },
];

for (const { what, lines, final, breaks } of bad) {
  test(`is rejected: ${what}`, () => {
    assert.equal(promisesBroken(lines, final), breaks);
  });
}

const good: Omit<Case, "breaks">[] = [
  {
    what: "a read beside a write returns either",
    lines: ["1-2 put a 05", "3-8 put b 06", "4-7 get a 05", "5-6 get a 05", "9-10 get b 06"],
  },
  {
    what: "a write without an answer appears late, over a newer one",
    lines: ["1-2 put a partial", "3-4 put b 05", "5-6 get b 05", "7-8 get a 07"],
  },
  {
    what: "a write without an answer never appears",
    lines: ["1-2 put a unknown", "3-4 get nothing", "5-6 get nothing"],
  },
  {
    what: "one value has two versions, of which the first is read while it is not acknowledged",
    lines: ["1-9 put a 07", "3-4 get a 05", "10-11 get a 07"],
  },
  {
    what: "a delete below a watermark is named no more",
    lines: ["1-2 put a 05", "3-4 delete 06", "5-6 get nothing", "7-8 get@all nothing"],
    final: ["10-11 get@all nothing"],
  },
  {
    what: "a delete explains that nothing is there",
    lines: [
      "1-2 put a 05",
      "3-? delete lost",
      "4-5 get nothing 06",
      "6-7 put b 08",
      "8-9 get b 08",
    ],
  },
  {
    what: "weak reads go backwards",
    lines: ["1-2 put@one a 05", "3-4 put@one b 06", "5-6 get@one b 06", "7-8 get@one a 05"],
  },
  {
    what: "a weak write is not seen by a quorum read, and is there in the end",
    lines: ["1-2 put@one a 05", "3-4 get nothing"],
    final: ["8-9 get@all a 05"],
  },
  {
    what: "a list without a key that a delete under way may have removed",
    lines: ["1-2 put a 05", "3-? delete lost", "4-5 list"],
  },
];

good.push(
  {
    what: "what one replica alone had taken is gone with its disk",
    lines: ["1-2 put@one a 05", "3 loses", "4-5 get nothing"],
    final: ["8-9 get@all nothing"],
  },
  {
    what: "a write in memory is gone after a death",
    lines: ["1-2 put a 05 mem", "3 dies", "4-5 get nothing"],
    final: ["8-9 get@all nothing"],
  },
  {
    what: "a write in memory is gone, of which a replica died while it was under way",
    lines: ["1-4 put a 05 mem", "3 dies", "5-6 get nothing"],
  },
  {
    what: "a read that began before a death need not see what was in memory",
    lines: ["1-2 put@all a 05 mem", "3-6 get nothing", "3-6 get@one nothing", "4 dies"],
  },
  {
    what: "after a death a write has a version below one that was in memory",
    lines: ["1-2 put a 05 mem", "3 dies", "4-5 put b 04"],
  },
  {
    what: "a value is over",
    lines: ["1-2 put a 05 ttl:9 over:9", "3-4 get a 05 over:9", "5-6 get nothing 05 at:9"],
    final: ["8-9 get@all nothing 05 at:9"],
  },
  {
    what: "a value is over by a clock that is ahead of the others",
    lines: ["1-2 put a 05 ttl:2000 over:2000", "3-4 get nothing 05 at:1500"],
  },
  {
    what: "a value that was called over is read again where the clocks are apart",
    lines: [
      "apart",
      "1-2 put a 05 ttl:9 over:9",
      "3-4 get nothing 05 at:9",
      "5-6 get a 05 over:9 at:0",
    ],
  },
  {
    what: "a list without a key that is over",
    lines: ["1-2 put a 05 ttl:9 over:9", "3-4 list at:9"],
  },
  {
    what: "a list without a key that is over, of a write that nobody answered",
    lines: ["1-2 put a 05", "3-? put b lost ttl:9", "4-5 list at:9"],
  },
  {
    what: "the version of a write under way that was overtaken is over",
    lines: ["1-2 put a 05", "3-8 put b 09 ttl:2000 over:6000", "4-7 get nothing at:3000"],
  },
  {
    what: "lists of a part of the keys, and backwards",
    lines: [
      "1-2 put a 05",
      "3-4 list from:l",
      "3-4 list to:k",
      "3-4 list from:k to:l k:05",
      "3-4 list rev k:05",
    ],
  },
  {
    what: "counts of a key that is there, was deleted, or is written meanwhile",
    lines: [
      "1-2 put a 05",
      "3-4 count 1",
      "5-6 delete 06",
      "7-8 count 0",
      "9-12 put b 07",
      "10-11 count 1",
    ],
  },
  {
    what: "counts of a deleted key that a write without an answer may have brought back",
    lines: ["1-? put a lost", "2-3 delete 04", "5-6 count 1", "7-8 list k:05", "9-10 count 0"],
  },
  {
    what: "a list of one replica that lacks what a majority took, and a later one that has it",
    lines: ["1-2 put a 05", "3-4 list@one", "5-6 list@one k:05", "7-8 list@one"],
  },
  {
    what: "a list that ended before a write, and one that began before it",
    lines: ["1-2 list", "3-6 put a 05", "4-5 list k:05", "5-7 list"],
  },
  {
    what: "nothing is found, and a value is named that came too late to count",
    lines: [
      "1-2 put@one a 05",
      "3-4 get nothing 05",
      "5-6 put b 06",
      "7-? delete lost",
      "8-9 put@one c 08",
      "10-11 get nothing 08",
    ],
  },
  {
    what: "a value is as long as it was written",
    lines: ["1-2 put a 05 long:9", "3-4 get a 05 long:9"],
  },
  {
    what: "a put without a life of its own ends the one before",
    lines: ["1-2 put a 05 ttl:9 over:9", "3-4 put b 06", "5-6 get b 06 at:9999"],
  },
);

for (const { what, lines, final } of good) {
  test(`passes: ${what}`, () => {
    assert.equal(promisesBroken(lines, final), []);
  });
}

/** Two by two, three by three: everything that can be combined. */
function crossed<One, Other>(ones: readonly One[], others: readonly Other[]): [One, Other][] {
  return ones.flatMap((one) => others.map((other): [One, Other] => [one, other]));
}

const strictLevels = ["", "@quorum", "@all"].slice(1);
const allLevels = ["@one", ...strictLevels];
/** What may have been before, and changes nothing. */
const earlier: readonly (readonly string[])[] = [
  [],
  ["1-2 put z 01", "3-4 get z 01"],
  ["1-2 put y partial", "3-4 delete 01"],
  ["1-2 put y none", "3 dies", "4-5 put@one z 01"],
];
/** What else there may be beside. */
const beside: readonly (readonly string[])[] = [[], ["20-? put x lost"], ["10-29 put x unknown"]];
const around = crossed(earlier, beside);

/** For each promise, the ways to break it; each comes with everything that may be around it. */
const ways: Readonly<Partial<Record<Promised, readonly Omit<Case, "what" | "breaks">[]>>> = {
  P1: crossed(allLevels, ["put", "delete"]).flatMap(([level, kind]) => [
    {
      lines: [`11-12 ${kind}${level} ${kind === "put" ? "a " : ""}05`],
      // A delete may be named no more, when it lies below a watermark; an older one is not it.
      final: [kind === "put" ? "40-41 get@all nothing" : "40-41 get@all nothing 04"],
    },
    {
      lines: ["9-10 put a 03", `11-12 ${kind}${level} ${kind === "put" ? "b " : ""}05`],
      final: ["40-41 get@all a 03"],
    },
    {
      lines: [`11-12 ${kind}${level} ${kind === "put" ? "a " : ""}05 mem`],
      final: ["40-41 get@all nothing 04"],
    },
  ]),
  P2: crossed(strictLevels, strictLevels).flatMap(([write, read]) => [
    { lines: [`11-12 put${write} a 05`, `13-14 get${read} nothing`] },
    { lines: ["9-10 put b 04", `11-12 put${write} a 05`, `13-14 get${read} b 04`] },
    { lines: [`11-12 put${write} a 05 mem`, `13-14 get${read} nothing 04`] },
    { lines: [`11-12 put${write} a 05`, `13-14 put${read} b 04`] },
    { lines: [`11-12 put${write} a 05`, `13-14 list${read}`] },
    { lines: ["9-10 put b 04", `11-12 put${write} a 05`, `13-14 list${read} k:04`] },
    { lines: [`11-12 put${write} a 05`, `13-14 list${read} rev from:j to:l`] },
    { lines: [`11-12 put${write} a 05`, `13-14 count${read} 0`] },
  ]),
  P3: crossed(strictLevels, strictLevels).flatMap(([first, second]) => [
    { lines: ["11-? put a lost", `12-13 get${first} a 05`, `14-15 get${second} nothing`] },
    {
      lines: [
        "9-10 put b 04",
        "11-? put a lost",
        `12-13 get${first} a 05`,
        `14-15 get${second} b 04`,
      ],
    },
    {
      lines: [
        "11-12 put@one a 05 mem",
        `13-14 get${first} a 05`,
        "15 dies",
        `16-17 get${second} nothing`,
      ],
    },
  ]),
  P4: crossed(strictLevels, strictLevels).flatMap(([first, second]) => [
    { lines: ["9-10 put a 04", `11-12 delete${first} 05`, `13-14 get${second} a 04`] },
    {
      lines: [
        "9-10 put a 04",
        "11-? delete lost",
        `12-13 get${first} nothing 05`,
        `14-15 get${second} a 04`,
      ],
    },
    { lines: ["9-10 put a 04", `11-12 delete${first} 05 mem`, `13-14 get${second} a 04`] },
    { lines: ["9-10 put a 04", `11-12 delete${first} 05`, `13-14 list${second} k:05`] },
    { lines: ["9-10 put a 04", `11-12 get${first} nothing`, `13-14 list${second} k:04`] },
  ]),
  P7: crossed(allLevels, allLevels).map(([write, read]) => ({
    lines: [`11-12 put${write} a none`, `13-14 get${read} a 05`],
  })),
  P8: allLevels.flatMap((level) => [
    { lines: [`11-12 get${level} a 05`] },
    { lines: [`11-12 put${level} a 05`, `11-13 put b 05`] },
    { lines: [`11-12 put${level} a 05`, `11-13 delete${level} 05`] },
    { lines: [`11-14 put${level} a 05`, `11-? put b lost`, `12-13 get${level} b 05`] },
    { lines: [`13-14 list${level} k:05 k:05`] },
    { lines: [`13-14 list${level} j:04 k:05 rev`] },
    { lines: [`11-12 put a 05`, `13-14 list${level} k:05 from:l`] },
    { lines: [`11-12 put a 05`, `13-14 list${level} k:05 to:k`] },
    { lines: [`11-12 put a 05`, `13-14 count${level} 2`] },
    { lines: [`11-12 put${level} a 05 ttl:9 over:9`, `13-14 get${level} a 05`] },
    { lines: [`11-12 put${level} a 05`, `13-14 get${level} a 05 over:9`] },
    { lines: [`11-? put a lost ttl:9`, `13-14 get${level} a 05 over:5000`] },
    { lines: [`11-12 put${level} a 05 ttl:9 over:9`, `13-14 get${level} a 05 over:10`] },
  ]),
  L1: [
    { lines: ["11-12 put@all a 05", "13-14 get@one nothing"] },
    { lines: ["11-12 delete@all 05", "13-14 get@one nothing 04"] },
    { lines: ["9-10 put b 04", "11-12 put@all a 05", "13-14 get@one b 04"] },
    { lines: ["9-10 put@one b 04", "11-12 delete@all 05", "13-14 get@one b 04"] },
    { lines: ["11-12 put@all a 05 mem", "13-14 get@one nothing"] },
  ],
  R3: strictLevels.flatMap((level) => [
    { lines: [`11-12 put a 05 ttl:9 over:9`, `13-14 get${level} a 05 over:9 at:9`] },
    { lines: [`11-12 put a 05 ttl:9 over:9`, `13-14 get@one a 05 over:9 at:20`] },
    { lines: [`11-12 put a 05 ttl:9 over:9`, `13-14 list${level} k:05 over:9 at:9`] },
    { lines: [`11-12 put a 05 ttl:9999 over:9999`, `13-14 get${level} nothing 05`] },
    { lines: [`11-12 put a 05`, `13-14 get${level} nothing 05`] },
    {
      lines: [
        `11-12 put a 05 ttl:9 over:9`,
        `13-14 get${level} nothing 05 at:9`,
        `15-16 get a 05 over:9 at:8`,
      ],
    },
  ]),
};

for (const [promise, broken] of Object.entries(ways)) {
  test(`families: at least twenty histories that break ${promise} are rejected for it`, () => {
    const seen = new Set<string>();
    for (const [{ lines, final }, [before, more]] of crossed(broken, around)) {
      const history = [...before, ...lines, ...more];
      seen.add([...history, ...(final ?? [])].join("\n"));
      const found = promisesBroken(history, final).filter((each) => each === promise);
      assert.equal(found, [promise], history.join("; "));
    }
    assert.ok(seen.size >= 20, `${seen.size}`);
  });
}

test("P5: at least twenty ways in which replicas differ are told, and none where they hold the same", () => {
  const version = (stamp: number, origin: number): Version => ({
    hlc: BigInt(stamp) as Hlc,
    origin: BigInt(origin),
  });
  const holdings = [
    { status: "nothing" },
    { status: "not reached" },
    ...[1, 2]
      .flatMap((stamp) => [1, 2].map((origin) => version(stamp, origin)))
      .map((held) => ({
        status: "found",
        version: held,
      })),
  ];
  let count = 0;
  for (const [index, one] of holdings.entries()) {
    for (const size of [1, 2, 3, 5]) {
      const same = Array.from({ length: size }, (_, at) => ({ node: `n${at + 1}`, ...one }));
      assert.equal(checkReplicas("k", same, "then"), []);
      for (const other of holdings.slice(index + 1)) {
        const [violation] = checkReplicas("k", [...same, { node: "n9", ...other }], "then");
        assert.is(violation?.promise, "P5", `${one.status}, ${other.status}`);
        count += 1;
      }
    }
  }
  assert.ok(count >= 20, `${count}`);
});

test("P5: below the watermark of a replica, what is deleted or over may be there or not; nothing else may", () => {
  const version = { hlc: hlcAt(1000), origin: 1n };
  const nothing = { node: "n1", status: "nothing" };
  const holds = { node: "n2", status: "found", version };
  const differ = (...replicas: readonly Holding[]) =>
    checkReplicas("k", replicas, "then", 5000).length;
  for (const over of [{ tombstone: true }, { expiresAtMs: 4999 }]) {
    assert.is(differ({ ...nothing, sameBeforeMs: 1001 }, { ...holds, ...over }), 0);
    assert.is(differ(nothing, { ...holds, ...over, sameBeforeMs: 1001 }), 0);
    assert.is(differ({ ...nothing, sameBeforeMs: 1000 }, { ...holds, ...over }), 1);
    assert.is(differ(nothing, { ...holds, ...over }), 1);
  }
  assert.is(differ({ ...nothing, sameBeforeMs: 1001 }, holds), 1);
  assert.is(differ({ ...nothing, sameBeforeMs: 1001 }, { ...holds, expiresAtMs: 5001 }), 1);
});

test("H1: a quorum had what was acknowledged at a majority, or read from one, and of nothing else is that known", () => {
  for (const line of ["1-2 put a 05", "1-2 delete@all 05", "1-2 get a 05"]) {
    assert.is(isQuorumOf([line], "05"), true, line);
    assert.is(isQuorumOf([line], "06"), false, line);
  }
  for (const line of [
    "1-2 put@one a 05",
    "1-2 get@one a 05",
    "1-? put a lost",
    "1-2 put a partial",
  ]) {
    assert.is(isQuorumOf([line], "05"), false, line);
  }
});

test.run();
