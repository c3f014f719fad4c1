/**
 * Cli again: the command line that goes on where another one stopped.
 *
 * Taken as it is printed it has to ask the same node for the same namespace, and a shell has to take each
 * word for the one that it was.
 *
 * Effects: none.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import type { Kind } from "./config_kinds.ts";
import { dashed, settings } from "./config_table.ts";

/** Settings that say whom a command asks and how. */
const asked = [
  "configFile",
  "url",
  "namespace",
  "timeoutMs",
  "consistency",
  "r",
  "w",
  "durability",
] as const;

/** What the command line says about whom it asks and how, for the one that goes on with it. */
export function flagsOf({ config, sources }: Invocation): readonly string[] {
  return asked.flatMap((name) => {
    if (sources[name].kind !== "flag") return [];
    const { flag, short, kind } = settings[name];
    return [dashed(short ?? flag), (kind as Kind<unknown>).show(config[name])];
  });
}

/** Words as a shell takes them. */
export function shellText(words: readonly string[]): string {
  const quoted = words.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  return quoted.join(" ");
}
