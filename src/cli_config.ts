/**
 * Cli config: `config show`: every setting, its value, and where that came from.
 *
 * Without a terminal the raw form is a config file that says the same.
 *
 * Effects: none, but for `Io.write`.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import type { Io } from "./cli_io.ts";
import { documentText, formatOf, shown, tableText } from "./cli_output.ts";
import { hiddenText, sourceText, valueText } from "./config.ts";
import { settingNames, settings, variableOf } from "./config_table.ts";
import { exitCode } from "./errors.ts";

/** `quorate config show`. */
export async function showConfig({ config, sources }: Invocation, io: Io): Promise<number> {
  const rows = settingNames
    .filter((name) => settings[name].outsideFile !== true)
    .map((name) => {
      const { flag, defaultText = "" } = settings[name];
      const text = valueText(name, config[name]);
      const value = text === undefined || text === "" ? undefined : text;
      return { flag, value, source: sourceText(sources[name]), defaultText };
    });
  const format = formatOf(config, io, "table", "raw");
  if (format === "table") {
    const cells = rows.map(({ flag, value, source, defaultText }) => [
      flag,
      value === undefined ? `(${defaultText})` : shown(value),
      source,
      variableOf(flag),
    ]);
    await io.write(await tableText(["setting", "value", "from", "variable"], cells));
  } else if (format === "raw") {
    for (const { flag, value, source, defaultText } of rows) {
      // JSON's strings are TOML's basic strings.
      // A secret is set, and is not said: the line is no setting.
      const isShown = value !== undefined && value !== hiddenText;
      const line = !isShown
        ? `# ${flag} = ${value ?? `(${defaultText})`}`
        : `${flag} = ${JSON.stringify(value)}`;
      await io.write(`${line}  # ${source}\n`);
    }
  } else {
    const entries = rows.map(({ flag, value, source }) => [flag, { value: value ?? null, source }]);
    await io.write(documentText(format, Object.fromEntries(entries)));
  }
  return exitCode.done;
}
