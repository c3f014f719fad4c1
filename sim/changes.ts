/**
 * Changes: operators who make namespaces, and change the policy of one, at the same time through
 * different nodes; and what the nodes have of the document that all of them share.
 *
 * Each namespace has a name that no other has, and each policy a value. What has to become of them is in
 * `check_documents.ts`.
 *
 * Effects: none; requests reach the nodes in events of their processes.
 *
 * @module
 */

import { QuorateError } from "../src/errors.ts";
import { policyDefault } from "../src/topology.ts";
import type { Chance } from "./chance.ts";
import { type Change, checkDocuments, type SeenDocument } from "./check_documents.ts";
import { simNamespace } from "./client.ts";
import type { Place } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Violation } from "./violation.ts";

export interface ChangesParts {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly places: readonly Place[];
  /** How long lies between two rounds, on average; undefined: nobody changes anything. */
  readonly gapMs: number | undefined;
}

const atOnceMax = 3;
/** How many of the changes set the policy that all share: any value is more than the clients' values. */
const setShare = 0.4;
const settingLeast = 2 * 1024 * 1024;
const lookEveryMs = 100;

export class Changes {
  readonly #parts: ChangesParts;
  readonly #changes: Change[] = [];
  readonly #seen: SeenDocument[] = [];
  readonly #last = new Map<string, number>();
  #isOver = false;
  #isEnded = false;

  constructor(parts: ChangesParts) {
    this.#parts = parts;
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
      for (let made = 0; made < count; made += 1) this.#ask(chance.pick(places));
    }
  }

  #ask(place: Place): void {
    const { life, node } = place;
    if (node === undefined || life === undefined) return;
    const { scheduler, chance } = this.#parts;
    const number = this.#changes.length + 1;
    const kind = chance.happens(setShare) ? "set" : "make";
    const valueBytesMax = settingLeast + number;
    const change: Change = {
      kind,
      what: kind === "make" ? `made-${number}` : String(valueBytesMax),
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
        const asked =
          kind === "make"
            ? node.putNamespace(change.what, { n: 1 })
            : node.putNamespace(simNamespace, { valueBytesMax });
        asked.then(
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
  const namespaces = running.namespaces();
  const setting = namespaces.find(({ name }) => name === simNamespace)?.policy.valueBytesMax;
  return {
    node,
    epoch: running.ring().epoch,
    namespaces: namespaces.map(({ name, number }) => ({ name, number })),
    setting: String(setting),
  };
}
