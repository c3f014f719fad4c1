/**
 * Changes: operators who make namespaces, write in them, delete them, and change the policy of one, at the
 * same time through different nodes; and what the nodes have of the document that all of them share.
 *
 * Each namespace has a name that no other has, and each policy a value. What has to become of them is in
 * `check_documents.ts`; what was written in those that nobody has asked to delete is checked as every
 * other write.
 *
 * Effects: none; requests reach the nodes in events of their processes.
 *
 * @module
 */

import { QuorateError } from "../src/errors.ts";
import type { QuorateNode } from "../src/node.ts";
import { policyDefault } from "../src/topology.ts";
import type { Chance } from "./chance.ts";
import { type Change, checkDocuments, type SeenDocument } from "./check_documents.ts";
import { Clients, type ClientsWorld, type SimKey, simNamespace } from "./client.ts";
import type { Operation } from "./history.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Violation } from "./violation.ts";

export interface ChangesParts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly places: readonly Place[];
  /** How long lies between two rounds, on average; undefined: nobody changes anything. */
  readonly gapMs: number | undefined;
  /** How many replicas a key has in the namespaces that are looked at in the end; others have one. */
  readonly n: number;
  readonly world: Pick<ClientsWorld, "replicas" | "isMoving">;
}

const atOnceMax = 3;
/** How many of the changes set the policy that all share: any value is more than the clients' values. */
const setShare = 0.4;
const settingLeast = 2 * 1024 * 1024;
const lookEveryMs = 100;
/** In which of the worlds with changes namespaces are written in, and deleted. */
const fillingShare = 0.5;
/** Of its changes, how many delete one, and how many write in one. */
const dropShare = 0.15;
const fillShare = 0.25;
/** So many namespaces are made. Where members change, a run may go on for minutes, and each move looks at all of them. */
const makesMax = 400;
const makesMaxMoving = 100;
const keysAtOnceMax = 4;
/** Only so many of the last are deleted or written in. */
const madeLatelyMax = 5;
const valueBytesMax = 300;
const timeoutMsMax = 2000;
/** So many keys are looked at in the end, each on all its replicas. */
const finalKeysMax = 12;

interface Made {
  readonly name: string;
  readonly n: number;
}

export class Changes {
  readonly #parts: ChangesParts;
  readonly #changes: Change[] = [];
  readonly #clients: Clients;
  readonly #isFilling: boolean;
  #makes = 0;
  /** Namespaces whose making was acknowledged. */
  readonly #made: Made[] = [];
  /** Names of which somebody has asked that they be deleted. */
  readonly #dropped = new Set<string>();
  readonly #seen: SeenDocument[] = [];
  readonly #last = new Map<string, number>();
  #isOver = false;
  #isEnded = false;

  constructor(parts: ChangesParts) {
    this.#parts = parts;
    const { scheduler, chance, places, world } = parts;
    this.#isFilling = chance.happens(fillingShare);
    this.#clients = new Clients(scheduler, chance.fork(), { ...world, places, namespaceOf });
  }

