/**
 * NodeVote: a mark in the log for each vote of this node, so that a vote that is forgotten is missed.
 *
 * A store that was rolled back is known by its sequence: the others remember a higher one. The vote
 * itself is in slots of its own, beside the log. Without the mark a store that had given a vote and
 * taken nothing else would come back with the same sequence, vote again, and could help to choose a
 * second document for an epoch.
 *
 * Effects: the store. Source: rules I3, T1.
 *
 * @module
 */

import { emptyBytes, utf8Bytes } from "./bytes.ts";
import type { Store } from "./store.ts";
import { ownNamespaces, writeOwn } from "./store_own.ts";

const voteNamespace = ownNamespaces.votes;
const voteKey = utf8Bytes("vote");

/** Raises the store's sequence; durable when it resolves. @throws what the store does */
export async function markVote(store: Store): Promise<void> {
  await writeOwn(store, { namespaceNumber: voteNamespace, key: voteKey, value: emptyBytes });
}
