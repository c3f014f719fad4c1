/**
 * Simulate: one run of a cluster of real nodes, decided by a seed.
 *
 *     found the cluster -> safety: clients and troubles -> heal -> liveness: all serve, all converge
 *
 * In the safety phase everything may fail, and nothing that is promised may be broken. Then the
 * troubles end, and the cluster has to come to itself: every node serves, hints are delivered, every
 * key is read from all replicas, and all replicas hold the same.
 *
 * Invariants
 * 1. The same seed, focus, troubles and mutation give the same run, event for event.
 * 2. A run ends: with its findings, when nothing is left to happen, or after `eventsMax` events.
 *
 * Effects: those of the guard. Source: design, section 9.
 *
 * @module
 */

import type { ExplainedReplica } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { QuorateNode } from "../src/node.ts";
import { Ring } from "../src/ring.ts";
import { Bounds } from "./bounds.ts";
import { Chance } from "./chance.ts";
import { Changes } from "./changes.ts";
import { checkHistory, type Violation } from "./check.ts";
import { checkReplicas } from "./check_replicas.ts";
import { checkTables, type LeftTable } from "./check_tables.ts";
import { Clients, simNamespace } from "./client.ts";
import { type Focus, type FocusName, focuses } from "./focus.ts";
import { drive } from "./guard.ts";
import type { Operation } from "./history.ts";
import { drawKnobs, type Knobs, repairNeverMs, type WorkloadKind, workloadOf } from "./knobs.ts";
import { Members } from "./members.ts";
import type { Mutation } from "./mutation.ts";
import { Nemesis } from "./nemesis.ts";
import { SimNetwork } from "./network.ts";
import { Place } from "./place.ts";
import { Scheduler } from "./scheduler.ts";
import { drawTroubles, isDeadly, type Trouble, type TroubleKind } from "./trouble_list.ts";
import { Workload } from "./workload.ts";

export interface SimulateOptions {
  readonly seed: number;
  /** Instead of those that the seed draws. */
  readonly troubles?: readonly Trouble[];
  /** Only these are drawn; not beside `focus`, which draws its own. */
  readonly only?: readonly TroubleKind[];
  /**
   * `many`: a world whose members come and go, and the run lasts until at least three changes were begun;
   * `none`: one whose members stay. Default: as the seed draws it. Not beside `focus`, which says that itself.
   */
  readonly moves?: "many" | "none";
  /** What the clients do. Default: as the seed draws it. */
  readonly workload?: WorkloadKind;
  /** A world in which one kind of moment is common. Default: as the seed draws it. */
  readonly focus?: FocusName;
  /** A rule that is broken, to see whether it is noticed. */
  readonly mutation?: Mutation;
  /** Told of every line of the trace. */
  readonly onTrace?: (line: string) => void;
}

export interface Run {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly hash: string;
  readonly knobs: Knobs;
  readonly troubles: readonly Trouble[];
  readonly history: readonly Operation[];
  /** How often each rare path was taken. */
  readonly sometimes: ReadonlyMap<string, number>;
  /** The most that was held of each thing that is bounded, as a share of its bound. */
  readonly fullest: ReadonlyMap<string, number>;
  readonly simulatedMs: number;
  readonly events: number;
  /** Changes of the members that were begun. */
  readonly moves: number;
}

const eventsMax = 1_000_000;
const readyMsMax = 120_000;
const hintMsMax = 240_000;
/** What comparisons take beside their turns: at the slowest rate that is drawn. */
const repairMsMax = 120_000;
const moveMsMax = 240_000;
/** So many changes of the members a run has that is to have many. */
const movesMin = 3;
/** A write waits so long for room in a store, whatever its client was told meanwhile. */
const lateWriteMsMax = 5000;
const pollMs = 100;
const boundsEveryEvents = 32;
const finalTimeoutMs = 5000;
/** A link that was long away is tried again after 7.5 s at most. */
const finalTries = 12;

/**
 * Runs a cluster of real nodes, with the faults that a seed draws, and checks every promise.
 *
 * It takes the whole process: until it is over there is no real time, no chance and no `fetch`, and
 * one run is all that there can be. What a broken promise looks like is in the answer; nothing is
 * thrown for it.
 *
 * @throws Error for a focus beside `only` or `moves`
 *
 * @example
 * ```ts
 * import { simulate } from "quorate/sim";
 *
 * const { violations } = await simulate({ seed: 7 });
 * for (const { promise, detail } of violations) console.log(promise, detail);
 * ```
 */
