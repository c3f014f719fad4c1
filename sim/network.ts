/**
 * SimNetwork: streams between the nodes of a simulated world, over wires that fail.
 *
 * A stream is a connection as TCP and HTTP/2 give it: frames arrive in order, each way on its own
 * wire. A wire that is blocked delivers nothing and says nothing; what was on it comes late, when it
 * is opened again, or never, when one of the ends has noticed meanwhile. Ends notice by pings, whose
 * answers take the same way. An end whose process was killed says so; one whose power failed does not.
 *
 *     dial --syn--> is somebody there? --ack--> frames both ways ... fin, reset, or a ping unanswered
 *
 * Invariants
 * 1. A frame is lost only with all after it; none arrives twice, and none after the end.
 * 2. A sink hears one end.
 * 3. What is under way on a wire is at most `windowBytes` and one frame: who sends more waits.
 *
 * Effects: none; time passes in the scheduler. Source: the real network, `src/rpc_network.ts`.
 *
 * @module
 */

import type {
  AcceptedStream,
  FrameSink,
  FrameSource,
  Network,
  PeerStream,
} from "../src/capability.ts";
import type { Chance } from "./chance.ts";
import type { EventOwner, Scheduler } from "./scheduler.ts";

export interface NetworkKnobs {
  /** The time on a wire, each way. */
  readonly leastMs: number;
  readonly mostMs: number;
  /** How often a message takes up to `slowFactor` times as long. */
  readonly slowShare: number;
  readonly slowFactor: number;
  readonly bytesPerMs: number;
  readonly windowBytes: number;
  readonly pingPeriodMs: number;
  /** How long the answer to a ping, or to a dial, is waited for. */
  readonly answerMsMax: number;
}

/** A kernel tries again after a while; what it waited for may be open again long before. */
const resendMsMax = 400;

/** How another node's stream is taken. */
export type Accept = (stream: AcceptedStream) => {
  readonly source: FrameSource;
  readonly sink: FrameSink;
};

type Item =
  | { readonly kind: "frame"; readonly bytes: Uint8Array }
  | { readonly kind: "fin"; readonly reason: string }
  | { readonly kind: "ping" | "pong" };

interface Listener {
  readonly accept: Accept;
  readonly owner: EventOwner;
}

export class SimNetwork {
  readonly #scheduler: Scheduler;
  readonly #chance: Chance;
  readonly knobs: NetworkKnobs;
  readonly #listeners = new Map<string, Listener>();
  readonly #blocked = new Set<string>();
  /** How many times as long the messages from and to an address take. */
  readonly #factors = new Map<string, number>();
  readonly #connections = new Set<Connection>();
  /** Whether no message takes longer than usual. */
  #isWell = true;

  constructor(scheduler: Scheduler, chance: Chance, knobs: NetworkKnobs) {
    this.#scheduler = scheduler;
    this.#chance = chance;
    this.knobs = knobs;
  }

  listen(address: string, accept: Accept, owner: EventOwner): void {
    this.#listeners.set(address, { accept, owner });
  }

  /** The network as a process at an address has it. */
  from(address: string, owner: EventOwner): Network {
    return {
      dial: (target, source, sink) => this.#dial(address, target, { source, sink, owner }),
    };
  }

  /** The process at an address is gone; after a power loss the others are not told. */
  gone(address: string, how: "kill" | "power loss"): void {
    this.#listeners.delete(address);
    for (const connection of [...this.#connections]) connection.abandon(address, how === "kill");
  }

  block(source: string, target: string): void {
    this.#blocked.add(`${source} ${target}`);
  }

  unblock(source: string, target: string): void {
    this.#blocked.delete(`${source} ${target}`);
    this.#resume();
  }

  isBlocked(source: string, target: string): boolean {
    return this.#blocked.has(`${source} ${target}`);
  }

  get hasBlocks(): boolean {
    return this.#blocked.size > 0;
  }

  slow(address: string, factor: number): void {
    this.#factors.set(address, factor);
  }

  /** Ends the streams between two addresses; what was on the wires is lost. */
  cut(one: string, other: string): void {
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(one, other)) connection.cut();
    }
  }

  /** From now on some messages take longer. */
  begin(): void {
    this.#isWell = false;
  }

  /** Nothing is blocked or slow from now on. */
  heal(): void {
    this.#isWell = true;
    this.#blocked.clear();
    this.#factors.clear();
    this.#resume();
  }

  get latencyMsMax(): number {
    const { mostMs, slowShare, slowFactor } = this.knobs;
    return slowShare > 0 ? mostMs * slowFactor : mostMs;
  }

