/**
 * Quorate: a replicated key-value store that keeps every write it has acknowledged.
 *
 * This is what an application imports to have a node in its own process. A program that talks to a
 * node elsewhere imports `quorate/client`.
 *
 * The life of one PUT in a cluster, and the module that does each step:
 *
 *  1. `server_wire`, `http_wire`    its bytes become an operation (all but plain requests: `http`)
 *  2. `coordinator`                 the namespace's policy fills in what was left out; the level is checked
 *  3. `store_mint`, `hlc`           a version is minted, above all before it, below a durable ceiling
 *  4. `ring`, `topology`            the key's partition, and the replicas of it in this epoch
 *  5. `coordinator_write`           to all replicas at once: this node's store, and `peers` for the others
 *  6. `message`, `channel`, `link`  what is ready in one turn travels to a node in one frame
 *  7. `replica`                     epoch, owner, checksum, clock: may it be taken? has this node its memory?
 *  8. `store`, `record`, `wal`      newer than what is there: into the log's next batch and the memtable
 *  9. `wal`                         one synced write makes the batch durable; the replica answers `took`
 * 10. `quorum`                      w took it: done; superseded: minted once more, above what was there
 * 11. `http`                        204, with the version as ETag
 * 12. `handoff`                     later: who has not answered gets a hint, delivered when it is back
 * 13. `store_checkpoint`            later: the memtable goes into the table (LMDB), and the log forgets
 *
 * A node that is alone goes from step 3 to its own store.
 *
 * The words of this code, one meaning each:
 *
 * - key: 1 to 1,024 bytes in a namespace; value: bytes; record: value, version and all that belongs to it
 * - partition: one of P equal parts of the hash space, into which keys fall for ever
 * - replica: a node that holds a partition; coordinator: the node that a client's request came to
 * - n, r, w: replicas of a key, and how many of them a read or a write waits for
 * - version: (hlc, origin), minted once; hlc: a clock that follows the wall clock and never goes back
 * - origin: the random number under which a store mints; ceiling: no stamp above it was minted
 * - tombstone: the record of a delete; watermark: below it all replicas hold the same
 * - topology: the document on which a cluster agrees; epoch: its number; voters: who choose the next
 * - member: a node that the topology names; peer: another node; link: the way of requests to a peer
 * - took, superseded: what a replica says of a write: durable here, or something newer is
 * - strict: by a majority of the replicas or more; write-back: a read's version given to more of them
 * - phi: how unlikely a peer's silence is; down: asked last, and still an owner
 * - standing: what a replica's answers are worth after a start; seal: no write under an epoch any more
 * - sequence: a change's number in one store's log; checkpoint: the table reaches a sequence
 * - hint: a write kept for a replica that was away, until that one has it
 *
 * To read on: `version`, `store`, `quorum`, `coordinator_write`, `cluster`, `node_cluster`, in that order.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { AssertionError } from "./src/assert.ts";
import { type Report, silentReport } from "./src/capability.ts";
import { programVersion } from "./src/cli_version.ts";
import { Database } from "./src/database.ts";
import { QuorateError } from "./src/errors.ts";
import type { MemberChoices } from "./src/member.ts";
import { type NodeOptions, openNode } from "./src/node.ts";
import * as kinds from "./src/option_kinds.ts";
import {
  addressSpaceBytesMax,
  openDisk,
  realClock,
  realRandom,
  runtimeName,
} from "./src/runtime.ts";
import { folderError } from "./src/runtime_folder.ts";
import { openTable } from "./src/table.ts";
import { setTableAside, verifyTable } from "./src/table_verify.ts";

export type { Report } from "./src/capability.ts";
export type {
  Bytes,
  DatabaseItem,
  DatabasePage,
  DatabaseRecord,
  DeleteChoices,
  ListChoices,
  PutChoices,
  RequestChoices,
  Written,
} from "./src/database.ts";
export { Database } from "./src/database.ts";
export { type Outcome, QuorateError, type Slug } from "./src/errors.ts";

/** How a data folder is opened; with `peers`, `port` and `clusterSecret` as a member of a cluster. */
export interface OpenOptions extends Partial<MemberChoices> {
  /** The folder; it is made when it is not there. One process at a time has it open. */
  readonly dataDir: string;
  /** The node's name. Default: as at the first start, or `n1`. */
  readonly name?: string | undefined;
  /** Where log lines and counters go. Default: nowhere. */
  readonly report?: Report | undefined;
  /** Free space below which writes that grow are refused, in bytes. Default 256 MiB. */
  readonly diskReserveBytes?: number | undefined;
  /**
   * Serves what can still be read of a damaged folder, where opening would be refused; in a cluster, takes what
   * a replica without data holds for all that there is.
   */
  readonly acceptDataLoss?: boolean | undefined;
  /**
   * The highest version of the protocol that it speaks. Default: the newest of this program, which is turned
   * on when all members speak it; from then on an earlier program refuses the folder.
   */
  readonly protocolMax?: number | undefined;
}

const tableFile = "table.lmdb";

