/**
 * Batch: many operations in one request, each with an answer of its own.
 *
 * Operations on different keys run side by side, so that their writes share a sync, but not all of a long
 * batch: each that is under way holds some kilobytes, and some dozens are enough to share one. Reads run one
 * after another, and what they have answered is counted: a batch of a few kilobytes can ask for
 * gigabytes, and these would all be in memory at once.
 *
 * Invariants
 * 1. Operations on one key run in the order given.
 * 2. The values answered have at most 16 MiB together, beyond the first; what is past that is an error
 *    of its own, and was not read.
 * 3. The deadline is the batch's: an operation that begins later has less time.
 * 4. At most `underWayMax` operations are under way at once.
 *
 * Effects: Clock; the coordinator through a port. Source: rules L1, W2.
 *
 * @module
 */

import {
  type BatchOperation,
  type BatchRequest,
  type BatchResult,
  batchBytesMax,
  type DeleteRequest,
  type GetAnswer,
  type GetRequest,
  type Namespace,
  type PutRequest,
  timeoutMsDefault,
  type WriteAnswer,
} from "./api.ts";
import { latin1 } from "./bytes.ts";
import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";

/** What is needed of a coordinator. */
export interface BatchPort {
  namespace(name: string): Namespace;
  get(request: GetRequest): Promise<GetAnswer>;
  put(request: PutRequest): Promise<WriteAnswer>;
  delete(request: DeleteRequest): Promise<WriteAnswer>;
}

export interface BatchOptions {
  readonly clock: Clock;
  readonly requests: BatchPort;
}

/** With more there are no more to a sync, and more in memory; with fewer a batch waits for more syncs. */
const underWayMax = 128;

/** Runs all operations; the answers are in their order. @throws `namespace-not-found` */
export async function runBatch(
  { clock, requests }: BatchOptions,
  request: BatchRequest,
): Promise<readonly BatchResult[]> {
  requests.namespace(request.namespace);
  const run = new Run(clock, requests, request);
  const results: Promise<BatchResult>[] = [];
  for (const operation of request.operations) {
    while (run.underWay >= underWayMax) await run.next();
    results.push(run.start(operation));
  }
  return Promise.all(results);
}

/** One batch under way. */
class Run {
  readonly #clock: Clock;
  readonly #requests: BatchPort;
  /** What all of them have in common. */
  readonly #shared: Omit<BatchRequest, "operations">;
  readonly #deadlineMs: number;
  /** The last operation on each key. */
  readonly #chains = new Map<string, Promise<BatchResult>>();
  #lastRead: Promise<unknown> = Promise.resolve();
  #answeredBytes = 0;
  #underWay = 0;
  #tellNext: (() => void) | undefined;

  constructor(clock: Clock, requests: BatchPort, request: BatchRequest) {
    this.#clock = clock;
    this.#requests = requests;
    const { operations: _operations, ...shared } = request;
    this.#shared = shared;
    this.#deadlineMs = clock.monotonicMs() + (request.timeoutMs ?? timeoutMsDefault);
  }

  /** Operations that were started and are not over. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Resolves when one of them is over. Asked for by one caller at a time. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#tellNext = resolve;
    });
  }

  start(operation: BatchOperation): Promise<BatchResult> {
    this.#underWay += 1;
    const name = latin1(operation.key);
    const before = this.#chains.get(name);
    const go = (): Promise<BatchResult> => this.#operate(operation);
    let result: Promise<BatchResult>;
    if (operation.kind === "get") {
      result = Promise.all([before, this.#lastRead]).then(go);
      this.#lastRead = result;
    } else result = before === undefined ? go() : before.then(go);
    this.#chains.set(name, result);
    return result;
  }

  /** Never rejects. */
  async #operate(operation: BatchOperation): Promise<BatchResult> {
    try {
      const options = { ...this.#shared, timeoutMs: this.#timeLeftMs(operation) };
      if (operation.kind === "put") {
        return { kind: "put", answer: await this.#requests.put({ ...options, ...operation }) };
      }
      const { key } = operation;
      if (operation.kind === "delete") {
        return { kind: "delete", answer: await this.#requests.delete({ ...options, key }) };
      }
      if (this.#answeredBytes >= batchBytesMax) throw tooMuch(key);
      // How durable writes have to be says nothing of what is read: only what stays is (W2).
      const { durability: _durability, ...asked } = options;
      const answer = await this.#requests.get({ ...asked, key });
      this.#answeredBytes += answer.record?.value.length ?? 0;
      return { kind: "get", answer };
    } catch (error) {
      return { kind: "error", error: QuorateError.from(error) };
    } finally {
      this.#underWay -= 1;
      this.#tellNext?.();
    }
  }

  #timeLeftMs({ kind, key }: BatchOperation): number {
    const leftMs = Math.ceil(this.#deadlineMs - this.#clock.monotonicMs());
    if (leftMs > 0) return leftMs;
    throw new QuorateError("timeout", "The batch's time was over before this operation began.", {
      key,
      ...(kind === "get" ? {} : { outcome: "none" }),
      hint: "Send it again in a smaller batch, or with a longer timeout.",
    });
  }
}

function tooMuch(key: Uint8Array): QuorateError {
  return new QuorateError(
    "value-too-large",
    `The values that this batch has read have more than ${batchBytesMax} bytes together.`,
    { key, limit: batchBytesMax, hint: "Read the rest in another batch, or key by key." },
  );
}
