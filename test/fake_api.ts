/**
 * FakeApi: a node for tests of the edges: the whole `Api` over a Map, without a disk.
 *
 * It answers at once, keeps every request for a test to look at, and fails when a test tells it to.
 *
 * @module
 */

import type {
  Answer,
  Api,
  BatchRequest,
  BatchResult,
  ClusterAnswer,
  CountAnswer,
  CountRequest,
  DeleteRequest,
  ExplainAnswer,
  GetAnswer,
  GetRequest,
  HintsAnswer,
  HintTarget,
  KeyPlace,
  ListAnswer,
  ListRequest,
  LiveRecord,
  Namespace,
  NamespacePolicy,
  NodeInfo,
  PutRequest,
  ReadyCheck,
  RepairAnswer,
  RepairRequest,
  RequestOptions,
  RingAnswer,
  WriteAnswer,
} from "../src/api.ts";
import type { MovesApi } from "../src/api_moves.ts";
import { compare, fromBase64url, startsWith, toBase64url, toHex } from "../src/bytes.ts";
import { QuorateError } from "../src/errors.ts";
import { type Hlc, hlcAt, hlcNext } from "../src/hlc.ts";
import type { Version } from "../src/version.ts";

interface Kept {
  readonly key: Uint8Array;
  readonly record: LiveRecord;
}

const defaultPolicy: NamespacePolicy = {
  n: 1,
  r: "quorum",
  w: "quorum",
  resolve: "lww",
  valueBytesMax: 1024 * 1024,
  durability: "fsync",
};

const place = {
  node: "n1",
  nodeId: "n",
  zone: "z1",
  addresses: ["10.0.0.1:8080"],
  clientUrl: "http://10.0.0.1:8080",
};

