/**
 * Cli explain: `explain`, where a key lives, and what each of its replicas holds.
 *
 * Effects: the network through the client.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import { clientOf, keyArgument } from "./cli_data.ts";
import type { Io } from "./cli_io.ts";
import {
  bytesField,
  documentText,
  expiresField,
  formatOf,
  keyText,
  shown,
  sizeText,
  tableText,
} from "./cli_output.ts";
import type { ExplainedReplica, ExplainInfo } from "./client.ts";
import { exitCode } from "./errors.ts";

/** `quorate explain KEY`. */
export async function explain(
  { config, arguments: words, options }: Invocation,
  io: Io,
): Promise<number> {
  const info = await clientOf(config).explain(keyArgument(words[0] ?? "", options));
  const format = formatOf(config, io, "table", "json");
  if (format === "raw") {
    const lines = info.replicas.map(({ node, status, version = "" }) =>
      [shown(node), shown(status), shown(version)].join("\t"),
    );
    await io.write(lines.map((line) => `${line}\n`).join(""));
  } else if (format === "table") await showTable(info, io);
  else await io.write(documentText(format, fieldsOf(info)));
  return exitCode.done;
}

function fieldsOf({ namespace, key, partition, epoch, replicas }: ExplainInfo): unknown {
  return {
    namespace,
    ...bytesField("key", key),
    partition,
    epoch,
    replicas: replicas.map(({ expiresAtMs, ...replica }) => ({
      ...replica,
      ...expiresField(expiresAtMs),
    })),
  };
}

async function showTable(info: ExplainInfo, io: Io): Promise<void> {
  // Versions in this form are in the order of their text.
  const versions = info.replicas.map(({ version }) => version ?? "");
  const newest = versions.reduce((most, version) => (version > most ? version : most), "");
  const rows = info.replicas.map((replica, index) => [
    `${index + 1}`,
    shown(replica.node),
    shown(replica.status),
    shown(replica.version ?? ""),
    replica.version === undefined ? "" : replica.version === newest ? "newest" : "older",
    heldText(replica),
    replica.tookMs === undefined ? "" : replica.tookMs.toFixed(1),
    shown(replica.error ?? ""),
  ]);
  const head = ["replica", "node", "status", "version", "copy", "holds", "ms", "error"];
  await io.write(await tableText(head, rows));
  const where = `${keyText(info.key)} in '${shown(info.namespace)}'`;
  io.note(io.paint("dim", `${where}: partition ${info.partition}, epoch ${info.epoch}.`));
}

function heldText({ tombstone, bytes, expiresAtMs }: ExplainedReplica): string {
  const what = tombstone === true ? "deleted" : bytes === undefined ? "" : sizeText(bytes);
  if (expiresAtMs === undefined) return what;
  const until = `until ${new Date(expiresAtMs).toISOString()}`;
  return what === "" ? until : `${what}, ${until}`;
}