  latencyMs(source: string, target: string): number {
    const { leastMs, mostMs, slowShare, slowFactor } = this.knobs;
    const chance = this.#chance;
    let ms = chance.between(leastMs, mostMs);
    if (slowShare > 0 && !this.#isWell && chance.happens(slowShare))
      ms *= chance.between(1, slowFactor);
    return ms * (this.#factors.get(source) ?? 1) * (this.#factors.get(target) ?? 1);
  }

  /** What was held back is sent once more, each after a while of its own. */
  #resume(): void {
    for (const connection of this.#connections) {
      const delayMs = this.#chance.between(0, resendMsMax);
      this.#scheduler.after(delayMs, () => connection.resume());
    }
  }

  #dial(address: string, target: string, end: Party): PeerStream {
    const connection = new Connection({
      scheduler: this.#scheduler,
      network: this,
      dialer: { address, ...end },
      target,
      listener: () => this.#listeners.get(target),
      onOver: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
    connection.begin();
    return { close: () => connection.close(0) };
  }
}

interface Party {
  readonly source: FrameSource;
  readonly sink: FrameSink;
  readonly owner: EventOwner;
}

interface ConnectionParts {
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly dialer: Party & { readonly address: string };
  readonly target: string;
  readonly listener: () => Listener | undefined;
  readonly onOver: () => void;
}

type Side = 0 | 1;

/** What leaves one side: in order, and not past a block. */
interface Wire {
  readonly items: { readonly item: Item; readonly dueMs: number }[];
  bytes: number;
  /** When the last of it arrives. */
  lastMs: number;
  isMoving: boolean;
  wake: (() => void) | undefined;
}

class Connection {
  readonly #parts: ConnectionParts;
  readonly #addresses: readonly [string, string];
  readonly #parties: [Party, Party | undefined];
  readonly #wires: readonly [Wire, Wire] = [newWire(), newWire()];
  readonly #isEnded: [boolean, boolean] = [false, false];
  readonly #isSilent: [boolean, boolean] = [false, false];
  readonly #cancelPing: [() => void, () => void] = [() => {}, () => {}];

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
    const { dialer, target } = parts;
    this.#addresses = [dialer.address, target];
    this.#parties = [dialer, undefined];
  }

  begin(): void {
    const { scheduler, network, dialer } = this.#parts;
    const [from, to] = this.#addresses;
    const { answerMsMax } = network.knobs;
    const cancelLate = scheduler.after(
      answerMsMax,
      () => this.#end(0, `no connection within ${answerMsMax} ms`, true),
      dialer.owner,
    );
    scheduler.after(network.latencyMs(from, to), () => {
      // What is lost on the way is noticed by the time it takes.
      if (this.#isEnded[0] || network.isBlocked(from, to)) return;
      const isThere = this.#accept();
      scheduler.after(
        network.latencyMs(to, from),
        () => {
          if (this.#isEnded[0] || network.isBlocked(to, from)) return;
          cancelLate();
          if (!isThere) this.#end(0, "nobody listens there", false);
          else this.#run(0);
        },
        dialer.owner,
      );
    });
  }

  /** One side wants no more of it. */
  close(side: Side): void {
    this.#end(side, undefined, true);
  }

  isBetween(one: string, other: string): boolean {
    const [from, to] = this.#addresses;
    return (from === one && to === other) || (from === other && to === one);
  }

  /** Both ends hear of it, each in its time. */
  cut(): void {
    const { scheduler, network } = this.#parts;
    const [from, to] = this.#addresses;
    for (const side of [0, 1] as const) {
      this.#wires[side].items.length = 0;
      const owner = this.#parties[side]?.owner;
      const delayMs = network.latencyMs(from, to);
      scheduler.after(delayMs, () => this.#end(side, "the connection was reset", false), owner);
    }
  }

  /** The process on one side is gone. */
  abandon(address: string, isTold: boolean): void {
    for (const side of [0, 1] as const) {
      if (this.#addresses[side] !== address || this.#parties[side] === undefined) continue;
      if (this.#isEnded[side]) continue;
      this.#isEnded[side] = true;
      this.#cancelPing[side]();
      const wire = this.#wires[side];
      // Whoever sends to a machine that has lost its power is told nothing.
      this.#isSilent[side] = !isTold;
      if (!isTold) wire.items.length = 0;
      else this.#send(side, { kind: "fin", reason: "the connection was reset" });
    }
    this.#forget();
  }

  /** A wire may have been opened. */
  resume(): void {
    for (const side of [0, 1] as const) this.#move(side);
  }

  #accept(): boolean {
    const listener = this.#parts.listener();
    if (listener === undefined) return false;
    const { scheduler } = this.#parts;
    const { owner, accept } = listener;
    // A process that stands still has its kernel take the connection.
    scheduler.after(
      0,
      () => {
        const { source, sink } = accept({ close: () => this.close(1), proven: () => {} });
        this.#parties[1] = { source, sink, owner };
        this.#run(1);
      },
      owner,
    );
    return true;
  }

  #run(side: Side): void {
    void this.#pump(side);
    this.#pingLater(side);
    this.#move(side === 0 ? 1 : 0);
  }

  async #pump(side: Side): Promise<void> {
    const party = this.#parties[side];
    const wire = this.#wires[side];
    const { windowBytes } = this.#parts.network.knobs;
    while (party !== undefined && !this.#isEnded[side]) {
      const frame = await party.source.next();
      if (this.#isEnded[side]) return;
      if (frame === undefined) {
        this.#end(side, undefined, true);
        return;
      }
      this.#send(side, { kind: "frame", bytes: frame });
      if (wire.bytes < windowBytes) continue;
      await new Promise<void>((resolve) => {
        wire.wake = resolve;
      });
    }
  }

  #send(side: Side, item: Item): void {
    const wire = this.#wires[side];
    const { scheduler, network } = this.#parts;
    const [from, to] = this.#way(side);
    const bytes = item.kind === "frame" ? item.bytes.length : 0;
    wire.bytes += bytes;
    const ms = network.latencyMs(from, to) + bytes / network.knobs.bytesPerMs;
    const delayMs = Math.max(wire.lastMs - scheduler.nowMs, ms);
    wire.lastMs = scheduler.nowMs + delayMs;
    wire.items.push({ item, dueMs: wire.lastMs });
    // The receiver may stand still; the wire does not.
    scheduler.after(delayMs, () => this.#move(side));
  }

  /** Delivers what has had its time, in order. */
  #move(side: Side): void {
    const wire = this.#wires[side];
    const [from, to] = this.#way(side);
    const other = side === 0 ? 1 : 0;
    const party = this.#parties[other];
    const { scheduler, network } = this.#parts;
    const first = wire.items[0];
    if (wire.isMoving || first === undefined || party === undefined) return;
    // One that is due later has an event of its own.
    if (network.isBlocked(from, to) || first.dueMs > scheduler.nowMs) return;
    wire.isMoving = true;
    scheduler.after(
      0,
      () => {
        wire.isMoving = false;
        const item = wire.items.shift()?.item;
        if (item === undefined) return;
        if (item.kind === "frame") {
          wire.bytes -= item.bytes.length;
          const { wake } = wire;
          wire.wake = undefined;
          wake?.();
        }
        this.#arrive(other, party, item);
        this.#move(side);
      },
      party.owner,
    );
  }

  #arrive(side: Side, party: Party, item: Item): void {
    if (this.#isEnded[side]) {
      // Nobody is there any more: its kernel says so, if it has power.
      if (item.kind === "ping" && !this.#isSilent[side])
        this.#send(side, { kind: "fin", reason: "it was reset" });
      return;
    }
    switch (item.kind) {
      case "frame":
        // As over a wire: the other end has bytes of its own.
        party.sink.onFrame(item.bytes.slice());
        return;
      case "fin":
        this.#end(side, item.reason, false);
        return;
      case "ping":
        this.#send(side, { kind: "pong" });
        return;
      case "pong":
        this.#cancelPing[side]();
        this.#pingLater(side);
        return;
    }
  }

  #pingLater(side: Side): void {
    const { scheduler, network } = this.#parts;
    const owner = this.#parties[side]?.owner;
    const { pingPeriodMs, answerMsMax } = network.knobs;
    this.#cancelPing[side] = scheduler.after(
      pingPeriodMs,
      () => {
        if (this.#isEnded[side]) return;
        this.#send(side, { kind: "ping" });
        this.#cancelPing[side] = scheduler.after(
          answerMsMax,
          () => this.#end(side, `it answered no ping for ${answerMsMax} ms`, true),
          owner,
        );
      },
      owner,
    );
  }

  #end(side: Side, reason: string | undefined, isTold: boolean): void {
    if (this.#isEnded[side]) return;
    this.#isEnded[side] = true;
    this.#cancelPing[side]();
    const wire = this.#wires[side];
    wire.wake?.();
    wire.wake = undefined;
    if (isTold) this.#send(side, { kind: "fin", reason: reason ?? "it ended the stream" });
    this.#parties[side]?.sink.onEnd(reason === undefined ? undefined : new Error(reason));
    this.#forget();
  }

  #forget(): void {
    const [one, other] = this.#isEnded;
    if (one && (other || this.#parties[1] === undefined)) this.#parts.onOver();
  }

  #way(side: Side): readonly [string, string] {
    const [from, to] = this.#addresses;
    return side === 0 ? [from, to] : [to, from];
  }
}

function newWire(): Wire {
  return { items: [], bytes: 0, lastMs: 0, isMoving: false, wake: undefined };
}
