/**
 * Verdict: what is looked at when the troubles are over, and what is said of the run.
 *
 *     all is healed -> every node is ready -> no hint is left -> every key is read at `all`
 *                   -> the checkers of the simulator judge everything that clients saw
 *
 * That the cluster comes to this at all is a promise of its own: each step has its time.
 *
 * Effects: requests, timers.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Violation } from "../sim/check.ts";
import { askReady } from "../src/cli_demo_ready.ts";
import { QuorateClient } from "../src/client.ts";
import type { ChaosClients } from "./client.ts";
import type { Ledger } from "./ledger.ts";
import type { Stage } from "./stage.ts";

const readyMsMax = 60_000;
const hintsMsMax = 120_000;
const readMsMax = 60_000;
const readTimeoutMs = 4000;
const readersMax = 8;
const pauseMs = 100;

export interface VerdictParts {
  readonly stage: Stage;
  readonly clients: ChaosClients;
  readonly ledger: Ledger;
  readonly tell: (line: string) => void;
}

/** Everything that was found broken, a promise each. */
export interface Verdict {
  readonly broken: readonly string[];
  readonly readable: number;
}

export async function verdictOf(parts: VerdictParts): Promise<Verdict> {
  const broken: string[] = [];
  for (const step of [waitReady, waitHints, readAll]) {
    const why = await step(parts);
    if (why !== undefined) broken.push(`[liveness] ${why}`);
  }
  const { violations, readable } = parts.ledger.judge();
  // What is lost is told before what was only seen out of order: not all may be shown.
  return { broken: [...broken, ...violations.map(violationText).sort()], readable };
}

function violationText({ promise, detail }: Violation): string {
  return `[${promise}] ${detail}`;
}

/** Asks until it is as wanted; else what was said last. */
async function within(
  limitMs: number,
  look: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const untilMs = performance.now() + limitMs;
  for (;;) {
    const why = await look();
    if (why === undefined || performance.now() > untilMs) return why;
    await sleep(pauseMs);
  }
}

async function waitReady({ stage, tell }: VerdictParts): Promise<string | undefined> {
  tell("all is healed: waiting until every node is ready");
  const waits = stage.plan.nodes.map(async ({ name, url }) => {
    const why = await within(readyMsMax, () => askReady(url));
    return why === undefined ? [] : [`${name}: ${why}`];
  });
  const late = (await Promise.all(waits)).flat();
  if (late.length === 0) return undefined;
  return `not ready ${readyMsMax / 1000} s after all was healed: ${late.join("; ")}`;
}

async function waitHints({ stage, tell }: VerdictParts): Promise<string | undefined> {
  tell("waiting until no hint is left");
  const clients = stage.plan.nodes.map(({ url }) => new QuorateClient({ url }));
  const why = await within(hintsMsMax, async () => {
    const kept = await Promise.allSettled(clients.map((client) => client.hints()));
    const left = kept.map((one) => (one.status === "fulfilled" ? one.value.count : Number.NaN));
    if (left.every((count) => count === 0)) return undefined;
    return left.map((count, index) => `n${index + 1} keeps ${count}`).join(", ");
  });
  if (why === undefined) return undefined;
  return `hints are left ${hintsMsMax / 1000} s after all was healed: ${why}`;
}

async function readAll({
  stage,
  clients,
  ledger,
  tell,
}: VerdictParts): Promise<string | undefined> {
  const keys = ledger.chapters.flatMap((chapter) => [...chapter.acknowledged().keys()]);
  tell(`reading ${keys.length} acknowledged keys at all`);
  const untilMs = performance.now() + readMsMax;
  const waiting = keys.entries();
  const unread: string[] = [];
  const reader = async (client: string): Promise<void> => {
    for (const [index, key] of waiting) {
      let node = index % stage.plan.nodes.length;
      for (;;) {
        const level = "all";
        const ask = { client, node, kind: "get", key, level, timeoutMs: readTimeoutMs } as const;
        const { told } = await clients.ask(ask, ledger.final);
        if (told.kind === "found" || told.kind === "absent") break;
        if (performance.now() > untilMs) {
          unread.push(key);
          break;
        }
        node = (node + 1) % stage.plan.nodes.length;
        await sleep(pauseMs);
      }
    }
  };
  await Promise.all(Array.from({ length: readersMax }, (_, index) => reader(`r${index + 1}`)));
  if (unread.length === 0) return undefined;
  return `${unread.length} keys cannot be read at all: ${unread.slice(0, 5).join(", ")}`;
}
