/**
 * Client moves: plans and their progress, as they come over the wire.
 *
 * Effects: none.
 *
 * @module
 */

import type { MoveProgress, MovesAnswer, PlanAnswer, PlanMember } from "./api.ts";
import { type Fields, isObject, textIn } from "./client_fetch.ts";
import { malformed, textsIn } from "./client_shapes.ts";

export function planInfo(body: Fields): PlanAnswer {
  const { members } = body;
  if (!Array.isArray(members)) return malformed("no members");
  return {
    id: textIn(body, "id") ?? malformed("no id"),
    epoch: Number(body.epoch),
    members: members.filter(isObject).map(planMember),
    partitions: Number(body.partitions),
    copies: Number(body.copies),
    bytes: Number(body.bytes),
    seconds: Number(body.seconds),
    warnings: textsIn(body.warnings),
    next: textIn(body, "next") ?? "",
  };
}

export function movesInfo(body: Fields): MovesAnswer {
  const { waiting, move } = body;
  const all = Array.isArray(waiting) ? waiting.filter(isObject) : malformed("nobody waiting");
  return {
    epoch: Number(body.epoch),
    ...(isObject(move) ? { move: progress(move) } : {}),
    ...lossesIn(body),
    waiting: all.map((one) => ({
      node: textIn(one, "node") ?? malformed("a node without a name"),
      nodeId: textIn(one, "nodeId") ?? "",
      addresses: textsIn(one.addresses),
    })),
    next: textIn(body, "next") ?? "",
  };
}

function planMember(member: Fields): PlanMember {
  const { change, bytesBefore, bytesAfter } = member;
  return {
    node: textIn(member, "node") ?? malformed("a member without a name"),
    nodeId: textIn(member, "nodeId") ?? "",
    change: change === "joins" || change === "leaves" ? change : "stays",
    partitionsBefore: Number(member.partitionsBefore),
    partitionsAfter: Number(member.partitionsAfter),
    ...(typeof bytesBefore === "number" ? { bytesBefore } : {}),
    ...(typeof bytesAfter === "number" ? { bytesAfter } : {}),
  };
}

function progress(move: Fields): MoveProgress {
  const { copies } = move;
  const waitsFor = textIn(move, "waitsFor");
  return {
    begun: Number(move.begun),
    phase: Number(move.phase),
    doing: textIn(move, "doing") ?? "",
    isReverting: move.reverting === true,
    joining: textsIn(move.joining),
    leaving: textsIn(move.leaving),
    partitions: Number(move.partitions),
    ...(waitsFor === undefined ? {} : { waitsFor }),
    copies: (Array.isArray(copies) ? copies.filter(isObject) : []).map((one) => ({
      node: textIn(one, "node") ?? "",
      done: Number(one.done),
      all: Number(one.all),
    })),
  };
}

function lossesIn({ losses }: Fields): Pick<MovesAnswer, "losses"> {
  if (!Array.isArray(losses)) return {};
  return {
    losses: losses.filter(isObject).map((one) => ({
      node: textIn(one, "node") ?? malformed("a loss without a node"),
      lacking: Number(one.lacking),
      rolledBack: one.rolledBack === true,
      next: textIn(one, "next") ?? "",
    })),
  };
}
