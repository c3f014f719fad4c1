/**
 * Main: `quorate chaos`: a cluster of its own, and everything that goes wrong with it.
 *
 *     nodes started -> all ready -> clients ask, troubles come -> the time is over, or Ctrl-C
 *                   -> all is healed -> verdict -> `N writes acknowledged, N readable, 0 promises broken`
 *
 * Invariants
 * 1. The exit code is 0 exactly when nothing was found broken.
 * 2. No node outlives it.
 *
 * Effects: processes, the network, the folder; the standard streams.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import { Chance } from "../sim/chance.ts";
import type { Invocation } from "../src/cli_commands.ts";
import type { ChildEnd } from "../src/cli_demo_child.ts";
import { openControl } from "../src/cli_demo_control.ts";
import { type CrewMember, howOf } from "../src/cli_demo_crew.ts";
import { askReady } from "../src/cli_demo_ready.ts";
import { type Io, printUsage } from "../src/cli_io.ts";
import { StopSignals } from "../src/cli_signals.ts";
import { exitCode, QuorateError } from "../src/errors.ts";
import { grouped } from "../src/figures.ts";
import { ChaosClients } from "./client.ts";
import { handChaos } from "./hand.ts";
import { Ledger } from "./ledger.ts";
import { Nemesis } from "./nemesis.ts";
import { Stage } from "./stage.ts";
import { drawTroubles, kindsHint, parseKinds, type TroubleKind, troubleKinds } from "./trouble.ts";
import { verdictOf } from "./verdict.ts";
import { Workload } from "./workload.ts";

const timeMsDefault = 60_000;
const nodesDefault = 3;
const folderDefault = ".quorate/chaos";
const replicasMax = 3;
const startMsMax = 60_000;
const lookEveryMs = 5000;
/** One that ended by itself is started again so soon. */
const againMs = 500;
const brokenShownMax = 10;

/** `quorate chaos` without a word. */
export async function runChaos(options: Invocation["options"], io: Io): Promise<number> {
  const kinds =
    options["fault"] === undefined ? { value: troubleKinds } : parseKinds(`${options["fault"]}`);
  if ("error" in kinds) return printUsage(io, kinds.error, kindsHint);
  const [drawn = 1] = crypto.getRandomValues(new Uint32Array(1));
  const run = new Run(io, {
    seed: Number(options["seed"] ?? drawn % 1_000_000),
    timeMs: Number(options["time"] ?? timeMsDefault),
    nodes: Number(options["nodes"] ?? nodesDefault),
    port: Number(options["port"] ?? 0),
    folder: String(options["data-dir"] ?? folderDefault),
    kinds: kinds.value,
  });
  // Listened to until the process ends: a key that is pressed once more must not change its exit code.
  const signals = new StopSignals((_, line) => io.note(io.paint("dim", line)));
  return run.run(signals);
}

interface RunOptions {
  readonly seed: number;
  readonly timeMs: number;
  readonly nodes: number;
  readonly port: number;
  readonly folder: string;
  readonly kinds: readonly TroubleKind[];
}

class Run {
  readonly #io: Io;
  readonly #options: RunOptions;
  readonly #beganMs = performance.now();
  #nemesis: Nemesis | undefined;
  /** Whether nodes that end are started again. */
  #isKept = false;

  constructor(io: Io, options: RunOptions) {
    this.#io = io;
    this.#options = options;
  }

  async run(signals: StopSignals): Promise<number> {
    const io = this.#io;
    const { folder } = this.#options;
    const stage = await Stage.start({
      ...this.#options,
      environment: io.environment,
      onEnd: (member, end) => this.#onEnd(member, end),
    });
    const control = await openControl(folder, (words) => handChaos(stage, words));
    const isCut = signals.second.then(() => true);
    const judged = this.#judged(stage, signals);
    try {
      if (await Promise.race([isCut, judged.then(() => false)])) {
        io.note(io.paint("red", "Stopped at once: nothing is judged."));
        return exitCode.failed;
      }
      return await judged;
    } finally {
      // What is under way meets nodes that are gone, and nobody asks for it any more.
      judged.catch(() => {});
      this.#isKept = false;
      await control.close();
      await stage.close();
    }
  }

