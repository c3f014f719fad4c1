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
    const lines = info.replicas.map((replica) =>
      [replica.node, replica.status, replica.version ?? "", kindOf(replica)].map(shown).join("\t"),
    );
    await io.write(lines.map((line) => `${line}\n`).join(""));
  } else if (format === "table") await showTable(info, io);
  else await io.write(documentText(format, fieldsOf(info)));
  return exitCode.done;
}

/** Whether what it holds is a value: a delete has a version like any other. */
function kindOf({ version, tombstone }: ExplainedReplica): string {
  if (version === undefined) return "";
  return tombstone === true ? "deleted" : "value";
}

function fieldsOf({ namespace, key, partition, epoch, n, replicas }: ExplainInfo): unknown {
  return {
    namespace,
    ...bytesField("key", key),
    partition,
    epoch,
    ...(n === undefined ? {} : { n }),
    replicas: replicas.map(({ expiresAtMs, sameBeforeMs, ...replica }) => ({
      ...replica,
      ...expiresField(expiresAtMs),
      ...(sameBeforeMs === undefined ? {} : { sameBefore: timeText(sameBeforeMs) }),
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
    stateOf(replica),
    shown(replica.version ?? ""),
    replica.version === undefined ? "" : replica.version === newest ? "newest" : "older",
    heldText(replica),
    replica.epoch === undefined ? "" : `${replica.epoch}`,
    replica.sameBeforeMs === undefined ? "" : timeText(replica.sameBeforeMs),
    replica.tookMs === undefined ? "" : replica.tookMs.toFixed(1),
    shown(replica.error ?? ""),
  ]);
  const head = [
    ...["replica", "node", "status", "version", "copy", "holds"],
    ...["epoch", "same before", "ms", "error"],
  ];
  await io.write(await tableText(head, rows));
  const where = `${keyText(info.key)} in '${shown(info.namespace)}'`;
  const count = info.n === undefined ? "" : `, n ${info.n}`;
  io.note(io.paint("dim", `${where}: partition ${info.partition}, epoch ${info.epoch}${count}.`));
}

/** With what makes an answer worth less, where something does. */
function stateOf({ status, up, counts }: ExplainedReplica): string {
  const away = up === false ? ["believed down"] : [];
  const lacks = counts === false ? ["does not count"] : [];
  return [shown(status), ...away, ...lacks].join(", ");
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

function heldText({ tombstone, bytes, expiresAtMs }: ExplainedReplica): string {
  const what = tombstone === true ? "deleted" : bytes === undefined ? "" : sizeText(bytes);
  if (expiresAtMs === undefined) return what;
  const until = `until ${timeText(expiresAtMs)}`;
  return what === "" ? until : `${what}, ${until}`;
}
