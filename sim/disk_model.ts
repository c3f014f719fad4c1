/**
 * Disk model: what a file system holds, what of it is durable, and what may still be lost.
 *
 * A file is an inode: the content that is surely on the disk (`base`), and the writes since then in
 * their order. A name leads to an inode; changes of names wait in order until their folder is synced.
 * Nothing here decides what a crash keeps: that is `disk_crash.ts`.
 *
 *     write a    write b    sync        write c        crash: base+a+b, and any part of c
 *     base|a     base|a,b   base+a+b|   base+a+b|c
 *
 * A sync that fails leaves its writes `doubtful`: the kernel takes their pages for clean, so reads
 * go on to show them, no later sync writes them, and a crash may keep or lose each of them.
 *
 * Invariants
 * 1. `live` is `base` with every write applied in order.
 * 2. What is durable moves to `base` (and `durableNames`) in order: above something that is not, it
 *    waits, so that what is older can never come out on top of it.
 * 3. Inodes and contents are immutable: a copy of the model shares them.
 *
 * Effects: none. Source: Rebello et al., "Can Applications Recover from fsync Failures?" (2020), for
 * what a failed sync leaves; Pillai et al., "All File Systems Are Not Created Equal" (2014).
 *
 * @module
 */

import { type Content, emptyContent, fingerprint, written } from "./disk_content.ts";

/** `dirty` waits for a sync, `doubtful` met one that failed, `durable` is kept for the order's sake. */
export type WriteState = "dirty" | "doubtful" | "durable";

export interface Write {
  readonly number: number;
  readonly position: number;
  readonly bytes: Uint8Array;
  readonly state: WriteState;
}

export interface Inode {
  readonly base: Content;
  readonly writes: readonly Write[];
  readonly live: Content;
}

/** A change of names that is kept or lost as one. */
export interface NameChange {
  readonly number: number;
  readonly removed: string | undefined;
  readonly set: { readonly path: string; readonly inode: number } | undefined;
  /** The folders that must still be synced before it is durable; none: it is. */
  readonly folders: readonly string[];
}

/** What a call does to the file system. */
export type DiskEvent =
  | { readonly kind: "create"; readonly path: string; readonly inode: number }
  | {
      readonly kind: "write";
      readonly inode: number;
      readonly position: number;
      readonly bytes: Uint8Array;
    }
  /** Writes up to `last` are durable, or doubtful when the sync failed. */
  | {
      readonly kind: "sync";
      readonly inode: number;
      readonly last: number;
      readonly state: "durable" | "doubtful";
    }
  | { readonly kind: "rename"; readonly source: string; readonly target: string }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "makeFolder"; readonly folder: string }
  /** Changes of names up to `last` in this folder are durable. */
  | { readonly kind: "syncFolder"; readonly folder: string; readonly last: number }
  /** Nothing: it marks a moment for whoever checks. */
  | { readonly kind: "note" };

const emptyInode: Inode = { base: emptyContent, writes: [], live: emptyContent };

export class DiskModel {
  /** The names as the running process sees them. */
  readonly names: Map<string, number>;
  /** The names that a power loss surely leaves. */
  readonly durableNames: Map<string, number>;
  /** What is between the two, in order. */
  nameChanges: readonly NameChange[];
  readonly inodes: Map<number, Inode>;
  readonly folders: Set<string>;
  /** Counts writes and changes of names: the number of the newest. */
  counter: number;

  constructor(source?: DiskModel) {
    this.names = new Map(source?.names);
    this.durableNames = new Map(source?.durableNames);
    this.nameChanges = source?.nameChanges ?? [];
    this.inodes = new Map(source?.inodes);
    this.folders = new Set(source?.folders ?? [""]);
    this.counter = source?.counter ?? 0;
  }

