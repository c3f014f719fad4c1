/**
 * Cli serve: one node behind one port, from the first line that it prints to its exit code.
 *
 * The order of a stop is what keeps the promises: not ready first, so that balancers look elsewhere;
 * then what was accepted finishes, and nothing new is; then the checkpoint, and the folder is free. A
 * second signal stops at once, which loses nothing that was acknowledged: the log has it.
 *
 *     SIGTERM -> not ready -> what is in flight ends -> checkpoint -> exit 0
 *        SIGTERM again, 250 ms later or more -> exit 1
 *     the store ends by itself, or another process takes the folder -> why, exit 1
 *
 * Effects: builds the node from the real capabilities; listens to signals.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { systemErrorCode } from "./capability.ts";
import type { Invocation } from "./cli_commands.ts";
import { type Io, printError } from "./cli_io.ts";
import { programVersion } from "./cli_version.ts";
import type { Resolved } from "./config.ts";
import { grouped, showDuration } from "./config_kinds.ts";
import type { Config } from "./config_table.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { createReport, type LogReport } from "./log.ts";
import { openNode, type QuorateNode } from "./node.ts";
import { addressSpaceBytesMax, openDisk, realClock, realRandom, runtimeName } from "./runtime.ts";
import { type Server, startServer } from "./server.ts";
import { openTable } from "./table.ts";
import { verifyTable } from "./table_verify.ts";

/**
 * A terminal sends Ctrl-C to every process of the foreground, and `npm start` passes its own on to
 * its child, which so gets one key press twice. Nobody presses a key twice this fast.
 */
const sameSignalMs = 250;
/** How long requests may still hear that the store has ended, or that the time of a stop is over. */
const farewellMs = 1000;
/** Any long time. */
const aliveMs = 1_000_000_000;
const tableFile = "table.lmdb";

/** `quorate serve`. */
export async function serve({ config, sources }: Invocation, io: Io): Promise<number> {
  const report = reportOf(config, io);
  const signals = new StopSignals(report);
  // Neither the clock's timers nor an HTTP/2 connection whose client has left keep a process alive;
  // one that is stopping would end before its checkpoint, with nothing said.
  const alive = setInterval(() => {}, aliveMs);
  try {
    const atOnce = signals.second.then(() => exitCode.failed);
    return await Promise.race([run({ config, sources }, io, report, signals.first), atOnce]);
  } finally {
    clearInterval(alive);
    signals.end();
    await report.flush();
  }
}

interface Running {
  readonly config: Config;
  readonly report: LogReport;
  readonly node: QuorateNode;
  readonly server: Server;
}

/** From opening the folder to the end; `stop` resolves at the first signal. */
async function run(
  resolved: Resolved,
  io: Io,
  report: LogReport,
  stop: Promise<void>,
): Promise<number> {
  const { config } = resolved;
  let tellLost: (error: QuorateError) => void = () => {};
  const folderLost = new Promise<QuorateError>((settle) => {
    tellLost = settle;
  });
  const node = await openOwnNode(resolved, report, (reason) => tellLost(lostFolder(reason)));
  let server: Server;
  try {
    server = await listen(config, node, report);
  } catch (error) {
    await node.close();
    throw error;
  }
  const running = { config, report, node, server };
  await announce(running, io);
  const failure = await Promise.race([stop.then(() => undefined), node.ended, folderLost]);
  if (failure === undefined) return stopInOrder(running);
  report.log("error", "The node has ended.", { error: failure });
  printError(io, failure);
  // Writes that wait get their answer, "outcome unknown"; the store itself can do nothing more, and
  // a folder that another process has taken must not be written to, not even a checkpoint.
  await server.close();
  return exitCode.failed;
}

async function openOwnNode(
  { config, sources }: Resolved,
  report: LogReport,
  onLockLost: (reason: string) => void,
): Promise<QuorateNode> {
  const disk = await openDisk(config.dataFolder, { onLockLost }).catch((error: unknown) => {
    throw folderError(error, config);
  });
  const path = join(resolve(config.dataFolder), tableFile);
  if (config.clusterId !== undefined && (await disk.list("")).length === 0) {
    throw wrongCluster(config, "is empty");
  }
  const node = await openNode({
    clock: realClock,
    random: realRandom,
    disk,
    report,
    openTable: async () => {
      const addressSpaceBytes = await addressSpaceBytesMax();
      return openTable({ path, disk, name: tableFile, addressSpaceBytes });
    },
    verifyTable: () => verifyTable({ folder: resolve(config.dataFolder), name: tableFile, report }),
    settings: {
      ...(config.name === undefined ? {} : { name: config.name }),
      // A folder keeps the number that it was made with; only another one that was asked for is an
      // error.
      ...(sources.partitions.kind === "default" ? {} : { partitions: config.partitions }),
      version: programVersion,
      runtime: runtimeName(),
      segmentBytes: config.segmentBytes,
      memtableBytesMax: config.memtableBytesMax,
      diskReserveBytes: config.diskReserveBytes,
      scrubBytesPerSecond: config.scrubBytesPerSecond,
      acceptDataLoss: config.acceptDataLoss,
    },
  });
  const { clusterId } = await node.info();
  if (config.clusterId === undefined || config.clusterId === clusterId) return node;
  await node.close();
  throw wrongCluster(config, `belongs to the cluster ${clusterId}`);
}