/** What only a member of a cluster has is checked as a setting of the same name is (`src/member.ts`). */
const memberKinds: Readonly<Record<keyof MemberChoices, kinds.OptionKind>> = {
  peers: { what: "an array of host:port", fits: Array.isArray },
  port: kinds.checkedLater,
  host: kinds.checkedLater,
  insecure: kinds.flag,
  advertise: kinds.checkedLater,
  clusterSecret: kinds.checkedLater,
  bootstrapExpect: kinds.checkedLater,
  zone: kinds.checkedLater,
  hostId: kinds.checkedLater,
  weight: kinds.checkedLater,
  serveClients: kinds.flag,
  startTimeoutMs: kinds.checkedLater,
};

const openKinds: Readonly<Record<keyof OpenOptions, kinds.OptionKind>> = {
  dataDir: kinds.text,
  name: kinds.text,
  report: kinds.object,
  diskReserveBytes: kinds.whole(0, Number.MAX_SAFE_INTEGER),
  acceptDataLoss: kinds.flag,
  protocolMax: kinds.whole(1, Number.MAX_SAFE_INTEGER),
  ...memberKinds,
};

/** The slug is that of a setting that is not valid, whichever of the two checks has found it. */
const openOptions = { call: "open()", kinds: openKinds, slug: "invalid-config" } as const;

/**
 * Opens a data folder and the node in it.
 *
 * One process at a time has a folder. Several processes share data as members of a cluster (`peers`),
 * each with a folder of its own, or through a server and `quorate/client`.
 *
 * @throws QuorateError `invalid-config`, `data-folder-in-use`, `wrong-data-folder`, `corruption`,
 * `disk-full`, and of a member `not-ready`
 *
 * @example
 * ```ts
 * import { open } from "quorate";
 *
 * const db = await open({ dataDir: "data" });
 * await db.put("users/1", JSON.stringify({ name: "Ada" }));
 * const record = await db.get("users/1");
 * console.log(record?.text()); // → {"name":"Ada"}
 * await db.close();
 * ```
 */
export async function open(options: OpenOptions): Promise<Database> {
  kinds.checkOptions(openOptions, options);
  if (options.dataDir === undefined) throw withoutFolder();
  try {
    const given = kinds.copyOptions(openOptions, options);
    // What it is relative to may change while it is opened, too.
    return await openChecked({ ...given, dataDir: resolve(given.dataDir) });
  } catch (error) {
    if (error instanceof AssertionError) throw error;
    throw QuorateError.from(error, { hint: "The cause of this error has the system's own words." });
  }
}

async function openChecked(options: OpenOptions): Promise<Database> {
  const { peers, port, clusterSecret } = options;
  if (peers === undefined) {
    checkAlone(options);
    return new Database(await openNode(await nodeOptionsOf(options)), realRandom);
  }
  if (port === undefined || clusterSecret === undefined) throw incomplete();
  // A node alone needs no server, so it loads none.
  const { openMember } = await import("./src/member.ts");
  const choices = { ...options, peers, port, clusterSecret };
  const member = await openMember(choices, () => nodeOptionsOf(options));
  return new Database(member.node, realRandom, () => member.close());
}

async function nodeOptionsOf(options: OpenOptions): Promise<NodeOptions> {
  const { dataDir, name, report = silentReport } = options;
  const { diskReserveBytes, acceptDataLoss, protocolMax } = options;
  const disk = await openDisk(dataDir).catch((error: unknown) => {
    throw folderError(error, dataDir);
  });
  const path = join(resolve(dataDir), tableFile);
  return {
    clock: realClock,
    random: realRandom,
    disk,
    report,
    openTable: async () =>
      openTable({ path, disk, name: tableFile, addressSpaceBytes: await addressSpaceBytesMax() }),
    verifyTable: () => verifyTable({ folder: resolve(dataDir), name: tableFile, report }),
    setTableAside: () => setTableAside({ folder: resolve(dataDir), name: tableFile }),
    settings: {
      version: programVersion,
      runtime: runtimeName(),
      ...(name === undefined ? {} : { name }),
      ...(diskReserveBytes === undefined ? {} : { diskReserveBytes }),
      ...(acceptDataLoss === undefined ? {} : { acceptDataLoss }),
      ...(protocolMax === undefined ? {} : { protocolMax }),
    },
  };
}

function withoutFolder(): QuorateError {
  return new QuorateError("invalid-config", "open() was given no dataDir.", {
    outcome: "none",
    hint: 'Give the folder of the data, for example open({ dataDir: "data" }); it is made when it is not there.',
  });
}

/** Taken for a node alone, what was meant for a cluster would keep its only copy here, without a word. */
function checkAlone(options: OpenOptions): void {
  const names = Object.keys(memberKinds) as (keyof MemberChoices)[];
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new QuorateError("invalid-config", `open() was given ${given}, and no peers.`, {
    outcome: "none",
    hint: "Give peers, port and clusterSecret for a node of a cluster, or none of them for one that is alone.",
  });
}

function incomplete(): QuorateError {
  return new QuorateError("invalid-config", "open() was given peers, and no port or secret.", {
    hint: "Give port (where the others reach this node) and clusterSecret (the same on all of them).",
  });
}
