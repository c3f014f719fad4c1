/**
 * Deadlines: many waits that may last so long, and one timer for all that may last the same.
 *
 * Nearly every request has the same time to be answered, so those that began first are due first: a
 * queue for each length of time, whose head alone has a timer. A request that ends in time costs
 * neither a timer nor a race of promises.
 *
 *     5,000 ms:  [began 10] [began 12, over] [began 31]      one timer, due at 5,010
 *       250 ms:  [began 11]                                  one timer, due at 261
 *
 * Invariants
 * 1. A wait settles once: as its work does, or as late, and late no sooner than its time.
 * 2. What is over leaves the queue when all before it are over too, and at its time at the latest.
 *
 * Effects: Clock.
 *
 * @module
 */

import type { Clock } from "./capability.ts";

interface Wait {
  readonly dueMs: number;
  /** Undefined when the work is done. */
  onLate: (() => void) | undefined;
}

/** The waits of one length, in the order of their ends. */
interface Queue {
  readonly waits: (Wait | undefined)[];
  /** What is before it in `waits` is over. */
  first: number;
  isArmed: boolean;
}

/** So many waits that are over are kept at the head of a queue before they are cut off. */
const spentCountMax = 1024;

export class Deadlines {
  readonly #clock: Clock;
  readonly #queues = new Map<number, Queue>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Settles as `work` does, or rejects with what `late` gives when that takes over `timeoutMs`. */
  within<Value>(timeoutMs: number, work: Promise<Value>, late: () => Error): Promise<Value> {
    return new Promise((resolve, reject) => {
      const finish = this.start(timeoutMs, () => reject(late()));
      work.then(
        (value) => {
          finish();
          resolve(value);
        },
        (error) => {
          finish();
          reject(error);
        },
      );
    });
  }

  /** Calls `onLate` once after `timeoutMs`, unless the answer was called before. */
  start(timeoutMs: number, onLate: () => void): () => void {
    let queue = this.#queues.get(timeoutMs);
    if (queue === undefined) {
      queue = { waits: [], first: 0, isArmed: false };
      this.#queues.set(timeoutMs, queue);
    }
    const wait: Wait = { dueMs: this.#clock.monotonicMs() + timeoutMs, onLate };
    queue.waits.push(wait);
    if (!queue.isArmed) this.#arm(timeoutMs, queue, timeoutMs);
    const own = queue;
    return () => {
      wait.onLate = undefined;
      skipSpent(own);
    };
  }

  #arm(timeoutMs: number, queue: Queue, delayMs: number): void {
    queue.isArmed = true;
    this.#clock.after(delayMs, () => this.#fire(timeoutMs, queue));
  }

  #fire(timeoutMs: number, queue: Queue): void {
    queue.isArmed = false;
    const nowMs = this.#clock.monotonicMs();
    const late: (() => void)[] = [];
    for (let index = queue.first; index < queue.waits.length; index += 1) {
      const wait = queue.waits[index];
      if (wait?.onLate === undefined) continue;
      if (wait.dueMs > nowMs) break;
      late.push(wait.onLate);
      wait.onLate = undefined;
    }
    skipSpent(queue);
    const head = queue.waits[queue.first];
    if (head !== undefined) this.#arm(timeoutMs, queue, Math.max(0, head.dueMs - nowMs));
    else this.#queues.delete(timeoutMs);
    // Last: whoever is late may begin another wait.
    for (const call of late) call();
  }
}

function skipSpent(queue: Queue): void {
  const { waits } = queue;
  while (queue.first < waits.length && waits[queue.first]?.onLate === undefined) {
    // At once: what an old list names would grow old with it.
    waits[queue.first] = undefined;
    queue.first += 1;
  }
  if (queue.first === waits.length) {
    waits.length = 0;
    queue.first = 0;
  } else if (queue.first >= spentCountMax) {
    waits.splice(0, queue.first);
    queue.first = 0;
  }
}
