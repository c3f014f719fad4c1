/**
 * Failure: what is told of a run that broke a promise: at once what it broke; then it is run again until it is
 * short, and once more with its trace, and told with the command that runs it again, and with its schedule as JSON.
 * To make it short takes minutes, in which all may be ended from outside: what was found must have been told by then.
 *
 * Effects: none, but those of the runs.
 *
 * @module
 */

import { noTroubles, type Options, worldOf } from "./choices.ts";
import { scheduleText } from "./schedule.ts";
import { shrink } from "./shrink.ts";
import { type Run, simulate } from "./simulate.ts";
import { troubleText } from "./trouble_list.ts";

const traceLinesMax = 40;

/** Tells of a run that broke a promise, the commands that run it again among the lines. */
export async function tellFailure(
  run: Run,
  options: Options,
  print: (line: string) => void,
): Promise<void> {
  const { seed } = run;
  print(`\nseed ${seed} breaks a promise:`);
  for (const line of violationLines(run)) print(line);
  const shortest = options.mayShrink ? await shrink(run, worldOf(options)) : run;
  print("troubles:");
  for (const trouble of shortest.troubles) print(`  ${troubleText(trouble)}`);
  const lines: string[] = [];
  const last = await simulate({
    seed,
    ...worldOf(options),
    troubles: shortest.troubles,
    onTrace: (line) => void lines.push(line),
  });
  if (shortest !== run) for (const line of violationLines(last)) print(line);
  print("what came before:");
  for (const line of linesBefore(lines, last)) print(`  ${line}`);
  const { only, mutation } = options;
  const fault = only === undefined ? "" : ` --fault "${only.join(",") || noTroubles}"`;
  const focus = options.focus === undefined ? "" : ` --focus "${options.focus}"`;
  const world = (options.moves === undefined ? "" : ` --moves ${options.moves}`) + focus;
  const broken = mutation === undefined ? "" : ` --mutation "${mutation.name}"`;
  // With the troubles of a file the seed alone is another run: those that it draws.
  if (options.troubles === undefined) {
    print(`again: npm run sim -- --seed ${seed}${fault}${world}${broken} --replay`);
  }
  print(
    `with these troubles alone: npm run sim -- --schedule FILE${world} --replay, and in the file:`,
  );
  const { troubles } = shortest;
  print(`${scheduleText({ seed, mutation: mutation?.name, troubles })}\n`);
}

/** The lines up to the operation that broke the promise; else the last ones. */
function linesBefore(lines: readonly string[], { violations }: Run): readonly string[] {
  const numbers = violations[0]?.detail.match(/^ {4}#\d+ /gm) ?? [];
  const number = numbers.at(-1)?.trim();
  const at = lines.findIndex((line) => number !== undefined && line.includes(` ${number} `));
  const end = at === -1 ? lines.length : at + 1;
  return lines.slice(Math.max(0, end - traceLinesMax), end);
}

/** What a run broke first, a line each. */
export function violationLines({ violations }: Run): string[] {
  return violations.slice(0, 5).map(({ promise, detail }) => `  [${promise}] ${detail}`);
}
