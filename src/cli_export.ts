/**
 * Cli export: every record as a line of NDJSON, in bytewise order of the keys.
 *
 * Effects: the network through the client.
 *
 * @module
 */

import { keyBytesMax } from "./api.ts";
import { toBase64url } from "./bytes.ts";
import { flagsOf, shellText } from "./cli_again.ts";
import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import type { Io } from "./cli_io.ts";
import { rangeOf } from "./cli_list.ts";
import { bytesField, expiresField } from "./cli_output.ts";
import { Progress } from "./cli_progress.ts";
import type { ClientRecord, QuorateClient } from "./client.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { bytesOf } from "./option_kinds.ts";

/** Lines are written in pieces of this many characters: one write each would be slow. */
const pieceLength = 64 * 1024;

/** `quorate export [PREFIX]`. */
export async function exportRecords(invocation: Invocation, io: Io): Promise<number> {
  const client = clientOf(invocation.config);
  const range = rangeOf(invocation);
  const total = await expectedTotal(client, range.prefix, io);
  const progress = new Progress(io, "keys");
  let count = 0;
  let last: Uint8Array | undefined;
  let lines = "";
  try {
    for await (const record of client.export(range)) {
      lines += `${lineOf(record)}\n`;
      count += 1;
      if (lines.length >= pieceLength) {
        await io.write(lines);
        lines = "";
        last = record.key;
      }
      progress.update(count, total === undefined ? undefined : count / Math.max(1, total));
    }
    await io.write(lines);
  } catch (error) {
    progress.clear();
    throw incomplete(error, last, invocation);
  }
  progress.clear();
  io.note(`Exported ${progress.rateText(count)}.`);
  return exitCode.done;
}

/** A record as a line that `import` reads. */
function lineOf({ key, value, contentType, meta, expiresAtMs }: ClientRecord): string {
  return JSON.stringify({
    ...bytesField("key", key),
    ...bytesField("value", value),
    contentType,
    ...(Object.keys(meta).length === 0 ? {} : { meta }),
    ...expiresField(expiresAtMs),
  });
}

/** How many keys there will be, about; only a bar needs it. */
async function expectedTotal(
  client: QuorateClient,
  prefix: string | Uint8Array | undefined,
  io: Io,
): Promise<number | undefined> {
  // With a prefix the node would have to walk the keys to count them.
  if (!io.errorIsTerminal || prefix !== undefined) return undefined;
  return (await client.count()).keys;
}

/** The error of an export that stopped, with the command that prints what comes after `last`. */
function incomplete(error: unknown, last: Uint8Array | undefined, invocation: Invocation): unknown {
  if (!(error instanceof QuorateError)) return error;
  const rest = last === undefined ? undefined : restAfter(last, invocation);
  const hint =
    last === undefined
      ? "Nothing was printed. Run it again."
      : `The output ends after the key64 ${toBase64url(last)}: run the export again${rest === undefined ? "" : `, or print the rest with: ${rest}`}`;
  return new QuorateError(error.slug, `The export is incomplete: ${error.detail}`, {
    ...error.facts,
    hint,
  });
}

/** Undefined where no key can come after `last`. */
function restAfter(last: Uint8Array, invocation: Invocation): string | undefined {
  const start = nextKey(last);
  if (start === undefined) return undefined;
  const { prefix, end } = rangeOf(invocation);
  const words = ["quorate", "export", "--key64", "--start", toBase64url(start)];
  if (end !== undefined) words.push("--end", toBase64url(bytesOf("end", end)));
  words.push(...flagsOf(invocation));
  // It may begin with '-'.
  if (prefix !== undefined) words.push("--", toBase64url(bytesOf("prefix", prefix)));
  return shellText(words);
}

/** The first key that can come after another one: that one may be deleted by then, and is not to come twice. */
function nextKey(key: Uint8Array): Uint8Array | undefined {
  if (key.length < keyBytesMax) return Uint8Array.of(...key, 0);
  const length = key.findLastIndex((byte) => byte < 0xff) + 1;
  if (length === 0) return undefined;
  const next = key.slice(0, length);
  next[length - 1] = (key[length - 1] ?? 0) + 1;
  return next;
}
