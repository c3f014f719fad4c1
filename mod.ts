/**
 * Quorate: a replicated key-value store that keeps every write it has acknowledged.
 *
 * This is what an application imports to have a node in its own process. A program that talks to a
 * node elsewhere imports `quorate/client`.
 *
 * The life of one PUT, and the module that does each step:
 *
 *  1. `server`, `http`     one port; the raw target gives the key's bytes, the body is read in bounds
 *  2. `coordinator`        the namespace's policy fills in what the request left out; the level is checked
 *  3. `store_mint`, `hlc`  a version is minted, above all before it, below a durable ceiling
 *  4. `store`, `ring`      the key's partition is found; is something newer there?
 *  5. `record`             the record is encoded, with a checksum over key and value
 *  6. `wal`                the change joins the next batch; in the same turn it is in the memtable
 *  7. `wal`                one write and one fdatasync make the batch durable
 *  8. `coordinator`        took, or superseded: then minted once more, above what was there
 *  9. `http`               204, with the version as ETag
 * 10. `store_checkpoint`   later: the memtable goes into the table (LMDB), and the log forgets
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
 * - epoch: the number of the topology, the document on which a cluster agrees
 * - sequence: a change's number in one store's log; checkpoint: the table reaches a sequence
 * - hint: a write kept for a replica that was away; sibling, dot, context: of concurrent writes
 *
 * To read on: `version`, `store`, `coordinator`, `node`, in that order.
 *
 * @module
 */

import { join, resolve } from "node:path";
import { type Report, silentReport } from "./src/capability.ts";
import { programVersion } from "./src/cli_version.ts";
import { Database } from "./src/database.ts";
import { openNode } from "./src/node.ts";
import {
  addressSpaceBytesMax,
  openDisk,
  realClock,
  realRandom,
  runtimeName,
} from "./src/runtime.ts";
import { openTable } from "./src/table.ts";
import { verifyTable } from "./src/table_verify.ts";

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

/** How a data folder is opened. */
export interface OpenOptions {
  /** The folder; it is made when it is not there. One process at a time has it open. */
  readonly dataDir: string;
  /** The node's name. Default: as at the first start, or `n1`. */
  readonly name?: string | undefined;
  /** Where log lines and counters go. Default: nowhere. */
  readonly report?: Report | undefined;
  /** Free space below which writes that grow are refused, in bytes. Default 256 MiB. */
  readonly diskReserveBytes?: number | undefined;
  /** Serves what can still be read of a damaged folder, where opening would be refused. */
  readonly acceptDataLoss?: boolean | undefined;
}

const tableFile = "table.lmdb";

/**
 * Opens a data folder and the node in it.
 *
 * Not for many processes at once: they need a server, and `quorate/client`.
 *
 * @throws QuorateError `data-folder-in-use`, `wrong-data-folder`, `corruption`, `disk-full`
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
  const { dataDir, name, report = silentReport, diskReserveBytes, acceptDataLoss } = options;
  const disk = await openDisk(dataDir);
  const path = join(resolve(dataDir), tableFile);
  const node = await openNode({
    clock: realClock,
    random: realRandom,
    disk,
    report,
    openTable: async () =>
      openTable({ path, disk, name: tableFile, addressSpaceBytes: await addressSpaceBytesMax() }),
    verifyTable: () => verifyTable({ folder: resolve(dataDir), name: tableFile, report }),
    settings: {
      version: programVersion,
      runtime: runtimeName(),
      ...(name === undefined ? {} : { name }),
      ...(diskReserveBytes === undefined ? {} : { diskReserveBytes }),
      ...(acceptDataLoss === undefined ? {} : { acceptDataLoss }),
    },
  });
  return new Database(node, realRandom);
}
