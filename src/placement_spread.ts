/**
 * Placement spread: how far apart the replicas of one partition stand.
 *
 * A row is the ordered list of a partition's replicas, as indexes of members. It is spread when each
 * replica, seen from those before it, stands on a host with the fewest of them and, among such
 * hosts, in a zone with the fewest, of all members that are left. So every beginning of the row, of
 * whatever length, reaches as many zones as it can, and no host twice before every host has one.
 *
 *     zones a, b, c; row  a1 b1 c1 a2 b2   spread: 2 + 2 + 1, any two zones hold three of five
 *     zones a, b, c; row  a1 b1 a2 c1 b2   not spread: the first three reach two zones only
 *
 * A host belongs to a zone: the same host name in two zones is two hosts.
 *
 * Invariants
 * 1. A beginning of a spread row is spread, and a spread row can always be continued.
 *
 * Effects: none. Source: docs/ring.md, "How the list is made"; van Renesse and Schneider,
 * "Chain Replication" (2004), for why replicas share no fate.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { add, at, hole } from "./placement_row.ts";

/** What placement needs to know of a member. */
export interface Site {
  readonly nodeId: string;
  /** Members that may fail together: a rack, a room, an availability zone. */
  readonly zone: string;
  readonly host: string;
  /** A whole number from 1: a member of weight 200 holds twice what one of 100 does. */
  readonly weight: number;
}

/** The zones and hosts of the members, numbered, and the rule of the header. */
export class Spread {
  /** For each member. */
  readonly #zoneOf: Int32Array;
  readonly #hostOf: Int32Array;
  /** For each host, and each zone. */
  readonly #membersOfHost: Int32Array;
  readonly #zoneOfHost: Int32Array;
  readonly #hostsOfZone: Int32Array;
  readonly #inHost: Int32Array;
  readonly #inZone: Int32Array;
  readonly #usedHostsOfZone: Int32Array;
  #usedZones = 0;
  #usedHosts = 0;

  constructor(sites: readonly Site[]) {
    const zones = new Map<string, number>();
    const hosts = new Map<string, number>();
    this.#zoneOf = Int32Array.from(sites, ({ zone }) => numberOf(zones, zone));
    this.#hostOf = Int32Array.from(sites, ({ zone, host }) =>
      numberOf(hosts, JSON.stringify([zone, host])),
    );
    this.#membersOfHost = new Int32Array(hosts.size);
    this.#zoneOfHost = new Int32Array(hosts.size);
    this.#hostsOfZone = new Int32Array(zones.size);
    for (let member = 0; member < sites.length; member += 1) {
      const host = at(this.#hostOf, member);
      if (at(this.#membersOfHost, host) === 0) add(this.#hostsOfZone, at(this.#zoneOf, member), 1);
      add(this.#membersOfHost, host, 1);
      this.#zoneOfHost[host] = at(this.#zoneOf, member);
    }
    this.#inHost = new Int32Array(hosts.size);
    this.#inZone = new Int32Array(zones.size);
    this.#usedHostsOfZone = new Int32Array(zones.size);
  }

  /** How long the longest beginning of the row is that has no hole and is spread. */
  soundLength(row: Int32Array): number {
    let length = 0;
    while (length < row.length && at(row, length) !== hole && this.#fits(at(row, length))) {
      this.#use(at(row, length), 1);
      length += 1;
    }
    for (let position = 0; position < length; position += 1) this.#use(at(row, position), -1);
    assert(this.#usedHosts === 0 && this.#usedZones === 0, "placement: the counts are given back");
    return length;
  }

  /** The zone of a member whose host holds nobody of the row; undefined when it holds somebody. */
  zoneOfFreeHost(row: Int32Array, member: number): number | undefined {
    const host = at(this.#hostOf, member);
    for (const other of row) {
      if (other !== hole && at(this.#hostOf, other) === host) return undefined;
    }
    return at(this.#zoneOf, member);
  }

  /** Whether a member may stand next, behind those in use. */
  #fits(member: number): boolean {
    const zone = at(this.#zoneOf, member);
    const host = at(this.#hostOf, member);
    if (this.#usedZones < this.#inZone.length) return at(this.#inZone, zone) === 0;
    if (this.#usedHosts < this.#inHost.length) {
      if (at(this.#inHost, host) > 0) return false;
      return at(this.#inZone, zone) === this.#fewestInZone();
    }
    // Fewer hosts than replicas: some host has to take a second one.
    const own = this.#crowd(host);
    for (let other = 0; other < this.#inHost.length; other += 1) {
      const isFull = at(this.#inHost, other) === at(this.#membersOfHost, other);
      if (!isFull && this.#crowd(other) < own) return false;
    }
    return true;
  }

  /** The fewest replicas in one zone, of the zones that have a host without one. */
  #fewestInZone(): number {
    let fewest = Number.POSITIVE_INFINITY;
    for (let zone = 0; zone < this.#inZone.length; zone += 1) {
      if (at(this.#usedHostsOfZone, zone) === at(this.#hostsOfZone, zone)) continue;
      fewest = Math.min(fewest, at(this.#inZone, zone));
    }
    return fewest;
  }

  /** By the replicas on the host, then by those in its zone (a row has far fewer than 1,024). */
  #crowd(host: number): number {
    return at(this.#inHost, host) * 1024 + at(this.#inZone, at(this.#zoneOfHost, host));
  }

  #use(member: number, change: 1 | -1): void {
    const zone = at(this.#zoneOf, member);
    const host = at(this.#hostOf, member);
    add(this.#inZone, zone, change);
    add(this.#inHost, host, change);
    // Crossed between none and one, in either direction.
    const edge = change === 1 ? 1 : 0;
    if (at(this.#inZone, zone) === edge) this.#usedZones += change;
    if (at(this.#inHost, host) !== edge) return;
    this.#usedHosts += change;
    add(this.#usedHostsOfZone, zone, change);
  }
}

function numberOf(numbers: Map<string, number>, name: string): number {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  numbers.set(name, numbers.size);
  return numbers.size - 1;
}
