/**
 * Cli moves: `cluster plan`, `apply`, `revert` and `status`, for nodes that come, go and are replaced.
 *
 * Effects: the network through the client; with `--watch` the clock.
 *
 * @module
 */

import type { MovesAnswer, PlanAnswer, PlanRequest } from "./api.ts";
import { flagsOf, shellText } from "./cli_again.ts";
import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import { type Io, printUsage } from "./cli_io.ts";
import { documentText, formatOf, shown, sizeText, tableText } from "./cli_output.ts";
import { programText, protocolLines } from "./cli_protocol.ts";
import type { QuorateClient } from "./client.ts";
import { showDuration } from "./config_kinds.ts";
import { exitCode } from "./errors.ts";
import { grouped } from "./figures.ts";

const lookMs = 1000;

/** `quorate cluster plan`. */
export async function plan(invocation: Invocation, io: Io): Promise<number> {
  const { config, options } = invocation;
  const request = requestOf(options);
  if (typeof request === "string") {
    return printUsage(io, request, "'quorate cluster plan --help' shows the forms.");
  }
  const answer = await changerOf(invocation).plan(request);
  const format = formatOf(config, io, "table", "json");
  if (format === "json" || format === "yaml") await io.write(documentText(format, answer));
  else if (format === "raw") await io.write(`${answer.id}\n`);
  else await showPlan(answer, invocation, io);
  return exitCode.done;
}

/** `quorate cluster apply <plan>`. */
export async function apply(invocation: Invocation, io: Io): Promise<number> {
  const [id = ""] = invocation.arguments;
  return show(await changerOf(invocation).applyPlan(id), invocation.config, io);
}

/** `quorate cluster revert`. */
export async function revert(invocation: Invocation, io: Io): Promise<number> {
  return show(await changerOf(invocation).revertMove(), invocation.config, io);
}

/** `quorate cluster status [--watch]`. */
export async function movesStatus({ config, options }: Invocation, io: Io): Promise<number> {
  const client = clientOf(config);
  let answer = await client.moves();
  let told = "";
  while (options["watch"] === true && answer.move !== undefined) {
    const line = lineOf(answer);
    if (line !== told) io.note(line);
    told = line;
    await new Promise((settle) => setTimeout(settle, lookMs));
    answer = await client.moves();
  }
  const code = await show(answer, config, io);
  if (formatOf(config, io, "table", "json") === "table") await showPrograms(client, io);
  return code;
}

/** What each member runs, and what waits for whom. */
async function showPrograms(client: QuorateClient, io: Io): Promise<void> {
  const info = await client.cluster();
  for (const member of info.members) {
    io.note(io.paint("dim", `${shown(member.node)} runs ${programText(member) || "unknown"}`));
  }
  for (const line of protocolLines(info)) io.note(io.paint("dim", line));
}

/**
 * `quorate drain <node>`: a plan of weight 0, carried out at once. Nobody sees that plan before, so one
 * that warns is not carried out unless it was said that it may: two drains in a row of three members
 * would else leave one copy of everything, without a word.
 */
export async function drainNode(invocation: Invocation, io: Io): Promise<number> {
  const { config, arguments: words, options } = invocation;
  const [node = ""] = words;
  const client = changerOf(invocation);
  const { id, warnings } = await client.plan({ drain: [node] });
  if (warnings.length > 0 && options["fewer-copies"] !== true) {
    return printUsage(
      io,
      warnings.join(" "),
      "Nothing was changed. Take in another node first, or say that so many are enough: --fewer-copies.",
    );
  }
  for (const warning of warnings) io.note(io.paint("yellow", shown(warning)));
  return show(await client.applyPlan(id), config, io);
}

/** A client that waits for what the voters say, longer than the node does, unless it is told how long. */
function changerOf({ config, sources }: Invocation): QuorateClient {
  if (sources.timeoutMs.kind !== "default") return clientOf(config);
  const { timeoutMs: _, ...rest } = config;
  return clientOf(rest);
}

