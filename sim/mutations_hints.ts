/**
 * Mutations of hints: what is kept for those that are away, how long, and how much of it.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { Coordinator } from "../src/coordinator.ts";
import { Handoff, type Hint } from "../src/handoff.ts";
import type { Hlc } from "../src/hlc.ts";
import { NodeHints } from "../src/node_hints.ts";
import { WriteQuorum } from "../src/quorum.ts";
import { all, getter, type Mutation, method, opening } from "./mutation.ts";

/** Whose process is gone, and keeps nothing more. */
const closed = new WeakSet<Handoff>();

export const hintMutations: readonly Mutation[] = [
  {
    name: "no hints are kept",
    rule: "H1",
    begin: getter(WriteQuorum, "hints", () => () => []),
  },
  {
    name: "a hint is removed before its target has it",
    rule: "H1",
    focus: "restarts",
    begin: method(NodeHints, "deliver", () => async () => "done"),
  },
  {
    name: "a hint that its target did not take is removed",
    rule: "H1, G2",
    begin: method(
      NodeHints,
      "deliver",
      (old) =>
        async function (hint: Hint) {
          await old.call(this, hint).catch(() => {});
          return "done";
        },
    ),
  },
  {
    name: "deletes are not kept as hints",
    rule: "H1",
    focus: "restarts",
    begin: method(
      Handoff,
      "keep",
      (old) =>
        function (hint: Hint) {
          return hint.record.tombstone ? Promise.resolve("kept") : old.call(this, hint);
        },
    ),
  },
  {
    name: "the first version is kept as the hint",
    rule: "H1: the last version minted",
    begin: method(
      Handoff,
      "keep",
      (old) =>
        function (hint: Hint) {
          const { version } = hint.record;
          const older = { hlc: (version.hlc - 1n) as Hlc, origin: version.origin };
          return old.call(this, { ...hint, record: { ...hint.record, version: older } });
        },
    ),
  },
  {
    name: "a close does not wait for hints",
    rule: "H1: durable before K forgets the write",
    focus: "closes of those cut off",
    begin: all(
      method(Coordinator, "settle", () => async () => {}),
      // The store takes them as long as it is there; a process that does not wait is gone by then.
      method(
        Handoff,
        "close",
        (old) =>
          function () {
            closed.add(this);
            return old.call(this);
          },
      ),
      method(
        Handoff,
        "keep",
        (old) =>
          function (hint: Hint) {
            return closed.has(this) ? Promise.resolve("kept") : old.call(this, hint);
          },
      ),
    ),
  },
  {
    name: "hints have no bound",
    rule: "H2: hints are bounded in bytes for each target",
    begin: opening(Handoff, (options) => ({
      ...options,
      limits: { ...options.limits, bytesMax: Number.MAX_SAFE_INTEGER },
    })),
  },
];
