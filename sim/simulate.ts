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
 * 1. The same options give the same run, event for event.
 * 2. A run ends: with its findings, when nothing is left to happen, or after `eventsMax` events.
 *
 * Effects: those of the guard. Source: docs/simulator.md, "A run".
 *
 * @module
 */

import { utf8Bytes } from "../src/bytes.ts";
import { Ring } from "../src/ring.ts";
import { Bounds } from "./bounds.ts";
import { Chance } from "./chance.ts";
import { Changes, deletedOf } from "./changes.ts";
import { checkHistory } from "./check.ts";
import { hadQuorum } from "./check_order.ts";
import { checkTables, type LeftTable } from "./check_tables.ts";
import { Clients, type SimKey, simNamespace } from "./client.ts";
import { Convergence } from "./convergence.ts";
import { type DrawOptions, draw } from "./draw.ts";
import { FinalAsks } from "./final.ts";
import { drive } from "./guard.ts";
import type { Operation } from "./history.ts";
import type { Knobs } from "./knobs.ts";
import { Members } from "./members.ts";
import type { Mutation } from "./mutation.ts";
import { Nemesis } from "./nemesis.ts";
import { SimNetwork } from "./network.ts";
import { Place } from "./place.ts";
import { Scheduler } from "./scheduler.ts";
import { isDeadly, type Trouble } from "./trouble_list.ts";
import type { Violation } from "./violation.ts";
import { Workload } from "./workload.ts";

