/**
 * Quorate cluster: three nodes on a runtime, as `npm start` starts them, asked at all three.
 *
 * Invariants
 * 1. After every load of writes the whole cluster is listed, at quorum: as many keys as were
 *    acknowledged must hold the value of this load, and no more than could have been under way.
 *    Writes over gRPC are counted by the nodes themselves: a call that failed is HTTP 200 as well.
 *
 * Effects: processes, connections.
 *
 * @module
 */

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { freePort } from "./free_port.ts";
import { h2load } from "./h2load.ts";
import type { Runtime } from "./machine.ts";
import { pause } from "./process.ts";
import { keyOf, Quorate } from "./quorate.ts";
import {
  byCount,
  expectBetween,
  type Load,
  type Operation,
  type Peer,
  type Sample,
  valueBytes,
} from "./sample.ts";
import { beginnings, reached, shares, spread } from "./spread.ts";
import { wrk } from "./wrk.ts";

export const nodeCount = 3;
const settleMsMax = 60_000;
export const callMethod = "/quorate.v1.KvService/Put";

export interface ClusterStart {
  readonly runtime: Runtime;
  readonly folder: string;
  readonly keys: number;
  /** Ends the last of them when the keys are there. */
  readonly isOneDown?: boolean;
}

export class QuorateCluster implements Peer {
  readonly name: string;
  readonly version: string;
  readonly #folder: string;
  /** Those that serve. */
  #nodes: readonly Quorate[];

  private constructor(name: string, folder: string, nodes: readonly Quorate[]) {
    this.name = name;
    this.version = nodes[0]?.version ?? "";
    this.#folder = folder;
    this.#nodes = nodes;
  }

  static nameOn(runtime: Runtime, isOneDown = false): string {
    return `${Quorate.nameOn(runtime)}, ${isOneDown ? "two of three nodes" : "three nodes"}`;
  }

  static async start({ runtime, folder, keys, isOneDown }: ClusterStart): Promise<QuorateCluster> {
    const ports: number[] = [];
    for (let node = 0; node < nodeCount; node += 1) ports.push(await freePort());
    const peers = ports.map((port) => `127.0.0.1:${port}`).join(",");
    const environment = { QUORATE_CLUSTER_SECRET: randomUUID() };
    const flags = ["--peers", peers, "--bootstrap-expect", String(nodeCount)];
    const nodes = await Promise.all(
      ports.map((port, index) => {
        const name = `n${index + 1}`;
        return Quorate.start({
          runtime,
          folder: join(folder, name),
          name,
          port,
          environment,
          flags,
        });
      }),
    );
    const name = QuorateCluster.nameOn(runtime, isOneDown);
    const cluster = new QuorateCluster(name, folder, nodes);
    await cluster.settle();
    await cluster.#first.fill(keys);
    if (isOneDown === true) await cluster.#endLast();
    return cluster;
  }

  get #first(): Quorate {
    const [first] = this.#nodes;
    if (first === undefined) throw new Error("a cluster has a node");
    return first;
  }

  async #endLast(): Promise<void> {
    await this.#nodes.at(-1)?.program.kill();
    this.#nodes = this.#nodes.slice(0, -1);
    await this.settle();
  }

  /** Each node that serves takes a write that all of them have to acknowledge. */
  async settle(): Promise<void> {
    const endMs = performance.now() + settleMsMax;
    for (const { url, name, program } of this.#nodes) {
      const put = `${url}/v1/kv/default/${keyOf(0)}?w=${this.#nodes.length}`;
      const body = "-".repeat(valueBytes);
      let said = "";
      for (;;) {
        try {
          const response = await fetch(put, { method: "PUT", body });
          said = await response.text();
          if (response.status === 204) break;
        } catch (error) {
          said = String(error);
        }
        if (performance.now() > endMs)
          throw new Error(`${name} does not serve: ${said}\n${program.said}`);
        await pause(50);
      }
    }
  }

  async run(operation: Operation, load: Load): Promise<Sample> {
    if (operation === "put over gRPC") return this.#runGrpc(load);
    const begun = beginnings(load.keys, this.#nodes.length);
    const requests: number[] = [];
    const before = this.#cpuUs;
    const sample = await spread(load, this.#nodes.length, async (part, index) => {
      const url = this.#nodes[index]?.url ?? "";
      const own = await wrk(url, operation, part, begun[index]);
      requests[index] = own.requests;
      return own;
    });
    const cpuUs = (this.#cpuUs - before) / sample.requests;
    if (operation === "put") {
      const underWay = shares(load.connections, this.#nodes.length);
      const most = requests.map((count, index) => count + (underWay[index] ?? 0));
      const marked = await this.#first.countMarked(load);
      const least = reached(load.keys, begun, requests);
      expectBetween("keys written", marked, least, reached(load.keys, begun, most));
    } else await this.#first.seeValue(load);
    return { ...sample, cpuUs };
  }

  async #runGrpc(load: Load): Promise<Sample> {
    const before = await this.#counted();
    const beforeUs = this.#cpuUs;
    let requests = 0;
    const sample = await spread(load, this.#nodes.length, (part, index) =>
      byCount(part, async (count) => {
        requests += count;
        return h2load(
          {
            url: `${this.#nodes[index]?.url}${callMethod}`,
            file: join(this.#folder, `body${index}`),
            message: putRequest(load.marker),
            keyOf,
          },
          part,
          count,
        );
      }),
    );
    const cpuUs = (this.#cpuUs - beforeUs) / requests;
    const after = await this.#counted();
    expectBetween("calls that the nodes count", after.good - before.good, requests, requests);
    expectBetween("calls that failed", after.bad - before.bad, 0, 0);
    return { ...sample, cpuUs };
  }

  /** The puts over gRPC that the nodes have answered, by how. */
  async #counted(): Promise<{ good: number; bad: number }> {
    let good = 0;
    let bad = 0;
    const pattern = /^quorate_requests_total\{edge="rpc",operation="put",status="(\w+)"\} (\d+)$/gm;
    for (const { url } of this.#nodes) {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      for (const [, status, count] of metrics.matchAll(pattern)) {
        if (status === "200") good += Number(count);
        else bad += Number(count);
      }
    }
    return { good, bad };
  }

  get #cpuUs(): number {
    return this.#nodes.reduce((sum, { program }) => sum + program.cpuUs, 0);
  }

  freeze(): void {
    for (const node of this.#nodes) node.freeze();
  }

  thaw(): void {
    for (const node of this.#nodes) node.thaw();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()));
  }
}

/** PutRequest { bytes key = 2; bytes value = 3; } */
export function putRequest(marker: string): Uint8Array {
  const writer = new BinaryWriter().uint32((2 << 3) | 2).string(keyOf(0));
  return writer
    .uint32((3 << 3) | 2)
    .bytes(Buffer.from(marker.padEnd(valueBytes, "x")))
    .finish();
}