  /** A model in which all is durable. */
  static of(files: Iterable<readonly [string, Content]>, folders: Iterable<string>): DiskModel {
    const model = new DiskModel();
    for (const folder of folders) model.folders.add(folder);
    let inode = 0;
    for (const [path, content] of files) {
      inode += 1;
      model.names.set(path, inode);
      model.durableNames.set(path, inode);
      model.inodes.set(inode, { base: content, writes: [], live: content });
    }
    return model;
  }

  inode(number: number): Inode {
    return this.inodes.get(number) ?? emptyInode;
  }

  /** The content that a path leads to. */
  contentOf(path: string): Content | undefined {
    const inode = this.names.get(path);
    return inode === undefined ? undefined : this.inode(inode).live;
  }

  nextInode(): number {
    return this.inodes.size + 1;
  }

  apply(event: DiskEvent): void {
    switch (event.kind) {
      case "create":
        this.inodes.set(event.inode, emptyInode);
        this.#changeNames(undefined, { path: event.path, inode: event.inode });
        return;
      case "write":
        this.#write(event.inode, event.position, event.bytes);
        return;
      case "sync":
        this.#sync(event.inode, event.last, event.state);
        return;
      case "rename": {
        const inode = this.names.get(event.source);
        if (inode === undefined) return;
        this.#changeNames(event.source, { path: event.target, inode });
        return;
      }
      case "remove":
        this.#changeNames(event.path, undefined);
        return;
      case "makeFolder":
        this.folders.add(event.folder);
        return;
      case "syncFolder":
        this.#syncFolder(event.folder, event.last);
        return;
      case "note":
        return;
    }
  }

  /** Equal for models with equal files, all of it durable. */
  fingerprint(): string {
    const files = [...this.names].sort(([a], [b]) => (a < b ? -1 : 1));
    const parts = files.map(([path, inode]) => `${path}=${fingerprint(this.inode(inode).live)}`);
    return [...parts, ...[...this.folders].sort()].join("|");
  }

  #write(number: number, position: number, bytes: Uint8Array): void {
    const inode = this.inode(number);
    this.counter += 1;
    const write: Write = { number: this.counter, position, bytes, state: "dirty" };
    const live = written(inode.live, position, bytes);
    this.inodes.set(number, { base: inode.base, writes: [...inode.writes, write], live });
  }

  #sync(number: number, last: number, state: "durable" | "doubtful"): void {
    const inode = this.inode(number);
    const writes = inode.writes.map((write) =>
      write.number <= last && write.state === "dirty" ? { ...write, state } : write,
    );
    this.inodes.set(number, settled({ ...inode, writes }));
  }

  #changeNames(removed: string | undefined, set: NameChange["set"]): void {
    this.counter += 1;
    const paths = [removed, set?.path].filter((path) => path !== undefined);
    const folders = [...new Set(paths.map(folderOf))];
    const change: NameChange = { number: this.counter, removed, set, folders };
    changeNames(this.names, change);
    this.nameChanges = [...this.nameChanges, change];
  }

  #syncFolder(folder: string, last: number): void {
    const changes = this.nameChanges.map((change) => {
      if (change.number > last) return change;
      return { ...change, folders: change.folders.filter((other) => other !== folder) };
    });
    // As with writes (invariant 2): in order, or an older change would come out on top later.
    let count = 0;
    for (const change of changes) {
      if (change.folders.length > 0) break;
      changeNames(this.durableNames, change);
      count += 1;
    }
    this.nameChanges = changes.slice(count);
  }
}

/** Applies a change to a set of names. */
export function changeNames(names: Map<string, number>, change: NameChange): void {
  if (change.removed !== undefined) names.delete(change.removed);
  if (change.set !== undefined) names.set(change.set.path, change.set.inode);
}

export function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

/** Moves what is durable with nothing doubtful below it into the base (invariant 2). */
function settled(inode: Inode): Inode {
  let { base } = inode;
  let count = 0;
  for (const write of inode.writes) {
    if (write.state !== "durable") break;
    base = written(base, write.position, write.bytes);
    count += 1;
  }
  const writes = inode.writes.slice(count);
  return { base: writes.length === 0 ? inode.live : base, writes, live: inode.live };
}