export async function simulate(options: SimulateOptions): Promise<Run> {
  const { focus, only, moves } = options;
  if (focus !== undefined && (only !== undefined || moves !== undefined)) {
    throw new Error(
      "simulate: a focus draws its own troubles and members: leave out `only` and `moves`.",
    );
  }
  const end = options.mutation?.begin?.();
  try {
    return await new World(options).run();
  } finally {
    end?.();
  }
}

/** The first that a seed draws of its kind. */
function drawWorld(chance: Chance, moves: SimulateOptions["moves"]): Knobs {
  if (moves === undefined) return drawKnobs(chance);
  for (;;) {
    const knobs = drawKnobs(chance.fork());
    const isMoving = knobs.memberGapMs !== undefined && knobs.nodes >= 3;
    if (moves === "many" ? isMoving : knobs.memberGapMs === undefined) return knobs;
  }
}

class World {
  readonly #options: SimulateOptions;
  readonly #scheduler = new Scheduler();
  readonly #knobs: Knobs;
  readonly #hasManyMoves: boolean;
  readonly #troubles: readonly Trouble[];
  readonly #network: SimNetwork;
  readonly #places: readonly Place[];
  readonly #clients: Clients;
  readonly #workload: Workload;
  readonly #changes: Changes;
  readonly #members: Members;
  readonly #findings: Violation[] = [];
  readonly #sometimes = new Map<string, number>();
  /** When a process died that was not closed. */
  readonly #deaths: number[] = [];
  /** When a disk lost what was on it, or part of that. */
  readonly #losses: number[] = [];
  readonly #bounds: Bounds;
  #isBoundBroken = false;
  #isOver = false;

