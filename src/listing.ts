/**
 * Listing: pages of keys, and counts of them.
 *
 * Invariants
 * 1. A page names only versions that are synced (W2), and leaves out as expired only what stays
 *    expired after a crash (R3).
 *
 * Effects: Clock; the store and the coordinator through ports. Source: rules W2, R3, L1.
 *
 * @module
 */

import {
  type Answer,
  type CountAnswer,
  type CountRequest,
  type GetAnswer,
  type GetRequest,
  type ListAnswer,
  type ListItem,
  type ListRequest,
  type LiveRecord,
  listLimitDefault,
  type Namespace,
  type RequestOptions,
} from "./api.ts";
import { compare, emptyBytes, successor } from "./bytes.ts";
import type { Clock } from "./capability.ts";
import { makeCursor, parseCursor } from "./cursor.ts";
import { type Outcome, QuorateError } from "./errors.ts";
import { itemOverheadBytes, Page } from "./listing_page.ts";
import type { StoredRecord } from "./record.ts";
import { type Found, type ScanPlan, type ScanSource, scanAll, turn } from "./scan.ts";

/** What is needed of a coordinator. */
export interface RequestPort {
  namespace(name: string): Namespace;
  get(request: GetRequest): Promise<GetAnswer>;
  readAnswer(request: RequestOptions): Answer;
  isLive(record: StoredRecord): boolean;
  withDeadline<Value>(
    request: RequestOptions,
    outcome: Outcome | undefined,
    work: Promise<Value>,
  ): Promise<Value>;
}

/** What is needed of a store. */
export interface ListSource extends ScanSource {
  tally(namespaceNumber?: number): { readonly keys: number; readonly bytes: number };
  whenSynced(sequence: number): Promise<void>;
  coverExpiry(expiresAtMs: number): Promise<void>;
}

export interface ListingOptions {
  readonly clock: Clock;
  readonly store: ListSource;
  readonly requests: RequestPort;
  /** The replicas of all partitions, for a request; undefined: this store is the only one. */
  readonly spread?: (request: RequestOptions) => ScanSource | undefined;
}

const countPieceCount = 512;
/** So many keys are counted before other requests may pass. */
const countedBetweenTurns = 2000;
const listedBetweenTurns = 500;
/** So many values of a page are read side by side: in a cluster each takes a way to another node. */
const valuesAtOnce = 32;

export class Listing {
  readonly #options: ListingOptions;

  constructor(options: ListingOptions) {
    this.#options = options;
  }

  list(request: ListRequest): Promise<ListAnswer> {
    return this.#untilLate(request, (isLate) => this.#list(request, isLate));
  }

  count(request: CountRequest): Promise<CountAnswer> {
    return this.#untilLate(request, (isLate) => this.#count(request, isLate));
  }

