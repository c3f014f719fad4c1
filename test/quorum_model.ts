/**
 * QuorumModel: a small cluster around the real machines, for one key, from one seed.
 *
 * Replicas, clocks, messages and crashes are simple here and exact: a replica keeps only what it has
 * synced, messages are delayed, lost and doubled, wall clocks jump, a coordinator dies with its
 * node, a replica may lose all it has and fill again. The decisions are those of `WriteQuorum` and
 * `ReadQuorum`. What clients saw is checked as it happens:
 *
 * - P2: a read returns no version below one acknowledged before it began; nor does a write get one.
 * - P3: a read returns no version below one that a read returned before it began.
 * - P7: after outcome `none` no replica ever holds the write; after `partial` one has held it.
 *
 * A mutant changes what the machines are told, or what is done of what they say.
 *
 * @module
 */

import { SimRandom } from "../sim/random.ts";
import { guardMs, type Hlc, hlcAt, hlcNext, hlcWallMs } from "../src/hlc.ts";
import { type WriteDecision, WriteQuorum } from "../src/quorum.ts";
import type { Lost, ReadReply, WriteReply, WriteSource } from "../src/quorum_message.ts";
import { AckCount, ReadQuorum } from "../src/quorum_read.ts";
import { compareVersions, type Version, versionText } from "../src/version.ts";

export type Mutant =
  | "none"
  | "mint at the first superseded"
  | "count a late took of the first version"
  | "no write-back"
  | "write back for r of all: n-r+1"
  | "a hint is an acknowledgement"
  | "count who does not count"
  | "answer before the sync"
  | "superseded is success at once"
  | "a lost message was never there"
  | "no second version"
  | "hints after outcome none";

export interface Found {
  readonly promise: "P2" | "P3" | "P7";
  readonly what: string;
}

interface Event {
  readonly atMs: number;
  readonly run: () => void;
}

interface Replica {
  synced: Version | undefined;
  held: Version | undefined;
  /** What to say when all is synced. */
  waiting: (() => void)[];
  counts: boolean;
  isUp: boolean;
  life: number;
  skewMs: number;
  last: Hlc;
  origin: bigint;
}

const deadlineMs = 1000;
const runMs = 6000;
const skewMaxMs = 400;

export class Model {
  readonly found: Found[] = [];
  /** How often what is rare has happened, by name. */
  readonly marks = new Map<string, number>();
  readonly #random: SimRandom;
  readonly #mutant: Mutant;
  readonly #n: number;
  readonly #replicas: Replica[];
  /** One message of so many is slow. */
  readonly #slowEvery: number;
  /** One message of so many is lost without a word. */
  readonly #fates: number;
  readonly #hasHints: boolean;
  readonly #events: Event[] = [];
  #nowMs = 100_000;
  #acknowledged: Version | undefined;
  #returned: Version | undefined;
  /** Every version that any replica has ever held. */
  readonly #everHeld = new Set<string>();
  readonly #everTaken = new Set<string>();
  readonly #absent = new Set<string>();

