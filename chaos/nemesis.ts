/**
 * Nemesis: makes the troubles of a list come true for a real cluster, each at its time, and heals all.
 *
 * Invariants
 * 1. `heal` takes back everything that a trouble has done.
 * 2. After it nothing goes wrong any more.
 *
 * Effects: those of the stage; timers.
 *
 * @module
 */

import type { CrewMember } from "../src/cli_demo_crew.ts";
import type { Stage } from "./stage.ts";
import { clockOffsetMs, type Trouble, troubleText } from "./trouble.ts";

export interface NemesisParts {
  readonly stage: Stage;
  readonly tell: (line: string) => void;
}

export class Nemesis {
  readonly #parts: NemesisParts;
  readonly #timers = new Set<NodeJS.Timeout>();
  #isOver = false;
  /** Nodes that a trouble has taken down, and will bring back. */
  readonly #isDown = new Set<CrewMember>();

  /** The last trouble of a disk or a clock. */
  readonly #last = new Map<string, Trouble>();

  constructor(parts: NemesisParts) {
    this.#parts = parts;
  }

  /** Plans every trouble of a list, its times counted from now. */
  begin(troubles: readonly Trouble[]): void {
    for (const trouble of troubles) this.#later(trouble.atMs, () => this.#make(trouble));
  }

  /** Whether a node is down by a trouble, and comes back by itself. */
  hasDown(member: CrewMember): boolean {
    return this.#isDown.has(member);
  }

  /** No more of it: ways, disk and clocks are well, and all nodes run. */
  async heal(): Promise<void> {
    this.#isOver = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const { crew, network, disk, clocks } = this.#parts.stage;
    network.heal();
    disk?.free();
    for (const clock of clocks) clock.set(0);
    for (const member of crew.members) {
      member.resume();
      if (this.#isDown.has(member)) await member.child.ended;
      member.start();
    }
    this.#isDown.clear();
  }

  #make(trouble: Trouble): void {
    const { crew, network } = this.#parts.stage;
    const { kind, lastsMs } = trouble;
    const member = crew.members[trouble.one] as CrewMember;
    switch (kind) {
      case "isolate":
      case "split":
      case "cut pair":
      case "one way":
      case "slow node":
        this.#tell(trouble);
        network.begin(trouble);
        this.#later(lastsMs, () => network.end(trouble));
        return;
      case "half open":
        this.#tell(trouble);
        network.halfOpen(trouble.one);
        return;
      case "reset":
        this.#tell(trouble);
        network.reset(trouble.one);
        return;
      case "kill all":
        this.#tell(trouble);
        crew.members.forEach((each, index) => {
          // Not all at once: one is up alone for a while.
          const share = 0.25 + (index * 0.75) / crew.members.length;
          this.#kill(each, lastsMs * share);
        });
        return;
      default:
        this.#trouble(member, trouble);
    }
  }

  /** What meets one node. */
  #trouble(member: CrewMember, trouble: Trouble): void {
    const { disk, clocks } = this.#parts.stage;
    const { kind, lastsMs, one } = trouble;
    switch (kind) {
      case "kill":
        if (!member.isRunning) return;
        this.#tell(trouble);
        this.#kill(member, lastsMs);
        return;
      case "restart":
        if (!member.isRunning || member.isRestarting) return;
        this.#tell(trouble);
        void member.restart();
        return;
      case "stall":
        if (!member.pause()) return;
        this.#tell(trouble);
        this.#later(lastsMs, () => void member.resume());
        return;
      case "clock jump":
        this.#tell(trouble);
        clocks[one]?.set(clockOffsetMs(trouble));
        this.#untilOver(`clock ${one}`, trouble, () => clocks[one]?.set(0));
        return;
      case "disk full":
        this.#tell(trouble);
        disk?.fill();
        this.#untilOver("disk", trouble, () => disk?.free());
        return;
      default:
        return;
    }
  }

  #kill(member: CrewMember, downMs: number): void {
    if (!member.isRunning) return;
    this.#isDown.add(member);
    member.kill();
    this.#later(downMs, () => {
      // One that was killed a moment ago may not be gone yet.
      void member.child.ended.then(() => {
        if (this.#isOver) return;
        this.#isDown.delete(member);
        member.start();
      });
    });
  }

  /** Takes back what a trouble did to a thing, unless another one has come upon it since. */
  #untilOver(thing: string, trouble: Trouble, undo: () => void): void {
    this.#last.set(thing, trouble);
    this.#later(trouble.lastsMs, () => {
      if (this.#last.get(thing) === trouble) undo();
    });
  }

  #tell(trouble: Trouble): void {
    this.#parts.tell(troubleText(trouble));
  }

  #later(delayMs: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#isOver) run();
    }, delayMs);
    this.#timers.add(timer);
  }
}
