/**
 * Cli data: `get`, `put` and `del`.
 *
 * Effects: the network through the client, files named on the command line.
 *
 * @module
 */

import { createReadStream } from "node:fs";
import { valueBytesMaxLimit } from "./api.ts";
import { fromBase64url, toBase64url, utf8OrUndefined } from "./bytes.ts";
import { systemErrorCode } from "./capability.ts";
import type { Invocation } from "./cli_commands.ts";
import type { Io } from "./cli_io.ts";
import {
  bytesField,
  expiresField,
  fieldsText,
  formatOf,
  keyText,
  printFields,
  recordFields,
} from "./cli_output.ts";
import { QuorateClient, type WriteResult } from "./client.ts";
import type { Config } from "./config_table.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";

/** `quorate get KEY`. */
export async function get(
  { config, arguments: words, options }: Invocation,
  io: Io,
): Promise<number> {
  const key = keyArgument(words[0] ?? "", options);
  const record = await clientOf(config).get(key);
  if (record === undefined) {
    throw new QuorateError(
      "key-not-found",
      `There is no key '${nameOf(key)}' in the namespace '${config.namespace}'.`,
      { hint: "'quorate list' prints the keys that there are." },
    );
  }
  const format = formatOf(config, io, "raw", "raw");
  if (format === "table") {
    await io.write(await fieldsText(recordFields(record)));
  } else if (format !== "raw") {
    await printFields(io, format, recordFields(record), "");
  } else if (io.outputIsTerminal && config.output === undefined) {
    await showOnTerminal(record.value, record.contentType, io);
  } else await io.write(record.value);
  return exitCode.done;
}

/** `quorate put KEY VALUE`. */
export async function put(
  { config, arguments: words, options }: Invocation,
  io: Io,
): Promise<number> {
  const [given = "", text = ""] = words;
  const key = keyArgument(given, options);
  const meta = metaOf((options["meta"] ?? []) as readonly string[]);
  const { value, contentType } = await valueArgument(text, io);
  const result = await clientOf(config).put(key, value, {
    contentType: (options["content-type"] as string | undefined) ?? contentType,
    ttlSeconds: options["ttl"] as number | undefined,
    meta,
  });
  await printWritten(io, config, { verb: "Stored", key, result });
  return exitCode.done;
}

/** `quorate del KEY`. */
export async function del(
  { config, arguments: words, options }: Invocation,
  io: Io,
): Promise<number> {
  const key = keyArgument(words[0] ?? "", options);
  const result = await clientOf(config).delete(key);
  await printWritten(io, config, { verb: "Deleted", key, result });
  return exitCode.done;
}

/** The settings of a client; without a time, each request has the client's own. */
type ClientConfig = Omit<Config, "timeoutMs"> & Partial<Pick<Config, "timeoutMs">>;

/** The client that the settings describe. */
export function clientOf(config: ClientConfig): QuorateClient {
  const { url, namespace, timeoutMs, consistency, r, w, durability } = config;
  return new QuorateClient({ url, namespace, timeoutMs, consistency, r, w, durability });
}

/** A key of the command line: text, or base64url with --key64. */
export function keyArgument(
  given: string,
  options: Readonly<Record<string, unknown>>,
): string | Uint8Array {
  if (options["key64"] !== true) {
    if (isAsGiven(given)) return given;
    throw new QuorateError("invalid-key", "The key on the command line is not valid UTF-8.", {
      hint: "Give it as base64url without padding, with --key64.",
    });
  }
  const bytes = fromBase64url(given.replace(/=+$/, ""));
  if (bytes !== undefined) return bytes;
  throw new QuorateError("invalid-key", `'${given}' is not base64url.`, {
    hint: "With --key64 a key is base64url without padding: A-Z, a-z, 0-9, '-' and '_'.",
  });
}

/** `name=value` texts as metadata. */
function metaOf(texts: readonly string[]): Readonly<Record<string, string>> {
  const pairs = texts.map((text): [name: string, text: string] => {
    const end = text.indexOf("=");
    return [text.slice(0, end), text.slice(end + 1)];
  });
  // Not by assignment: that loses the name `__proto__`.
  return Object.fromEntries(pairs);
}