  get #makesMax(): number {
    return this.#parts.world.isMoving ? makesMaxMoving : makesMax;
  }

  get clients(): Clients {
    return this.#clients;
  }

  /** Keys that were written in namespaces which have to be there in the end, the last of them. */
  get keys(): readonly SimKey[] {
    const names = this.#made
      .filter(({ name, n }) => n === this.#parts.n && !this.#dropped.has(name))
      .map(({ name }) => name);
    const keys = new Set(this.#clients.history.map(({ key }) => key));
    return [...keys]
      .map((key) => ({ namespace: namespaceOf(key), key }))
      .filter(({ namespace }) => names.includes(namespace))
      .slice(-finalKeysMax);
  }

  /** What was asked of the keys that are looked at. */
  get history(): readonly Operation[] {
    const keys = new Set(this.keys.map(({ key }) => key));
    return this.#clients.history.filter(({ key }) => keys.has(key));
  }

  begin(): void {
    if (this.#parts.gapMs === undefined) return;
    void this.#make(this.#parts.gapMs);
    void this.#watch();
  }

  /** Nobody begins another change. */
  stop(): void {
    this.#isOver = true;
  }

  /** Whether somebody still waits for an answer. */
  get isOpen(): boolean {
    return this.#changes.some(({ result }) => result === "open");
  }

  /** What was wrong, once all is well again. */
  check(places: readonly Place[]): readonly Violation[] {
    this.#isEnded = true;
    return checkDocuments({
      changes: this.#changes,
      seen: this.#seen,
      final: places.flatMap((place) => documentOf(place) ?? []),
      finalTick: this.#parts.scheduler.tick(),
      settingFirst: String(policyDefault.valueBytesMax),
    });
  }

  async #make(gapMs: number): Promise<void> {
    const { scheduler, chance, places } = this.#parts;
    while (!this.#isOver) {
      await scheduler.sleep(chance.between(0, 2 * gapMs));
      if (this.#isOver) return;
      const count = 1 + chance.below(atOnceMax);
      for (let made = 0; made < count; made += 1) this.#turn(chance.pick(places));
    }
  }

  #turn(place: Place): void {
    const { chance, n } = this.#parts;
    const number = this.#changes.length + 1;
    const isOfOne = this.#isFilling && this.#made.length > 0;
    const at = isOfOne ? chance.fraction() : 1;
    if (at < dropShare + fillShare) {
      const { name } = chance.pick(this.#made.slice(-madeLatelyMax));
      if (at < dropShare) this.#drop(place, name);
      else this.#fill(name);
    } else if (chance.happens(setShare) || this.#makes >= this.#makesMax) {
      const setting = settingLeast + number;
      this.#ask(place, "set", String(setting), (node) =>
        node.putNamespace(simNamespace, { valueBytesMax: setting }),
      );
    } else {
      this.#makes += 1;
      const made = { name: `made-${number}`, n: this.#isFilling ? chance.pick([1, n]) : 1 };
      this.#ask(place, "make", made.name, async (node) => {
        await node.putNamespace(made.name, { n: made.n });
        this.#made.push(made);
      });
    }
  }

  #drop(place: Place, name: string): void {
    this.#dropped.add(name);
    this.#ask(place, "drop", name, (node) => node.deleteNamespace(name));
  }

  /** Somebody writes some keys, and does not wait. */
  #fill(name: string): void {
    const { chance, places } = this.#parts;
    for (let count = 1 + chance.below(keysAtOnceMax); count > 0; count -= 1) {
      void this.#clients.ask({
        client: "maker",
        place: chance.pick(places),
        kind: "put",
        key: `${name}/${this.#clients.history.length + 1}`,
        level: "quorum",
        timeoutMs: chance.whole(200, timeoutMsMax),
        valueBytes: chance.below(valueBytesMax),
      });
    }
  }

  #ask(
    place: Place,
    kind: Change["kind"],
    what: string,
    run: (node: QuorateNode) => Promise<unknown>,
  ): void {
    const { life, node } = place;
    if (node === undefined || life === undefined) return;
    const { scheduler } = this.#parts;
    const change: Change = {
      kind,
      what,
      node: place.name,
      begun: scheduler.tick(),
      ended: undefined,
      result: "open",
    };
    this.#changes.push(change);
    const over = (result: Change["result"]): void => {
      if (change.result !== "open") return;
      forget();
      change.result = result;
      change.ended = scheduler.tick();
      scheduler.trace(`${kind} ${change.what} ${place.name}: ${result}`);
    };
    const forget = life.onDeath(() => over("unknown"));
    scheduler.after(
      0,
      () => {
        run(node).then(
          () => over("done"),
          (error) => over(QuorateError.from(error).outcome === "none" ? "none" : "unknown"),
        );
      },
      life,
    );
  }

  async #watch(): Promise<void> {
    while (!this.#isEnded) {
      await this.#parts.scheduler.sleep(lookEveryMs);
      for (const place of this.#parts.places) this.#look(place);
    }
  }

  #look(place: Place): void {
    const document = place.isReady ? documentOf(place) : undefined;
    if (document === undefined || this.#last.get(document.node) === document.epoch) return;
    this.#last.set(document.node, document.epoch);
    this.#seen.push(document);
  }
}

function namespaceOf(key: string): string {
  return key.slice(0, key.indexOf("/"));
}

/** How many numbers of deleted namespaces are not forgotten yet, by what a node has. */
export function deletedOf(node: QuorateNode): number {
  return node.queues().find(({ name }) => name === "deleted namespaces")?.held ?? 0;
}

function documentOf({
  name,
  node: running,
  hasLost,
  starts,
  disks,
}: Place): SeenDocument | undefined {
  if (running === undefined) return undefined;
  // One that has lost its disk may go back with it: each of its lives is somebody else.
  const node = hasLost ? `${name}, start ${starts}` : `${name}, disk ${disks}`;
  const [namespaces, ring] = [running.namespaces(), running.ring()];
  const setting = namespaces.find(({ name }) => name === simNamespace)?.policy.valueBytesMax;
  return {
    node,
    epoch: ring.epoch,
    namespaces: namespaces.map(({ name, number }) => ({ name, number })),
    setting: String(setting),
    deleted: deletedOf(running),
    rest: JSON.stringify([ring.members, namespaces.map(({ policy }) => policy)]),
  };
}
