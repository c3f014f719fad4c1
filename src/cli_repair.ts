/**
 * Cli repair: `repair status`, how far a node has compared its partitions, and `repair run`, now.
 *
 * Effects: the network through the client.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import { type Io, printUsage } from "./cli_io.ts";
import { ageText, documentText, formatOf, shown, tableText } from "./cli_output.ts";
import type { RepairInfo } from "./client.ts";
import { exitCode } from "./errors.ts";
import { grouped } from "./figures.ts";

/** `quorate repair [status|run]`. */
export async function repair(invocation: Invocation, io: Io): Promise<number> {
  const { arguments: words, options } = invocation;
  const [word = "status"] = words;
  const isNarrow = options["partition"] !== undefined || options["of"] !== undefined;
  if (word === "run") return runRepair(invocation, io);
  if (word === "status" && !isNarrow) return showRepair(invocation, io);
  const why =
    word === "status"
      ? "--partition or --of is given, but nothing is run."
      : `'${word}' is nothing that repair can do.`;
  return printUsage(
    io,
    why,
    "'quorate repair run' compares now; 'quorate repair' tells how far it is.",
  );
}

async function runRepair({ config, options }: Invocation, io: Io): Promise<number> {
  const { partition, of } = options;
  const begun = await clientOf(config).runRepair({
    ...(partition === undefined ? {} : { partition: Number(partition) }),
    ...(of === undefined ? {} : { namespace: String(of) }),
  });
  const format = formatOf(config, io, "table", "json");
  if (format === "json" || format === "yaml") await io.write(documentText(format, begun));
  else if (format === "raw") await io.write(`${begun.pairs}\n`);
  else {
    const count = begun.pairs === 1 ? "1 comparison is" : `${grouped(begun.pairs)} comparisons are`;
    io.note(`${shown(begun.node)}: ${count} due now. 'quorate repair' tells how far they are.`);
  }
  return exitCode.done;
}

async function showRepair({ config }: Invocation, io: Io): Promise<number> {
  const info = await clientOf(config).repair();
  const format = formatOf(config, io, "table", "json");
  if (format === "json" || format === "yaml") await io.write(documentText(format, info));
  else if (format === "raw") {
    await io.write(`${info.visited}\t${info.pairs}\t${info.due}\t${info.markCount}\n`);
  } else {
    const found = [...lackingRows(info), ...runningRows(info), ...markedRows(info)];
    const lines = [...found, ...heldRows(info)];
    const head = ["partition", "n", "with", "", "for"];
    if (lines.length > 0) await io.write(await tableText(head, lines));
    for (const line of summaryOf(info)) io.note(io.paint("dim", line));
  }
  return exitCode.done;
}

function lackingRows({ lacking }: RepairInfo): string[][] {
  return lacking.map(({ partition, n, why }) => [
    ...[String(partition), String(n), ""],
    ...[`has no data: ${shown(why)}`, ""],
  ]);
}

function runningRows({ running }: RepairInfo): string[][] {
  return running.map(({ partition, n, node, why, ageMs }) => [
    ...[String(partition), String(n), shown(node)],
    ...[`is compared (${shown(why)})`, ageText(ageMs)],
  ]);
}

function markedRows({ marks }: RepairInfo): string[][] {
  return marks.map(({ partition, n, node, storeId }) => [
    ...[String(partition), String(n), node === undefined ? `store ${shown(storeId)}` : shown(node)],
    ...["is marked: what differs is known, and compared soon", ""],
  ]);
}

function heldRows({ heldBack }: RepairInfo): string[][] {
  return heldBack.map(({ partition, n, why }) => [
    ...[String(partition), String(n), ""],
    ...[`keeps its deletes: ${shown(why)}`, ""],
  ]);
}

function summaryOf(info: RepairInfo): string[] {
  const { node, pairs, visited, due, whole, agreed, broken, pushed, pulled } = info;
  if (pairs === 0) return [`${shown(node)} holds nothing that another node holds.`];
  const oldest =
    info.oldestAgeMs === undefined ? "" : `, the oldest ${ageText(info.oldestAgeMs)} ago`;
  const left = info.leftMs === undefined ? "" : `, about ${ageText(info.leftMs)}`;
  const next = info.nextMs === undefined ? "" : `, the next in ${ageText(info.nextMs)}`;
  const hidden = info.markCount - info.marks.length;
  return [
    `${shown(node)} compared ${grouped(visited)} of ${grouped(pairs)} pairs in the last ${ageText(info.periodMs)}${oldest}.`,
    due > 0 ? `${grouped(due)} are due${left}.` : `None is due${next}.`,
    `Since its start: ${grouped(whole)} comparisons, ${grouped(agreed)} without a difference, ` +
      `${grouped(broken)} broken off; ${grouped(pushed)} records sent, ${grouped(pulled)} got.`,
    ...lossOf(info),
    ...deletesOf(info),
    ...(hidden > 0 ? [`${grouped(hidden)} more partitions are marked.`] : []),
  ];
}

/** What it has lost, and what comes of that. */
function lossOf({ node, rolledBack, lackingCount, filled }: RepairInfo): string[] {
  const lines: string[] = [];
  if (lackingCount > 0 || filled > 0) {
    lines.push(
      `${grouped(lackingCount)} partitions have no data and count for nothing yet; ${grouped(filled)} were filled since its start.`,
    );
  }
  if (rolledBack) {
    lines.push(
      `The store of ${shown(node)} was rolled back: its vote is void until it is replaced ('quorate cluster status' says how).`,
    );
  }
  return lines;
}

/** What waits to be dropped, and since when it could not be. */
function deletesOf({ waiting, neverSame, oldestSameAgeMs }: RepairInfo): string[] {
  if (waiting === 0) return [];
  const same =
    oldestSameAgeMs === undefined
      ? ""
      : `; the others were ${ageText(oldestSameAgeMs)} ago at most`;
  return [
    `Deletes or mortal records wait in ${grouped(waiting)} partitions; ` +
      `${grouped(neverSame)} were never known to be the same on all replicas${same}.`,
  ];
}
