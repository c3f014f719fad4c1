/**
 * Scale main: clusters of growing size in the simulated world, and what it costs to be many, as a table.
 *
 *     npm run sim:scale -- [--nodes 10,50,100,200] [--partitions 1024] [--idle 20s] [--seed 1] [--docs]
 *
 * Sizes are run one after another; a large one takes minutes. `--docs` writes the table into docs/scale.md.
 *
 * Effects: the command's arguments, stdout, docs/scale.md, the exit code.
 *
 * @module
 */

import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { joinShare, measureScale, type Scale } from "./scale.ts";
import type { Share } from "./traffic.ts";

const path = "docs/scale.md";
const begin = "<!-- measured: begin -->";
const end = "<!-- measured: end -->";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      nodes: { type: "string", default: "10,50,100,200" },
      partitions: { type: "string", default: "1024" },
      idle: { type: "string", default: "20s" },
      seed: { type: "string", default: "1" },
      docs: { type: "boolean", default: false },
    },
  });
  const partitions = Number(values.partitions);
  const idleMs = Number(values.idle.replace(/s$/, "")) * 1000;
  const sizes = values.nodes.split(",").map(Number);
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value > 0;
  if (![...sizes, partitions, idleMs, Number(values.seed)].every(isCount)) {
    console.error(
      "--nodes takes counts with commas between; --partitions, --idle and --seed a number.",
    );
    return 2;
  }
  const all: Scale[] = [];
  for (const nodes of sizes) {
    all.push(await measureScale({ seed: Number(values.seed), nodes, partitions, idleMs }));
    console.log(rowOf(all.at(-1) as Scale));
  }
  const table = tableOf(all);
  console.log(`\n${table}`);
  if (values.docs) await intoDocs(table);
  return 0;
}

function tableOf(all: readonly Scale[]): string {
  return [
    "| nodes | bytes a node sends in a second: heartbeats | comparisons | messages | topology, bytes | down: first, median, last s | alive again: median, last s | moves when one joins |",
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...all.map(rowOf),
  ].join("\n");
}

function rowOf({ nodes, partitions, perSecond, documentBytes, down, alive }: Scale): string {
  const bytesOf = (topic: string): string => count(perSecond.get(topic)?.bytes ?? 0);
  const messages = [...perSecond.values()].reduce((sum, share: Share) => sum + share.messages, 0);
  const { moved, even } = joinShare(nodes, partitions);
  const cells = [
    String(nodes),
    bytesOf("heartbeat"),
    bytesOf("digest"),
    messages.toFixed(1),
    count(documentBytes),
    [down.firstMs, down.medianMs, down.lastMs].map(seconds).join(", "),
    [alive.medianMs, alive.lastMs].map(seconds).join(", "),
    `${percent(moved)} (even share ${percent(even)})`,
  ];
  return `| ${cells.join(" | ")} |`;
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

async function intoDocs(table: string): Promise<void> {
  const text = await readFile(path, "utf8");
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`${path} has no place for the table.`);
  await writeFile(path, `${before}${begin}\n\n${table}\n\n${end}${after}`);
}

process.exitCode = await main();
