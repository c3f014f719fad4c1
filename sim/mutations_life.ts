/**
 * Mutations of how long a value lives, and how durable it is.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { ReadQuorum } from "../src/quorum_read.ts";
import { Store } from "../src/store.ts";
import { all, type Method, type Mutation, method } from "./mutation.ts";

export const lifeMutations: readonly Mutation[] = [
  {
    name: "what is over is read on",
    rule: "R3: expiry is judged by the latest clock among the replies",
    begin: method(ReadQuorum, "isExpired", () => () => false),
  },
  {
    name: "what lives for a time is over at once",
    rule: "R3: and by no later one",
    begin: method(
      ReadQuorum,
      "isExpired",
      () => (expiresAtMs: number | undefined) => expiresAtMs !== undefined,
    ),
  },
  {
    name: "what may be in memory alone is nowhere",
    rule: "W1: a replica applies what it says that it took",
    begin: all(method(Store, "write", forgets), method(Store, "writeEncoded", forgets)),
  },
];

function forgets(old: Method): Method {
  return function (write: { readonly durability: string }) {
    if (write.durability !== "memory") return old.call(this, write);
    return Promise.resolve({ kind: "took" });
  };
}
