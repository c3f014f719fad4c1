/**
 * Nemesis: makes the troubles of a list come true, each at its time.
 *
 * Invariants
 * 1. A run with the same seed and the same list is the same run.
 * 2. `heal` takes back everything that a trouble has done, but for what is lost.
 *
 * Effects: none; it acts on the world that it is given.
 *
 * @module
 */

import type { SimNetwork } from "./network.ts";
import { type Place, worldStartMs } from "./place.ts";
import type { Scheduler } from "./scheduler.ts";
import { missedShare, type Trouble, type TroubleKind, troubleText } from "./trouble_list.ts";

export interface NemesisParts {
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly places: readonly Place[];
  /** How many replicas a key has. */
  readonly replicas: number;
  /** Has a key, or each, read through a node, at a moment at which it could be read wrongly. */
  readonly readNow: (place: Place, key?: string) => void;
  /** Whether a place is a member, and no newcomer. */
  readonly isSettled: (place: Place) => boolean;
  /** After so long all who can be reached have heard, by a heartbeat, how far a store had come. */
  readonly heardMs: number;
}

/** Whether a node was told is looked at so often. */
const tellPollMs = 10;
/** How long a copy is held back until others have heard of what it lacks. */
const hearMsMax = 2000;
/** How long one that has lost its data is left alone with one that has missed it. */
const withoutMs = 2500;
/** So many deaths come as soon as the node has acknowledged a write. */
const rightAfterShare = 0.5;
/** After so many of the syncs that fail the power goes too. */
const powerAfterShare = 0.7;
/** So many flips are in what was logged last. */
const tailFlipShare = 0.5;
/** For so long a node has been out of reach when it misses what is then damaged elsewhere. */
const missingMs = 300;
/** What could be read wrongly is read so often. */
const readMs = 30;
/** For so long one is down whose log was damaged at its end. */
const flippedMs = 50;
/** A clock that is behind by so much is still behind when it meets what it has missed. */
const behindMs = 8000;

/** A trouble, whom it meets, and another one. */
interface Met extends Pick<Trouble, "lastsMs" | "much"> {
  readonly place: Place;
  readonly other: Place;
}

/** A node whose disk is put back, and the others; `other` is left with it, and has missed all where `isMissing`. */
interface PutBack extends Met {
  readonly rest: readonly Place[];
  readonly isMissing: boolean;
}

export class Nemesis {
  readonly #parts: NemesisParts;
  #isOver = false;
  /** Who has to be told first what others remember of it: until then nothing else goes wrong. */
  #toBeTold: Place | undefined;

  constructor(parts: NemesisParts) {
    this.#parts = parts;
  }

  /** Plans every trouble of a list, its times counted from now. */
  begin(troubles: readonly Trouble[]): void {
    const { scheduler, network } = this.#parts;
    network.begin();
    for (const trouble of troubles) {
      scheduler.after(trouble.atMs, () => {
        if (this.#mustRest) return;
        scheduler.trace(`trouble: ${troubleText(trouble)}`);
        this.#make(trouble);
      });
    }
  }

  /** No more of it: the network and the disks are well, the clocks are right, and all run. */
  heal(): void {
    this.#isOver = true;
    const { network, places } = this.#parts;
    network.heal();
    for (const place of places) place.heal();
  }

  #make(trouble: Trouble): void {
    const { places } = this.#parts;
    const place = places[trouble.one % places.length] as Place;
    const other = places[trouble.other % places.length] as Place;
    this.#acts[trouble.kind]({ ...trouble, place, other });
  }

