/**
 * SummaryFormat1: the bytes of a partition's summary as they were before its sums were parted by n.
 *
 * @module
 */

import { digestOf, type Summary } from "../src/digest.ts";
import { crc32 } from "../src/hash.ts";

/** As format 1 had it: one row of sums over all, the low words first; tallies without n. */
export function encodeUnsplit(summary: Summary): Uint8Array {
  const tallies = [...summary.tallies].sort(([a], [b]) => a - b);
  const bytes = new Uint8Array(16 + tallies.length * 20 + 8192);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, 1);
  view.setUint16(6, tallies.length);
  view.setBigUint64(8, BigInt(summary.records));
  tallies.forEach(([number, { keys, bytes: valueBytes }], index) => {
    view.setUint32(16 + index * 20, number);
    view.setBigUint64(16 + index * 20 + 4, BigInt(keys));
    view.setBigUint64(16 + index * 20 + 12, BigInt(valueBytes));
  });
  const digests = summary.sums.map((_, n) => new DataView(digestOf(summary, n).sums.buffer));
  for (let segment = 0; segment < 1024; segment += 1) {
    const sum = digests.reduce((all, view) => all + view.getBigUint64(segment * 8), 0n);
    const at = 16 + tallies.length * 20 + segment * 8;
    view.setUint32(at, Number(sum & 0xffff_ffffn));
    view.setUint32(at + 4, Number((sum >> 32n) & 0xffff_ffffn));
  }
  view.setUint32(0, crc32(bytes.subarray(4)));
  return bytes;
}