function listen(config: Config, node: QuorateNode, report: LogReport): Promise<Server> {
  return startServer({
    api: node,
    clock: realClock,
    random: realRandom,
    report,
    host: config.host,
    port: config.port,
    insecure: config.insecure,
    advertisedNames: config.advertisedAddresses,
    corsOrigins: config.corsOrigins,
    valueBytesMax: config.valueBytesMax,
    connectionsMax: config.connectionsMax,
    closeTimeoutMs: farewellMs,
  });
}

/** What a person needs to begin, and for a program the one line `listening on <url>`. */
async function announce({ config, node, server }: Running, io: Io): Promise<void> {
  const { keys, runtime } = await node.info();
  const url = urlOf(config.host, server.port);
  const lines = [
    `quorate ${programVersion} on ${runtime}`,
    `node ${node.name}, data in ${resolve(config.dataFolder)} (${grouped(keys)} ${keys === 1 ? "key" : "keys"})`,
    `listening on ${url}`,
    "",
    "Try, in another terminal:",
    `  curl -X PUT ${url}/v1/kv/default/users/1 -d '{"name":"Ada"}'`,
    `  curl ${url}/v1/kv/default/users/1`,
    `  curl -X POST ${url}/put -d '{"key":"hello","value":"world"}'`,
    `  curl '${url}/get?key=hello'`,
    "",
    "Ctrl-C stops it; everything acknowledged is kept.",
  ];
  await io.write(`${lines.join("\n")}\n`);
}

/** Durable before gone: what was accepted is answered, then the checkpoint is written. */
async function stopInOrder({ config, report, node, server }: Running): Promise<number> {
  report.log("info", "Stopping: not ready from now on.");
  node.drain();
  const drained = await Promise.race([
    server.drain().then(() => true),
    pause(config.shutdownTimeoutMs).then(() => false),
  ]);
  if (!drained) {
    const limit = showDuration(config.shutdownTimeoutMs);
    report.log("warn", `Requests were still under way after ${limit}; they are cut.`);
  }
  await server.close();
  await node.close();
  report.log("info", "Stopped: everything acknowledged is on disk.");
  return exitCode.done;
}

/** SIGTERM and SIGINT, told apart by when they come. */
class StopSignals {
  readonly first: Promise<void>;
  readonly second: Promise<void>;
  #tellFirst: () => void = () => {};
  #tellSecond: () => void = () => {};
  #firstMs: number | undefined;
  readonly #report: LogReport;
  readonly #onSignal = (signal: NodeJS.Signals): void => this.#take(signal);

  constructor(report: LogReport) {
    this.#report = report;
    this.first = new Promise((settle) => {
      this.#tellFirst = settle;
    });
    this.second = new Promise((settle) => {
      this.#tellSecond = settle;
    });
    process.on("SIGTERM", this.#onSignal);
    process.on("SIGINT", this.#onSignal);
  }

  end(): void {
    process.off("SIGTERM", this.#onSignal);
    process.off("SIGINT", this.#onSignal);
  }

  #take(signal: NodeJS.Signals): void {
    const nowMs = performance.now();
    if (this.#firstMs === undefined) {
      this.#firstMs = nowMs;
      this.#report.log("info", `${signal}: stopping.`);
      this.#tellFirst();
    } else if (nowMs - this.#firstMs >= sameSignalMs) {
      this.#report.log("warn", `${signal} again: stopping at once.`);
      this.#tellSecond();
    }
  }
}

function reportOf(config: Config, io: Io): LogReport {
  const isText = config.logFormat === "auto" ? io.errorIsTerminal : config.logFormat === "text";
  return createReport({
    level: config.logLevel,
    format: isText ? "text" : "json",
    colour: io.errorIsTerminal && io.paint("red", "") !== "",
    ...(config.name === undefined ? {} : { node: config.name }),
  });
}

/** `http://127.0.0.1:8080`; an address that means "all" is shown as one that can be used. */
function urlOf(host: string, port: number): string {
  const usable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  const bare = usable.replace(/^\[|\]$/g, "");
  return `http://${bare.includes(":") ? `[${bare}]` : bare}:${port}`;
}

function folderError(error: unknown, { dataFolder }: Config): unknown {
  const whys: Readonly<Record<string, string>> = {
    EEXIST: "it is not a folder",
    ENOTDIR: "a part of the path is not a folder",
    EACCES: "the system does not allow it",
    EPERM: "the system does not allow it",
    EROFS: "the file system is read-only",
    ENOSPC: "the disk is full",
  };
  const why = whys[systemErrorCode(error) ?? ""];
  if (why === undefined) return error;
  const detail = `Cannot use the data folder ${resolve(dataFolder)}: ${why}.`;
  return new QuorateError("invalid-config", detail, {
    hint: "Choose another with --data-dir, or make this one usable.",
    cause: error,
  });
}

function wrongCluster({ clusterId, dataFolder }: Config, what: string): QuorateError {
  const detail = `The data folder ${resolve(dataFolder)} ${what}, and --cluster-id asks for ${clusterId}.`;
  return new QuorateError("wrong-data-folder", detail, {
    hint: "Check that the disk is mounted and --data-dir is the right one; leave --cluster-id out to begin anew.",
  });
}

function lostFolder(reason: string): QuorateError {
  return new QuorateError("data-folder-in-use", reason, {
    hint: "One process serves a folder. Find the other one, and stop one of the two.",
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((settle) => {
    // It must not keep the process when what it races with is done.
    setTimeout(settle, ms).unref();
  });
}
