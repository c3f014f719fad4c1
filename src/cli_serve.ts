/**
 * Cli serve: one node behind one port, from the first line that it prints to its exit code.
 *
 * The order of a stop is what keeps the promises: not ready first, so that balancers look elsewhere;
 * then what was accepted finishes, and nothing new is; then the other nodes are told, and get their last
 * answers; then the checkpoint, and the folder is free. A
 * second signal stops at once, which loses nothing that was acknowledged: the log has it.
 *
 *     SIGTERM -> not ready -> what is in flight ends -> leaves the others -> checkpoint -> exit 0
 *        SIGTERM again, 250 ms later or more -> exit 1
 *     the process that started it with a channel has ended -> as at the first SIGTERM
 *     the store ends by itself, or another process takes the folder -> why, exit 1
 *        another process takes the folder during a stop -> why, no checkpoint, exit 1
 *
 * Effects: builds the node from the real capabilities; listens to signals.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { Admission } from "./admission.ts";
import type { HintsAnswer } from "./api.ts";
import type { Invocation } from "./cli_commands.ts";
import { type Io, printError } from "./cli_io.ts";
import { readClusterSecret } from "./cli_settings.ts";
import { StopSignals } from "./cli_signals.ts";
import { programVersion } from "./cli_version.ts";
import type { Resolved } from "./config.ts";
import { showDuration } from "./config_kinds.ts";
import { admissionLimitsOf, clientUrlOf, namesOf, peerSettingsOf, urlOf } from "./config_parts.ts";
import type { Config } from "./config_table.ts";
import { exitCode, QuorateError } from "./errors.ts";
import { grouped } from "./figures.ts";
import { watchLag } from "./lag.ts";
import { createReport, type LogReport } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { leaveMsMax, type NodeClusterOptions, openNode, type QuorateNode } from "./node.ts";
import { realNetwork, routed } from "./rpc_network.ts";
import {
  addressSpaceBytesMax,
  descriptorsMax,
  keepHeapSmall,
  openDisk,
  realClock,
  realRandom,
  runtimeName,
} from "./runtime.ts";
import { folderError } from "./runtime_folder.ts";
import { type Server, startServer } from "./server.ts";
import { openTable } from "./table.ts";
import { setTableAside, verifyTable } from "./table_verify.ts";

/** How long requests may still hear that the store has ended, or that the time of a stop is over. */
const farewellMs = 1000;
/** Descriptors that are left to the log, the table and the runtime. */
const ownDescriptors = 100;
/** Any long time. */
const aliveMs = 1_000_000_000;
const tableFile = "table.lmdb";

/** `quorate serve`. */
export async function serve({ config, sources }: Invocation, io: Io): Promise<number> {
  keepHeapSmall();
  const report = reportOf(config, io);
  const signals = new StopSignals((level, line) => report.log(level, line));
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
  readonly peerServer: Server | undefined;
  readonly hold: FolderHold;
}

/** Whether the folder is this process's still: until the process has ended, whatever it does. */
class FolderHold {
  /** Resolves, with why, when another process has it. */
  readonly lost: Promise<QuorateError>;
  #isLost = false;
  #tell: (error: QuorateError) => void = () => {};

  constructor() {
    this.lost = new Promise((settle) => {
      this.#tell = settle;
    });
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  lose(reason: string): void {
    this.#isLost = true;
    this.#tell(lostFolder(reason));
  }
}

/** From opening the folder to the end; `stop` resolves at the first signal. */
async function run(
  resolved: Resolved,
  io: Io,
  log: LogReport,
  stop: Promise<void>,
): Promise<number> {
  const { config } = resolved;
  const admission = new Admission(admissionLimitsOf(config));
  const metrics = new Metrics({ log, admission });
  const { report } = metrics;
  const hold = new FolderHold();
  const onLockLost = (reason: string) => hold.lose(reason);
  const node = await openOwnNode(resolved, { report, admission, onLockLost });
  let server: Server;
  let peerServer: Server | undefined;
  try {
    peerServer = await listenForPeers(config, node, report);
    server = await listen(config, node, { report, metrics, admission });
  } catch (error) {
    await peerServer?.close();
    await node.close();
    throw error;
  }
  metrics.watchNode(node);
  metrics.watchServer(server);
  const stopLag = watchLag(realClock, (lateMs) => admission.observeLag(lateMs));
  const running = { config, report, node, server, peerServer, hold };
  await announce(running, io);
  const failure = await Promise.race([stop.then(() => undefined), node.ended, hold.lost]);
  stopLag();
  if (failure !== undefined) return fail(running, io, failure);
  const ended = await Promise.race([stopInOrder(running), hold.lost]);
  return typeof ended === "number" ? ended : fail(running, io, ended);
}

/**
 * Writes that wait get their answer, "outcome unknown"; the store itself can do nothing more, and a folder
 * that another process has taken must not be written to, not even a checkpoint. One that is being written
 * has its server closed already, and then ends with the process, at once: other nodes are not waited for.
 */
async function fail(running: Running, io: Io, failure: QuorateError): Promise<number> {
  const { report, server, peerServer, hold } = running;
  report.log("error", "The node has ended.", { error: failure });
  printError(io, failure);
  await server.close();
  if (!hold.isLost) await peerServer?.close();
  return exitCode.failed;
}

interface OwnNodeParts {
  readonly report: LogReport;
  readonly admission: Admission;
  readonly onLockLost: (reason: string) => void;
}

async function openOwnNode(
  resolved: Resolved,
  { report, admission, onLockLost }: OwnNodeParts,
): Promise<QuorateNode> {
  const { config, sources } = resolved;
  const disk = await openDisk(config.dataFolder, { onLockLost }).catch((error: unknown) => {
    throw folderError(error, config.dataFolder);
  });
  const path = join(resolve(config.dataFolder), tableFile);
  const isAlone = config.peers.length === 0 && config.bootstrapExpect === undefined;
  if (config.clusterId !== undefined && isAlone && (await disk.list("")).length === 0) {
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
    setTableAside: () => setTableAside({ folder: resolve(config.dataFolder), name: tableFile }),
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
      protocolMax: config.protocolMax,
    },
    cluster: {
      network: routed(realNetwork, config.peerRoutes),
      settings: await clusterSettings(resolved),
      hintBytesMax: config.hintBytesMax,
      hintAgeMaxMs: config.hintAgeMsMax,
      hintBytesPerSecond: config.hintBytesPerSecond,
      repairPeriodMs: config.repairPeriodMs,
      repairPartitionsMax: config.repairPartitionsMax,
      repairBytesPerSecond: config.repairBytesPerSecond,
      moveBytesPerSecond: config.moveBytesPerSecond,
      budgets: admission,
    },
  });
  const { clusterId } = await node.info();
  const isSettled = clusterId !== "";
  if (config.clusterId === undefined || !isSettled || config.clusterId === clusterId) return node;
  await node.close();
  throw wrongCluster(config, `belongs to the cluster ${clusterId}`);
}

