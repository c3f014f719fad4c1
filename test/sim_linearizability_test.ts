/**
 * Sim linearizability: histories of a register that have an order and such that have none; then every
 * short history that chance draws, compared with a search that tries all orders; and the documents of
 * a cluster, good and bad.
 *
 * A history of a register is a line for each operation: `begin-end w|r value`, `?` for no end.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Chance } from "../sim/chance.ts";
import {
  type Change,
  checkDocuments,
  type DocumentHistory,
  type SeenDocument,
} from "../sim/check_documents.ts";
import {
  findUnordered,
  type Model,
  numbers,
  type RegisterCall,
  register,
  type Timed,
  withoutUnread,
} from "../sim/linearizability.ts";

const test = suite("sim linearizability");

function parse(line: string): Timed<RegisterCall> {
  const match = /^(\d+)-(\d+|\?) ([wr]) (\w+)$/.exec(line);
  assert.ok(match !== null, line);
  const [, begun, ended, kind, value = ""] = match as unknown as string[];
  return {
    call: { kind: kind === "w" ? "write" : "read", value },
    begun: Number(begun),
    ended: ended === "?" ? undefined : Number(ended),
  };
}

function hasOrder(lines: readonly string[]): boolean {
  return findUnordered(register("0"), lines.map(parse)) === undefined;
}

const good: readonly (readonly string[])[] = [
  [],
  ["1-2 r 0"],
  ["1-2 w a", "3-4 r a"],
  ["1-4 w a", "2-3 r 0", "2-3 r 0"],
  ["1-6 w a", "2-3 r 0", "4-5 r a"],
  ["1-9 w a", "1-9 w b", "2-3 r a", "4-5 r b"],
  ["1-9 w a", "1-9 w b", "2-3 r b", "4-5 r a"],
  ["1-? w a", "2-3 r 0", "8-9 r a"],
  ["1-? w a", "2-3 r 0", "8-9 r 0"],
  ["1-? w a", "2-3 w b", "4-5 r b", "6-7 r a"],
  ["1-2 w a", "3-? r x", "4-5 r a"],
  ["1-5 w a", "2-6 w b", "7-8 r a"],
  ["1-5 w a", "2-6 w b", "3-9 w c", "7-8 r c"],
];

const bad: readonly (readonly string[])[] = [
  ["1-2 r a"],
  ["1-2 r a", "3-4 w a"],
  ["1-2 w a", "3-4 r 0"],
  ["1-2 w a", "3-4 w b", "5-6 r a"],
  ["1-2 w a", "3-4 w b", "5-6 r 0"],
  ["1-2 w a", "3-4 r b"],
  ["1-9 w a", "2-3 r a", "4-5 r 0"],
  ["1-? w a", "2-3 r a", "4-5 r 0"],
  ["1-9 w a", "1-9 w b", "2-3 r a", "4-5 r b", "6-7 r a"],
  ["1-2 w a", "3-9 w b", "4-5 r b", "6-7 r a"],
  ["1-2 w a", "1-2 w b", "3-4 r a", "5-6 r b"],
  ["1-2 w a", "1-2 w b", "3-4 r 0"],
  ["1-2 w a", "3-4 w b", "5-9 r a", "5-9 r b"],
  ["1-3 w a", "2-5 w b", "4-6 w c", "7-8 r a"],
  ["1-2 w a", "3-? w b", "4-5 r b", "6-7 w c", "8-9 r a"],
  ["1-2 w a", "3-? w b", "4-5 r b", "6-7 w c", "8-9 r b"],
  ["5-6 w a", "1-4 r a"],
  ["5-? w a", "1-4 r a"],
  ["1-2 w a", "3-8 w b", "4-5 r b", "4-5 r a", "6-7 r a"],
  ["1-4 w a", "1-4 w b", "5-6 r a", "7-8 r a", "9-10 r b"],
  ["1-2 w a", "3-4 r a", "5-6 w b", "7-8 r b", "9-10 r a"],
  ["1-9 w a", "2-3 r a", "4-5 w b", "6-7 r a"],
];

test("histories that have an order pass", () => {
  for (const lines of good) assert.ok(hasOrder(lines), lines.join("; "));
});

test("at least twenty histories that have none are rejected", () => {
  assert.ok(new Set(bad.map((lines) => lines.join())).size >= 20);
  for (const lines of bad) assert.not(hasOrder(lines), lines.join("; "));
});

/** Tries every order of every choice of those that were never answered. */
function hasOrderByTrying<State, Call>(
  model: Model<State, Call>,
  state: State,
  left: readonly Timed<Call>[],
): boolean {
  if (left.every(({ ended }) => ended === undefined)) return true;
  return left.some((next) => {
    const others = left.filter((each) => each !== next);
    if (others.some(({ ended }) => ended !== undefined && ended < next.begun)) return false;
    const after = model.step(state, next.call);
    return after !== undefined && hasOrderByTrying(model, after, others);
  });
}

