/**
 * Cli settings: reads the config file, and hands what was given to `config`.
 *
 * Effects: reads one file.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { systemErrorCode } from "./capability.ts";
import {
  type ConfigInputs,
  type GivenFlag,
  type Resolved,
  resolveConfig,
  type Wanted,
} from "./config.ts";
import { settings } from "./config_table.ts";
import { QuorateError } from "./errors.ts";

/** Read when no other file is named and the current folder has it. */
const configFileDefault = "quorate.toml";

export interface Given {
  readonly flags: Readonly<Record<string, GivenFlag>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly wanted: Wanted;
}

/** The value of every setting and where it came from. Throws `invalid-config`. */
export async function readSettings(given: Given): Promise<Resolved> {
  const { flags, environment, wanted } = given;
  const file = await readConfigFile(flags["config"], environment["QUORATE_CONFIG"]);
  return resolveConfig({ flags, environment, ...(file === undefined ? {} : { file }) }, wanted);
}

/** The first line of the secret's file; undefined when no file is named. Throws `invalid-config`. */
export async function readClusterSecret({ config }: Resolved): Promise<string | undefined> {
  const path = config.clusterSecretFile;
  if (path === undefined) return config.clusterSecret;
  const fix = "Write it there with: openssl rand -hex 32 (and let only the node's user read it).";
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const why = systemErrorCode(error) ?? String(error);
    const detail = `The file ${path} with the cluster's secret cannot be read: ${why}.`;
    throw new QuorateError("invalid-config", detail, { hint: fix, cause: error });
  }
  const { kind } = settings.clusterSecret;
  const parsed = kind.parse((text.split("\n")[0] ?? "").trim());
  if ("value" in parsed) return parsed.value;
  const detail = `The first line of ${path} is no secret: it takes ${kind.allowed}.`;
  throw new QuorateError("invalid-config", detail, { hint: fix });
}

async function readConfigFile(
  flag: GivenFlag,
  variable: string | undefined,
): Promise<ConfigInputs["file"]> {
  const named = typeof flag === "string" ? flag : variable === "" ? undefined : variable;
  const path = named ?? configFileDefault;
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT" && named === undefined) return undefined;
    const why = code === "ENOENT" ? "there is no such file" : (code ?? String(error));
    throw new QuorateError("invalid-config", `The config file ${path} cannot be read: ${why}.`, {
      hint: "Name another with --config, or leave it out.",
      cause: error,
    });
  }
  // Most commands meet no config file, and need not wait for its parser to load.
  const { parse, TomlError } = await import("smol-toml");
  try {
    return { path, values: parse(text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.split("\n")[0] ?? "";
    throw new QuorateError(
      "invalid-config",
      `The config file ${path} is not valid TOML at line ${error.line}, column ${error.column}: ${why}.`,
      { hint: 'A setting reads, for example: port = 8080 or max-value = "4MiB".', cause: error },
    );
  }
}