/** What this node is to the others. */
async function clusterSettings(resolved: Resolved): Promise<NodeClusterOptions["settings"]> {
  const { config } = resolved;
  return {
    ...peerSettingsOf(config),
    secret: (await readClusterSecret(resolved)) ?? "",
    ...(config.port === 0 ? {} : { clientUrl: clientUrlOf(config) }),
  };
}

interface Watched {
  readonly report: LogReport;
  readonly metrics: Metrics;
  readonly admission: Admission;
}

async function listen(config: Config, node: QuorateNode, watched: Watched): Promise<Server> {
  const { report, metrics, admission } = watched;
  return startServer({
    api: node,
    clock: realClock,
    random: realRandom,
    report,
    metrics,
    traffic: metrics.traffic,
    admission,
    accessLog: config.logLevel === "debug",
    host: config.host,
    port: config.port,
    insecure: config.insecure,
    advertisedNames: namesOf(config),
    corsOrigins: config.corsOrigins,
    valueBytesMax: config.valueBytesMax,
    connectionsMax: await connectionsMaxOf(config, report),
    closeTimeoutMs: farewellMs,
    // With a port of its own for them, other nodes are not served on this one.
    accept: config.gossipPort === undefined ? node.accept : undefined,
    peersPort: config.gossipPort,
  });
}

/** The second port, for the traffic between nodes alone. */
async function listenForPeers(
  config: Config,
  node: QuorateNode,
  report: LogReport,
): Promise<Server | undefined> {
  const { gossipPort, host, insecure } = config;
  if (gossipPort === undefined) return undefined;
  return startServer({
    api: node,
    clock: realClock,
    random: realRandom,
    report,
    host,
    port: gossipPort,
    insecure,
    advertisedNames: namesOf(config),
    closeTimeoutMs: farewellMs,
    accept: node.accept,
    isForPeers: true,
  });
}

/** As many connections as asked for, but never the descriptors that the log and the table need. */
async function connectionsMaxOf({ connectionsMax }: Config, report: LogReport): Promise<number> {
  const descriptors = await descriptorsMax();
  if (descriptors === undefined || connectionsMax <= descriptors - ownDescriptors) {
    return connectionsMax;
  }
  const allowed = Math.max(1, descriptors - ownDescriptors);
  report.log("warn", "The limit on open files leaves room for fewer connections.", {
    connectionsMax,
    allowed,
    hint: "Raise it for this process (ulimit -n), or set --max-connections lower.",
  });
  return allowed;
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
async function stopInOrder(running: Running): Promise<number> {
  const { config, report, node, server, peerServer, hold } = running;
  report.log("info", "Stopping: not ready from now on.");
  const beganMs = realClock.monotonicMs();
  node.drain();
  const drained = await Promise.race([
    server.drain().then(() => true),
    pause(config.shutdownTimeoutMs).then(() => false),
  ]);
  if (!drained) {
    const limit = showDuration(config.shutdownTimeoutMs);
    report.log("warn", `Requests were still under way after ${limit}; they are cut.`);
  }
  // The time of a stop is one for both: what clients have left of it is for the other nodes.
  const leftMs = config.shutdownTimeoutMs - (realClock.monotonicMs() - beganMs);
  await node.leave(Math.min(leaveMsMax, Math.max(farewellMs, leftMs)));
  await server.close();
  if (hold.isLost) return exitCode.failed;
  await node.close();
  await peerServer?.close();
  const left = leftBehind(node);
  if (left !== undefined) report.log("warn", left);
  report.log("info", "Stopped: everything acknowledged is on disk.");
  return exitCode.done;
}

/** The writes that a closed node still keeps for others, which get them when it is back; undefined: none. */
export function leftBehind(node: Pick<QuorateNode, "hints">): string | undefined {
  let kept: HintsAnswer;
  try {
    kept = node.hints();
  } catch {
    // It has never served, and what it may keep of an earlier life was not read.
    return undefined;
  }
  if (kept.count === 0) return undefined;
  const whom = kept.targets.map(
    ({ node: name, storeId, count }) => `${grouped(count)} for ${name ?? `store ${storeId}`}`,
  );
  const rest = "they are delivered when this node is started again";
  return `Hints stay behind, and ${rest}: ${whom.join(", ")}.`;
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
