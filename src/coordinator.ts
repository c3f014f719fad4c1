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
 * A node that is alone asks its own store and nobody else, at no cost of a cluster, but writes nothing
 * below what it has promised: a delete that it has dropped may have been newer (G2); with others there,
 * `coordinator_write` and `coordinator_read` ask them all.
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
  type ExplainAnswer,
  type GetAnswer,
  type GetRequest,
  keyBytesMax,
  type LiveRecord,
  type Namespace,
  type NamespacePolicy,
  type PutRequest,
  type RequestOptions,
  timeoutMsDefault,
  type WriteAnswer,
} from "./api.ts";
import { valueTooLarge } from "./api_limit.ts";
import { assert } from "./assert.ts";
import { emptyBytes } from "./bytes.ts";
import type { Clock } from "./capability.ts";
import { explainKey, factsOf as heldOf } from "./coordinator_explain.ts";
import { type ClusterPorts, type ReplicaNote, rounded } from "./coordinator_ports.ts";
import { ClusterReads } from "./coordinator_read.ts";
import type { ScanJob } from "./coordinator_scan.ts";
import { ClusterWrites } from "./coordinator_write.ts";
import { Deadlines } from "./deadlines.ts";
import { type Outcome, QuorateError } from "./errors.ts";
import type { Hlc } from "./hlc.ts";
import { type Level, levelOf } from "./level.ts";
import type { StoredRecord } from "./record.ts";
import { replicaCount, type Topology } from "./topology.ts";
import { type Version, versionText } from "./version.ts";

/** What is needed of a store. */
export interface ReplicaPort {
  readonly mint: {
    mint(): Version | Promise<Version>;
    mintAbove(version: Version): Promise<Version>;
    nowMs(): number;
  };
  get(
    namespaceNumber: number,
    key: Uint8Array,
    durability: Durability,
  ): StoredRecord | undefined | Promise<StoredRecord | undefined>;
  write(write: {
    readonly namespaceNumber: number;
    readonly key: Uint8Array;
    readonly record: StoredRecord;
    readonly durability: Durability;
    readonly admit: () => void;
    readonly allow: (partition: number) => void;
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
  /** Below what this node takes no writes of clients, which is asked where it is alone (G2). */
  readonly promiseOf: (partition: number, n: number) => Hlc;
  /** The other nodes; undefined: there are none, and there never will be. */
  readonly cluster?: Omit<ClusterPorts, "clock" | "deadlines" | "mint">;
}

/** What a write puts under a key, but for its version. */
type Draft = Omit<StoredRecord, "version" | "expiresAtMs">;

const tombstone: Draft = {
  tombstone: true,
  contentType: contentTypeDefault,
  meta: [],
  value: emptyBytes,
};

/** A client's write, whoever takes it. */
interface OneWrite {
  readonly request: PutRequest | DeleteRequest;
  readonly namespaceNumber: number;
  readonly policy: NamespacePolicy;
  readonly record: (version: Version) => StoredRecord;
}

/** Others have joined while a write of a cluster of one waited. */
class NotAlone extends Error {}

/** A version of a cluster of one lies below what was promised, in the past of a clock that was set back. */
class BelowPromise extends Error {
  readonly stamp: Hlc;

  constructor(stamp: Hlc) {
    super("below a promise");
    this.stamp = stamp;
  }
}

/** More than one promise in the time of a write is made only where the clock jumps. */
const mintsMax = 4;

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #deadlines: Deadlines;
  readonly #writes: ClusterWrites | undefined;
  readonly #reads: ClusterReads | undefined;
  /** The namespaces of the present topology by their names, in which every request looks. */
  #named: {
    readonly namespaces: readonly Namespace[] | undefined;
    readonly byName: ReadonlyMap<string, Namespace>;
  } = { namespaces: undefined, byName: new Map() };

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#deadlines = new Deadlines(options.clock);
    const { clock, replica, cluster } = options;
    if (cluster === undefined) return;
    const ports = { ...cluster, clock, deadlines: this.#deadlines, mint: replica.mint };
    this.#writes = new ClusterWrites(ports);
    this.#reads = new ClusterReads(ports);
  }

  /** @throws `namespace-not-found` */
  namespace(name: string): Namespace {
    const { namespaces } = this.#options.topology();
    if (this.#named.namespaces !== namespaces) {
      this.#named = { namespaces, byName: new Map(namespaces.map((one) => [one.name, one])) };
    }
    const found = this.#named.byName.get(name);
    if (found !== undefined) return found;
    throw new QuorateError("namespace-not-found", `There is no namespace '${name}'.`, {
      outcome: "none",
      namespace: name,
      hint: `Make it first: PUT /v1/namespaces/${name}.`,
    });
  }

