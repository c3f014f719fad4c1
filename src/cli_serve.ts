/**
 * Cli serve: one node behind one port, from the first line that it prints to its exit code.
 *
 * The order of a stop is what keeps the promises: not ready first, so that balancers look elsewhere;
 * then no new request; then what was accepted finishes; then the checkpoint, and the folder is free.
 * A second signal stops at once, which loses nothing that was acknowledged: the log has it.
 *
 *     SIGTERM -> drain -> in flight ends -> server closed -> checkpoint -> exit 0
 *        SIGTERM again, 250 ms later or more -> exit 1
 *     the store ends by itself, or the folder is taken -> why, exit 1
 *
 * Effects: builds the node from the real capabilities; listens to signals.
 *
 * @module
 */

import { join, resolve } from "node:path";
import type { Invocation } from "./cli_commands.ts";
import { type Io, printError } from "./cli_io.ts";
import { programVersion } from "./cli_version.ts";
import { isLoopback } from "./config.ts";
import { grouped } from "./config_kinds.ts";
import type { Config } from "./config_table.ts";
import { exitCode, type QuorateError } from "./errors.ts";
import { createReport, type LogReport } from "./log.ts";
import { openNode, type QuorateNode } from "./node.ts";
import { openDisk, realClock, realRandom, runtimeName } from "./runtime.ts";
import type { startServer } from "./server.ts";
import { openTable } from "./table.ts";

/**
 * A terminal sends Ctrl-C to every process of the foreground, and `npm start` passes its own on to
 * its child, which so gets one key press twice. Nobody presses a key twice this fast.
 */
const sameSignalMs = 250;
/** How long requests may still hear that the store has ended. */
const farewellMs = 1000;

/** `quorate serve`. */
export async function serve({ config }: Invocation, io: Io): Promise<number> {
  const report = reportOf(config, io);
  const signals = new StopSignals(report);
  try {
    const atOnce = signals.second.then(() => exitCode.failed);
    return await Promise.race([run(config, io, report, signals.first), atOnce]);
  } finally {
    signals.end();
    report.flush();
  }
}

type Server = Awaited<ReturnType<typeof startServer>>;

/** From opening the folder to the end; `stop` resolves at the first signal. */
async function run(
  config: Config,
  io: Io,
  report: LogReport,
  stop: Promise<void>,
): Promise<number> {
  let tellFolderLost: (error: QuorateError) => void = () => {};
  const folderLost = new Promise<QuorateError>((settle) => {
    tellFolderLost = settle;
  });
  const node = await openOwnNode(config, report, (reason) => tellFolderLost(lostFolder(reason)));
  let server: Server;
  try {
    server = await listen(config, node, report);
  } catch (error) {
    await node.close();
    throw error;
  }
  await announce(config, io, { node, server });
  const failure = await Promise.race([stop.then(() => undefined), node.ended, folderLost]);
  if (failure === undefined) return stopInOrder(config, report, { node, server });
  report.log("error", "The node has ended.", { error: failure });
  const code = printError(io, failure);
  // Writes that wait get their answer, "outcome unknown"; the store itself can do nothing more,
  // and a folder that another process has taken must not be written to, not even a checkpoint.
  await Promise.race([server.close(), pause(farewellMs)]);
  return code === exitCode.done ? exitCode.failed : code;
}

async function openOwnNode(
  config: Config,
  report: LogReport,
  onLockLost: (reason: string) => void,
): Promise<QuorateNode> {
  const disk = await openDisk(config.dataFolder, { onLockLost });
  return openNode({
    clock: realClock,
    random: realRandom,
    disk,
    report,
    openTable: () =>
      openTable({
        path: join(resolve(config.dataFolder), tableFile),
        space: () => disk.space(),
      }),
    settings: {
      ...(config.name === undefined ? {} : { name: config.name }),
      partitions: config.partitions,
      version: programVersion,
      runtime: runtimeName(),
      segmentBytes: config.segmentBytes,
      memtableBytesMax: config.memtableBytesMax,
      diskReserveBytes: config.diskReserveBytes,
      scrubBytesPerSecond: config.scrubBytesPerSecond,
      acceptDataLoss: config.acceptDataLoss,
    },
  });
}
