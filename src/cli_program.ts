/**
 * Cli program: the rows of `cli_commands` as a parser with help.
 *
 * Effects: none; what a command does is handed in.
 *
 * @module
 */

import { Command, Option } from "commander";
import { type CommandOption, type CommandRow, commands } from "./cli_commands.ts";
import type { GivenFlag } from "./config.ts";
import type { Kind } from "./config_kinds.ts";
import { type Config, dashed, type Setting, settings, variableOf } from "./config_table.ts";
import { QuorateError } from "./errors.ts";

/** What the parser found. */
export interface Parsed {
  readonly row: CommandRow;
  readonly arguments: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly flags: Readonly<Record<string, GivenFlag>>;
}

export interface ProgramOptions {
  readonly version: string;
  readonly run: (parsed: Parsed) => Promise<void>;
  readonly write: (text: string) => void;
  /** The width of the help, in columns. */
  readonly helpWidth?: number;
}

const about = [
  "A replicated key-value store that keeps every write it has acknowledged.",
  "Settings come from flags, then QUORATE_* variables, then the config file; 'quorate config show' prints each with its source.",
  "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 key not found, 4 not enough replicas, 5 outcome unknown or partial.",
].join("\n\n");

/** Of the first word of commands of two. */
const groupMeanings: Readonly<Record<string, string>> = {
  cluster: "Plans who is a member and what each holds, carries it out, and tells how far it is.",
  config: "Looks at the settings.",
};

/** The parser. It throws commander's error for wrong usage, and never ends the process. */
export function buildProgram(options: ProgramOptions): Command {
  const program = prepare(new Command("quorate"), options);
  program.description(about).version(options.version, "-V, --version", "Prints the version.");
  program.helpCommand("help [command]", "Prints the help of a command.");
  for (const row of commands) {
    const [first, second] = row.name.split(" ");
    const group = second === undefined ? program : groupOf(program, first ?? "", options);
    const command = prepare(new Command(second ?? first), options);
    describe(command, row);
    command.action(async (...given: unknown[]) => {
      await options.run(parsedOf(row, command, given));
    });
    group.addCommand(command);
  }
  return program;
}

function prepare(command: Command, { write, helpWidth }: ProgramOptions): Command {
  command.exitOverride();
  command.helpOption("-h, --help", "Prints this help.");
  command.configureOutput({
    writeOut: write,
    // Wrong usage is printed once, by whoever catches the error.
    writeErr: () => {},
    outputError: () => {},
  });
  if (helpWidth !== undefined) command.configureHelp({ helpWidth });
  return command;
}

function groupOf(program: Command, name: string, options: ProgramOptions): Command {
  const found = program.commands.find((command) => command.name() === name);
  if (found !== undefined) return found;
  const group = prepare(new Command(name), options).description(groupMeanings[name] ?? "");
  group.helpCommand(false);
  program.addCommand(group);
  return group;
}

function describe(command: Command, row: CommandRow): void {
  command.description(row.meaning);
  for (const [form, meaning] of row.arguments) command.argument(form, meaning);
  for (const option of row.options) command.addOption(optionOf(option));
  command.addOption(settingOption(settings.configFile));
  for (const name of row.settings) command.addOption(settingOption(settings[name]));
  const examples = row.examples.map((line) => `  $ ${line}`).join("\n");
  command.addHelpText("after", `\nExamples:\n${examples}`);
}

function optionOf({ name, kind, repeats, meaning }: CommandOption): Option {
  const option = new Option(flagText(name, undefined, kind?.placeholder ?? ""), meaning);
  if (kind === undefined) return option;
  return option.argParser((given: string, before: unknown): unknown => {
    const value = parseOption(name, kind, given);
    return repeats === true ? [...(Array.isArray(before) ? before : []), value] : value;
  });
}

function settingOption(setting: Setting<Config[keyof Config]>): Option {
  const { flag, short, meaning, kind } = setting;
  const standard = setting.defaultText ?? (kind as Kind<unknown>).show(setting.default);
  const notes = `default: ${standard}; env: ${variableOf(flag)}`;
  const option = new Option(flagText(flag, short, kind.placeholder), `${meaning} (${notes})`);
  // Settings are parsed together with variables and the file, by `resolveConfig`.
  return option.argParser((given: string, before: unknown): unknown =>
    kind.placeholder.endsWith(",...>") ? [...(Array.isArray(before) ? before : []), given] : given,
  );
}

function flagText(name: string, short: string | undefined, placeholder: string): string {
  const long = short === undefined ? dashed(name) : `-${short}, ${dashed(name)}`;
  return placeholder === "" ? long : `${long} ${placeholder}`;
}

function parseOption(name: string, kind: Kind<unknown>, given: string): unknown {
  const parsed = kind.parse(given);
  if ("value" in parsed) return parsed.value;
  throw new QuorateError("invalid-request", `--${name}: '${given}' ${parsed.error}.`, {
    hint: `Give ${kind.allowed}.`,
  });
}

/** Commander hands over each argument, then the options, then the command. */
function parsedOf(row: CommandRow, command: Command, given: readonly unknown[]): Parsed {
  const found: Readonly<Record<string, unknown>> = command.opts();
  const options: Record<string, unknown> = {};
  for (const { name } of row.options) options[name] = givenOf(found, name);
  const flags: Record<string, GivenFlag> = {};
  for (const name of ["configFile", ...row.settings] as const) {
    const { flag } = settings[name];
    flags[flag] = found[attributeOf(flag)] as GivenFlag;
  }
  const texts = given.slice(0, row.arguments.length).filter((text) => typeof text === "string");
  return { row, arguments: texts, options, flags };
}

/** Commander takes `no-shrink` for the opposite of `shrink`, which it sets by itself. */
function givenOf(found: Readonly<Record<string, unknown>>, name: string): unknown {
  if (!name.startsWith("no-")) return found[attributeOf(name)];
  return found[attributeOf(name.slice("no-".length))] === false ? true : undefined;
}

/** Commander's own name for the value of a flag: `max-value` is `maxValue`. */
function attributeOf(flag: string): string {
  return flag.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