  get(request: GetRequest): Promise<GetAnswer> {
    return this.#isAlone ? this.#getAlone(request) : this.#getOfCluster(request);
  }

  put(request: PutRequest): Promise<WriteAnswer> {
    const { value, contentType, meta } = request;
    const draft = { tombstone: false, contentType, meta, value };
    const written = this.#write(request, draft, request.ttlSeconds);
    return this.#isAlone ? this.withDeadline(request, "unknown", written) : written;
  }

  delete(request: DeleteRequest): Promise<WriteAnswer> {
    const written = this.#write(request, tombstone, undefined);
    return this.#isAlone ? this.withDeadline(request, "unknown", written) : written;
  }

  /** What every replica of a key holds now; `partition` is the key's. */
  async explain(request: GetRequest, partition: number): Promise<ExplainAnswer> {
    assertKey(request.key);
    const { number: namespaceNumber, policy } = this.namespace(request.namespace);
    const { key, requestId, timeoutMs = timeoutMsDefault, durability = "fsync" } = request;
    const reads = this.#reads;
    if (reads !== undefined && !this.#isAlone) {
      const job = { namespaceNumber, key, n: policy.n, durability, timeoutMs, requestId };
      return explainKey(reads.ports, job);
    }
    const { clock, replica, nodeName, topology } = this.#options;
    const beganMs = clock.monotonicMs();
    const found = replica.get(namespaceNumber, key, durability);
    const stored = await this.withDeadline(request, undefined, Promise.resolve(found));
    const tookMs = clock.monotonicMs() - beganMs;
    const { epoch } = topology();
    const held = stored === undefined ? {} : heldOf(stored);
    const status = stored === undefined ? "nothing" : "found";
    const own = { node: nodeName, status, tookMs: rounded(tookMs), up: true, counts: true, epoch };
    return { partition, epoch, n: 1, replicas: [{ ...own, ...held }] };
  }

  /** Resolves when every write under way is durable, as itself or as hints (H1). */
  async settle(): Promise<void> {
    await this.#writes?.settle();
  }