export class FakeApi implements Api {
  readonly #spaces = new Map<string, Namespace>([
    ["default", { name: "default", number: 0, policy: defaultPolicy }],
  ]);
  readonly #kept = new Map<string, Kept>();
  #hlc = hlcAt(1_700_000_000_123);
  /** The requests so far, newest last. */
  readonly requests: RequestOptions[] = [];
  /** Thrown by the next operations while it is set. */
  failure: Error | undefined;
  /** Lets so many pages pass, then throws `failure`. */
  pagesBeforeFailure: number | undefined;
  /** What is kept for others. */
  hintTargets: readonly HintTarget[] = [];
  /** The timeouts of the waits for no hints, newest last. */
  readonly waits: number[] = [];
  repairState: RepairAnswer = {
    ...{ node: "n1", periodMs: 600_000, pairs: 512, visited: 500, due: 12, oldestAgeMs: 599_000 },
    ...{ nextMs: 0, leftMs: 2500, markCount: 2, whole: 1200, agreed: 1190, broken: 3 },
    ...{ pushed: 7, pulled: 11, waiting: 9, neverSame: 4, oldestSameAgeMs: 660_000 },
    ...{ rolledBack: false, lackingCount: 0, lacking: [], filled: 0 },
    heldBack: [{ partition: 5, n: 3, why: "n2 is not reached" }],
    running: [{ partition: 17, n: 3, node: "n2", why: "scheduled", ageMs: 1500 }],
    marks: [
      { partition: 3, n: 3, storeId: "s-2", node: "n2" },
      { partition: 4, n: 1, storeId: "s-9" },
    ],
  };
  /** What was asked to be compared, newest last. */
  readonly repairsAsked: RepairRequest[] = [];
  checks: readonly ReadyCheck[] = [{ name: "store", ok: true }];
  /** What plans; a test puts in what it needs. */
  moves: MovesApi | undefined;

  async get(request: GetRequest): Promise<GetAnswer> {
    this.#begin(request);
    const kept = this.#kept.get(nameOf(request.namespace, request.key));
    return { ...answerOf(request), record: kept?.record };
  }

  async put(request: PutRequest): Promise<WriteAnswer> {
    this.#begin(request);
    const version = this.#mint();
    const expires =
      request.ttlSeconds === undefined
        ? {}
        : { expiresAtMs: 1_700_000_000_000 + request.ttlSeconds * 1000 };
    const { key, value, contentType, meta } = request;
    const record = { version, value: value.slice(), contentType, meta, ...expires };
    this.#kept.set(nameOf(request.namespace, key), { key, record });
    return { ...answerOf(request), version, durability: request.durability ?? "fsync", ...expires };
  }

  async delete(request: DeleteRequest): Promise<WriteAnswer> {
    this.#begin(request);
    this.#kept.delete(nameOf(request.namespace, request.key));
    const durability = request.durability ?? "fsync";
    return { ...answerOf(request), version: this.#mint(), durability };
  }

  async list(request: ListRequest): Promise<ListAnswer> {
    if (this.pagesBeforeFailure === 0) throw this.failure;
    if (this.pagesBeforeFailure !== undefined) this.pagesBeforeFailure -= 1;
    else this.#begin(request);
    const { start, end, limit = 100, cursor, reverse = false, values = false } = request;
    const after = cursor === undefined ? undefined : fromBase64url(cursor);
    const inRange = this.#in(request.namespace, request.prefix)
      .filter(({ key }) => start === undefined || compare(key, start) >= 0)
      .filter(({ key }) => end === undefined || compare(key, end) < 0)
      .sort((a, b) => (reverse ? compare(b.key, a.key) : compare(a.key, b.key)))
      .filter(({ key }) => after === undefined || compare(key, after) * (reverse ? -1 : 1) > 0);
    const page = inRange.slice(0, limit);
    const last = page.at(-1);
    const items = page.map(({ key, record }) => ({
      key,
      version: record.version,
      bytes: record.value.length,
      contentType: record.contentType,
      ...(record.expiresAtMs === undefined ? {} : { expiresAtMs: record.expiresAtMs }),
      ...(values ? { value: record.value } : {}),
    }));
    const isMore = inRange.length > limit && last !== undefined;
    return { ...answerOf(request), items, ...(isMore ? { next: toBase64url(last.key) } : {}) };
  }

  async count(request: CountRequest): Promise<CountAnswer> {
    this.#begin(request);
    const kept = this.#in(request.namespace, request.prefix);
    const bytes = kept.reduce((sum, { record }) => sum + record.value.length, 0);
    return {
      ...answerOf(request),
      keys: kept.length,
      bytes,
      exact: request.prefix !== undefined,
    };
  }

  async batch(request: BatchRequest): Promise<readonly BatchResult[]> {
    this.#begin(request);
    const results: BatchResult[] = [];
    for (const operation of request.operations) {
      const { kind } = operation;
      const options = { namespace: request.namespace, requestId: request.requestId };
      if (kind === "get") {
        results.push({ kind, answer: await this.get({ ...options, key: operation.key }) });
      } else if (kind === "put") {
        results.push({ kind, answer: await this.put({ ...options, ...operation }) });
      } else results.push({ kind, answer: await this.delete({ ...options, key: operation.key }) });
    }
    return results;
  }

  async explain(request: GetRequest): Promise<ExplainAnswer> {
    this.requests.push(request);
    const lost = { node: "n2", status: "not reached", reason: "No link.", up: false, tookMs: 0.5 };
    const found = { node: "n1", status: "found", up: true, counts: true, epoch: 7, tookMs: 0.25 };
    const version = { hlc: 1n as Hlc, origin: 2n };
    const held = { version, tombstone: false, expiresAtMs: 1_000 };
    return { partition: 3, epoch: 7, n: 2, replicas: [{ ...found, ...held }, lost] };
  }

  namespaces(): readonly Namespace[] {
    return [...this.#spaces.values()];
  }

  namespace(name: string): Namespace {
    const found = this.#spaces.get(name);
    if (found !== undefined) return found;
    throw new QuorateError("namespace-not-found", `There is no namespace '${name}'.`, {
      outcome: "none",
      namespace: name,
    });
  }

  async putNamespace(
    name: string,
    policy: Partial<NamespacePolicy>,
    whenNew: Partial<NamespacePolicy> = {},
  ): Promise<Namespace> {
    const before = this.#spaces.get(name);
    const made = {
      name,
      number: before?.number ?? this.#spaces.size,
      policy: { ...(before?.policy ?? { ...defaultPolicy, ...whenNew }), ...policy },
    };
    this.#spaces.set(name, made);
    return made;
  }

  async deleteNamespace(name: string): Promise<void> {
    this.#spaces.delete(name);
    for (const id of this.#kept.keys()) if (id.startsWith(`${name}/`)) this.#kept.delete(id);
  }

  replicas(_key: Uint8Array, count: number): readonly string[] {
    return ["n1"].slice(0, count);
  }

  ring(): RingAnswer {
    const member = { ...place, host: "h1", weight: 100, isVoter: true };
    const held = { firstCount: 256, replicaCount: 256, share: 1 };
    return { clusterId: "c", epoch: 1, partitions: 256, members: [{ ...member, ...held }] };
  }

  place(namespace: string, key: Uint8Array): KeyPlace {
    const { policy } = this.namespace(namespace);
    return { namespace, partition: key.length, n: policy.n, replicas: [place] };
  }

  async cluster(): Promise<ClusterAnswer> {
    const held = { firstCount: 256, replicaCount: 256, isVoter: true };
    const hints = { count: this.hints().count, bytes: this.hints().bytes };
    return {
      node: "n1",
      clusterId: "c",
      epoch: 3,
      partitions: 256,
      voters: ["n1", "n2"],
      protocol: 1,
      features: [{ name: "member-programs", since: 2, isOn: false, waitsFor: ["n2", "n3"] }],
      members: [
        {
          ...{ ...place, ...held, storeId: "s", isSelf: true, state: "alive", phi: 0, silentMs: 0 },
          ...{ epoch: 3, keys: this.#kept.size, bytes: 12, version: "0.0.1" },
          speaks: { lowest: 1, highest: 2 },
          disk: { freeBytes: 1024 ** 3, totalBytes: 4 * 1024 ** 3 },
          hints: { count: 0, bytes: 0 },
        },
        {
          ...{ ...place, ...held, node: "n2", nodeId: "n-2", storeId: "s-2", isSelf: false },
          ...{ state: "down", phi: 9.25, silentMs: 61_000, epoch: 2, hints },
          speaks: { lowest: 1, highest: 1 },
        },
        {
          ...{ ...place, ...held, node: "n3", nodeId: "n-3", storeId: "s-3", isSelf: false },
          ...{ isVoter: false, state: "unknown", phi: 0, hints: { count: 0, bytes: 0 } },
        },
      ],
    };
  }

  hints(): HintsAnswer {
    const { hintTargets: targets } = this;
    return {
      node: "n1",
      count: targets.reduce((sum, { count }) => sum + count, 0),
      bytes: targets.reduce((sum, { bytes }) => sum + bytes, 0),
      marks: 0,
      targets,
    };
  }

  async whenNoHints(timeoutMs: number): Promise<HintsAnswer> {
    this.waits.push(timeoutMs);
    if (this.hints().count === 0) return this.hints();
    throw new QuorateError("timeout", `${this.hints().count} hints were left.`);
  }

  repair(): RepairAnswer {
    return this.repairState;
  }

  runRepair(request: RepairRequest): number {
    this.repairsAsked.push(request);
    return request.partition === undefined ? 512 : 2;
  }

  async info(): Promise<NodeInfo> {
    return {
      node: "n1",
      version: "0.0.1",
      runtime: "test 1",
      clusterId: "c",
      nodeId: "n",
      storeId: "s",
      boot: 1,
      epoch: 1,
      partitions: 256,
      startedAtMs: 1_700_000_000_000,
      keys: this.#kept.size,
      bytes: 0,
      disk: { freeBytes: 1, totalBytes: 2 },
      damagedPartitions: [],
    };
  }

  readiness(): readonly ReadyCheck[] {
    return this.checks;
  }

  #begin(request: RequestOptions): void {
    this.requests.push(request);
    if (this.failure !== undefined) throw this.failure;
    this.namespace(request.namespace);
  }

  #in(namespace: string, prefix: Uint8Array | undefined): Kept[] {
    return [...this.#kept]
      .filter(([id]) => id.startsWith(`${namespace}/`))
      .map(([, kept]) => kept)
      .filter(({ key }) => prefix === undefined || startsWith(key, prefix));
  }

  #mint(): Version {
    this.#hlc = hlcNext(this.#hlc);
    return { hlc: this.#hlc, origin: 0xabcdn };
  }
}

function nameOf(namespace: string, key: Uint8Array): string {
  return `${namespace}/${toHex(key)}`;
}

function answerOf(request: RequestOptions): Answer {
  return {
    node: "n1",
    epoch: 1,
    consistency: request.consistency ?? "quorum",
    replies: 1,
    replicas: 1,
    ...(request.explain === true ? { explain: { why: "asked – für" } } : {}),
  };
}