test("the search answers as one that tries all orders, for histories that chance draws", () => {
  const chance = new Chance(1);
  const answers = { yes: 0, no: 0 };
  for (let round = 0; round < 3000; round += 1) {
    const history = Array.from({ length: chance.whole(1, 6) }, (): Timed<RegisterCall> => {
      const begun = chance.whole(1, 12);
      const value = chance.pick(["0", "a", "b"]);
      const kind = chance.pick(["write", "read"] as const);
      const ended = chance.happens(0.2) ? undefined : begun + chance.whole(1, 6);
      return { call: { kind, value }, begun, ended };
    });
    const expected = hasOrderByTrying(register("0"), "0", history);
    const found = findUnordered(register("0"), history);
    const fewer = findUnordered(register("0"), withoutUnread(history));
    assert.is(fewer === undefined, expected, "what nobody has read makes no difference");
    assert.is(found === undefined, expected, JSON.stringify(history));
    answers[expected ? "yes" : "no"] += 1;
  }
  assert.ok(answers.yes > 500 && answers.no > 500, JSON.stringify(answers));
});

test("many at once are no more states than there are sets of them", () => {
  const writes = Array.from({ length: 12 }, (_, index) => `1-20 w v${index}`);
  assert.not(hasOrder([...writes, "21-22 r v0", "23-24 r v1"]));
});

test("writes that were never answered, and whose value nobody has read, cost nothing", () => {
  const open = Array.from({ length: 60 }, (_, index) => `${index}-? w x${index}`);
  for (const [answer, isGood] of [
    ["62-63 r a", true],
    ["62-63 r 0", false],
  ] as const) {
    const history = [...open, "60-61 w a", answer].map(parse);
    assert.is(findUnordered(register("0"), withoutUnread(history)) === undefined, isGood);
  }
});

test("what could not be put in an order is told, and how far the best one came", () => {
  const [one, again, next] = [
    { call: 1, begun: 1, ended: 2 },
    { call: 1, begun: 3, ended: 4 },
    { call: 2, begun: 5, ended: 6 },
  ];
  assert.is(findUnordered(numbers(1), [one, next]), undefined);
  assert.equal(findUnordered(numbers(1), [one, again, next]), {
    ordered: [one],
    left: [again, next],
  });
});

/** `make a@2-4 done`, `drop a@5-6 none`, or `set 7@2-? unknown`. */
function change(line: string): Change {
  const match = /^(make|drop|set) (\w+)@(\d+)-(\d+|\?) (done|none|unknown)$/.exec(line);
  assert.ok(match !== null, line);
  const [, kind, what = "", begun, ended, result] = match as unknown as string[];
  return {
    kind: kind as Change["kind"],
    what,
    node: "n1",
    begun: Number(begun),
    ended: ended === "?" ? undefined : Number(ended),
    result: result as Change["result"],
  };
}

/** `n1 5 7 a=1 b=2`: the node, the epoch, the setting, namespaces and their numbers. */
function document(line: string): SeenDocument {
  const [node = "", epoch, setting = "", ...names] = line.split(" ");
  const namespaces = names.map((each) => ({
    name: each.replace(/=.*/, ""),
    number: Number(each.replace(/.*=/, "")),
  }));
  return { node, epoch: Number(epoch), namespaces, setting, deleted: 0 };
}

function brokenBy(
  changes: readonly string[],
  final: readonly string[],
  seen: readonly string[] = [],
): readonly string[] {
  const history: DocumentHistory = {
    changes: changes.map(change),
    seen: seen.map(document),
    final: final.map(document),
    finalTick: 100,
    settingFirst: "0",
  };
  return [...new Set(checkDocuments(history).map(({ promise }) => promise))];
}

const nodes = ["n1", "n2", "n3"];
const onAll = (rest: string): string[] => nodes.map((node) => `${node} ${rest}`);

test("documents that keep their word pass", () => {
  const made = ["make a@1-4 done", "make b@2-3 done", "make c@5-? unknown", "make d@6-7 none"];
  assert.equal(brokenBy(made, onAll("5 0 a=1 b=2")), []);
  assert.equal(brokenBy(made, onAll("5 0 b=1 a=2 c=3")), []);
  const set = ["set 7@1-4 done", "set 8@2-3 done", "set 9@5-? unknown", "set 6@6-7 none"];
  for (const setting of [7, 8, 9]) assert.equal(brokenBy(set, onAll(`5 ${setting}`)), []);
  // Of one whose making was never answered, the end may have come before.
  for (const drop of ["drop a@5-6 done", "drop a@1-6 done", "drop a@5-? unknown"]) {
    assert.equal(brokenBy(["make a@1-2 done", drop], onAll("5 0")), []);
    assert.equal(brokenBy(["make a@1-? unknown", drop], onAll("5 0 a=1")), []);
  }
  const again = ["make a@1-2 done", "drop a@3-4 done", "drop a@3-5 none", "make b@6-7 done"];
  assert.equal(brokenBy(again, onAll("5 0 b=3"), ["n1 3 0 a=1"]), []);
  assert.equal(brokenBy([], onAll("5 0"), ["n1 3 0", "n2 3 0", "n1 4 0 x=1", "n3 4 0 x=1"]), []);
});