export interface SimulateOptions extends DrawOptions {
  readonly seed: number;
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

/** A slow cluster of nine nodes in which members come and go takes over a million. */
const eventsMax = 3_000_000;
const readyMsMax = 120_000;
const hintMsMax = 240_000;
const moveMsMax = 240_000;
const purgeMsMax = 240_000;
const fillMsMax = 240_000;
/** So many changes of the members a run has that is to have many. */
const movesMin = 3;
/** In a slow cluster a plan is overtaken by a namespace each time: for so long it has to do with that. */
const overtakenMsMax = 60_000;
/** A write waits so long for room in a store, whatever its client was told meanwhile. */
const lateWriteMsMax = 5000;
const pollMs = 100;
/** What is over its bound stays so for longer than that; to look oftener takes a twentieth of a run's time. */
const boundsEveryEvents = 128;

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
  readonly #convergence: Convergence;
  readonly #finalAsks: FinalAsks;
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
    const { knobs, troubles, focus } = draw(chance, options);
    this.#hasManyMoves = (options.moves ?? focus?.moves) === "many";
    const scheduler = this.#scheduler;
    scheduler.onTrace = options.onTrace;
    this.#knobs = knobs;
    this.#troubles = troubles;
    this.#network = new SimNetwork(scheduler, chance.fork(), knobs.network);
    this.#places = this.#newPlaces(chance);
    const { nodes, spares, workload } = knobs;
    this.#bounds = new Bounds(this.#places, knobs.workload.valueBytesMax);
    const replicas = Math.min(knobs.n, nodes + spares);
    const replicated = { replicas, isMoving: knobs.memberGapMs !== undefined };
    this.#clients = new Clients(scheduler, chance.fork(), { ...replicated, places: this.#places });
    this.#changes = new Changes({
      scheduler,
      chance: chance.fork(),
      places: this.#places,
      gapMs: knobs.changeGapMs,
      n: knobs.n,
      world: replicated,
    });
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
    this.#convergence = new Convergence({
      scheduler,
      knobs,
      places: this.#places,
      members: () => this.#members.places,
      keys: () => this.#keys,
      areHintsEnough: () => this.#areHintsEnough,
      isBroughtByHints: (version) =>
        !this.#sometimes.has("move: copied") ||
        [this.#clients, this.#changes].some(({ history }) => hadQuorum(history, version)),
    });
    this.#finalAsks = new FinalAsks({
      scheduler,
      whole: () => this.#whole,
      isWhole: () => this.#isWhole,
      onFinding: (detail) => this.#find("other", detail),
    });
  }

  /** A machine for each node, and for each that may come later. */
  #newPlaces(chance: Chance): readonly Place[] {
    const scheduler = this.#scheduler;
    const knobs = this.#knobs;
    const { nodes, spares } = knobs;
    const addresses = Array.from(
      { length: nodes + spares },
      (_, index) => `10.0.0.${index + 1}:80`,
    );
    return addresses.map(
      (_, index) =>
        new Place({
          ...{ scheduler, network: this.#network, chance: chance.fork(), knobs, index, addresses },
          founders: nodes,
          mutation: this.#options.mutation,
          onSometimes: (name) => this.#mark(name),
          onDeath: () => void this.#deaths.push(scheduler.tick()),
          onLoss: () => void this.#losses.push(scheduler.tick()),
          onLeft: (place) => this.#members.left(place),
          onFinding: (detail) => this.#find("other", detail),
        }),
    );
  }

  async run(): Promise<Run> {
    const scenario = this.#live().catch((error: unknown) => {
      this.#find("other", `the run itself failed: ${stackOf(error)}`);
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
      this.#find("other", `an error that nobody handled: ${stackOf(error)}`);
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
      heardMs: this.#knobs.gossipPeriodMs + 2 * this.#network.latencyMsMax,
    });
    nemesis.begin(this.#troubles);
    this.#workload.begin();
    this.#changes.begin();
    this.#members.begin();
    await this.#scheduler.sleep(this.#knobs.safetyMs);
    const hasMoved = (): boolean => this.#members.begun >= movesMin;
    if (this.#hasManyMoves && !(await this.#until(hasMoved, overtakenMsMax))) {
      this.#changes.stop();
      await this.#until(hasMoved, moveMsMax);
    }
    this.#scheduler.trace("the troubles end");
    nemesis.heal();
    this.#changes.stop();
    this.#members.stop();
    await this.#workload.end();
    // Whoever is about to start tells of no move: so once more when all can be asked.
    if ((await this.#allStillAndReady()) && (await this.#allStillAndReady())) await this.#settle();
    this.#end();
  }

  async #allStillAndReady(): Promise<boolean> {
    if (await this.#until(() => this.#members.isStill, moveMsMax)) {
      return this.#allReady("all serve again");
    }
    this.#find("P5", this.#moving);
    return false;
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
    const convergence = this.#convergence;
    const noHints = (): boolean => convergence.isWithoutHints;
    if (!(await this.#until(noHints, hintMsMax)) && !convergence.areHintsHeldBack) {
      this.#find("P5", `hints are left: ${convergence.hintsText}`);
      return;
    }
    if (!(await this.#until(() => this.#isPurged, purgeMsMax))) {
      const left = this.#whole.map(({ name, node }) => `${name}: ${node && deletedOf(node)}`);
      this.#find("P6", `deleted namespaces are not forgotten: ${left.join(", ")}`);
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
    // What still lacks data then cannot be read at `all`, and is found by that.
    await this.#until(() => this.#isFilled, fillMsMax);
    const [key] = this.#workload.keys;
    if (key !== undefined) await this.#finalAsks.write(this.#clients, key);
    const finals = await this.#finalAsks.read(this.#clients, this.#workload.keys);
    const madeKeys = this.#changes.keys.map((made) => made.key);
    const madeFinals = await this.#finalAsks.read(this.#changes.clients, madeKeys);
    const around = {
      deaths: this.#deaths,
      losses: this.#losses,
      areClocksClose: this.#clients.areClocksClose,
    };
    for (const violation of [
      ...checkHistory(this.#clients.history, finals, around),
      ...checkHistory(this.#changes.history, madeFinals, around),
      ...this.#changes.check(this.#whole),
    ]) {
      this.#findings.push(violation);
      this.#scheduler.trace(`violation of ${violation.promise}: ${violation.detail}`);
    }
    if (!this.#isWhole) return;
    if (await this.#converged("after all was read")) await this.#compareDisks();
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
    for (const { namespace, key } of this.#keys) {
      const { replicas } = node.place(namespace, utf8Bytes(key));
      const { number } = node.namespace(namespace);
      rows.set(
        `${number} ${key}`,
        replicas.map(({ node: name }) => name),
      );
    }
    const members = new Set(this.#members.places);
    for (const place of this.#places) await place.close();
    const tables: LeftTable[] = [];
    for (const place of this.#places) {
      const { name, table } = place;
      tables.push({ node: name, isMember: members.has(place), table: await table.open() });
    }
    const found = checkTables(tables, {
      ring,
      nOf: (number) => namespaces.get(number) ?? 0,
      replicasOf: (number, key) => rows.get(`${number} ${key}`),
      nowMs: this.#convergence.latestMs,
    });
    for (const { promise, detail } of found) this.#find(promise, detail);
  }

  /** P5: whether all replicas have come to hold the same. */
  async #converged(when: string): Promise<boolean> {
    const differing = await this.#convergence.differing(when);
    for (const { promise, detail } of differing) this.#find(promise, detail);
    return differing.length === 0;
  }

  /** H1: where nobody died and nothing was dropped, hints alone have brought everything. */
  get #areHintsEnough(): boolean {
    // A member whose disk was replaced took its hints with it, also when it was closed in order before.
    const hasLost = this.#deaths.length > 0 || this.#losses.length > 0;
    const isDeadlyRun = hasLost || this.#troubles.some(({ kind }) => isDeadly(kind));
    return !isDeadlyRun && !this.#sometimes.has("handoff: hint dropped");
  }

  get #whole(): readonly Place[] {
    return this.#convergence.whole;
  }

  /** Whether every member serves, and holds all. */
  get #isWhole(): boolean {
    return this.#whole.length === this.#members.places.length;
  }

  /** T8: a number is forgotten once every member has told that nothing is left under it. */
  get #isPurged(): boolean {
    return !this.#isWhole || this.#whole.every(({ node }) => node && deletedOf(node) === 0);
  }

  /** I4: whoever has lost something is filled; of what has one replica alone an operator decides. */
  get #isFilled(): boolean {
    return this.#whole.every(
      ({ node }) => node?.repair().lacking.every(({ n }) => n === 1) === true,
    );
  }

  /** All that is looked at in the end. */
  get #keys(): readonly SimKey[] {
    const keys = this.#workload.keys.map((key) => ({ namespace: simNamespace, key }));
    return [...keys, ...this.#changes.keys];
  }

  async #makeNamespace(): Promise<void> {
    const [place] = this.#places;
    await place?.node?.putNamespace(simNamespace, { n: this.#knobs.n });
    const knows = (each: Place): boolean =>
      each.node?.namespaces().some(({ name }) => name === simNamespace) === true;
    await this.#until(() => this.#whole.every(knows), readyMsMax);
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

/** An error with where it was thrown. */
function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
