/**
 * Network: the ways between the nodes of a chaos cluster, and which troubles they are under.
 *
 * Troubles overlap: what a way is like follows from all that are there, so that the end of one never
 * takes back another.
 *
 * Invariants
 * 1. Without a trouble every way is well.
 *
 * Effects: the proxies.
 *
 * @module
 */

import { Ways } from "./proxy.ts";
import { type Trouble, type WayState, wayUnderAll } from "./trouble.ts";

export class ChaosNetwork {
  readonly #ways: Ways;
  readonly #count: number;
  readonly #troubles = new Set<Trouble>();
  /** Pairs that were cut by hand: `source target`. */
  readonly #cuts = new Set<string>();

  private constructor(ways: Ways, count: number) {
    this.#ways = ways;
    this.#count = count;
  }

  static async between(ports: readonly number[]): Promise<ChaosNetwork> {
    return new ChaosNetwork(await Ways.between(ports), ports.length);
  }

  /** The port by which a node reaches another one. */
  portOf(source: number, target: number): number {
    return this.#ways.at(source, target).port;
  }

  begin(trouble: Trouble): void {
    this.#troubles.add(trouble);
    this.#apply();
  }

  end(trouble: Trouble): void {
    if (this.#troubles.delete(trouble)) this.#apply();
  }

  /** Neither hears the other, until all is healed. */
  cut(one: number, other: number): void {
    this.#cuts.add(`${one} ${other}`).add(`${other} ${one}`);
    this.#apply();
  }

  /** All connections of a node break, and may be made anew at once. */
  reset(index: number): void {
    for (const proxy of this.#ways.of(index)) proxy.sever();
    this.#apply();
  }

  /** One end of every connection of a node is gone, and the other is not told. */
  halfOpen(index: number): void {
    for (const proxy of this.#ways.of(index)) proxy.halfOpen();
  }

  heal(): void {
    this.#troubles.clear();
    this.#cuts.clear();
    this.#apply();
  }

  async close(): Promise<void> {
    await this.#ways.close();
  }

  #apply(): void {
    for (let source = 0; source < this.#count; source += 1) {
      for (let target = 0; target < this.#count; target += 1) {
        if (source === target) continue;
        // What a node says goes there on the connections that it dialed, and back on the others.
        const said = this.#stateOf(source, target);
        const answered = this.#stateOf(target, source);
        const proxy = this.#ways.at(source, target);
        Object.assign(proxy.there, { isHeld: said.isHeld, delayMs: said.delayMs });
        Object.assign(proxy.back, { isHeld: answered.isHeld, delayMs: answered.delayMs });
        if (said.isSevered || answered.isSevered) proxy.sever();
        else proxy.isSevered = false;
        proxy.pump();
      }
    }
  }

  #stateOf(source: number, target: number): WayState {
    const state = wayUnderAll(this.#troubles, source, target);
    return this.#cuts.has(`${source} ${target}`) ? { ...state, isHeld: true } : state;
  }
}
