/**
 * Coordinator: one client request, from the level it asks for to the answer it gets.
 *
 * It resolves what the request left out from the namespace's policy, mints the version of a write,
 * gives it to the replicas (in a cluster of one: this node's store) and answers when enough of them
 * have. A write that meets something newer is minted once more, above it, so that versions follow
 * real time for writes that do not overlap, whatever the clocks said before.
 *
 *     put -> level? -> mint -> write -> superseded(v)? -> mint above v -> write -> answer
 *
 * Invariants
 * 1. A version is minted for a client's write that has no answer yet, at most twice (W3, W4).
 * 2. A request ends at its deadline; a write that may have happened is then `unknown` (P7).
 * 3. Tombstones and expired records are "no such key" to a client.
 *
 * Effects: Clock; the store and the topology through ports. Source: rules L1, W1 to W5, R2, R3.
 *
 * @module
 */

import {
  type Answer,
  contentTypeDefault,
  type DeleteRequest,
  type Durability,
  type GetAnswer,
  type GetRequest,
  keyBytesMax,
  type LiveRecord,
  type Namespace,
  type PutRequest,
  type RequestOptions,
  timeoutMsDefault,
  type WriteAnswer,
} from "./api.ts";
import { assert } from "./assert.ts";
import { emptyBytes } from "./bytes.ts";
import type { Clock } from "./capability.ts";
import { type Outcome, QuorateError } from "./errors.ts";
import { type Level, levelOf } from "./level.ts";
import type { StoredRecord } from "./record.ts";
import type { Topology } from "./topology.ts";
import { type Version, versionText } from "./version.ts";

/** What is needed of a store. */
export interface ReplicaPort {
  readonly mint: {
    mint(): Promise<Version>;
    mintAbove(version: Version): Promise<Version>;
    nowMs(): number;
  };
  get(
    namespaceNumber: number,
    key: Uint8Array,
    durability: Durability,
  ): Promise<StoredRecord | undefined>;
  write(write: {
    readonly namespaceNumber: number;
    readonly key: Uint8Array;
    readonly record: StoredRecord;
    readonly durability: Durability;
  }): Promise<
    { readonly kind: "took" } | { readonly kind: "superseded"; readonly version: Version }
  >;
  coverExpiry(expiresAtMs: number): Promise<void>;
}

export interface CoordinatorOptions {
  readonly clock: Clock;
  readonly nodeName: string;
  readonly replica: ReplicaPort;
  readonly topology: () => Topology;
}

/** What a write puts under a key, but for its version. */
type Draft = Omit<StoredRecord, "version" | "expiresAtMs">;

const tombstone: Draft = {
  tombstone: true,
  contentType: contentTypeDefault,
  meta: [],
  value: emptyBytes,
};

