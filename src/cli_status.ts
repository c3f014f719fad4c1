/**
 * Cli status: `status`, the members of the cluster as one node sees them.
 *
 * Effects: the network through the client; with `--watch` the clock.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import { type Io, printError } from "./cli_io.ts";
import { ageText, documentText, formatOf, shown, sizeText, tableText } from "./cli_output.ts";
import { programText, protocolLines } from "./cli_protocol.ts";
import type { ClusterInfo, MemberInfo } from "./client.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";

const redrawMs = 1000;
/** Home, and nothing from there on. */
const clearScreen = "\u001b[H\u001b[J";

/** `quorate status`. */
export async function status(invocation: Invocation, io: Io): Promise<number> {
  const { config, options } = invocation;
  if (options["watch"] === true) return watchStatus(invocation, io, () => pause(redrawMs));
  const info = await clientOf(config).cluster();
  const format = formatOf(config, io, "table", "json");
  if (format === "table") {
    await io.write(await membersTable(info));
    for (const line of summaryOf(info)) io.note(io.paint("dim", line));
  } else if (format === "raw") {
    const lines = info.members.map(({ node, state }) => `${shown(node)}\t${state}\n`);
    await io.write(lines.join(""));
  } else await io.write(documentText(format, info));
  if (isMember(info)) return exitCode.done;
  io.note(io.paint("yellow", notMemberText(info)));
  return exitCode.failed;
}

/** One that has left is told nothing any more, and takes all the others for down. */
function isMember({ members }: ClusterInfo): boolean {
  return members.some(({ self }) => self);
}

function notMemberText({ node, epoch }: ClusterInfo): string {
  const what = `${shown(node)} is no member of the cluster any more`;
  return `${what}, and hears of nobody: what it shows is of epoch ${epoch}. Ask another node with --url; this one can be stopped.`;
}

/** Draws the table again and again, until `next` says that it is enough. */
export async function watchStatus(
  { config }: Pick<Invocation, "config">,
  io: Io,
  next: () => Promise<boolean>,
): Promise<number> {
  if (!io.outputIsTerminal || (config.output ?? "table") !== "table") {
    throw new QuorateError("invalid-request", "--watch redraws a table, and needs a terminal.", {
      hint: "Leave out --watch, or -o and the pipe.",
    });
  }
  const client = clientOf(config);
  do {
    try {
      const info = await client.cluster();
      // One write, so that it does not flicker.
      const left = isMember(info) ? [] : [notMemberText(info)];
      const summary = [...left, ...summaryOf(info)].join("\n");
      await io.write(`${clearScreen}${await membersTable(info)}${summary}\n`);
    } catch (error) {
      // A node that is away may come back: that is what one watches for.
      await io.write(clearScreen);
      printError(io, error);
    }
  } while (await next());
  return exitCode.done;
}

function membersTable({ members }: ClusterInfo): Promise<string> {
  const head = [
    ...["node", "state", "phi", "heard", "epoch", "first of", "replica of"],
    ...["keys", "hints for it", "disk free", "program", "url"],
  ];
  // In the document they are in the order of their ids, which nobody knows by heart.
  const byName = members.toSorted((a, b) => a.node.localeCompare(b.node, "en", { numeric: true }));
  return tableText(head, byName.map(rowOf));
}

/** What was not heard is empty. */
function rowOf(member: MemberInfo): string[] {
  const { node, phi, self, silentMs, epoch, keys, disk, hints } = member;
  return [
    shown(node),
    stateOf(member),
    phi.toFixed(1),
    self ? "this node" : silentMs === undefined ? "never" : `${ageText(silentMs)} ago`,
    epoch === undefined ? "" : `${epoch}`,
    `${member.primaries}`,
    `${member.replicas}`,
    keys === undefined ? "" : grouped(keys),
    hints.count === 0 ? "" : `${grouped(hints.count)}, ${sizeText(hints.bytes)}`,
    disk === undefined ? "" : `${sizeText(disk.freeBytes)} of ${sizeText(disk.totalBytes)}`,
    programText(member),
    shown(member.clientUrl ?? ""),
  ];
}

/** With what it has lost, where it has: such a member counts for less than it seems. */
function stateOf({ state, lacking, rolledBack }: MemberInfo): string {
  const fills = lacking === undefined ? [] : [`fills ${grouped(lacking)}`];
  return [state, ...fills, ...(rolledBack === true ? ["no vote"] : [])].join(", ");
}

function summaryOf(info: ClusterInfo): readonly string[] {
  const { node, clusterId, epoch, partitions, voters } = info;
  const agreed = `${partitions} partitions, epoch ${epoch}, voters ${voters.map(shown).join(", ")}`;
  return [
    `Cluster ${shown(clusterId)} as ${shown(node)} sees it: ${agreed}.`,
    ...protocolLines(info),
  ];
}

function pause(ms: number): Promise<boolean> {
  return new Promise((settle) => {
    setTimeout(() => settle(true), ms);
  });
}
