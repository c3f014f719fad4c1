/**
 * NodeRepairAnswer: how far repair is, as a node tells it.
 *
 * Effects: none.
 *
 * @module
 */

import type { RepairAnswer } from "./api.ts";
import type { FillStatus } from "./node_fills.ts";
import type { RepairStatus } from "./node_repair.ts";
import { watermarkAgeMs } from "./node_watermark_rounds.ts";
import type { Member } from "./topology.ts";

const listedMax = 100;

export interface RepairFacts {
  readonly node: string;
  readonly periodMs: number;
  readonly members: readonly Member[];
  /** By which the age of a watermark is told. */
  readonly wallMs: number;
}

/** `status` is undefined for a node that is alone: it has nobody to compare with. */
export function repairAnswer(
  { node, periodMs, members, wallMs }: RepairFacts,
  status: RepairStatus | undefined,
  fills: FillStatus | undefined,
): RepairAnswer {
  const { isRolledBack = false, open = [], filled = 0 } = fills ?? {};
  const lacking = open.slice(0, listedMax).map(({ partition, n, why }) => ({ partition, n, why }));
  const lost = { rolledBack: isRolledBack, lackingCount: open.length, lacking, filled };
  const common = { node, periodMs, ...lost };
  if (status === undefined) {
    const counts = { pairs: 0, visited: 0, due: 0, markCount: 0 };
    const ended = { whole: 0, agreed: 0, broken: 0, pushed: 0, pulled: 0 };
    const same = { waiting: 0, neverSame: 0, heldBack: [] };
    return { ...common, ...counts, ...same, ...ended, running: [], marks: [] };
  }
  const { nowMs, pairs, visited, due, oldestMs, nextMs, leftMs, running, marks, ended } = status;
  const { oldest, heldBack, pairs: waiting, never: neverSame } = status.watermarks;
  const names = new Map(members.map(({ nodeId, name }) => [nodeId, name]));
  const stores = new Map(members.map(({ storeId, name }) => [storeId, name]));
  return {
    ...common,
    ...{ pairs, visited, due },
    ...(oldestMs === undefined ? {} : { oldestAgeMs: Math.round(nowMs - oldestMs) }),
    ...(nextMs === undefined ? {} : { nextMs: Math.max(0, Math.round(nextMs - nowMs)) }),
    ...(leftMs === undefined ? {} : { leftMs: Math.round(leftMs) }),
    running: running.map(({ partition, n, nodeId, why, beganMs }) => ({
      ...{ partition, n, node: names.get(nodeId) ?? nodeId, why },
      ageMs: Math.round(nowMs - beganMs),
    })),
    markCount: marks.length,
    marks: marks.slice(0, listedMax).map(({ partition, n, storeId }) => {
      const name = stores.get(storeId);
      return { partition, n, storeId, ...(name === undefined ? {} : { node: name }) };
    }),
    ...{ waiting, neverSame },
    ...(oldest === undefined ? {} : { oldestSameAgeMs: watermarkAgeMs(oldest, wallMs) }),
    heldBack: heldBack.slice(0, listedMax),
    ...ended,
  };
}
