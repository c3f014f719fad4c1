/**
 * Member: a node of a cluster inside an application, with the port on which the others reach it.
 *
 *     open({ dataDir, peers, port, clusterSecret }) -> listens -> founds or finds its cluster -> serves
 *
 * What it is told is checked as the settings of `quorate serve` are, by the same table.
 *
 * Invariants
 * 1. Where opening fails nothing is left behind, no port and no lock; nor after `close`, also where that fails.
 * 2. The others can reach it until its last checkpoint is written.
 *
 * Effects: builds a node from the real capabilities; listens on a port.
 *
 * @module
 */

import { Admission } from "./admission.ts";
import type { Clock } from "./capability.ts";
import { resolveConfig, validate } from "./config.ts";
import { showDuration } from "./config_kinds.ts";
import { admissionLimitsOf, clientUrlOf, namesOf, peerSettingsOf } from "./config_parts.ts";
import type { Config } from "./config_shape.ts";
import { QuorateError } from "./errors.ts";
import { type NodeOptions, openNode, type QuorateNode } from "./node.ts";
import { shown } from "./option_kinds.ts";
import { realNetwork } from "./rpc_network.ts";
import { type Server, startServer } from "./server.ts";

/** What makes an application's node one of a cluster. */
export interface MemberChoices {
  /** Members of the cluster to join, or those that begin it, `host:port`; its own may be among them. */
  readonly peers: readonly string[];
  /** Where this node listens for the others, and is reached by them. */
  readonly port: number;
  /** Default 127.0.0.1. Another one needs `insecure`: there is no TLS yet. */
  readonly host?: string | undefined;
  readonly insecure?: boolean | undefined;
  /** Where the others reach this node, `host:port`; needed when `host` is no address to connect to. */
  readonly advertise?: string | undefined;
  /** What all nodes of the cluster know: 16 to 256 printable characters. */
  readonly clusterSecret: string;
  /** How many nodes begin a new cluster together; left out, this one joins a cluster that exists. */
  readonly bootstrapExpect?: number | undefined;
  /** What fails together with this node, such as a rack. */
  readonly zone?: string | undefined;
  /** The machine that it runs on. */
  readonly hostId?: string | undefined;
  /** Its share of the data, beside the others'. Default 100. */
  readonly weight?: number | undefined;
  /** Whether the port serves clients too, as `quorate serve` does. Default: nodes alone. */
  readonly serveClients?: boolean | undefined;
  /** How long `open` waits for the cluster, in ms. Default 60,000. */
  readonly startTimeoutMs?: number | undefined;
}

const startTimeoutMsDefault = 60_000;
/** How long requests of others may still be answered when the node is closed. */
const farewellMs = 1000;
const sourceName = "open()";

/** A node and its port, as one. */
export interface Member {
  readonly node: QuorateNode;
  close(): Promise<void>;
}

/** Opens a node that is a member of a cluster; resolves when it serves. */
export async function openMember(
  choices: MemberChoices,
  makeOptions: () => Promise<NodeOptions>,
): Promise<Member> {
  const config = configOf(choices);
  const options = await makeOptions();
  const { clock, random, report } = options;
  const admission = new Admission(admissionLimitsOf(config));
  const serveClients = choices.serveClients === true;
  const node = await openNode({
    ...options,
    cluster: {
      network: realNetwork,
      budgets: admission,
      settings: {
        ...peerSettingsOf(config),
        secret: choices.clusterSecret,
        ...(serveClients ? { clientUrl: clientUrlOf(config) } : {}),
      },
    },
  });
  let server: Server | undefined;
  const close = async (): Promise<void> => {
    try {
      await node.close();
    } finally {
      // A store that has failed says so at its end, and the port is free all the same.
      await server?.close();
    }
  };
  try {
    const { host, port, insecure } = config;
    server = await startServer({
      ...{ api: node, clock, random, report, admission, host, port, insecure },
      advertisedNames: namesOf(config),
      accept: node.accept,
      closeTimeoutMs: farewellMs,
      isForPeers: !serveClients,
    });
    await started(node, clock, choices.startTimeoutMs ?? startTimeoutMsDefault);
    return { node, close };
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
}

/** The choices as settings: their kinds and rules are those of `quorate serve`. */
function configOf(choices: MemberChoices): Config {
  const { peers, port, host, insecure, advertise, clusterSecret } = choices;
  const { bootstrapExpect, zone, hostId, weight, startTimeoutMs } = choices;
  const given: Readonly<Record<string, unknown>> = {
    ...{ peers, port, host, insecure, zone, weight },
    "advertise-address": advertise,
    "cluster-secret": clusterSecret,
    "bootstrap-expect": bootstrapExpect,
    "host-id": hostId,
  };
  if (peers.length === 0 || port === undefined || port === 0) {
    throw invalid("A member of a cluster names its peers, and a port on which they reach it.");
  }
  // A text would be joined to the time of day, and be over at once.
  const isTime = typeof startTimeoutMs === "number" && startTimeoutMs > 0;
  if (startTimeoutMs !== undefined && !isTime) {
    throw invalid(`startTimeoutMs is ${shown(startTimeoutMs)}; it has to be a number above 0.`);
  }
  const values = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  );
  const file = { path: sourceName, values };
  const { config } = resolveConfig({ flags: {}, environment: {}, file }, "serve");
  validate(config);
  return config;
}

/** Resolves when the node serves; rejects when it cannot, or after the time, with what it waits for. */
async function started(node: QuorateNode, clock: Clock, timeoutMs: number): Promise<void> {
  let cancel = (): void => {};
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(timeoutMs, () => reject(notInTime(node, timeoutMs)));
  });
  try {
    await Promise.race([node.started(), late]);
  } finally {
    cancel();
  }
}

function notInTime(node: QuorateNode, timeoutMs: number): QuorateError {
  const failed = node.readiness().filter(({ ok }) => !ok);
  // What a node waits for in the cluster is why the rest of it waits.
  const missing = failed.find(({ name }) => name === "cluster") ?? failed[0];
  return new QuorateError(
    "not-ready",
    `Node '${node.name}' does not serve after ${showDuration(timeoutMs)}. ${missing?.detail ?? ""}`.trim(),
    {
      outcome: "none",
      hint: "Start the others, or wait longer with startTimeoutMs; what was written to the folder is kept.",
    },
  );
}

function invalid(detail: string): QuorateError {
  return new QuorateError("invalid-config", detail, {
    hint: "Give open() peers, port and clusterSecret; bootstrapExpect where a new cluster begins.",
  });
}