  /** What each kind of trouble does. */
  readonly #acts: Readonly<Record<TroubleKind, (met: Met) => void>> = {
    kill: (met) => this.#die(met, "kill"),
    "power loss": (met) => this.#die(met, "power loss"),
    "power loss in a sync": (met) => this.#dieInSync(met),
    "kill all": ({ lastsMs }) => this.#down(this.#parts.places, "kill", lastsMs),
    "power loss of all": ({ lastsMs }) => this.#down(this.#parts.places, "power loss", lastsMs),
    restart: (met) => this.#restart(met),
    isolate: (met) => this.#isolate(met),
    split: (met) => this.#split(met),
    "cut pair": ({ place, other, lastsMs }) => this.#blockFor(place, other, lastsMs),
    "one way": (met) => this.#blockOneWay(met),
    reset: ({ place, other }) => this.#parts.network.cut(place.address, other.address),
    stall: ({ place, lastsMs }) => place.life?.stall(lastsMs),
    "slow node": (met) => this.#slowNode(met),
    "slow disk": (met) => this.#slowDisk(met),
    "clock jump": (met) => this.#jump(met),
    "clock stop": (met) => this.#stopClock(met),
    "disk fault": (met) => this.#failCall(met),
    "sync fault": (met) => this.#failSync(met),
    "disk full": (met) => this.#fill(met),
    "table at the commit before": (met) => this.#rollTableBack(met),
    "bit flip": (met) => this.#flipBit(met),
    "roll back": (met) => this.#rollBack(met),
    "table damage": (met) => this.#damageTable(met),
  };

  #die({ place, lastsMs, much }: Met, how: "kill" | "power loss"): void {
    if (much >= rightAfterShare) {
      this.#down([place], how, lastsMs);
      return;
    }
    // What it sent and nobody has yet is lost, though its client was told.
    place.afterNextWrite(
      () => {
        if (!this.#mustRest) this.#down([place], how, lastsMs);
      },
      much < rightAfterShare / 2 ? "any" : "again",
    );
  }

  #dieInSync({ place, lastsMs, much }: Met): void {
    place.inNextSync(() => {
      if (this.#mustRest) return;
      this.#down(much < 0.5 ? [place] : this.#parts.places, "power loss", lastsMs);
    });
  }

  #restart({ place, lastsMs }: Met): void {
    place.isKept = false;
    void place.close().then(() => {
      // One that took until all was healed is started at once.
      if (this.#isOver) place.start();
      else this.#later(lastsMs / 4, () => place.start());
    });
  }

  #isolate({ place, lastsMs }: Met): void {
    for (const each of this.#parts.places) if (each !== place) this.#blockFor(place, each, lastsMs);
  }

  #split({ lastsMs, much }: Met): void {
    const { places } = this.#parts;
    const side = places.filter((_, index) => (index + Math.floor(much * 8)) % 2 === 0);
    for (const each of side) {
      for (const far of places) if (!side.includes(far)) this.#blockFor(each, far, lastsMs);
    }
  }

  #blockOneWay({ place, other, lastsMs }: Met): void {
    const { network } = this.#parts;
    network.block(place.address, other.address);
    this.#later(lastsMs, () => network.unblock(place.address, other.address));
  }

  #slowNode({ place, lastsMs, much }: Met): void {
    const { network } = this.#parts;
    network.slow(place.address, 1 + 20 * much);
    this.#later(lastsMs, () => network.slow(place.address, 1));
  }

  #slowDisk({ place, lastsMs, much }: Met): void {
    place.diskFactor = 1 + 300 * much;
    this.#later(lastsMs, () => {
      place.diskFactor = 1;
    });
  }

  #jump({ place, lastsMs, much }: Met): void {
    const rangeMs = lastsMs % 2 === 0 ? 2000 : 7_200_000;
    place.wall.set((much - 0.5) * rangeMs, worldStartMs);
  }

  #stopClock({ place, lastsMs }: Met): void {
    place.wall.stop();
    this.#later(lastsMs, () => place.wall.set(0, worldStartMs));
  }

  #failCall({ place, much }: Met): void {
    place.isFaulty = true;
    place.disk.failCall(1 + Math.floor(much * much * 60), { code: "EIO" });
  }

  #failSync({ place, lastsMs, much }: Met): void {
    place.isFaulty = true;
    place.disk.failNext("file.sync", "wal/", { code: "EIO" });
    // What the sync was for may be on the disk or not: a power loss a moment later shows it.
    if (much >= powerAfterShare) return;
    this.#later(much * 4000, () => {
      if (!this.#mustRest) this.#down([place], "power loss", lastsMs);
    });
  }

  #fill({ place, lastsMs, much }: Met): void {
    place.isFaulty = true;
    place.disk.fill(Math.floor(much * 64) * 1024);
    this.#later(lastsMs, () => {
      place.disk.totalBytes = 2 ** 40;
    });
  }

  #rollTableBack({ place, lastsMs }: Met): void {
    place.isKept = false;
    place.tableRollBack();
    this.#later(lastsMs / 2, () => place.start());
  }

  #flipBit({ place, other, lastsMs, much }: Met): void {
    if (much < tailFlipShare) this.#flipTail(place, other);
    else if (this.#mayLose(place)) {
      this.#flip(place, (much - tailFlipShare) / (1 - tailFlipShare), lastsMs / 4);
    }
  }

  #damageTable({ place, lastsMs, much }: Met): void {
    if (!this.#mayLose(place)) return;
    place.isKept = false;
    place.damageTable(much);
    this.#later(lastsMs / 4, () => place.start());
  }

  /** Only one node's disk may lose what it had: the others have to have it all. */
  #mayLose(place: Place): boolean {
    const { places, replicas } = this.#parts;
    if (!place.isWanted || replicas < 3 || !this.#parts.isSettled(place)) return false;
    return places.every((each) => each === place || !each.hasLost);
  }

  /**
   * A copy is taken now, and put back after a while, in which another node may miss everything, with a
   * clock that is behind. The node that is put back is told so while all the others are up; what nobody had
   * heard of, or only others that cannot be asked, is beyond what is promised (I3). For a while it is then alone
   * with the one that has missed it all; where nobody has missed anything it now and then
   * reaches one other alone, which is not enough to fill (G6). Nothing else goes wrong until then.
   */
  #rollBack({ place, other, lastsMs, much }: Met): void {
    const { places, network } = this.#parts;
    if (!this.#mayLose(place) || network.hasBlocks) return;
    if (places.some(({ isReady, isWanted }) => isWanted && !isReady)) return;
    this.#toBeTold = place;
    place.backUp();
    const isMissing = other !== place && much < missedShare;
    // Where all are there, watermarks rise meanwhile, and deletes are dropped that the copy knows nothing of.
    const missedMs = isMissing ? Math.min(3000, 500 + lastsMs) : Math.min(9000, 2000 + 2 * lastsMs);
    const rest = places.filter((each) => each !== other && each !== place);
    // Who has missed it must not get it from the others while the one put back is left alone with it.
    if (isMissing) for (const each of [place, ...rest]) this.#block(other, each);
    // What it writes later is below what it has missed, and one that forgot that could take it.
    if (isMissing && much < 0.3) other.wall.set(-behindMs, worldStartMs);
    const giveUpMs = this.#parts.scheduler.nowMs + missedMs + hearMsMax;
    const putBack = (): void => {
      const mayLose = this.#mayLose(place);
      const isKnown = place.isBackupKnown(this.#parts.heardMs);
      if (mayLose && !isKnown && this.#parts.scheduler.nowMs < giveUpMs) {
        this.#later(tellPollMs, putBack);
        return;
      }
      if (isMissing) this.#unblock(other, place);
      // A disk may have been replaced meanwhile, and two losses are more than anybody promises to survive.
      if (!mayLose || !isKnown) {
        this.#toBeTold = undefined;
        if (isMissing) for (const each of rest) this.#unblock(other, each);
        return;
      }
      place.rollBack();
      place.start();
      this.#whenTold(place, () =>
        this.#leaveAlone({ place, other, rest, isMissing, lastsMs, much }),
      );
    };
    this.#later(missedMs, putBack);
  }

  /** What befalls the one that was put back, and that has been told so, while it is alone with another one. */
  #leaveAlone({ place, other, rest, isMissing, lastsMs, much }: PutBack): void {
    // Now and then it dies while it fills, and begins with what it had kept of that.
    const dies = lastsMs % 3 === 0;
    const aloneMs = dies ? 2 * withoutMs : withoutMs;
    // Or it reaches one other alone, which is not enough to fill, and that one compares with it (G6).
    const isApart = !isMissing && lastsMs % 2 === 1;
    if (isApart) this.#blockFor(place, other, aloneMs);
    if (dies) {
      this.#later(withoutMs / 4, () => {
        place.isKept = false;
        place.powerLoss();
        this.#later(flippedMs, () => place.start());
      });
    }
    this.#later(aloneMs - withoutMs / 2, () => this.#parts.readNow(other));
    const [third] = rest;
    if (isMissing && third !== undefined && much < 0.5) {
      third.isKept = false;
      third.kill();
      this.#later(aloneMs, () => third.start());
    }
    this.#later(aloneMs, () => {
      this.#toBeTold = undefined;
      for (const each of rest) this.#unblock(other, each);
    });
  }

  get #mustRest(): boolean {
    return this.#isOver || this.#toBeTold !== undefined;
  }

  #flip(place: Place, much: number | "tail", awayMs: number): void {
    place.isKept = false;
    place.kill();
    place.flip(much);
    this.#later(awayMs, () => place.start());
  }

  /**
   * What a node has just acknowledged is damaged, and it dies: as if the end of its log were torn. Another
   * one has missed it, and reaches nobody else until the first one has compared what it holds with the
   * rest (D3).
   */
  #flipTail(place: Place, other: Place): void {
    const { places, network, readNow } = this.#parts;
    if (other === place || !this.#mayLose(place) || network.hasBlocks) return;
    if (places.some(({ isReady }) => !isReady)) return;
    this.#toBeTold = place;
    const others = places.filter((each) => each !== other);
    for (const each of others) this.#block(other, each);
    let isWaiting = true;
    const over = (): void => {
      this.#toBeTold = undefined;
      for (const each of others) this.#unblock(other, each);
    };
    this.#later(missingMs + withoutMs, () => {
      if (isWaiting) over();
    });
    this.#later(missingMs, () => {
      place.afterNextWrite((key) => {
        if (this.#toBeTold !== place || this.#isOver) return;
        isWaiting = false;
        // A disk may have been replaced meanwhile: see `#rollBack`.
        if (!this.#mayLose(place)) return over();
        this.#flip(place, "tail", flippedMs);
        // What was on its way was lost with the process.
        this.#unblock(other, place);
        const read = (): void => {
          if (this.#toBeTold !== place || this.#isOver) return;
          readNow(other, key);
          this.#later(readMs, read);
        };
        this.#later(flippedMs, read);
        this.#whenTold(place, () => this.#later(missingMs, over));
      });
    });
  }

  /** When it has been told what the others remember of it. */
  #whenTold(place: Place, run: () => void): void {
    if (this.#isOver) return;
    if (place.isTold) run();
    else this.#parts.scheduler.after(tellPollMs, () => this.#whenTold(place, run));
  }

  #down(places: readonly Place[], how: "kill" | "power loss", lastsMs: number): void {
    for (const [index, place] of places.entries()) {
      place.isKept = false;
      if (how === "kill") place.kill();
      else place.powerLoss();
      // Not all at once: one is up alone for a while.
      this.#later(lastsMs * (0.25 + (index * 0.75) / places.length), () => place.start());
    }
  }

  #blockFor(one: Place, other: Place, lastsMs: number): void {
    this.#block(one, other);
    this.#later(lastsMs, () => this.#unblock(one, other));
  }

  #block(one: Place, other: Place): void {
    const { network } = this.#parts;
    network.block(one.address, other.address);
    network.block(other.address, one.address);
  }

  #unblock(one: Place, other: Place): void {
    const { network } = this.#parts;
    network.unblock(one.address, other.address);
    network.unblock(other.address, one.address);
  }

  #later(delayMs: number, run: () => void): void {
    this.#parts.scheduler.after(delayMs, () => {
      if (!this.#isOver) run();
    });
  }
}
