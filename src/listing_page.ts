/**
 * ListingPage: the items of one page of a list, while it is made.
 *
 *     found: a b c d e ...     read: a b     waited for: c d      (the values, side by side)
 *
 * Invariants
 * 1. A page ends at its limit or at 4 MiB, whichever comes first, and holds at least one item.
 * 2. Items are in the order in which they were found, and none is left out before `last` but what was
 *    deleted since.
 *
 * Effects: none. Source: rule L1.
 *
 * @module
 */

import { type ListItem, listPageBytesMax } from "./api.ts";
import type { Found } from "./scan.ts";

/** What an item takes in a page beside its key and value. */
export const itemOverheadBytes = 128;

/** Items, and behind them those whose values are still being read. */
export class Page {
  readonly items: ListItem[] = [];
  /** The key up to which the page has everything. */
  last: Uint8Array | undefined;
  /** Of the newest change that it names. */
  sequence = 0;
  isMore = false;
  readonly #limit: number;
  #waiting: {
    readonly found: Found;
    readonly size: number;
    readonly item: Promise<ListItem | undefined>;
  }[] = [];
  #bytes = 0;
  #waitingBytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get count(): number {
    return this.items.length + this.waiting;
  }

  /** Whether an item of this size still fits. */
  takes(size: number): boolean {
    if (this.count === 0) return true;
    const bytes = this.#bytes + this.#waitingBytes + size;
    return this.count < this.#limit && bytes <= listPageBytesMax && !this.isMore;
  }

  /** An item that is there comes without values before it that are waited for. */
  add(found: Found, size: number, item: ListItem | Promise<ListItem | undefined>): void {
    if (!(item instanceof Promise)) {
      this.#put(found, item);
      return;
    }
    // Where an item before it fails, nobody waits for this one.
    item.catch(() => {});
    this.#waiting.push({ found, size, item });
    this.#waitingBytes += size;
  }

  /** There are keys behind the page. */
  end(): void {
    this.isMore = true;
  }

  async settle(): Promise<void> {
    while (this.waiting > 0) await this.settleOne();
  }

  /** Waits for the first item that is waited for. */
  async settleOne(): Promise<void> {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const { found, size, item } = first;
    const settled = await item;
    this.#waiting.shift();
    this.#waitingBytes -= size;
    this.#put(found, settled);
  }

  #put(found: Found, item: ListItem | undefined): void {
    const bytes = item === undefined ? 0 : bytesOf(item);
    if (this.items.length > 0 && this.#bytes + bytes > listPageBytesMax) {
      // It has grown since it was found: the next page begins with it.
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.isMore = true;
      return;
    }
    this.last = found.key;
    this.sequence = Math.max(this.sequence, found.sequence);
    // Deleted since it was seen: the page goes on without it.
    if (item === undefined) return;
    this.items.push(item);
    this.#bytes += bytes;
  }
}

function bytesOf({ key, value }: ListItem): number {
  return itemOverheadBytes + key.length + (value?.length ?? 0);
}