  constructor(options: SimulateOptions) {
    this.#options = options;
    const chance = new Chance(options.seed);
    const focus: Focus | undefined =
      options.focus === undefined ? undefined : focuses[options.focus];
    const moves = options.moves ?? focus?.moves;
    const world = drawWorld(chance.fork(), moves);
    const focused = focus?.knobs(world) ?? world;
    const knobs = { ...focused, workload: workloadOf(focused.workload, options.workload) };
    const { nodes, spares, safetyMs } = knobs;
    const size = { nodes: nodes + spares, safetyMs };
    const drawn =
      focus?.troubles(chance.fork(), size) ?? drawTroubles(chance.fork(), size, options.only);
    this.#hasManyMoves = moves === "many";
    const scheduler = this.#scheduler;
    scheduler.onTrace = options.onTrace;
    this.#knobs = knobs;
    this.#troubles = options.troubles ?? drawn;
    this.#network = new SimNetwork(scheduler, chance.fork(), knobs.network);
    const addresses = Array.from(
      { length: nodes + spares },
      (_, index) => `10.0.0.${index + 1}:80`,
    );
    this.#places = addresses.map(
      (_, index) =>
        new Place({
          scheduler,
          network: this.#network,
          chance: chance.fork(),
          knobs,
          index,
          addresses,
          founders: nodes,
          mutation: options.mutation,
          onSometimes: (name) => this.#mark(name),
          onDeath: () => void this.#deaths.push(scheduler.tick()),
          onLoss: () => void this.#losses.push(scheduler.tick()),
          onLeft: (place) => this.#members.left(place),
          onFinding: (detail) => this.#find("other", detail),
        }),
    );
    this.#bounds = new Bounds(this.#places, knobs.workload.valueBytesMax);
    this.#clients = new Clients(scheduler, chance.fork(), {
      replicas: Math.min(knobs.n, nodes + spares),
      places: this.#places,
      isMoving: knobs.memberGapMs !== undefined,
    });
    this.#changes = new Changes({
      scheduler,
      chance: chance.fork(),
      places: this.#places,
      gapMs: knobs.changeGapMs,
    });
    const { workload } = knobs;
    this.#workload = new Workload({
      scheduler,
      chance: chance.fork(),
      knobs: workload,
      places: this.#places,
      clients: this.#clients,
    });
    this.#members = new Members({
      scheduler,
      chance: chance.fork(),
      places: this.#places,
      founders: nodes,
      replicas: Math.min(knobs.n, nodes),
      gapMs: knobs.memberGapMs,
      network: this.#network,
      habit: focus?.habit,
    });
  }

  async run(): Promise<Run> {
    const scenario = this.#live().catch((error: unknown) => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#find("other", `the run itself failed: ${text}`);
      this.#isOver = true;
    });
    const scheduler = this.#scheduler;
    try {
      await drive(scheduler, () => {
        if (scheduler.steps % boundsEveryEvents === 0) this.#lookAtBounds();
        return this.#isOver || scheduler.steps >= eventsMax;
      });
      if (!this.#isOver) this.#find("other", "nothing was left to happen, or too much");
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#find("other", `an error that nobody handled: ${text}`);
    }
    if (this.#isOver) await scenario;
    const { seed } = this.#options;
    return {
      seed,
      violations: this.#findings,
      hash: scheduler.hash,
      knobs: this.#knobs,
      troubles: this.#troubles,
      history: this.#clients.history,
      sometimes: this.#sometimes,
      fullest: this.#bounds.highest,
      simulatedMs: scheduler.nowMs,
      events: scheduler.steps,
      moves: this.#members.begun,
    };
  }

  /** Once broken, a bound is told once: what comes of it is no other finding. */
  #lookAtBounds(): void {
    if (this.#isBoundBroken) return;
    for (const { promise, detail } of this.#bounds.look()) {
      this.#isBoundBroken = true;
      this.#find(promise, detail);
    }
  }

  async #live(): Promise<void> {
    for (const place of this.#places) place.start();
    if (!(await this.#allReady("the cluster is founded"))) return this.#end();
    await this.#makeNamespace();
    const nemesis = new Nemesis({
      scheduler: this.#scheduler,
      network: this.#network,
      places: this.#places,
      replicas: Math.min(this.#knobs.n, this.#knobs.nodes),
      readNow: (place, key) => this.#workload.readNow(place, key),
      isSettled: (place) => this.#members.isSettled(place),
    });
    nemesis.begin(this.#troubles);
    this.#workload.begin();
    this.#changes.begin();
    this.#members.begin();
    await this.#scheduler.sleep(this.#knobs.safetyMs);
    const hasMoved = (): boolean => this.#members.begun >= movesMin;
    if (this.#hasManyMoves) await this.#until(hasMoved, moveMsMax);
    this.#scheduler.trace("the troubles end");
    nemesis.heal();
    this.#changes.stop();
    this.#members.stop();
    await this.#workload.end();
    const isStill = (): boolean => this.#members.isStill;
    if (!(await this.#until(isStill, moveMsMax))) this.#find("P5", this.#moving);
    else if (await this.#allReady("all serve again")) await this.#settle();
    this.#end();
  }

  /** What a move waits for that has not come to its end. */
  get #moving(): string {
    const told = this.#places.map(({ name, node }) => {
      try {
        return `${name}: ${JSON.stringify(node?.moves?.moves().move)}`;
      } catch {
        return `${name}: does not serve`;
      }
    });
    return `a move does not end: ${told.join(" | ")}`;
  }

  /** Liveness: hints are delivered, all is read from all, and all hold the same. */
  async #settle(): Promise<void> {
    await this.#scheduler.sleep(lateWriteMsMax);
    const noHints = (): boolean =>
      this.#whole.every(({ node, isReady }) => isReady && !this.#hasHints(node));
    if (!(await this.#until(noHints, hintMsMax)) && !this.#areHintsHeldBack) {
      const left = this.#places.map((place) => `${place.name}: ${hintsText(place)}`);
      this.#find("P5", `hints are left: ${left.join(", ")}`);
      return;
    }
    const isAgreed = (): boolean =>
      !this.#changes.isOpen &&
      new Set(this.#whole.map(({ node }) => node?.ring().epoch)).size === 1;
    if (!(await this.#until(isAgreed, readyMsMax))) {
      const epochs = this.#whole.map(({ name, node }) => `${name}: ${node?.ring().epoch}`);
      this.#find("P5", `not all have the newest document: ${epochs.join(", ")}`);
      return;
    }
    if (!(await this.#converged("before anything was read"))) return;
    const finals: Operation[] = [];
    const isWhole = this.#whole.length === this.#members.places.length;
    for (const key of this.#workload.keys) {
      for (const [index, place] of this.#whole.entries()) {
        const level = index === 0 && isWhole ? "all" : "quorum";
        const read = await this.#finalRead(place, key, level);
        if (read !== undefined && level === "all") finals.push(read);
      }
    }
    const inHistory = checkHistory(this.#clients.history, finals, {
      deaths: this.#deaths,
      losses: this.#losses,
      areClocksClose: this.#clients.areClocksClose,
    });
    for (const violation of [...inHistory, ...this.#changes.check(this.#whole)]) {
      this.#findings.push(violation);
      this.#scheduler.trace(`violation of ${violation.promise}: ${violation.detail}`);
    }
    if (!isWhole) return;
    if (await this.#converged("after all was read")) await this.#compareDisks();
  }

  /** P5: whatever was missed, by whatever fault, has come to all before anybody has read it. */
  async #converged(when: string): Promise<boolean> {
    const { repairPeriodMs } = this.#knobs;
    const isAsked = repairPeriodMs === repairNeverMs;
    if (isAsked) {
      if (!(await this.#convergedByHints())) return false;
      for (const { node } of this.#whole) node?.runRepair({});
    }
    const periodMs = isAsked ? 0 : repairPeriodMs;
    const endMs = this.#scheduler.nowMs + 3 * periodMs + repairMsMax;
    for (;;) {
      const differing = await this.#differing(when);
      if (differing.length === 0) return true;
      if (this.#scheduler.nowMs > endMs) {
        this.#findings.push(...differing);
        for (const { detail } of differing) this.#scheduler.trace(`finding: ${detail}`);
        return false;
      }
      await this.#scheduler.sleep(Math.max(1000, periodMs / 4));
    }
  }

  /** H1: where nobody died and nothing was dropped, hints alone have brought everything. */
  async #convergedByHints(): Promise<boolean> {
    // A member whose disk was replaced took its hints with it, also when it was closed in order before.
    const hasLost = this.#deaths.length > 0 || this.#losses.length > 0;
    const isDeadlyRun = hasLost || this.#troubles.some(({ kind }) => isDeadly(kind));
    if (isDeadlyRun || this.#sometimes.has("handoff: hint dropped")) return true;
    await this.#scheduler.sleep(2000);
    for (let tried = 1; ; tried += 1) {
      const found = await this.#differing("when all hints are delivered");
      if (found.length === 0) return true;
      // A link may still be on its way.
      if (tried === finalTries) {
        this.#findings.push(...found);
        return false;
      }
      await this.#scheduler.sleep(1000);
    }
  }

  async #differing(when: string): Promise<readonly Violation[]> {
    const lost = new Set(this.#places.filter((one) => !one.mustServe).map(({ name }) => name));
    const found: Violation[] = [];
    for (const key of this.#workload.keys) {
      const explained = await this.#explained(key);
      if (typeof explained === "string") {
        found.push({ promise: "P5", detail: `'${key}' cannot be explained ${when}: ${explained}` });
        continue;
      }
      const replicas = explained.filter(({ node }) => !lost.has(node));
      found.push(...checkReplicas(key, replicas, when, this.#latestMs));
    }
    return found;
  }

  get #latestMs(): number {
    return Math.max(...this.#places.map(({ wall }) => wall.nowMs()));
  }

  /** All nodes end in order; what is on their disks then is compared byte by byte. */
  async #compareDisks(): Promise<void> {
    // One that serves: the first place may have left, and wait to be taken in again.
    const node = this.#whole[0]?.node;
    if (node === undefined) return;
    const { clusterId, partitions } = node.ring();
    const ring = new Ring(clusterId, partitions);
    const namespaces = new Map(node.namespaces().map(({ number, policy }) => [number, policy.n]));
    const rows = new Map<string, readonly string[]>();
    for (const key of this.#workload.keys) {
      const place = node.place(simNamespace, utf8Bytes(key));
      rows.set(
        `${place.partition} ${place.n}`,
        place.replicas.map(({ node: name }) => name),
      );
    }
    for (const place of this.#places) await place.close();
    const tables: LeftTable[] = [];
    for (const { name, table } of this.#places)
      tables.push({ node: name, table: await table.open() });
    const found = checkTables(tables, {
      ring,
      nOf: (number) => namespaces.get(number) ?? 0,
      replicasOf: (partition, n) => rows.get(`${partition} ${n}`) ?? [],
      nowMs: this.#latestMs,
    });
    for (const { promise, detail } of found) this.#find(promise, detail);
  }

  /**
   * Those who have to serve and to hold all: also who was rolled back or damaged, for it fills (I4). Not one
   * whose disk is empty or refused: that waits for an operator.
   */
  get #whole(): readonly Place[] {
    return this.#members.places.filter(({ mustServe }) => mustServe);
  }

  /** In a world that is well, every key can be read. */
  async #finalRead(
    place: Place,
    key: string,
    level: "all" | "quorum",
  ): Promise<Operation | undefined> {
    const ask = { client: "final", place, kind: "get", key, level } as const;
    let last: Operation | undefined;
    for (let tried = 0; tried < finalTries; tried += 1) {
      last = await this.#clients.ask({ ...ask, timeoutMs: finalTimeoutMs });
      if (last.told.kind === "found" || last.told.kind === "absent") return last;
      await this.#scheduler.sleep(1000);
    }
    this.#find(
      "other",
      `'${key}' cannot be read at ${level} through ${place.name}: ${JSON.stringify(last?.told)}`,
    );
    return undefined;
  }

  /** What the replicas of a key hold; or why the node that is asked does not say. */
  async #explained(key: string): Promise<readonly ExplainedReplica[] | string> {
    const { node, life } = this.#whole[0] ?? {};
    if (node === undefined || life === undefined) return "nobody serves";
    const request = { namespace: simNamespace, requestId: "compare", key: utf8Bytes(key) };
    return new Promise((resolve) => {
      // A failed call of its disk may come to light long after all was healed.
      const forget = life.onDeath(() => resolve("the node ended"));
      const over = (answer: readonly ExplainedReplica[] | string): void => {
        forget();
        resolve(answer);
      };
      node.explain(request).then(
        ({ replicas }) => over(replicas),
        (error: unknown) => over(String(error)),
      );
    });
  }

  async #makeNamespace(): Promise<void> {
    const [place] = this.#places;
    await place?.node?.putNamespace(simNamespace, { n: this.#knobs.n });
    const knows = (each: Place): boolean =>
      each.node?.namespaces().some(({ name }) => name === simNamespace) === true;
    await this.#until(() => this.#whole.every(knows), readyMsMax);
  }

  /**
   * Those for one that has lost its data are not counted: it may take none. Nor, as long as there is
   * one, those for a store that is no member any more, or holds no more what they are for: they go to
   * all who hold the partition now.
   */
  #hasHints(node: QuorateNode | undefined): boolean {
    const lost = this.#members.places.filter((one) => !one.mustServe).map(({ name }) => name);
    const mayTake = (name: string | undefined): boolean => {
      if (lost.length === 0) return true;
      return name !== undefined && !lost.includes(name) && this.#holdsAll(name, node);
    };
    return node?.hints().targets.some(({ node: name }) => mayTake(name)) !== false;
  }

  /** Whether no partition has moved away from a member, as far as a node knows. */
  #holdsAll(name: string, node: QuorateNode | undefined): boolean {
    if (this.#knobs.memberGapMs === undefined) return true;
    return this.#workload.keys.every((key) => {
      const replicas = node?.place(simNamespace, utf8Bytes(key)).replicas;
      return replicas?.some((replica) => replica.node === name) === true;
    });
  }

  /** G2, G4: a hint below a promise waits for the watermark, and one that has lost its data holds it back. */
  get #areHintsHeldBack(): boolean {
    const isHeldBack = ({ node }: Place): boolean => (node?.repair().heldBack.length ?? 0) > 0;
    return this.#whole.length < this.#members.places.length && this.#whole.some(isHeldBack);
  }

  async #allReady(what: string): Promise<boolean> {
    if (await this.#until(() => this.#whole.every(({ isReady }) => isReady), readyMsMax)) {
      return true;
    }
    const waits = this.#places.map(({ name, waitsFor }) => `${name} ${waitsFor}`);
    this.#find("other", `not so within ${readyMsMax} ms: ${what}; ${waits.join(" | ")}`);
    return false;
  }

  async #until(holds: () => boolean, msMax: number): Promise<boolean> {
    const endMs = this.#scheduler.nowMs + msMax;
    while (!holds()) {
      if (this.#scheduler.nowMs > endMs) return false;
      await this.#scheduler.sleep(pollMs);
    }
    return true;
  }

  #end(): void {
    this.#isOver = true;
  }

  #mark(name: string): void {
    this.#sometimes.set(name, (this.#sometimes.get(name) ?? 0) + 1);
  }

  #find(promise: Violation["promise"], detail: string): void {
    this.#scheduler.trace(`finding: ${detail}`);
    this.#findings.push({ promise, detail });
  }
}

/** What a place keeps for others, in words; one that waits to be taken in tells nothing. */
function hintsText({ node, waitsFor }: Place): string {
  try {
    const { count, targets } = node?.hints() ?? { count: 0, targets: [] };
    return `${count} ${JSON.stringify(targets)}`;
  } catch {
    return waitsFor;
  }
}