interface GivenValue {
  readonly value: string | Uint8Array;
  readonly contentType: string | undefined;
}

async function valueArgument(given: string, io: Io): Promise<GivenValue> {
  const octets = "application/octet-stream";
  if (given === "-") return { value: await allOf(io.input), contentType: octets };
  if (!given.startsWith("@")) return { value: checkedText(given), contentType: undefined };
  const path = given.slice(1);
  try {
    return { value: await allOf(createReadStream(path)), contentType: octets };
  } catch (error) {
    throw error instanceof QuorateError ? error : unreadable(path, error);
  }
}

/** What was not UTF-8 on the command line arrives with U+FFFD in its place: it is another key, or value. */
function isAsGiven(given: string): boolean {
  return !given.includes("\ufffd");
}

function checkedText(given: string): string {
  if (isAsGiven(given)) return given;
  throw new QuorateError("invalid-request", "The value on the command line is not valid UTF-8.", {
    outcome: "none",
    hint: "Nothing was sent. The standard input takes any bytes: printf … | quorate put <key> -",
  });
}

/** The error for a file that the command line names and that cannot be read. */
export function unreadable(path: string, error: unknown): QuorateError {
  const code = systemErrorCode(error);
  const why = code === "ENOENT" ? "there is no such file" : (code ?? String(error));
  return new QuorateError("invalid-request", `The file ${path} cannot be read: ${why}.`, {
    hint: "Nothing was sent. Check the path.",
    cause: error,
  });
}

/** An input whole; one that goes on beyond what any value may have is not read to its end. */
async function allOf(input: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    bytes += chunk.length;
    if (bytes > valueBytesMaxLimit) throw tooLarge();
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function tooLarge(): QuorateError {
  const said = `The value has more than ${grouped(valueBytesMaxLimit)} bytes, the most that any value may have.`;
  return new QuorateError("value-too-large", said, {
    outcome: "none",
    limit: valueBytesMaxLimit,
    hint: "Nothing was sent. Store it in pieces.",
  });
}

/** A value between two prompts: with a line end, and without what a terminal would obey. */
async function showOnTerminal(value: Uint8Array, contentType: string, io: Io): Promise<void> {
  const text = utf8OrUndefined(value);
  const isText = text !== undefined && !/[^\P{Cc}\n\r\t]/u.test(text);
  if (!isText) {
    const what = `${value.length} bytes of ${contentType}`;
    io.note(io.paint("yellow", `${what}: not text. Redirect it, or print it with -o raw.`));
    return;
  }
  await io.write(text.endsWith("\n") ? text : `${text}\n`);
}

interface Written {
  readonly verb: "Stored" | "Deleted";
  readonly key: string | Uint8Array;
  readonly result: WriteResult;
}

/** Says what was written: to a person in words, to a program where it asked with -o. */
async function printWritten(io: Io, config: Config, { verb, key, result }: Written): Promise<void> {
  const { version, acks, replicas, consistency, durability, node, expiresAtMs } = result;
  if (config.output === undefined) {
    if (!io.errorIsTerminal) return;
    const where = `on ${acks} of ${replicas} replica${replicas === 1 ? "" : "s"}`;
    io.note(io.paint("dim", `${verb} ${nameOf(key)} ${where} (${durability}).`));
    return;
  }
  const fields = {
    ...bytesField("key", typeof key === "string" ? Buffer.from(key) : key),
    ...(version === undefined ? {} : { version }),
    acks,
    replicas,
    consistency,
    durability,
    node,
    ...expiresField(expiresAtMs),
  };
  await printFields(io, config.output, fields, version === undefined ? "" : `${version}\n`);
}

function nameOf(key: string | Uint8Array): string {
  if (typeof key === "string") return keyText(Buffer.from(key));
  return utf8OrUndefined(key) === undefined ? `key64:${toBase64url(key)}` : keyText(key);
}
