/**
 * Cli ring: `ring`, the members and their shares, or where a key lives.
 *
 * Effects: the network through the client.
 *
 * @module
 */

import type { Invocation } from "./cli_commands.ts";
import { clientOf, keyArgument } from "./cli_data.ts";
import type { Io } from "./cli_io.ts";
import { documentText, formatOf, shown, tableText } from "./cli_output.ts";
import type { RingInfo } from "./client.ts";
import { exitCode } from "./errors.ts";

/** `quorate ring [KEY]`. */
export async function ring(
  { config, arguments: words, options }: Invocation,
  io: Io,
): Promise<number> {
  const [given] = words;
  const key = given === undefined ? undefined : keyArgument(given, options);
  const info = await clientOf(config).ring(key);
  const format = formatOf(config, io, "table", "json");
  const { members, place } = info;
  if (format === "json" || format === "yaml") await io.write(documentText(format, info));
  else if (format === "raw") {
    const names = (place?.replicas ?? members).map(({ node }) => shown(node));
    await io.write(names.map((name) => `${name}\n`).join(""));
  } else await showTable(info, io);
  return exitCode.done;
}

async function showTable({ members, place, ...ring }: RingInfo, io: Io): Promise<void> {
  if (place !== undefined) {
    const rows = place.replicas.map(({ node, zone, addresses, clientUrl }, index) => [
      `${index + 1}`,
      ...[node, zone, addresses.join(" "), clientUrl ?? ""].map(shown),
    ]);
    await io.write(await tableText(["replica", "node", "zone", "addresses", "url"], rows));
    const of = `of ${ring.partitions}, n = ${place.n} in '${place.namespace}'`;
    io.note(io.paint("dim", `Partition ${place.partition} ${of}, epoch ${ring.epoch}.`));
    return;
  }
  const rows = members.map((member) => [
    ...[member.node, member.zone, member.addresses.join(" ")].map(shown),
    `${member.weight}`,
    `${member.primaries}`,
    `${member.replicas}`,
    `${(100 * member.share).toFixed(1)} %`,
    member.voter ? "yes" : "",
  ]);
  const head = ["node", "zone", "addresses", "weight", "first of", "replica of", "share", "voter"];
  await io.write(await tableText(head, rows));
  const about = `${ring.partitions} partitions, epoch ${ring.epoch}`;
  io.note(io.paint("dim", `Cluster ${shown(ring.clusterId)}: ${about}.`));
}
