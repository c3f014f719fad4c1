/**
 * RingTable: how even the load is, here and on a classic ring, for the table in `docs/ring.md`.
 *
 * The classic ring gives each node 150 points on a circle, at the hashes of `<node>#<number>`; a key
 * belongs to the node of the next point, its replicas to the next different nodes behind. Its loads
 * are computed exactly, from the lengths of the arcs, so that no sampling blurs the comparison. One
 * ring may be lucky: the mean over several sets of names is given.
 *
 *     node --import tsx test/ring_table.ts    writes the table into docs/ring.md
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { utf8Bytes } from "../src/bytes.ts";
import { xxh64 } from "../src/hash.ts";
import { place } from "../src/placement.ts";

export const nodeCounts = [3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 30, 40, 50, 64, 80, 100];
const virtualNodes = 150;
const ringsPerMean = 5;
const circle = 2 ** 32;

export const ringPath = fileURLToPath(new URL("../docs/ring.md", import.meta.url));
const beginMark = "<!-- Computed by test/ring_table.ts; a test compares it. -->";
const endMark = "<!-- The end of the table. -->";

/** The highest load of a node over the mean, by the first replica and by the first three. */
export interface Imbalance {
  readonly first: number;
  readonly three: number;
}

/** Of `partitions` placed on so many nodes of equal weight, each on a host of its own. */
export function imbalanceOf(nodes: number, partitions: number): Imbalance {
  const members = Array.from({ length: nodes }, (_, index) => ({
    nodeId: index.toString(16).padStart(32, "0"),
    zone: "default",
    host: `host${index}`,
    weight: 100,
  }));
  const rows = place({ members, partitions, depth: 3, before: [] });
  const at = (depth: number): number => {
    const loads = new Array<number>(nodes).fill(0);
    for (const index of rows.flatMap((row) => row.slice(0, depth))) {
      loads[index] = (loads[index] as number) + 1;
    }
    return maxOverMean(loads);
  };
  return { first: at(1), three: at(3) };
}

/** Of a consistent-hash ring with 150 points a node. */
export function classicImbalance(nodes: number): Imbalance {
  const all = Array.from({ length: ringsPerMean }, (_, ring) => oneRing(nodes, `ring${ring}`));
  const mean = (of: (imbalance: Imbalance) => number): number =>
    all.reduce((sum, imbalance) => sum + of(imbalance), 0) / all.length;
  return { first: mean(({ first }) => first), three: mean(({ three }) => three) };
}

function oneRing(nodes: number, name: string): Imbalance {
  const points: { readonly at: number; readonly node: number }[] = [];
  for (let node = 0; node < nodes; node += 1) {
    for (let number = 0; number < virtualNodes; number += 1) {
      const hash = xxh64(utf8Bytes(`${name}/node${node}#${number}`));
      points.push({ at: Number(hash >> 32n), node });
    }
  }
  points.sort((a, b) => a.at - b.at || a.node - b.node);
  const first = new Array<number>(nodes).fill(0);
  const three = new Array<number>(nodes).fill(0);
  for (const [index, point] of points.entries()) {
    const before = points.at(index - 1)?.at ?? 0;
    const arc = (point.at - before + circle) % circle;
    const replicas = new Set<number>();
    for (let step = 0; replicas.size < Math.min(3, nodes); step += 1) {
      replicas.add((points[(index + step) % points.length] ?? point).node);
    }
    first[point.node] = (first[point.node] as number) + arc;
    for (const node of replicas) three[node] = (three[node] as number) + arc;
  }
  return { first: maxOverMean(first), three: maxOverMean(three) };
}

function maxOverMean(loads: readonly number[]): number {
  const sum = loads.reduce((total, load) => total + load, 0);
  return Math.max(...loads) / (sum / loads.length);
}

/** The table between the marks, both of them included. */
export function ringTable(): string {
  const rows = nodeCounts.map((nodes) => {
    const [small, large] = [imbalanceOf(nodes, 256), imbalanceOf(nodes, 1024)];
    const classic = classicImbalance(nodes);
    const cells = [
      small.first,
      small.three,
      large.first,
      large.three,
      classic.first,
      classic.three,
    ];
    return `| ${nodes} | ${cells.map((cell) => cell.toFixed(3)).join(" | ")} |`;
  });
  return [
    beginMark,
    "",
    "| nodes | P = 256, n = 1 | P = 256, n = 3 | P = 1024, n = 1 | P = 1024, n = 3 | ring of 150, n = 1 | ring of 150, n = 3 |",
    "|---|---|---|---|---|---|---|",
    ...rows,
    "",
    endMark,
  ].join("\n");
}

/** `docs/ring.md` with its table made anew; what stands around it is kept. */
export function ringDocument(): string {
  const text = readFileSync(ringPath, "utf8");
  const begin = text.indexOf(beginMark);
  const end = text.indexOf(endMark);
  if (begin < 0 || end < begin) throw new Error("docs/ring.md has lost the marks of its table");
  return text.slice(0, begin) + ringTable() + text.slice(end + endMark.length);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(ringPath, ringDocument());
