/**
 * Cli chaos: `quorate chaos`: a cluster in trouble, or trouble for one that runs already.
 *
 *     quorate chaos                  a cluster of its own: `chaos/main.ts`, loaded for that alone
 *     quorate chaos kill n3          told to the process that has started the nodes, of a demo or a
 *                                    chaos cluster (`cli_demo_control`)
 *
 * Effects: those of the process that is told, or of the cluster.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import { tellControl } from "./cli_demo_control.ts";
import { type Io, printable, printUsage } from "./cli_io.ts";
import { exitCode, QuorateError } from "./errors.ts";

/** Where a chaos cluster and a demo are, unless it is said. */
const folders = [".quorate/chaos", ".quorate/demo"];
/** Each with how many nodes it names. */
const actions: Readonly<Record<string, number>> = {
  pause: 1,
  resume: 1,
  kill: 1,
  restart: 1,
  cut: 2,
  heal: 0,
};

/** `quorate chaos [action] [node] [other]`. */
export async function chaos(invocation: Invocation, io: Io): Promise<number> {
  const { arguments: words, options } = invocation;
  if (words.length === 0) return (await import("../chaos/main.ts")).runChaos(options, io);
  const fault = faultOf(words, options);
  if (fault !== undefined) {
    return printUsage(io, fault, "'quorate chaos --help' shows what can be done by hand.");
  }
  const folder = options["data-dir"];
  const tried = folder === undefined ? folders : [String(folder)];
  for (const each of tried) {
    const said = await tellControl(each, words);
    if (said === undefined) continue;
    io.note(printable(said));
    return exitCode.done;
  }
  const detail = `No demo and no chaos cluster runs in ${tried.join(" or ")}.`;
  throw new QuorateError("unreachable", detail, {
    hint: "Start one with 'quorate demo' or 'quorate chaos', or name its folder with --data-dir.",
  });
}

/** Why these words can be nothing that is done by hand; undefined when they can. */
export function faultOf(
  [action = "", ...names]: readonly string[],
  options: Invocation["options"] = {},
): string | undefined {
  const needed = Object.hasOwn(actions, action) ? actions[action] : undefined;
  if (needed === undefined) return `'${action}' is nothing that can be done to a node.`;
  if (names.length !== needed) {
    return `'${action}' takes ${["no node", "one node", "two nodes"][needed]}.`;
  }
  if (new Set(names).size < names.length) return `'${action}' takes two different nodes.`;
  const given = Object.keys(options).filter((name) => options[name] !== undefined);
  const other = given.find((name) => name !== "data-dir");
  return other === undefined ? undefined : `--${other} is for a cluster that is started.`;
}
