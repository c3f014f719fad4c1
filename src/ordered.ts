/**
 * Ordered: a map that keeps its keys in order, and copies itself at no cost (a B+ tree).
 *
 * The tree is the package's. It is a CommonJS module, and runtimes differ in what they give as its
 * default: Node and Deno all of its exports, Bun the export of that name. This is the place where
 * that is made the same; the rest of the program imports the map from here.
 *
 * Effects: none.
 *
 * @module
 */

import sortedBTree from "sorted-btree";

type OrderedMapClass = typeof sortedBTree.default;

const given: unknown = sortedBTree;

/** `new OrderedMap<Key, Value>(undefined, compare)`; `clone()` shares all until one of both changes. */
export const OrderedMap: OrderedMapClass =
  typeof given === "function" ? (given as OrderedMapClass) : sortedBTree.default;

export type OrderedMap<Key, Value> = InstanceType<typeof sortedBTree.default<Key, Value>>;
