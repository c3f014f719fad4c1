/** Town: whole nodes on simulated disks, over a network in memory, on a clock that a test moves. */

import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import type { PutRequest } from "../src/api.ts";
import { utf8Bytes } from "../src/bytes.ts";
import { silentReport } from "../src/capability.ts";
import { openNode, type QuorateNode } from "../src/node.ts";
import type { NodeClusterOptions, PeerBudgets } from "../src/node_options.ts";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { MemoryNetwork } from "./network_harness.ts";
import { smallSettings } from "./store_harness.ts";

export interface Place {
  readonly name: string;
  address: string;
  /** The machine that it runs on, where that is told. */
  host?: string | undefined;
  disk: SimDisk;
  table: MemoryTableDisk;
  starts: number;
  node: QuorateNode | undefined;
  budgets?: PeerBudgets;
  /** How it keeps its replicas the same. */
  limits?: Pick<
    NodeClusterOptions,
    | "hintAgeMaxMs"
    | "hintBytesPerSecond"
    | "moveBytesPerSecond"
    | "repairPeriodMs"
    | "watermarkPeriodMs"
    | "requestMsMax"
  >;
  /** Takes in nodes that ask to join, without a plan. */
  autoJoin?: boolean;
  /** What it tells of its program. */
  program?: { readonly version: string; readonly protocolMax?: number };
  acceptDataLoss?: boolean;
  diskReserveBytes?: number;
  partitions?: number;
  /** `--cluster-id`. */
  clusterId?: string;
}

/** Nodes that know each other's addresses. */
export class Town {
  readonly clock = new SimClock();
  readonly network = new MemoryNetwork(this.clock);
  readonly places: Place[];
  readonly secret: string;

  constructor(count: number, secret = "s") {
    this.secret = secret;
    this.places = Array.from({ length: count }, (_, index) => ({
      name: `n${index + 1}`,
      address: `10.0.0.${index + 1}:80`,
      disk: new SimDisk(),
      table: new MemoryTableDisk({}),
      starts: 0,
      node: undefined,
    }));
  }

  /** A cluster of the first three of so many, who know of each other alone. */
  static async ofThree(count: number): Promise<Town> {
    const town = new Town(count);
    const addresses = town.places.slice(0, 3).map(({ address }) => address);
    for (const index of [0, 1, 2]) await town.start(index, 3, addresses);
    await town.until(() => [0, 1, 2].every((index) => town.isReady(index)));
    return town;
  }

  at(index: number): QuorateNode {
    const node = this.places[index]?.node;
    assert.ok(node !== undefined, `node ${index + 1} is started`);
    return node as QuorateNode;
  }

  async start(
    index: number,
    expect: number | undefined,
    peers = this.places.map((one) => one.address),
  ) {
    const place = this.places[index] as Place;
    place.starts += 1;
    const node = await openNode({
      clock: this.clock,
      random: new SimRandom(1000 * (index + 1) + place.starts),
      disk: place.disk,
      report: silentReport,
      openTable: () => place.table.open(),
      settings: {
        ...{ ...smallSettings, name: place.name, memtableBytesMax: 64 * 1024 },
        ...place.program,
        ...(place.diskReserveBytes === undefined
          ? {}
          : { diskReserveBytes: place.diskReserveBytes }),
        ...(place.partitions === undefined ? {} : { partitions: place.partitions }),
        ...(place.acceptDataLoss === true ? { acceptDataLoss: true } : {}),
      },
      cluster: {
        network: this.network.from(place.address),
        ...(place.budgets === undefined ? {} : { budgets: place.budgets }),
        ...place.limits,
        settings: {
          peers,
          secret: this.secret,
          addresses: [place.address],
          ...(place.host === undefined ? {} : { host: place.host }),
          ...(expect === undefined ? {} : { expect }),
          ...(place.clusterId === undefined ? {} : { clusterId: place.clusterId }),
          ...(place.autoJoin === true ? { autoJoin: true } : {}),
        },
      },
    });
    place.node = node;
    const { accept } = node;
    if (accept !== undefined) this.network.listen(place.address, { accept });
    return node;
  }

  async startAll(): Promise<void> {
    for (const index of this.places.keys()) await this.start(index, this.places.length);
    await this.until(() => this.places.every((_, index) => this.isReady(index)));
  }

  isReady(index: number): boolean {
    return this.places[index]?.node?.readiness().every(({ ok }) => ok) === true;
  }

  /** The process dies: what was not synced is gone, and so are its connections. */
  kill(index: number): void {
    const place = this.places[index] as Place;
    this.network.unlisten(place.address);
    place.disk = place.disk.crash("durable");
    place.table.crash({ keep: "flushed" });
    place.node = undefined;
  }

  async until(holds: () => boolean, secondsMax = 60): Promise<void> {
    for (let step = 0; step < secondsMax * 20 && !holds(); step += 1) await this.pass(50);
    assert.ok(holds(), "it comes about in time");
  }

  async pass(ms: number): Promise<void> {
    for (let step = 0; step < 5; step += 1) {
      for (let turn = 0; turn < 300; turn += 1) await undefined;
      await this.clock.advance(ms / 5);
    }
  }

  /** What becomes of a request while time passes. */
  async done<Value>(work: Promise<Value>, secondsMax = 30): Promise<Value> {
    let isDone = false;
    const settle = (): void => {
      isDone = true;
    };
    work.then(settle, settle);
    await this.until(() => isDone, secondsMax);
    return work;
  }

  put(index: number, key: string, value: string, more: Partial<PutRequest> = {}) {
    const request = { namespace: "default", requestId: "t", key: utf8Bytes(key) };
    const body = { value: utf8Bytes(value), contentType: "text/plain", meta: [] };
    return this.done(this.at(index).put({ ...request, ...body, ...more }));
  }

  async get(index: number, key: string, more = {}): Promise<string | undefined> {
    const request = { namespace: "default", requestId: "t", key: utf8Bytes(key), ...more };
    const { record } = await this.done(this.at(index).get(request));
    return record === undefined ? undefined : new TextDecoder().decode(record.value);
  }

  async close(): Promise<void> {
    const closing = this.places.map(({ node }) => node?.close());
    await this.done(Promise.all(closing));
  }
}
