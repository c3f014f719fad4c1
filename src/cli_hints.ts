/**
 * Cli hints: `hints`, what a node keeps for others, and `hints wait`, until no node keeps any, nor a mark of
 * one that it gave up.
 *
 * A node only knows its own hints exactly, so a wait asks every member itself, again and again. One
 * that cannot be reached keeps what it has; it is named, and not waited for.
 *
 * Effects: the network through the client; the clock.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import { type Io, printError, printUsage } from "./cli_io.ts";
import { ageText, documentText, formatOf, shown, sizeText, tableText } from "./cli_output.ts";
import type { HintsInfo, MemberInfo } from "./client.ts";
import { showDuration } from "./config_kinds.ts";
import type { Config } from "./config_table.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";

const waitMsDefault = 60_000;
const lookMs = 250;
/** So that one member that does not answer holds up a look no longer. */
const askMsMax = 2000;

/** `quorate hints [wait]`. */
export async function hints(invocation: Invocation, io: Io): Promise<number> {
  const { arguments: words, options } = invocation;
  const [word] = words;
  if (word === undefined && options["for"] === undefined) return showHints(invocation, io);
  if (word === "wait") return waitForNone(invocation, io);
  const why =
    word === undefined
      ? "--for is given, but nothing waits."
      : `'${word}' is nothing that can be done with hints.`;
  return printUsage(io, why, "'quorate hints wait' waits until none are left.");
}

async function showHints({ config }: Invocation, io: Io): Promise<number> {
  const info = await clientOf(config).hints();
  const format = formatOf(config, io, "table", "json");
  if (format === "json" || format === "yaml") await io.write(documentText(format, info));
  else if (format === "raw") {
    const lines = info.targets.map((target) => `${nameOf(target)}\t${target.count}\n`);
    await io.write(lines.join(""));
  } else {
    if (info.targets.length > 0) await io.write(await targetsTable(info));
    const sum = `${grouped(info.count)} hints (${sizeText(info.bytes)}) for others`;
    io.note(io.paint("dim", `${shown(info.node)} keeps ${info.count === 0 ? "no hints" : sum}.`));
    if (info.marks > 0)
      io.note(io.paint("dim", `${marksText(info)}: 'quorate repair' shows which.`));
  }
  return exitCode.done;
}

function targetsTable({ targets }: HintsInfo): Promise<string> {
  const rows = targets.map((target) => [
    nameOf(target),
    grouped(target.count),
    sizeText(target.bytes),
    target.oldestAgeMs === undefined ? "" : `${ageText(target.oldestAgeMs)} ago`,
    target.delivering ? "being delivered" : "kept",
  ]);
  return tableText(["for", "hints", "size", "oldest", ""], rows);
}

function marksText({ marks }: HintsInfo): string {
  return `${grouped(marks)} comparisons are still to be made`;
}

/** Its name, or the store when it is no member any more. */
function nameOf({ node, storeId }: HintsInfo["targets"][number]): string {
  return node === undefined ? `store ${shown(storeId)}` : shown(node);
}

/** What one look at all members has found. */
interface Look {
  readonly members: readonly MemberInfo[];
  readonly asked: readonly HintsInfo[];
  /** Names. */
  readonly unreachable: readonly string[];
}

async function waitForNone({ config, options }: Invocation, io: Io): Promise<number> {
  const limitMs = Number(options["for"] ?? waitMsDefault);
  const overMs = performance.now() + limitMs;
  let look = await lookAt(config, undefined);
  let isMarked = false;
  let isLate = false;
  try {
    for (;;) {
      const isNone = countIn(look) === 0 && look.asked.length > 0;
      if (isNone && !isMarked) break;
      // A mark may have been handed on between the answers of one look; another one finds it, since each
      // member is asked what it has now. (A node that waits goes by heartbeats: see its `whenNoHints`.)
      isMarked = look.asked.some(({ marks }) => marks > 0);
      const leftMs = overMs - performance.now();
      if (leftMs <= 0) {
        isLate = true;
        break;
      }
      if (io.errorIsTerminal)
        io.draw(`\r\u001b[K${grouped(countIn(look))} hints and marks are left`);
      await pause(Math.min(lookMs, leftMs));
      look = await lookAt(config, look);
    }
  } finally {
    if (io.errorIsTerminal) io.draw("\r\u001b[K");
  }
  if (isLate) {
    // No write has failed: the code of a timeout would say that replicas were missing for one.
    printError(io, stillLeft(look, limitMs));
    return exitCode.failed;
  }
  await showNone(look, config, io);
  return exitCode.done;
}

/** Asks every member. The node at --url may be away for a while once the others are known. */
async function lookAt(config: Config, before: Look | undefined): Promise<Look> {
  const timeoutMs = Math.min(config.timeoutMs, askMsMax);
  let members: readonly MemberInfo[];
  try {
    members = (await clientOf(config).cluster({ timeoutMs })).members;
  } catch (error) {
    if (before === undefined) throw error;
    members = before.members;
  }
  const asked: HintsInfo[] = [];
  const unreachable: string[] = [];
  await Promise.all(
    members.map(async (member) => {
      const url = member.self ? config.url : urlOf(member);
      try {
        if (url === undefined) throw new Error("its address is not known");
        const answer = await clientOf({ ...config, url }).hints({ timeoutMs });
        // An address that means another machine there than here says nothing of the member.
        if (answer.node !== member.node) throw new Error("another node is there");
        asked.push(answer);
      } catch {
        unreachable.push(member.node);
      }
    }),
  );
  return { members, asked, unreachable: unreachable.sort() };
}

/** Where clients reach a member; one that does not say so may serve them where it serves nodes. */
function urlOf({ clientUrl, addresses }: MemberInfo): string | undefined {
  const [address] = addresses;
  return clientUrl ?? (address === undefined ? undefined : `http://${address}`);
}

function countIn({ asked }: Look): number {
  return asked.reduce((sum, { count, marks }) => sum + count + marks, 0);
}

async function showNone({ asked, unreachable }: Look, config: Config, io: Io): Promise<void> {
  const nodes = asked.map(({ node }) => node).sort();
  if (config.output === "json" || config.output === "yaml") {
    await io.write(documentText(config.output, { count: 0, nodes, unreachable }));
  } else io.note(`No hints are left on ${nodes.map(shown).join(", ")}.`);
  if (unreachable.length === 0) return;
  const names = unreachable.map(shown).join(", ");
  io.note(io.paint("yellow", `Not asked, because they cannot be reached: ${names}.`));
}

function stillLeft(look: Look, limitMs: number): QuorateError {
  const lines = look.asked.flatMap(({ node, targets, marks }) => [
    ...targets
      .filter(({ count }) => count > 0)
      .map((target) => `${shown(node)} keeps ${grouped(target.count)} for ${nameOf(target)}`),
    ...(marks > 0 ? [`${shown(node)} has still ${grouped(marks)} comparisons to make`] : []),
  ]);
  const said =
    look.asked.length === 0
      ? "no member could be asked"
      : `${grouped(countIn(look))} hints and marks are left: ${lines.join("; ")}`;
  return new QuorateError("timeout", `After ${showDuration(limitMs)}, ${said}.`, {
    hint: "A node that is down gets them when it is back: 'quorate status' tells which. --for waits longer.",
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((settle) => {
    setTimeout(settle, ms);
  });
}