export class Coordinator {
  readonly #options: CoordinatorOptions;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
  }

  /** @throws `namespace-not-found` */
  namespace(name: string): Namespace {
    const found = this.#options.topology().namespaces.find((one) => one.name === name);
    if (found !== undefined) return found;
    throw new QuorateError("namespace-not-found", `There is no namespace '${name}'.`, {
      outcome: "none",
      namespace: name,
      hint: `Make it first: PUT /v1/namespaces/${name}.`,
    });
  }

  get(request: GetRequest): Promise<GetAnswer> {
    return this.withDeadline(request, undefined, this.#get(request));
  }

  put(request: PutRequest): Promise<WriteAnswer> {
    return this.withDeadline(request, "unknown", this.#put(request));
  }

  delete(request: DeleteRequest): Promise<WriteAnswer> {
    return this.withDeadline(request, "unknown", this.#write(request, tombstone, undefined));
  }

  /** What every answer of a read says. */
  readAnswer(request: RequestOptions): Answer {
    const { policy } = this.namespace(request.namespace);
    return this.#answer(levelOf("r", request, policy, this.#memberCount));
  }

  /** Whether a client sees a record: no tombstone, and not expired. */
  isLive(record: StoredRecord): boolean {
    if (record.tombstone) return false;
    return record.expiresAtMs === undefined || record.expiresAtMs > this.#nowMs;
  }

  /** The answer, or `timeout` at the deadline, whatever becomes of the work. */
  async withDeadline<Value>(
    { timeoutMs = timeoutMsDefault }: RequestOptions,
    outcome: Outcome | undefined,
    work: Promise<Value>,
  ): Promise<Value> {
    let cancel: () => void = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.#options.clock.after(timeoutMs, () => reject(timedOut(timeoutMs, outcome)));
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      cancel();
    }
  }

  async #get(request: GetRequest): Promise<GetAnswer> {
    assertKey(request.key);
    const { clock, replica, nodeName } = this.#options;
    const beganMs = clock.monotonicMs();
    const { number, policy } = this.namespace(request.namespace);
    const level = levelOf("r", request, policy, this.#memberCount);
    const stored = await replica.get(number, request.key, request.durability ?? "fsync");
    const answer = this.#answer(level);
    const explain = request.explain
      ? explanation(nodeName, stored?.version, clock.monotonicMs() - beganMs)
      : undefined;
    const whole = explain === undefined ? answer : { ...answer, explain };
    if (stored === undefined || stored.tombstone) return { ...whole, record: undefined };
    const { expiresAtMs } = stored;
    if (expiresAtMs !== undefined && expiresAtMs <= this.#nowMs) {
      await replica.coverExpiry(expiresAtMs);
      return { ...whole, record: undefined };
    }
    return { ...whole, record: liveRecord(stored) };
  }

  async #put(request: PutRequest): Promise<WriteAnswer> {
    const { value, contentType, meta } = request;
    const { policy } = this.namespace(request.namespace);
    if (value.length > policy.valueBytesMax) {
      throw new QuorateError(
        "value-too-large",
        `The value has ${value.length} bytes; ${policy.valueBytesMax} are allowed.`,
        {
          outcome: "none",
          limit: policy.valueBytesMax,
          hint: "Raise the namespace's maxValue (at most 32 MiB), or store the value in pieces.",
        },
      );
    }
    const draft = { tombstone: false, contentType, meta, value };
    return this.#write(request, draft, request.ttlSeconds ?? policy.ttlSeconds);
  }

  async #write(
    request: PutRequest | DeleteRequest,
    draft: Draft,
    ttlSeconds: number | undefined,
  ): Promise<WriteAnswer> {
    const { key } = request;
    assertKey(key);
    const { clock, replica, nodeName } = this.#options;
    const beganMs = clock.monotonicMs();
    const { number: namespaceNumber, policy } = this.namespace(request.namespace);
    const level = levelOf("w", request, policy, this.#memberCount);
    const durability = request.durability ?? policy.durability;
    const record = (version: Version): StoredRecord => {
      if (ttlSeconds === undefined) return { ...draft, version };
      // Not from the stamp: one above a stamp of the future (V3) says nothing about the time.
      return { ...draft, version, expiresAtMs: this.#nowMs + ttlSeconds * 1000 };
    };
    let last = record(await replica.mint.mint());
    const first = await replica.write({ namespaceNumber, key, record: last, durability });
    if (first.kind === "superseded") {
      // From now on only this one counts: it was taken, or something newer is there (W3).
      last = record(await replica.mint.mintAbove(first.version));
      await replica.write({ namespaceNumber, key, record: last, durability });
    }
    const { version, expiresAtMs } = last;
    const answer = { ...this.#answer(level), version, durability };
    const expires = expiresAtMs === undefined ? answer : { ...answer, expiresAtMs };
    if (request.explain !== true) return expires;
    return { ...expires, explain: explanation(nodeName, version, clock.monotonicMs() - beganMs) };
  }

  get #memberCount(): number {
    return this.#options.topology().members.length;
  }

  get #nowMs(): number {
    return this.#options.replica.mint.nowMs();
  }

  #answer({ consistency, replicas }: Level): Answer {
    const { nodeName, topology } = this.#options;
    return { node: nodeName, epoch: topology().epoch, consistency, replies: 1, replicas };
  }
}

/** What is known of an answer that was not given in time. */
function timedOut(timeoutMs: number, outcome: Outcome | undefined): QuorateError {
  return new QuorateError(
    "timeout",
    `There was no answer within ${timeoutMs} ms.`,
    outcome === undefined ? {} : { outcome },
  );
}

function explanation(node: string, version: Version | undefined, tookMs: number): unknown {
  const held = version === undefined ? "nothing" : versionText(version);
  return {
    replicas: [{ node, status: "answered", version: held }],
    tookMs: Math.round(tookMs * 1000) / 1000,
  };
}

function liveRecord(stored: StoredRecord): LiveRecord {
  const { version, value, contentType, meta, expiresAtMs } = stored;
  const record = { version, value, contentType, meta };
  return expiresAtMs === undefined ? record : { ...record, expiresAtMs };
}

function assertKey(key: Uint8Array): void {
  assert(key.length >= 1 && key.length <= keyBytesMax, "coordinator: the edges check keys");
}