test("at least twenty histories of documents that break P6, and as many that break P7, are rejected", () => {
  const counts = { P6: 0, P7: 0 };
  const rejects = (promise: "P6" | "P7", ...history: Parameters<typeof brokenBy>): void => {
    assert.ok(brokenBy(...history).includes(promise), JSON.stringify(history));
    counts[promise] += 1;
  };
  for (const [index, node] of nodes.entries()) {
    const other = nodes[(index + 1) % 3];
    // Made and gone, on one node or on all.
    const lacking = nodes.map((each) => `${each} 5 0${each === node ? "" : " a=1"}`);
    rejects("P6", ["make a@1-2 done"], lacking);
    rejects("P6", ["make a@1-2 done", "make b@3-4 done"], [...onAll("5 0 b=1"), `${node} 5 0 b=1`]);
    // Two documents of one epoch: names, numbers, or the setting.
    rejects("P6", [], [`${node} 5 0 a=1`, `${other} 5 0 b=1`]);
    rejects("P6", [], [`${node} 5 0 a=1`, `${other} 5 0 a=2`]);
    rejects("P6", [], [`${node} 5 0`], [`${other} 5 7`]);
    rejects("P6", [], onAll("9 0"), [`${node} 4 0 a=1`, `${other} 4 0`]);
    // An older document than before.
    rejects("P6", [], onAll("4 0"), [`${node} 5 0`]);
    rejects("P6", [], onAll("9 0"), [`${node} 5 0`, `${other} 7 0`, `${node} 4 0`]);
    // Told not to be made, and there.
    for (const beside of [[], ["make b@3-4 done"], ["make b@1-? unknown"], ["set 7@1-2 done"]]) {
      const setting = beside.length > 0 && beside[0]?.startsWith("set") ? 7 : 0;
      const b = beside[0]?.startsWith("make") ? " b=2" : "";
      rejects("P7", ["make a@1-2 none", ...beside], [`${node} 5 ${setting} a=1${b}`]);
      rejects(
        "P7",
        ["make a@1-9 none", ...beside],
        [`${node} 5 ${setting} a=1${b}`, `${other} 5 ${setting} a=1${b}`],
      );
    }
    // The later one has the lower number; two have one; one is left out.
    rejects("P6", ["make a@1-2 done", "make b@3-4 done"], [`${node} 5 0 b=1 a=2`]);
    rejects("P6", ["make a@1-2 done", "make b@1-4 done"], [`${node} 5 0 a=1 b=1`]);
    rejects("P6", ["make a@1-2 done", "make b@3-4 done"], [`${node} 5 0 a=1 b=3`]);
    // Deleted, and there; told not to be deleted, and gone; its number given again, or a lower one.
    rejects("P6", ["make a@1-2 done", "drop a@3-4 done"], [`${node} 5 0 a=1`]);
    rejects("P6", ["make a@1-2 done", "drop a@1-4 done", "drop a@3-9 done"], [`${node} 5 0 a=1`]);
    rejects("P7", ["make a@1-2 done", "drop a@3-4 none"], onAll("5 0"));
    const dropped = ["make a@1-2 done", "drop a@3-4 done", "make b@5-6 done"];
    rejects("P6", dropped, [`${node} 5 0 b=1`], [`${node} 3 0 a=1`]);
    rejects("P6", dropped, [`${node} 5 0 b=1`], [`${other} 3 0 a=2`]);
    // What was set last is gone; what nobody set is there.
    rejects("P6", ["set 7@1-2 done", "set 8@3-4 done"], [`${node} 5 7`]);
    rejects("P6", ["set 7@1-2 done"], [`${node} 5 0`]);
    rejects("P6", ["set 7@1-2 none"], [`${node} 5 7`]);
    rejects("P6", ["set 7@1-2 done", "set 8@1-2 done", "set 9@3-? unknown"], [`${node} 5 0`]);
  }
  assert.ok(counts.P6 >= 20 && counts.P7 >= 20, JSON.stringify(counts));
});

test("two documents of an epoch that differ in what is no namespace are rejected", () => {
  const one = { node: "n1", epoch: 5, namespaces: [], setting: "0", deleted: 0, rest: "n1, n2" };
  const told = (...seen: readonly SeenDocument[]): readonly string[] => {
    const history = { changes: [], seen, final: [], finalTick: 100, settingFirst: "0" };
    return checkDocuments(history).map(({ promise }) => promise);
  };
  assert.equal(told(one, { ...one, node: "n2" }), []);
  assert.equal(told(one, { ...one, node: "n2", rest: "n1, n3" }), ["P6"]);
  assert.equal(told(one, { ...one, epoch: 6, rest: "n1, n3" }), []);
});

test.run();