async function show(answer: MovesAnswer, config: Invocation["config"], io: Io): Promise<number> {
  const format = formatOf(config, io, "table", "json");
  if (format === "json" || format === "yaml") await io.write(documentText(format, answer));
  else if (format === "raw") await io.write(`${answer.move?.phase ?? "-"}\n`);
  else {
    await io.write(`${lineOf(answer)}\n`);
    for (const { node, done, all } of answer.move?.copies ?? []) {
      const told = `has copied ${grouped(done)} of ${grouped(all)} partitions`;
      await io.write(`  ${shown(node)} ${all === 0 ? "has not told what it copies" : told}\n`);
    }
    for (const loss of answer.losses ?? []) await io.write(`${lossLine(loss)}\n`);
    for (const { node, addresses } of answer.waiting) {
      await io.write(`${shown(node)} (${addresses.map(shown).join(", ")}) waits to join\n`);
    }
    io.note(io.paint("dim", `Next: ${shown(answer.next)}`));
  }
  return exitCode.done;
}

function lossLine(loss: NonNullable<MovesAnswer["losses"]>[number]): string {
  const { node, lacking, rolledBack, next } = loss;
  const what = [
    ...(rolledBack ? ["was rolled back, and its vote is void"] : []),
    ...(lacking > 0 ? [`fills ${grouped(lacking)} partitions, which count for nothing yet`] : []),
  ];
  return `${shown(node)} ${what.join("; it ")}: ${shown(next)}`;
}

function lineOf({ epoch, move }: MovesAnswer): string {
  if (move === undefined) return `Nothing moves; the epoch is ${epoch}.`;
  const waits = move.waitsFor === undefined ? "" : `; ${shown(move.waitsFor)}`;
  return `Epoch ${epoch}, phase ${move.phase} of 4: ${shown(move.doing)} (${grouped(move.partitions)} partitions)${waits}.`;
}

async function showPlan(answer: PlanAnswer, invocation: Invocation, io: Io): Promise<void> {
  const size = (bytes: number | undefined): string => (bytes === undefined ? "" : sizeText(bytes));
  const rows = answer.members.map((member) => [
    shown(member.node),
    member.change,
    grouped(member.partitionsBefore),
    grouped(member.partitionsAfter),
    size(member.bytesBefore),
    size(member.bytesAfter),
  ]);
  await io.write(
    await tableText(["node", "", "partitions", "after", "holds", "about, after"], rows),
  );
  const { copies, bytes, seconds, epoch, warnings } = answer;
  io.note(
    `${grouped(copies)} copies of partitions, about ${sizeText(bytes)}, in about ${showDuration(seconds * 1000)}. For epoch ${epoch}.`,
  );
  for (const warning of warnings) io.note(io.paint("yellow", shown(warning)));
  // Only the node that has made it knows the plan.
  const next = [answer.next, shellText(flagsOf(invocation))].join(" ").trimEnd();
  io.note(`Next: ${shown(next)}`);
}

/** The options of `plan` as a request; or what is wrong with them. */
function requestOf(options: Invocation["options"]): PlanRequest | string {
  const list = (name: string): readonly string[] => {
    const given = options[name];
    return given === undefined ? [] : ([given].flat() as string[]);
  };
  const weights: { node: string; weight: number }[] = [];
  for (const text of list("weight")) {
    const [, node, weight] = /^(.+)=(\d{1,4})$/.exec(text) ?? [];
    if (node === undefined) return `--weight ${text} has not the form <node>=<weight>.`;
    weights.push({ node, weight: Number(weight) });
  }
  const zones: { node: string; zone: string }[] = [];
  for (const text of list("zone")) {
    const [, node, zone] = /^(.+?)=(.+)$/.exec(text) ?? [];
    if (node === undefined || zone === undefined) {
      return `--zone ${text} has not the form <node>=<zone>.`;
    }
    zones.push({ node, zone });
  }
  const request: PlanRequest = {
    ...some("join", list("join")),
    ...some("leave", list("leave")),
    ...some(
      "replace",
      list("replace").map((text) => {
        const [, node, by] = /^(.+?)=(.+)$/.exec(text) ?? [];
        return { node: node ?? text, by: by ?? text };
      }),
    ),
    ...some("drain", list("drain")),
    ...some("weight", weights),
    ...some("zone", zones),
  };
  if (Object.keys(request).length === 0) return "Nothing is to be otherwise.";
  return options["accept-data-loss"] === true ? { ...request, acceptDataLoss: true } : request;
}

function some<Name extends string, Item>(name: Name, items: readonly Item[]) {
  return (items.length === 0 ? {} : { [name]: items }) as { [N in Name]?: readonly Item[] };
}