  /** What every answer of a read says. */
  readAnswer(request: RequestOptions): Answer {
    const { policy } = this.namespace(request.namespace);
    const level = levelOf("r", request, policy, this.#replicaCount(policy));
    return { ...this.#answer(level), replies: level.needed };
  }

  /** What a list or a count asks of the replicas; undefined: this node is the only one. */
  scanJob(request: RequestOptions): ScanJob | undefined {
    if (this.#isAlone) return undefined;
    const { policy } = this.namespace(request.namespace);
    const { needed, word } = levelOf("r", request, policy, this.#replicaCount(policy));
    const { requestId, timeoutMs = timeoutMsDefault } = request;
    const job = { n: policy.n, needed, timeoutMs, requestId };
    return word === undefined ? job : { ...job, word };
  }

  /** Whether a client sees a record: no tombstone, and not expired. */
  isLive(record: StoredRecord): boolean {
    if (record.tombstone) return false;
    return record.expiresAtMs === undefined || record.expiresAtMs > this.#nowMs;
  }

  /** The answer, or `timeout` at the deadline, whatever becomes of the work. */
  withDeadline<Value>(
    { timeoutMs = timeoutMsDefault }: RequestOptions,
    outcome: Outcome | undefined,
    work: Promise<Value>,
  ): Promise<Value> {
    return this.#deadlines.within(timeoutMs, work, () => timedOut(timeoutMs, outcome));
  }

  async #getAlone(request: GetRequest): Promise<GetAnswer> {
    assertKey(request.key);
    const { clock, replica, nodeName } = this.#options;
    const beganMs = clock.monotonicMs();
    const { number, policy } = this.namespace(request.namespace);
    const level = levelOf("r", request, policy, this.#replicaCount(policy));
    const found = replica.get(number, request.key, request.durability ?? "fsync");
    // Mostly it is here: only what waits for the disk has a deadline, and costs one.
    const isHere = !(found instanceof Promise);
    const stored = isHere ? found : await this.withDeadline(request, undefined, found);
    const answer = this.#answer(level);
    const explain = request.explain
      ? explanation(nodeName, stored, clock.monotonicMs() - beganMs)
      : undefined;
    const whole = explain === undefined ? answer : { ...answer, explain };
    if (stored === undefined || stored.tombstone) return { ...whole, record: undefined };
    const { expiresAtMs } = stored;
    if (expiresAtMs !== undefined && expiresAtMs <= this.#nowMs) {
      const { timeoutMs = timeoutMsDefault } = request;
      // Whole ones: waits of the same length share a timer.
      const leftMs = Math.max(1, Math.ceil(timeoutMs - (clock.monotonicMs() - beganMs)));
      await this.#deadlines.within(leftMs, replica.coverExpiry(expiresAtMs), () =>
        timedOut(timeoutMs, undefined),
      );
      return { ...whole, record: undefined };
    }
    return { ...whole, record: liveRecord(stored) };
  }

  async #getOfCluster(request: GetRequest): Promise<GetAnswer> {
    assertKey(request.key);
    const { key, requestId, timeoutMs = timeoutMsDefault, durability = "fsync" } = request;
    const { number: namespaceNumber, policy } = this.namespace(request.namespace);
    const level = levelOf("r", request, policy, this.#replicaCount(policy));
    const { n } = policy;
    const explains = request.explain;
    const job = { namespaceNumber, key, n, level, durability, timeoutMs, requestId, explains };
    const { record, replies, isStrict, epoch, explain } = await this.#clusterReads.run(job);
    const weaker = isStrict ? {} : { consistency: "one" as const };
    const answer = { ...this.#answer(level), ...weaker, epoch, replies };
    const whole = request.explain === true ? { ...answer, explain: explain() } : answer;
    return { ...whole, record: record === undefined ? undefined : liveRecord(record) };
  }

  async #write(
    request: PutRequest | DeleteRequest,
    draft: Draft,
    ttlGiven: number | undefined,
  ): Promise<WriteAnswer> {
    assertKey(request.key);
    const { number: namespaceNumber, policy } = this.namespace(request.namespace);
    const { valueBytesMax } = policy;
    const { length } = draft.value;
    if (length > valueBytesMax) throw valueTooLarge(length, valueBytesMax);
    // A delete is for good.
    const ttlSeconds = draft.tombstone ? undefined : (ttlGiven ?? policy.ttlSeconds);
    const record = (version: Version): StoredRecord => {
      if (ttlSeconds === undefined) return { ...draft, version };
      // Not from the stamp: one above a stamp of the future (V3) says nothing about the time.
      return { ...draft, version, expiresAtMs: this.#nowMs + ttlSeconds * 1000 };
    };
    const write = { request, namespaceNumber, policy, record };
    if (!this.#isAlone) return await this.#writeOfCluster(write);
    const { clock } = this.#options;
    const beganMs = clock.monotonicMs();
    const written = await this.#writeAlone(write);
    if (written !== undefined) return written;
    // T2: others have come before it was taken, and they have to take it as well, in what is left of its time.
    const { timeoutMs = timeoutMsDefault } = request;
    const leftMs = timeoutMs - (clock.monotonicMs() - beganMs);
    if (leftMs <= 0) throw timedOut(timeoutMs, "none");
    return await this.#writeOfCluster({ ...write, request: { ...request, timeoutMs: leftMs } });
  }

  async #writeOfCluster({
    request,
    namespaceNumber,
    policy,
    record,
  }: OneWrite): Promise<WriteAnswer> {
    const { requestId, timeoutMs = timeoutMsDefault } = request;
    // The others may have yet to take it when whoever asked has the answer, and the array for another key.
    const key = new Uint8Array(request.key);
    const level = levelOf("w", request, policy, this.#replicaCount(policy));
    const durability = request.durability ?? policy.durability;
    const job = { namespaceNumber, key, n: policy.n, level, durability, timeoutMs, requestId };
    const result = await this.#clusterWrites.run({ ...job, record, explains: request.explain });
    const { acks: replies, isStrict, epoch, explain } = result;
    const whole = {
      ...this.#answer(level),
      ...(isStrict ? {} : { consistency: "eventual" as const }),
      epoch,
      replies,
      ...factsOf(result.record),
      durability,
    };
    return request.explain === true ? { ...whole, explain: explain() } : whole;
  }

  /** Undefined: nothing was taken, because this node is not alone any more. */
  async #writeAlone({
    request,
    namespaceNumber,
    policy,
    record,
  }: OneWrite): Promise<WriteAnswer | undefined> {
    const { clock, replica, nodeName, promiseOf } = this.#options;
    const beganMs = clock.monotonicMs();
    const topology = this.#options.topology();
    const { key } = request;
    const level = levelOf("w", request, policy, this.#replicaCount(policy));
    const durability = request.durability ?? policy.durability;
    const minted = replica.mint.mint();
    let last = record(minted instanceof Promise ? await minted.catch(refuseUnminted) : minted);
    const { timeoutMs = timeoutMsDefault } = request;
    // W4: its client has been answered.
    const refuseLate = (): void => {
      if (clock.monotonicMs() - beganMs >= timeoutMs) throw timedOut(timeoutMs, "none");
    };
    // A write may wait, and what is written to a namespace that is gone would never be removed.
    const admit = () => {
      if (!this.#isAlone) throw new NotAlone();
      refuseLate();
      if (this.#options.topology() !== topology) this.#refuseGone(request, namespaceNumber);
    };
    const allow = (partition: number): void => {
      const promise = promiseOf(partition, policy.n);
      if (last.version.hlc < promise) throw new BelowPromise(promise);
    };
    try {
      for (let mints = 1; ; mints += 1) {
        const write = { namespaceNumber, key, record: last, durability, admit, allow };
        const above = await this.#offer(write);
        // W3: of a later one counts as well that something newer is there.
        if (above === undefined || (mints > 1 && above.kind === "superseded")) break;
        if (mints === mintsMax) throw promisedAgain();
        refuseLate();
        last = record(await replica.mint.mintAbove(above.version).catch(refuseUnminted));
      }
    } catch (error) {
      if (error instanceof NotAlone) return undefined;
      throw error;
    }
    const { version, expiresAtMs } = last;
    const answer = { ...this.#answer(level), version, durability };
    const expires = expiresAtMs === undefined ? answer : { ...answer, expiresAtMs };
    if (request.explain !== true) return expires;
    return {
      ...expires,
      explain: explanation(nodeName, last, clock.monotonicMs() - beganMs, "took"),
    };
  }

  /** Gives a version to the own store; answers what another one has to be above, if it did not take it. */
  async #offer(
    write: Parameters<ReplicaPort["write"]>[0],
  ): Promise<{ readonly kind: "superseded" | "below"; readonly version: Version } | undefined> {
    try {
      const written = await this.#options.replica.write(write);
      return written.kind === "took" ? undefined : written;
    } catch (error) {
      if (!(error instanceof BelowPromise)) throw error;
      return { kind: "below", version: { hlc: error.stamp, origin: 0n } };
    }
  }

  /** A cluster of one: this node is every key's only replica. One that has left may know one member too. */
  get #isAlone(): boolean {
    const { cluster, topology } = this.#options;
    if (cluster === undefined) return true;
    const { members } = topology();
    return members.length === 1 && members[0]?.nodeId === cluster.nodeId;
  }

  get #clusterWrites(): ClusterWrites {
    assert(this.#writes !== undefined, "coordinator: a cluster of several has its ports");
    return this.#writes;
  }

  get #clusterReads(): ClusterReads {
    assert(this.#reads !== undefined, "coordinator: a cluster of several has its ports");
    return this.#reads;
  }

  #refuseGone({ namespace }: RequestOptions, number: number): void {
    if (this.namespace(namespace).number === number) return;
    throw new QuorateError(
      "namespace-not-found",
      `The namespace '${namespace}' was deleted and made again while the write waited.`,
      { outcome: "none", namespace, hint: "Send it again, if it is meant for the new one." },
    );
  }

  /** The effective n: members that are emptied, and those that come or go, hold nothing. */
  #replicaCount({ n }: NamespacePolicy): number {
    return replicaCount(this.#options.topology(), n);
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
  return new QuorateError("timeout", `There was no answer within ${timeoutMs} ms.`, {
    ...(outcome === undefined ? {} : { outcome }),
    hint: "Repeat the request, which is safe for writes too, or give it a longer timeout.",
  });
}

/** P7: the store was given nothing, or did not take it. */
function refuseUnminted(thrown: unknown): never {
  const { slug, detail, facts } = QuorateError.from(thrown);
  throw new QuorateError(slug, detail, { ...facts, outcome: "none" });
}

function promisedAgain(): QuorateError {
  return new QuorateError(
    "overloaded",
    "The clock runs ahead again and again while the write waits.",
    {
      outcome: "none",
      hint: "Look at the clock of this machine, and repeat the request.",
    },
  );
}

function factsOf({
  version,
  expiresAtMs,
}: StoredRecord): Pick<WriteAnswer, "version" | "expiresAtMs"> {
  return expiresAtMs === undefined ? { version } : { version, expiresAtMs };
}

/** What happened on a cluster of one, in the words of the others. */
function explanation(
  node: string,
  record: Pick<StoredRecord, "version" | "tombstone"> | undefined,
  tookMs: number,
  status = "found",
): object {
  const line: ReplicaNote = { node, status: record === undefined ? "nothing" : status };
  if (record !== undefined) line.version = versionText(record.version);
  if (record?.tombstone === true && status === "found") line.tombstone = true;
  return { replicas: [line], tookMs: rounded(tookMs) };
}

function liveRecord(stored: StoredRecord): LiveRecord {
  const { version, value, contentType, meta, expiresAtMs } = stored;
  const record = { version, value, contentType, meta };
  return expiresAtMs === undefined ? record : { ...record, expiresAtMs };
}

function assertKey(key: Uint8Array): void {
  assert(key.length >= 1 && key.length <= keyBytesMax, "coordinator: the edges check keys");
}