  async #judged(stage: Stage, signals: StopSignals): Promise<number> {
    const { seed, timeMs, nodes, kinds } = this.#options;
    await this.#begin(stage, signals);
    const possible = kinds.filter((kind) => !stage.leftOut.has(kind));
    const chance = new Chance(seed);
    const troubles = drawTroubles(chance, { nodes, timeMs, kinds: possible });
    const replicas = Math.min(replicasMax, nodes);
    const ledger = new Ledger();
    const clients = new ChaosClients(stage.plan.nodes, replicas);
    const workload = new Workload({ chance: chance.fork(), clients, ledger, nodes });
    const nemesis = new Nemesis({ stage, tell: (line) => this.#tell(line, "yellow") });
    this.#nemesis = nemesis;
    this.#isKept = true;
    nemesis.begin(troubles);
    await this.#watch({ workload, ledger, signals, untilMs: performance.now() + timeMs });
    await nemesis.heal();
    await workload.end();
    const parts = { stage, clients, ledger, tell: (line: string) => this.#tell(line, "dim") };
    const { broken, readable } = await verdictOf(parts);
    this.#isKept = false;
    await stage.crew.stop();
    return this.#conclude(ledger, readable, broken);
  }

  async #begin(stage: Stage, signals: StopSignals): Promise<void> {
    const { seed, folder } = this.#options;
    this.#tell(`seed ${seed}, data and logs in ${folder}`, "bold");
    for (const [kind, why] of stage.leftOut) this.#tell(`left out: ${kind}: ${why}`, "yellow");
    const untilMs = performance.now() + startMsMax;
    let isStopped = false;
    void signals.first.then(() => {
      isStopped = true;
    });
    for (const { name, url } of stage.plan.nodes) {
      for (let why = await askReady(url); why !== undefined; why = await askReady(url)) {
        if (performance.now() > untilMs || isStopped) {
          throw new QuorateError("not-ready", `${name} did not become ready: ${why}`, {
            hint: `What it said is in ${folder}/${name}.log.`,
          });
        }
        await sleep(100);
      }
      this.#tell(`${name} serves ${url}`, "dim");
    }
  }

  /** A line on what was acknowledged, again and again, until the time is over. */
  async #watch(parts: {
    readonly workload: Workload;
    readonly ledger: Ledger;
    readonly signals: StopSignals;
    readonly untilMs: number;
  }): Promise<void> {
    const { workload, ledger, signals, untilMs } = parts;
    let isStopped = false;
    const stopped = signals.first.then(() => {
      isStopped = true;
    });
    while (!isStopped) {
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return;
      const woken = new AbortController();
      const slept = sleep(Math.min(lookEveryMs, leftMs), undefined, { signal: woken.signal });
      await Promise.race([slept.catch(() => {}), stopped]);
      woken.abort();
      if (isStopped) return;
      const { asked, readable, unanswered } = await workload.look();
      const unread =
        unanswered === 0 ? "" : `, ${grouped(unanswered)} that no node answers for now`;
      this.#tell(
        `${grouped(ledger.acknowledgedCount)} writes acknowledged; of ${grouped(asked)} at quorum or all, ` +
          `${grouped(readable)} readable${unread}; failed: ${failuresOf(ledger)}`,
        "bold",
      );
    }
  }

  async #conclude(ledger: Ledger, readable: number, broken: readonly string[]): Promise<number> {
    const { seed, folder } = this.#options;
    this.#tell(`${grouped(ledger.requestCount)} requests; failed: ${failuresOf(ledger)}`, "bold");
    for (const line of broken.slice(0, brokenShownMax)) this.#tell(`broken: ${line}`, "red");
    if (broken.length > 0) this.#tell(`seed ${seed}; what the nodes said is in ${folder}`, "red");
    await this.#io.write(
      `${ledger.acknowledgedCount} writes acknowledged, ${readable} readable, ` +
        `${broken.length} promises broken\n`,
    );
    const isKept = broken.length === 0 && readable === ledger.acknowledgedCount;
    return isKept ? exitCode.done : exitCode.failed;
  }

  /** A node that ends by itself is told, and started again, as a supervisor would. */
  #onEnd(member: CrewMember, end: ChildEnd): void {
    if (!this.#isKept || this.#nemesis?.hasDown(member) === true) return;
    const { name } = member.node;
    if (end.signal === "SIGKILL") {
      this.#tell(`${name} is killed; 'quorate chaos restart ${name}' starts it again`, "yellow");
      return;
    }
    this.#tell(`${name} has ended by itself and is started again: ${howOf(end)}`, "red");
    setTimeout(() => {
      if (this.#isKept) member.start();
    }, againMs);
  }

  #tell(line: string, style: "yellow" | "dim" | "bold" | "red"): void {
    const seconds = ((performance.now() - this.#beganMs) / 1000).toFixed(1);
    void this.#io.write(`${seconds.padStart(7)} s  ${this.#io.paint(style, line)}\n`);
  }
}

function failuresOf({ failures }: Ledger): string {
  const counts = [...failures].sort().map(([name, count]) => `${name} ${grouped(count)}`);
  return counts.join(", ") || "nothing";
}
