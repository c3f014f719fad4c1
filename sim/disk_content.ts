/**
 * Disk content: the bytes of one file, immutable, in blocks that all its versions share.
 *
 * A crash may leave any of very many states of a file. Each is a `Content` of its own, made from an
 * older one by a write; it costs an array of blocks, and new bytes only where they differ.
 *
 * Invariants
 * 1. A content and its blocks never change after they were made.
 * 2. Every byte at or past the end reads as absent; a block that was never written reads as zeros.
 *
 * Effects: none.
 *
 * @module
 */

import { xxh64 } from "../src/hash.ts";

/** What file systems and disks write as one, with luck; damage is done by this measure too. */
export const blockBytes = 4_096;

export interface Content {
  readonly bytes: number;
  /** Undefined: never written, zeros. */
  readonly blocks: readonly (Uint8Array | undefined)[];
}

export const emptyContent: Content = { bytes: 0, blocks: [] };

const zeroBlock = new Uint8Array(blockBytes);
/** Stands for a block that the disk cannot read any more; known by its identity. */
export const unreadableBlock: Uint8Array = new Uint8Array(blockBytes);

/** The content after a write; a gap before `position` is zeros. */
export function written(content: Content, position: number, source: Uint8Array): Content {
  if (source.length === 0) return content;
  const end = position + source.length;
  const blocks = [...content.blocks];
  const lastBlock = Math.floor((end - 1) / blockBytes);
  while (blocks.length <= lastBlock) blocks.push(undefined);
  for (let index = Math.floor(position / blockBytes); index <= lastBlock; index += 1) {
    const start = index * blockBytes;
    const from = Math.max(position, start);
    const part = source.subarray(from - position, Math.min(end, start + blockBytes) - position);
    blocks[index] = blockWith(blocks[index], from - start, part);
  }
  return { bytes: Math.max(content.bytes, end), blocks };
}

/** The content with at least so many bytes, new ones being zeros. */
export function grown(content: Content, bytes: number): Content {
  return bytes <= content.bytes ? content : { bytes, blocks: content.blocks };
}

/** Fills `target`; answers the bytes read, or "unreadable" when a block of them is. */
export function read(
  content: Content,
  target: Uint8Array,
  position: number,
): number | "unreadable" {
  const length = Math.max(0, Math.min(target.length, content.bytes - position));
  for (let done = 0; done < length; ) {
    const at = position + done;
    const offset = at % blockBytes;
    const count = Math.min(length - done, blockBytes - offset);
    const block = content.blocks[Math.floor(at / blockBytes)];
    if (block === unreadableBlock) return "unreadable";
    target.set((block ?? zeroBlock).subarray(offset, offset + count), done);
    done += count;
  }
  return length;
}

/** The content with one block replaced; as long as it was. */
export function withBlock(content: Content, index: number, block: Uint8Array | undefined): Content {
  const blocks = [...content.blocks];
  while (blocks.length <= index) blocks.push(undefined);
  blocks[index] = block;
  return { bytes: content.bytes, blocks };
}

/** How many blocks of the disk it takes. */
export function blockCount(content: Content): number {
  let count = 0;
  for (const block of content.blocks) if (block !== undefined) count += 1;
  return count;
}

/** How many of the blocks under [position, position + bytes) would be new ones. */
export function newBlockCount(content: Content, position: number, bytes: number): number {
  let count = 0;
  const end = position + bytes;
  for (let index = Math.floor(position / blockBytes); index * blockBytes < end; index += 1) {
    if (content.blocks[index] === undefined) count += 1;
  }
  return count;
}

const blockHashes = new WeakMap<Uint8Array, bigint>();
const contentHashes = new WeakMap<Content, string>();

/** Equal for equal bytes; all but never for others. */
export function fingerprint(content: Content): string {
  let hash = contentHashes.get(content);
  if (hash === undefined) {
    const parts = new BigUint64Array(content.blocks.length);
    for (const [index, block] of content.blocks.entries()) parts[index] = blockHash(block);
    // Blocks at the end that were never written read as blocks of zeros would.
    const whole = Math.ceil(content.bytes / blockBytes);
    hash = `${content.bytes}:${xxh64(new Uint8Array(parts.buffer, 0, parts.length * 8))}`;
    if (whole > parts.length) hash = fingerprint(padded(content, whole));
    contentHashes.set(content, hash);
  }
  return hash;
}

function padded(content: Content, count: number): Content {
  return withBlock(content, count - 1, zeroBlock);
}

function blockHash(block: Uint8Array | undefined): bigint {
  const known = block ?? zeroBlock;
  let hash = blockHashes.get(known);
  if (hash === undefined) {
    hash = known === unreadableBlock ? 1n : xxh64(known);
    blockHashes.set(known, hash);
  }
  return hash;
}

function blockWith(block: Uint8Array | undefined, offset: number, part: Uint8Array): Uint8Array {
  if (part.length === blockBytes) return part.slice();
  const next = new Uint8Array(blockBytes);
  // A block that could not be read can be once all of it is written again; until then it is zeros.
  if (block !== undefined && block !== unreadableBlock) next.set(block);
  next.set(part, offset);
  return next;
}