  /** Work that stops when its answer has come too late. */
  #untilLate<Value>(
    request: RequestOptions,
    run: (isLate: () => boolean) => Promise<Value>,
  ): Promise<Value> {
    let isLate = false;
    const work = run(() => isLate);
    return this.#options.requests.withDeadline(request, undefined, work).finally(() => {
      isLate = true;
    });
  }

  async #list(request: ListRequest, isLate: () => boolean): Promise<ListAnswer> {
    const { clock, store, requests } = this.#options;
    const { reverse = false, values = false, limit = listLimitDefault } = request;
    const { number: namespaceNumber } = requests.namespace(request.namespace);
    const answer = requests.readAnswer(request);
    const prefix = request.prefix ?? emptyBytes;
    const scope = { namespaceNumber, prefix, reverse };
    const source = this.#sourceOf(request);
    const judge = new LifeJudge(requests);
    const plan: ScanPlan = {
      ...scope,
      ...bounds(request, lastKeyOf(request, scope)),
      pieceCount: Math.ceil((2 * limit) / source.partitions) + 2,
      isLive: judge.isLive,
      isOver: isLate,
    };
    const page = new Page(limit);
    for await (const found of scanAll(source, plan, clock)) {
      const size = itemOverheadBytes + found.key.length + (values ? found.valueBytes : 0);
      // What was found since may be gone or be larger: only its values tell whether the page is full.
      if (!page.takes(size)) await page.settle();
      if (!page.takes(size)) {
        page.end();
        break;
      }
      const item = values
        ? this.#itemWithValue(request, found)
        : itemOf(found.key, found.record, found.valueBytes);
      page.add(found, size, item);
      if (page.waiting >= valuesAtOnce) await page.settleOne();
      if (page.count % listedBetweenTurns === 0) await turn(clock);
      if (isLate()) break;
    }
    await page.settle();
    await store.whenSynced(page.sequence);
    if (judge.expiredAtMs > 0) await store.coverExpiry(judge.expiredAtMs);
    const { items, last } = page;
    const whole = { ...answer, ...weakerOf(source), items };
    if (!page.isMore || last === undefined) return whole;
    return { ...whole, next: makeCursor(scope, last) };
  }

  /** This store, where it is the only one: until others come, to whom what it holds may move (T2). */
  #sourceOf(request: RequestOptions): ScanSource {
    const { store, spread } = this.#options;
    let among = spread?.(request);
    if (spread === undefined || among !== undefined) return among ?? store;
    return {
      partitions: store.partitions,
      get isWeak() {
        return among?.isWeak === true;
      },
      tableKey: (...of) => store.tableKey(...of),
      scan: (...of) => {
        among ??= spread(request);
        return (among ?? store).scan(...of);
      },
    };
  }

  async #itemWithValue(request: ListRequest, found: Found): Promise<ListItem | undefined> {
    // At the level of the list: its answer names one for all that it holds.
    const { namespace, requestId, consistency, r, timeoutMs } = request;
    const { record } = await this.#options.requests.get({
      ...{ namespace, requestId, key: found.key },
      ...(consistency === undefined ? {} : { consistency }),
      ...(r === undefined ? {} : { r }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    if (record === undefined) return undefined;
    // All of it from this record: it may be a newer one than was found.
    return { ...itemOf(found.key, record, record.value.length), value: record.value };
  }

  async #count(request: CountRequest, isLate: () => boolean): Promise<CountAnswer> {
    const { clock, store, requests } = this.#options;
    const { number: namespaceNumber } = requests.namespace(request.namespace);
    const answer = requests.readAnswer(request);
    // The counters of one store say nothing about the keys of a cluster.
    if (request.prefix === undefined && this.#options.spread?.(request) === undefined) {
      return { ...answer, ...store.tally(namespaceNumber), exact: false };
    }
    const judge = new LifeJudge(requests);
    const plan: ScanPlan = {
      namespaceNumber,
      prefix: request.prefix ?? emptyBytes,
      reverse: false,
      pieceCount: countPieceCount,
      isLive: judge.isLive,
      isOver: isLate,
    };
    let keys = 0;
    let bytes = 0;
    const source = this.#sourceOf(request);
    for await (const { valueBytes } of scanAll(source, plan, clock)) {
      keys += 1;
      bytes += valueBytes;
      if (keys % countedBetweenTurns !== 0) continue;
      await turn(clock);
      if (isLate()) break;
    }
    if (judge.expiredAtMs > 0) await store.coverExpiry(judge.expiredAtMs);
    return { ...answer, ...weakerOf(source), keys, bytes, exact: true };
  }
}

/** Tells what is shown, and notes when the last of what was left out expired. */
class LifeJudge {
  /** 0 when nothing was left out as expired. */
  expiredAtMs = 0;
  readonly isLive: (record: StoredRecord) => boolean;

  constructor(requests: RequestPort) {
    this.isLive = (record) => {
      if (requests.isLive(record)) return true;
      const { tombstone, expiresAtMs = 0 } = record;
      if (!tombstone) this.expiredAtMs = Math.max(this.expiredAtMs, expiresAtMs);
      return false;
    };
  }
}

/** L1: what was a majority when it began may be none of the replicas of a newer topology. */
function weakerOf({ isWeak }: ScanSource): Partial<Answer> {
  return isWeak === true ? { consistency: "one" } : {};
}

/** Where the page begins and ends: what was asked, moved on past the cursor. */
function bounds(
  { start, end, reverse }: ListRequest,
  lastKey: Uint8Array | undefined,
): Pick<ScanPlan, "start" | "end"> {
  if (lastKey === undefined) return { start, end };
  if (reverse === true) {
    return { start, end: end !== undefined && compare(end, lastKey) < 0 ? end : lastKey };
  }
  const next = successor(lastKey);
  return { start: start !== undefined && compare(start, next) > 0 ? start : next, end };
}

function lastKeyOf(
  { cursor, namespace }: ListRequest,
  scope: Parameters<typeof parseCursor>[0],
): Uint8Array | undefined {
  if (cursor === undefined) return undefined;
  const lastKey = parseCursor(scope, cursor);
  if (lastKey !== undefined) return lastKey;
  throw new QuorateError(
    "invalid-request",
    `The cursor does not belong to a list of namespace '${namespace}' with this prefix and direction.`,
    { hint: "Use 'next' of the page before, unchanged, with the same prefix and direction." },
  );
}

function itemOf(
  key: Uint8Array,
  {
    version,
    contentType,
    expiresAtMs,
  }: Pick<LiveRecord, "version" | "contentType" | "expiresAtMs">,
  bytes: number,
): ListItem {
  const item = { key, version, bytes, contentType };
  return expiresAtMs === undefined ? item : { ...item, expiresAtMs };
}
