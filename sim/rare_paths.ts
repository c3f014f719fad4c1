/**
 * Rare paths: every place where the program says `sometimes(…)`, and whether a simulation gets there.
 *
 * A mark stands where a fault is dealt with. One that no run meets is a part of the program that is
 * not tried, so a long run (`npm run sim:nightly`) fails when a path is not met that can be.
 * `test/sim_paths_test.ts` compares this list with the sources.
 *
 * Effects: none.
 *
 * @module
 */

/** Mark -> why no run can meet it; undefined: a long run has to. */
export const rarePaths: Readonly<Record<string, string | undefined>> = {
  "agreement began another ballot": undefined,
  "agreement learned a document": undefined,
  "agreement: own vote is void": undefined,
  "cluster: a version was turned on": undefined,
  "coordinator: a damaged answer": "the network loses and delays, and changes no bytes",
  "coordinator: a holder was gone": undefined,
  "coordinator: a replica was overruled by a watermark":
    "no disk loses records without a checksum that tells of it",
  "coordinator: asked again under a newer epoch": undefined,
  "coordinator: hedged read": undefined,
  "coordinator: hint": undefined,
  "coordinator: hint to itself": undefined,
  "coordinator: read repaired": undefined,
  "coordinator: second version": undefined,
  "coordinator: too many repairs": "a handful of clients never has so many repairs under way",
  "coordinator: value fetched from a holder": undefined,
  "coordinator: write-back": undefined,
  "coordinator: write-back in a move": undefined,
  "fill: a partition has data again": undefined,
  "fill: begun again": "one disk at a time loses its data, so no source does while another fills",
  "fill: too few have data": undefined,
  "gossip heard of a new address": "every machine keeps its address",
  "gossip kept a node that others reach": undefined,
  "gossip probed for another": undefined,
  "gossip refused a lower boot": undefined,
  "gossip ticked late": undefined,
  "handoff: hint answered later": undefined,
  "handoff: hint dropped": undefined,
  "handoff: hints delivered": undefined,
  "hint: to those who hold it now": undefined,
  "link: redialled to a later start": undefined,
  "move: a source failed": undefined,
  "move: a step back": undefined,
  "move: copied": undefined,
  "move: dropped": undefined,
  "move: the next phase": undefined,
  "move: what an older join had left was removed": undefined,
  "node: a deleted namespace is forgotten": undefined,
  "node: purged": undefined,
  "node: rolled back": undefined,
  "node: table set aside": "the table is in memory, and ends no process",
  "repair: caught up after a cut": undefined,
  "repair: discarded below a watermark": undefined,
  "repair: mark handed on": undefined,
  "repair: marked partition compared": undefined,
  "repair: only writes under way differed": undefined,
  "repair: pulled": undefined,
  "repair: pushed": undefined,
  "replica: clock skew refused": undefined,
  "replica: epoch refused": undefined,
  "replica: learned a newer epoch first": undefined,
  "store: acknowledged writes are lost":
    "the log keeps what two commits of the table cover, and the table goes back by one",
  "store: checkpoint": undefined,
  "store: disk has room again": "nodes keep no reserve: their disks are full without a warning",
  "store: disk low": "nodes keep no reserve: their disks are full without a warning",
  "store: no space for a checkpoint": "the table is in memory, and has room",
  "store: opened with a loss": "no file as a whole is taken away",
  "store: partition damaged": undefined,
  "wal: begun on a full disk": undefined,
  "wal: no space for a segment": undefined,
  "wal: segment retired": undefined,
  "wal: segment rolled": undefined,
  "wal: torn tail cut": undefined,
  "wal: write or sync failed": undefined,
  "watermark: dropped": undefined,
  "watermark: raised": undefined,
  "watermark: round begun": undefined,
  "watermark: round given up": undefined,
};

/** Those that a long run has to meet, and these runs did not. */
export function unmetPaths(met: ReadonlyMap<string, number>): readonly string[] {
  return Object.keys(rarePaths).filter((path) => rarePaths[path] === undefined && !met.has(path));
}

/** A line for each: how often it was met, or why it cannot be. */
export function pathLines(met: ReadonlyMap<string, number>): readonly string[] {
  return Object.entries(rarePaths).map(([path, why]) => {
    const count = met.get(path) ?? 0;
    return `${String(count).padStart(8)}  ${path}${why === undefined ? "" : ` (not to be met: ${why})`}`;
  });
}
