/**
 * Cli export: every record as a line of NDJSON, in bytewise order of the keys.
 *
 * Effects: the network through the client.
 *
 * @module
 */

import { toBase64url } from "./bytes.ts";
import type { Invocation } from "./cli_commands.ts";
import { clientOf } from "./cli_data.ts";
import type { Io } from "./cli_io.ts";
import { rangeOf } from "./cli_list.ts";
import { bytesField, expiresField } from "./cli_output.ts";
import { Progress } from "./cli_progress.ts";
import type { ClientRecord, QuorateClient } from "./client.ts";
import { exitCode, QuorateError } from "./errors.ts";

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
    throw incomplete(error, last);
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

function incomplete(error: unknown, last: Uint8Array | undefined): unknown {
  if (!(error instanceof QuorateError)) return error;
  const hint =
    last === undefined
      ? "Nothing was printed. Run it again."
      : `The output ends after the key64 ${toBase64url(last)}: run the export again, or go on with --key64 --start ${toBase64url(last)} and drop its first line.`;
  return new QuorateError(error.slug, `The export is incomplete: ${error.detail}`, {
    ...error.facts,
    hint,
  });
}
