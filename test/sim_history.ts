/**
 * Sim history: histories of one key, written down a line an operation, for the tests of the checkers.
 *
 *     begin-end what[@level] values [options]      versions are two digits, `?` is no end
 *
 *     1-2 put a 05                 quorum and three replicas unless a level is named
 *     3-4 list rev from:a to:m k:05   backwards, of a part of the keys
 *     3-4 count 1                  so many keys
 *     1-2 put a 05 mem             asked for memory
 *     1-2 put a 05 ttl:9 over:19   is to live for 9 ms, and is over at 19
 *     3-4 get a 05 over:19 at:12   read by clocks that said 12; without it, 0
 *     1-2 put a 05 long:9          a value of 9 bytes
 *     1-2 get nothing late         answered after its deadline
 *     5 dies                       a process dies
 *     apart                        the clocks are further apart than the guard
 */
import * as assert from "uvu/assert";
import { checkHistory, type Promised } from "../sim/check.ts";
import { hadQuorum } from "../sim/check_order.ts";
import type { Operation, Told } from "../sim/history.ts";

type Options = Readonly<Record<string, number>>;

function parse(line: string, number: number): Operation {
  const match = /^(\d+)-(\d+|\?) (put|get|delete|list|count)(@\w+)? ?(.*)$/.exec(line);
  assert.ok(match !== null, `a line of a history: ${line}`);
  const [, begun, ended, kind, at, rest = ""] = match as unknown as string[];
  const level = (at ?? "@quorum").slice(1) as Operation["level"];
  const all = rest.split(" ").filter((word) => word !== "");
  const words = all.filter(
    (word) => !/^(mem|rev|late|(ttl|over|at|long):\d+|(from|to):\w+)$/.test(word),
  );
  const edge = (name: string): string | undefined =>
    all.find((word) => word.startsWith(`${name}:`))?.slice(name.length + 1);
  const [start, end] = [edge("from"), edge("to")];
  const options: Options = Object.fromEntries(
    all
      .filter((word) => /^(ttl|over|at|long):/.test(word))
      .map((word) => [word.replace(/:.*/, ""), Number(word.replace(/.*:/, ""))]),
  );
  const { at: nowMs = 0, ttl: ttlMs, long: bytes } = options;
  return {
    number,
    client: "c1",
    kind: kind as Operation["kind"],
    key: kind === "list" || kind === "count" ? "" : "k",
    range: {
      ...(start === undefined ? {} : { start }),
      ...(end === undefined ? {} : { end }),
      isReverse: all.includes("rev"),
    },
    value: kind === "put" ? words[0] : undefined,
    ...(kind === "put" && bytes !== undefined ? { bytes } : {}),
    level,
    durability: all.includes("mem") ? "memory" : "fsync",
    ttlMs,
    needed: { one: 1, quorum: 2, all: 3 }[level],
    replicas: 3,
    node: "n1",
    begun: Number(begun),
    ended: ended === "?" ? undefined : Number(ended),
    clocks: { leastMs: nowMs, mostMs: nowMs },
    ...(all.includes("late") ? { isLate: true } : {}),
    told: toldOf(kind as Operation["kind"], kind === "put" ? words.slice(1) : words, options),
  };
}

function toldOf(
  kind: Operation["kind"],
  [first, second]: readonly (string | undefined)[],
  { over, long: bytes }: Options,
): Told {
  const expiry = over === undefined ? {} : { expiresAtMs: over };
  const length = bytes === undefined ? {} : { bytes };
  if (first === "lost") return { kind: "nothing" };
  if (first === "none" || first === "partial" || first === "unknown") {
    return { kind: "failed", slug: "write-quorum-not-met", outcome: first };
  }
  if (kind === "put" || kind === "delete") {
    return { kind: "written", version: first ?? "", ...expiry };
  }
  if (kind === "count") return { kind: "counted", keys: Number(first) };
  if (kind === "get" && first === "nothing") return { kind: "absent", named: second };
  if (kind === "get")
    return { kind: "found", value: first ?? "", version: second ?? "", ...expiry, ...length };
  const items = [first, second]
    .filter((item) => item !== undefined)
    .map((item) => ({ key: item.slice(0, 1), version: item.slice(2), ...expiry }));
  return { kind: "listed", items, isWhole: true };
}

/** The promises that a history breaks, each once. */
export function promisesBroken(
  lines: readonly string[],
  final: readonly string[] = [],
): Promised[] {
  const operations = lines.filter((line) => /^\d+-/.test(line));
  const ticksOf = (ending: string): number[] =>
    lines.filter((line) => line.endsWith(ending)).map((line) => Number.parseInt(line, 10));
  const [deaths, losses] = [ticksOf(" dies"), ticksOf(" loses")] as [number[], number[]];
  const around = { deaths, losses, areClocksClose: !lines.includes("apart") };
  const found = checkHistory(operations.map(parse), final.map(parse), around);
  return [...new Set(found.map(({ promise }) => promise))].sort();
}

/** Whether a history tells that a quorum had a version. */
export function isQuorumOf(lines: readonly string[], version: string): boolean {
  return hadQuorum(lines.map(parse), version);
}
