/**
 * Handoff wait: waits until no hints are left, here or on the nodes that are heard of, and nothing is marked to be
 * compared first: then who was away has all that it missed.
 *
 * Hints on other nodes are only known by asking, so all are looked at again after a pause. Between two
 * looks a hint may come and go unseen; what is told is that one look found none.
 *
 * Invariants
 * 1. It ends: with none left, or `timeout` at its deadline, also while a look is under way.
 *
 * Effects: Clock; what is left is asked through a port. Source: rule H2.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";

export interface HintsLeftPort {
  readonly clock: Clock;
  /** The hints and marks on all nodes that can be seen. */
  left(): Promise<number>;
}

const lookMs = 100;

/** Resolves when none are left. @throws `timeout` */
export async function whenNoHints(port: HintsLeftPort, timeoutMs: number): Promise<void> {
  const { clock } = port;
  const overMs = clock.monotonicMs() + timeoutMs;
  let count: number | undefined;
  for (let leftMs = timeoutMs; leftMs > 0; leftMs = overMs - clock.monotonicMs()) {
    const seen = await within(clock, leftMs, port.left());
    if (seen === 0) return;
    if (seen === undefined) break;
    count = seen;
    const pauseMs = Math.max(0, Math.min(lookMs, overMs - clock.monotonicMs()));
    await new Promise<void>((resolve) => {
      clock.after(pauseMs, resolve);
    });
  }
  throw notGone(count, timeoutMs);
}

/** What a look finds; undefined when it takes longer. */
function within(clock: Clock, limitMs: number, look: Promise<number>): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(limitMs, () => resolve(undefined));
    look.then(resolve, reject).finally(cancel);
  });
}

function notGone(count: number | undefined, timeoutMs: number): QuorateError {
  const said =
    count === undefined ? "It is not known how many hints and marks" : `${count} hints and marks`;
  const verb = count === undefined ? "there are" : "were left";
  return new QuorateError("timeout", `${said} ${verb} after ${timeoutMs} ms.`, {
    hint: "GET /v1/hints tells for whom they are kept: a node that is down gets them when it is back. GET /v1/repair tells what is marked.",
  });
}
