/**
 * Mutation: how a rule of the protocol is broken for the time of a run, without a switch in the program.
 *
 * Methods and properties of the program's classes are replaced by ones that are given the old, and
 * the disk and the table of a node are wrapped in ones that lie.
 *
 * Invariants
 * 1. What was replaced is put back when the answer of `begin` is called.
 *
 * Effects: the prototypes of the program's classes, between `begin` and its answer.
 *
 * @module
 */

import type { Disk, DiskFile } from "../src/capability.ts";
import type { Table } from "../src/table.ts";
import type { FocusName } from "./focus.ts";
import type { Knobs } from "./knobs.ts";

export interface Mutation {
  readonly name: string;
  /** The rule of the protocol that it breaks. */
  readonly rule: string;
  /** Whether a run with these knobs can notice it at all; without it every one may. */
  readonly suits?: (knobs: Knobs) => boolean;
  /** The world that makes its moment common; without it that which the seed draws. */
  readonly focus?: FocusName;
  /** Replaces what it has to; the answer puts it back. */
  readonly begin?: () => () => void;
  /** What the disk and the table say instead. */
  readonly disk?: (disk: Disk) => Disk;
  readonly table?: (table: Table) => Table;
}

// biome-ignore lint/suspicious/noExplicitAny: a method of any class, whose caller knows its type.
export type Method = (this: any, ...args: any[]) => any;

/** Replaces a method by one that is given the old one. */
export function method(
  of: { readonly prototype: object },
  name: string,
  make: (old: Method) => Method,
) {
  return (): (() => void) => {
    const target = of.prototype as Record<string, Method>;
    const old = target[name] as Method;
    target[name] = make(old);
    return () => {
      target[name] = old;
    };
  };
}

/** Replaces the getter of a property. */
export function getter(
  of: { readonly prototype: object },
  name: string,
  make: (old: Method) => Method,
) {
  return (): (() => void) => {
    const before = Object.getOwnPropertyDescriptor(of.prototype, name) as PropertyDescriptor;
    Object.defineProperty(of.prototype, name, { ...before, get: make(before.get as Method) });
    return () => {
      Object.defineProperty(of.prototype, name, before);
    };
  };
}

export function all(...begins: readonly (() => () => void)[]): () => () => void {
  return () => {
    const ends = begins.map((begin) => begin());
    return () => {
      for (const end of ends) end();
    };
  };
}

/** Has a class open its objects with other options. */
export function opening<Options, Opened>(
  of: { open: (options: Options) => Opened },
  change: (options: Options) => Options,
) {
  return (): (() => void) => {
    const old = of.open;
    of.open = (options) => old.call(of, change(options));
    return () => {
      of.open = old;
    };
  };
}

/** A disk whose files say that they are synced, and are not. */
export function withoutSync(isMeant: (path: string) => boolean): (disk: Disk) => Disk {
  return (disk) => ({
    ...bound(disk),
    open: async (path, mode) => {
      const file = await disk.open(path, mode);
      if (!isMeant(path)) return file;
      return {
        ...boundFile(file),
        sync: async () => {},
        writeSynced: (source, position) => file.write(source, position),
      };
    },
  });
}

export function bound(disk: Disk): Disk {
  return {
    open: (path, mode) => disk.open(path, mode),
    list: (folder) => disk.list(folder),
    rename: (source, target) => disk.rename(source, target),
    remove: (path) => disk.remove(path),
    makeFolder: (folder) => disk.makeFolder(folder),
    syncFolder: (folder) => disk.syncFolder(folder),
    space: () => disk.space(),
    lock: () => disk.lock(),
  };
}

export function boundFile(file: DiskFile): DiskFile {
  return {
    read: (target, position) => file.read(target, position),
    write: (source, position) => file.write(source, position),
    writeSynced: (source, position) => file.writeSynced(source, position),
    sync: () => file.sync(),
    size: () => file.size(),
    close: () => file.close(),
  };
}

export function boundTable(table: Table): Table {
  return {
    get: (key) => table.get(key),
    range: (range) => table.range(range),
    commit: (changes) => table.commit(changes),
    flushed: () => table.flushed(),
    fileBytes: () => table.fileBytes(),
    close: () => table.close(),
  };
}