  constructor(seed: number, mutant: Mutant) {
    this.#random = new SimRandom(seed);
    this.#mutant = mutant;
    this.#slowEvery = [2, 4, 20][this.#random.below(3)] as number;
    this.#hasHints = this.#random.below(3) > 0;
    this.#fates = [10, 20, 40][this.#random.below(3)] as number;
    this.#n = [1, 2, 3, 3, 3, 4, 5][this.#random.below(7)] as number;
    this.#replicas = Array.from({ length: this.#n }, (_, index) => ({
      synced: undefined,
      held: undefined,
      waiting: [],
      counts: true,
      isUp: true,
      life: 0,
      skewMs: this.#skew(),
      last: 0n as Hlc,
      origin: BigInt(index + 1),
    }));
  }

  run(): void {
    for (let count = 0; count < 40; count += 1) {
      this.#after(this.#random.below(runMs), () => this.#write(this.#random.below(this.#n)));
      this.#after(this.#random.below(runMs), () => this.#read(this.#random.below(this.#n)));
    }
    for (let count = 0; count < 6; count += 1) {
      this.#after(this.#random.below(runMs), () => this.#disturb());
    }
    while (this.#events.length > 0 && this.found.length === 0) {
      const event = this.#events.shift() as Event;
      this.#nowMs = event.atMs;
      event.run();
    }
  }

  get #majority(): number {
    return Math.floor(this.#n / 2) + 1;
  }

  #mark(name: string): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  #skew(): number {
    const most = this.#random.below(6) === 0 ? 3 * skewMaxMs : skewMaxMs;
    return this.#random.below(2 * most) - most;
  }

  #after(delayMs: number, run: () => void): void {
    const atMs = this.#nowMs + delayMs;
    const at = this.#events.findIndex((event) => event.atMs > atMs);
    this.#events.splice(at === -1 ? this.#events.length : at, 0, { atMs, run });
  }

  #disturb(): void {
    const replica = this.#replicas[this.#random.below(this.#n)] as Replica;
    const kind = this.#random.below(4);
    if (kind === 0) replica.skewMs = this.#skew();
    else if (kind === 3 && this.#n >= 3) this.#wipe(replica);
    else {
      this.#crash(replica);
      this.#after(this.#random.below(1500), () => {
        replica.isUp = true;
      });
    }
  }

  #crash(replica: Replica): void {
    replica.held = replica.synced;
    replica.waiting = [];
    replica.isUp = false;
    replica.life += 1;
  }

  /** Loses all it has, one at a time; fills again when no request of before is under way (I4). */
  #wipe(replica: Replica): void {
    if (this.#replicas.some(({ counts }) => !counts)) return;
    this.#mark("wiped");
    this.#crash(replica);
    replica.synced = undefined;
    replica.held = undefined;
    replica.counts = false;
    replica.isUp = true;
    this.#after(2 * deadlineMs + this.#random.below(2000), () => this.#fill(replica));
  }

  #fill(replica: Replica): void {
    const sources = this.#replicas.filter((one) => one !== replica && one.counts);
    // From n-m+1 of them, drawn by chance.
    while (sources.length > this.#n - this.#majority + 1) {
      sources.splice(this.#random.below(sources.length), 1);
    }
    for (const { synced } of sources) {
      if (synced === undefined) continue;
      if (replica.held === undefined || compareVersions(synced, replica.held) > 0) {
        replica.held = synced;
      }
    }
    this.#sync(replica);
    replica.counts = true;
  }

  #mint(node: Replica): Version {
    const nowMs = this.#nowMs + node.skewMs;
    if (hlcWallMs(node.last) > nowMs + guardMs / 2) {
      node.origin = BigInt(1000 + this.#random.u32());
      node.last = 0n as Hlc;
    }
    const wall = hlcAt(nowMs);
    node.last = wall > node.last ? wall : hlcNext(node.last);
    return { hlc: node.last, origin: node.origin };
  }

  #mintAbove(node: Replica, { hlc }: Version): Version {
    if (hlcWallMs(hlc) > this.#nowMs + node.skewMs + guardMs / 2) {
      this.#mark("minted by V3");
      return { hlc: hlcNext(hlc), origin: BigInt(1000 + this.#random.u32()) };
    }
    if (hlc > node.last) node.last = hlc;
    return this.#mint(node);
  }

  /**
   * A message there and the answer back: lost, late, twice. `lost` is told when a link breaks. A link
   * delivers a client's write at most once (a copy of a refused one could be taken later, and "none"
   * would be untrue); everything else may come twice.
   */
  #send<Reply>(
    to: number,
    handle: (answer: (reply: Reply) => void) => void,
    back: (reply: Reply | Lost) => void,
    copiesMax = 2,
  ): void {
    const random = this.#random;
    const delay = (): number =>
      random.below(this.#slowEvery) === 0 ? random.below(900) : 1 + random.below(60);
    const fate = random.below(this.#fates);
    if (fate === 0) {
      this.#after(delay(), () => back({ kind: "lost", mayHold: false, detail: "no link" }));
      return;
    }
    if (fate === 1) return;
    if (fate === 2) {
      this.#after(delay(), () => back({ kind: "lost", mayHold: true, detail: "cut" }));
    }
    const isDoubled = fate === 3;
    const copies = isDoubled ? copiesMax : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      this.#after(delay(), () => {
        if (this.#replicas[to]?.isUp !== true) return;
        handle((reply) => {
          if (random.below(this.#fates) === 0) return;
          this.#after(delay(), () => back(reply));
          if (isDoubled) this.#after(delay(), () => back(reply));
        });
      });
    }
  }

  #take(
    to: number,
    version: Version,
    source: WriteSource,
    answer: (reply: WriteReply, counts: boolean) => void,
  ): void {
    const replica = this.#replicas[to] as Replica;
    const nowMs = this.#nowMs + replica.skewMs;
    if (source === "client" && hlcWallMs(version.hlc) > nowMs + guardMs) {
      this.#mark("clock skew");
      answer({ kind: "refused", reason: "clock-skew", detail: "" }, replica.counts);
      return;
    }
    const order = replica.held === undefined ? 1 : compareVersions(version, replica.held);
    if (order > 0) {
      replica.held = version;
      this.#holds(version);
    }
    const held = replica.held as Version;
    const { counts } = replica;
    const reply: WriteReply = order < 0 ? { kind: "superseded", version: held } : { kind: "took" };
    this.#whenSynced(replica, () => {
      // Taken, also when something newer stood above it by the time of the sync.
      if (reply.kind === "took") this.#everTaken.add(versionText(version));
      answer(reply, counts);
    });
  }

  #holds(version: Version): void {
    const text = versionText(version);
    this.#everHeld.add(text);
    if (this.#absent.has(text)) {
      this.found.push({ promise: "P7", what: `outcome none, and ${text} is there` });
    }
  }

  #whenSynced(replica: Replica, say: () => void): void {
    if (this.#mutant === "answer before the sync") say();
    else replica.waiting.push(say);
    const { life } = replica;
    this.#after(1 + this.#random.below(30), () => {
      if (replica.life === life) this.#sync(replica);
    });
  }

  #sync(replica: Replica): void {
    replica.synced = replica.held;
    const said = replica.waiting;
    replica.waiting = [];
    for (const say of said) say();
  }

  #write(at: number): void {
    const node = this.#replicas[at] as Replica;
    if (!node.isUp) return;
    const { life } = node;
    const floor = this.#acknowledged;
    const needed = this.#majority + this.#random.below(this.#n - this.#majority + 1);
    const quorum = new WriteQuorum({ replicas: this.#n, needed, isStrict: true });
    const versions: Version[] = [this.#mint(node)];
    let isEnded = false;
    const end = (decision: WriteDecision): void => {
      if (decision.kind === "done") this.#wrote(versions, floor);
      if (decision.kind === "failed") this.#failed(versions, decision.outcome);
      this.#after(deadlineMs, () => {
        if (node.life !== life || !this.#hasHints) return;
        const targets =
          this.#mutant === "hints after outcome none"
            ? this.#replicas.map((_, index) => index)
            : quorum.hints;
        for (const to of targets) {
          this.#mark("hint");
          const last = versions[versions.length - 1] as Version;
          this.#send(
            to,
            () => this.#take(to, last, "hint", () => {}),
            () => {},
          );
        }
      });
    };
    const step = (to: number, round: number, told: WriteReply | Lost, counts: boolean): void => {
      if (node.life !== life) return;
      const before = quorum.decision.kind;
      if (before === "done" || before === "failed") {
        quorum.step(to, round, told, counts);
        return;
      }
      const decision = this.#told(quorum, { to, round, told, counts });
      if (decision.kind === "again") {
        this.#mark("second version");
        versions.push(
          this.#mutant === "no second version"
            ? (versions[0] as Version)
            : this.#mintAbove(node, decision.above),
        );
        quorum.second();
        sendAll("client-again");
      }
      if (!isEnded && (decision.kind === "done" || decision.kind === "failed")) {
        isEnded = true;
        end(decision);
      }
    };
    const sendAll = (source: WriteSource): void => {
      const { round } = quorum;
      const version = versions[versions.length - 1] as Version;
      for (let to = 0; to < this.#n; to += 1) {
        this.#send<{ reply: WriteReply; counts: boolean }>(
          to,
          (answer) => this.#take(to, version, source, (reply, counts) => answer({ reply, counts })),
          (told) => {
            if ("kind" in told) step(to, round, told, false);
            else step(to, round, told.reply, told.counts);
          },
          1,
        );
      }
    };
    sendAll("client");
    this.#after(deadlineMs, () => {
      if (node.life !== life || isEnded) return;
      isEnded = true;
      this.#mark("write timeout");
      end(quorum.expire());
    });
  }

  /** Tells the machine, as the mutant has it. */
  #told(
    quorum: WriteQuorum,
    {
      to,
      round,
      told,
      counts,
    }: { to: number; round: number; told: WriteReply | Lost; counts: boolean },
  ): WriteDecision {
    switch (this.#mutant) {
      case "mint at the first superseded": {
        const isFirst = !quorum.isSecond && told.kind === "superseded";
        let decision = quorum.step(to, round, told, counts);
        for (let other = 0; isFirst && other < this.#n && decision.kind === "wait"; other += 1) {
          decision = quorum.step(other, round, told, true);
        }
        return decision;
      }
      case "count a late took of the first version":
        if (told.kind === "took") return quorum.step(to, quorum.round, told, counts);
        return quorum.step(to, round, told, counts);
      case "a hint is an acknowledgement":
        if (told.kind !== "lost") return quorum.step(to, round, told, counts);
        return quorum.step(to, round, { kind: "took" }, true);
      case "count who does not count":
        return quorum.step(to, round, told, true);
      case "superseded is success at once":
        if (told.kind !== "superseded") return quorum.step(to, round, told, counts);
        return quorum.step(to, round, { kind: "took" }, counts);
      case "a lost message was never there":
        if (told.kind !== "lost") return quorum.step(to, round, told, counts);
        return quorum.step(to, round, { ...told, mayHold: false }, counts);
      default:
        return quorum.step(to, round, told, counts);
    }
  }

  #wrote(versions: readonly Version[], floor: Version | undefined): void {
    this.#mark("write");
    const last = versions[versions.length - 1] as Version;
    if (floor !== undefined && compareVersions(last, floor) < 0) {
      this.found.push({ promise: "P2", what: "a write got a version below an earlier one" });
    }
    if (this.#acknowledged === undefined || compareVersions(last, this.#acknowledged) > 0) {
      this.#acknowledged = last;
    }
  }

  #failed(versions: readonly Version[], outcome: string): void {
    this.#mark(`failed ${outcome}`);
    const texts = versions.map(versionText);
    if (outcome === "none") {
      for (const text of texts) this.#absent.add(text);
      if (texts.some((text) => this.#everHeld.has(text))) {
        this.found.push({ promise: "P7", what: "outcome none, and it was there" });
      }
    }
    const isOvertaken = versions.length > 1;
    if (outcome === "partial" && !isOvertaken && !texts.some((text) => this.#everTaken.has(text))) {
      this.found.push({ promise: "P7", what: "outcome partial, and it was nowhere" });
    }
  }

  #read(at: number): void {
    const node = this.#replicas[at] as Replica;
    if (!node.isUp) return;
    const { life } = node;
    const floors = [this.#acknowledged, this.#returned];
    const needed = this.#majority + this.#random.below(this.#n - this.#majority + 1);
    const quorum = new ReadQuorum(
      { replicas: this.#n, needed, isStrict: true },
      hlcAt(this.#nowMs),
    );
    const order = this.#shuffled();
    let isEnded = false;
    const askMore = (): void => {
      // Sometimes more than are needed, as a hedge does.
      let count = quorum.toAsk + (this.#random.below(4) === 0 ? 1 : 0);
      for (const to of order) {
        if (count <= 0) return;
        if (quorum.hasAsked(to)) continue;
        count -= 1;
        quorum.ask(to);
        this.#send<{ reply: ReadReply; counts: boolean }>(
          to,
          (answer) => {
            const replica = this.#replicas[to] as Replica;
            const { held, counts } = replica;
            const reply: ReadReply =
              held === undefined
                ? { kind: "nothing" }
                : { kind: "found", version: held, tombstone: false };
            this.#whenSynced(replica, () => answer({ reply, counts }));
          },
          (told) => {
            if ("kind" in told) step(to, told, false);
            else step(to, told.reply, told.counts);
          },
        );
      }
    };
    const step = (to: number, told: ReadReply | Lost, counts: boolean): void => {
      if (node.life !== life || isEnded) return;
      const isCounted = this.#mutant === "count who does not count" ? true : counts;
      const decision = quorum.step(to, told, isCounted, undefined);
      if (decision.kind === "wait") askMore();
      if (decision.kind === "failed") isEnded = true;
      if (decision.kind !== "answer") return;
      isEnded = true;
      const version = decision.found?.version;
      let more = decision.writeBack;
      if (this.#mutant === "no write-back") more = 0;
      if (this.#mutant === "write back for r of all: n-r+1") {
        more = Math.max(0, this.#n - needed + 1 - decision.holders.length);
      }
      if (more === 0 || version === undefined) this.#saw(version, floors);
      else this.#writeBack({ version, more, holders: decision.holders }, floors);
    };
    askMore();
  }

  #writeBack(
    { version, more, holders }: { version: Version; more: number; holders: readonly number[] },
    floors: readonly (Version | undefined)[],
  ): void {
    this.#mark("write-back");
    const targets = this.#shuffled().filter((to) => !holders.includes(to));
    const acks = new AckCount(more, targets);
    let isEnded = false;
    for (const to of targets) {
      this.#send<{ reply: WriteReply; counts: boolean }>(
        to,
        (answer) =>
          this.#take(to, version, "write-back", (reply, counts) => answer({ reply, counts })),
        (told) => {
          const isAck = !("kind" in told) && told.counts;
          if (acks.step(to, isAck) !== "done" || isEnded) return;
          isEnded = true;
          this.#saw(version, floors);
        },
      );
    }
  }

  #saw(version: Version | undefined, floors: readonly (Version | undefined)[]): void {
    this.#mark("read");
    for (const [index, floor] of floors.entries()) {
      if (floor === undefined) continue;
      if (version !== undefined && compareVersions(version, floor) >= 0) continue;
      this.found.push({ promise: index === 0 ? "P2" : "P3", what: "a read went back" });
    }
    if (version === undefined) return;
    if (this.#returned === undefined || compareVersions(version, this.#returned) > 0) {
      this.#returned = version;
    }
  }

  #shuffled(): number[] {
    const order = this.#replicas.map((_, index) => index);
    for (let index = order.length - 1; index > 0; index -= 1) {
      const other = this.#random.below(index + 1);
      [order[index], order[other]] = [order[other] as number, order[index] as number];
    }
    return order;
  }
}
