/**
 * Reference: the parts of the documentation that are made from the program's own tables.
 *
 *     node --import tsx test/reference.ts        writes them
 *
 * `docs/configuration.md` is made whole from the table of settings; `docs/cli.md` keeps what people
 * wrote and gets the commands between its two marks. The tests of both compare the files with what
 * this would write, so that neither can say something that the program does not.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type CommandOption, type CommandRow, commands } from "../src/cli_commands.ts";
import type { Kind } from "../src/config_kinds.ts";
import {
  type Config,
  dashed,
  type Setting,
  settingNames,
  settings,
  variableOf,
} from "../src/config_table.ts";

const configurationPath = fileURLToPath(new URL("../docs/configuration.md", import.meta.url));
const cliPath = fileURLToPath(new URL("../docs/cli.md", import.meta.url));
const beginMark = "<!-- The commands, made by test/reference.ts: -->";
const endMark = "<!-- The end of the commands. -->";

export function configurationFile(): string {
  return readFileSync(configurationPath, "utf8");
}

export function cliFile(): string {
  return readFileSync(cliPath, "utf8");
}

const configurationHead = `# Configuration

Every setting has a flag, an environment variable and a key in a config file, and all three are made of one name:
\`--max-value\`, \`QUORATE_MAX_VALUE\`, \`max-value = "4MiB"\`. The first of these counts: the flag, the variable, the file,
the default. \`quorate config show\` prints each value and where it came from.

The config file is TOML. It is \`quorate.toml\` in the current folder when there is one, or the file that \`--config\`
names. A key or a \`QUORATE_*\` variable that is not a setting is an error, and so is a value that is not allowed: nothing
that was given is passed over silently. A variable that is set to nothing counts as not set.

Sizes carry a unit (\`64MiB\`, \`500KB\`), times too (\`250ms\`, \`2s\`, \`10min\`). A list has commas between its parts, and
its flag may be repeated. Limits that depend on each other are checked together when a node starts.

This page is made from the table that the program itself uses (\`src/config_table.ts\`), by \`test/reference.ts\`.
`;

/** All of `docs/configuration.md`. */
export function configurationText(): string {
  const groups = [...new Set(settingNames.map((name) => settings[name].group))];
  const sections = groups.map((group) => {
    const rows = settingNames.filter((name) => settings[name].group === group);
    return `\n## ${group}\n${rows.map((name) => settingText(settings[name])).join("")}`;
  });
  return configurationHead + sections.join("");
}

function settingText(setting: Setting<Config[keyof Config]>): string {
  const { flag, short, formula, tradeOff, outsideFile } = setting;
  const kind = setting.kind as Kind<unknown>;
  const flags =
    short === undefined ? code(dashed(flag)) : `${code(`-${short}`)}, ${code(dashed(flag))}`;
  const standard = setting.defaultText ?? code(kind.show(setting.default));
  const names = [
    `${flags}, ${code(variableOf(flag))}`,
    ...(outsideFile === true ? ["not in the file"] : []),
  ];
  const lines = [
    `\n### ${flag}\n`,
    `${names.join("; ")}. Default: ${standard}. Takes ${kind.allowed}.\n`,
    setting.meaning,
    ...(formula === undefined ? [] : [formula]),
    ...(tradeOff === undefined ? [] : [tradeOff]),
  ];
  return `${lines.join("\n")}\n`;
}

/** `docs/cli.md` with its commands made anew; what stands around them is kept. */
export function cliText(present: string): string {
  const begin = present.indexOf(beginMark);
  const end = present.indexOf(endMark);
  if (begin < 0 || end < begin) throw new Error("docs/cli.md has lost the marks of its commands");
  const made = commands.map(commandText).join("\n");
  return `${present.slice(0, begin) + beginMark}\n\n${made}\n${present.slice(end)}`;
}

function commandText(row: CommandRow): string {
  const forms = row.arguments.map(([form]) => ` ${form}`).join("");
  const lines = [
    `### quorate ${row.name}${forms}`.replace(/[<>[\]]/g, ""),
    "",
    row.meaning,
    ...fenced(row.examples),
  ];
  const own = [
    ...row.arguments.map(([form, meaning]) => [form, meaning] as const),
    ...row.options.map((option) => [optionForm(option), option.meaning] as const),
  ];
  if (own.length > 0) {
    lines.push("", "| takes | |", "|---|---|");
    for (const [form, meaning] of own) lines.push(`| ${cell(code(form))} | ${cell(meaning)} |`);
  }
  if (row.settings.length > 0) lines.push("", settingsLine(row));
  lines.push("");
  return lines.join("\n");
}

/** Serve and config show read many; the others name each, with a link to what it means. */
function settingsLine(row: CommandRow): string {
  if (row.name === "config show") return "Settings: all of [configuration.md](configuration.md).";
  if (row.name === "serve") {
    const groups = [...new Set(row.settings.map((name) => settings[name].group))];
    const links = groups.map((group) => `[${group}](configuration.md#${anchor(group)})`);
    return `Settings: ${links.join(", ")}.`;
  }
  const links = row.settings.map((name) => {
    const { flag, short } = settings[name];
    const shown = short === undefined ? dashed(flag) : `-${short}, ${dashed(flag)}`;
    return `[${shown}](configuration.md#${anchor(flag)})`;
  });
  return `Settings: ${links.join("; ")}.`;
}

function optionForm({ name, kind }: CommandOption): string {
  const placeholder = kind?.placeholder ?? "";
  return placeholder === "" ? dashed(name) : `${dashed(name)} ${placeholder}`;
}

function fenced(lines: readonly string[]): string[] {
  return ["", ...lines.map((line) => `    ${line}`)];
}

function code(text: string): string {
  return `\`${text}\``;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function anchor(heading: string): string {
  return heading.toLowerCase().replaceAll(" ", "-");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(configurationPath, configurationText());
  writeFileSync(cliPath, cliText(cliFile()));
}
