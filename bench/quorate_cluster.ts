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
import type { Runtime } from "./machine.ts";
import { pause } from "./process.ts";
import { keyOf, Quorate } from "./quorate.ts";
import {
  expectBetween,
  type Load,
  type Operation,
  type Peer,
  type Sample,
  valueBytes,
} from "./sample.ts";
import { Servers } from "./servers.ts";
import { beginnings, reached, shares } from "./spread.ts";
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

export class QuorateCluster extends Servers<Quorate> implements Peer {
  readonly name: string;
  readonly version: string;
  readonly #folder: string;

  private constructor(name: string, folder: string, nodes: readonly Quorate[]) {
    super(nodes);
    this.name = name;
    this.version = nodes[0]?.version ?? "";
    this.#folder = folder;
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
    const [first] = this.servers;
    if (first === undefined) throw new Error("a cluster has a node");
    return first;
  }

  async #endLast(): Promise<void> {
    await this.servers.at(-1)?.program.kill();
    this.servers = this.servers.slice(0, -1);
    await this.settle();
  }

  /** Each node that serves takes a write that all of them have to acknowledge. */
  async settle(): Promise<void> {
    const endMs = performance.now() + settleMsMax;
    for (const { url, name, program } of this.servers) {
      const put = `${url}/v1/kv/default/${keyOf(0)}?w=${this.servers.length}`;
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
    const begun = beginnings(load.keys, this.servers.length);
    const requests: number[] = [];
    const sample = await this.spread(load, async (url, part, index) => {
      const own = await wrk(url, operation, part, begun[index]);
      requests[index] = own.requests;
      return own;
    });
    if (operation === "put") {
      const underWay = shares(load.connections, this.servers.length);
      const most = requests.map((count, index) => count + (underWay[index] ?? 0));
      const marked = await this.#first.countMarked(load);
      const least = reached(load.keys, begun, requests);
      expectBetween("keys written", marked, least, reached(load.keys, begun, most));
    } else await this.#first.seeValue(load);
    return sample;
  }

  async #runGrpc(load: Load): Promise<Sample> {
    const before = await this.#counted();
    const { sample, requests } = await this.call(load, {
      path: callMethod,
      file: join(this.#folder, "body"),
      message: putRequest(load.marker),
      keyOf,
    });
    const after = await this.#counted();
    expectBetween("calls that the nodes count", after.good - before.good, requests, requests);
    expectBetween("calls that failed", after.bad - before.bad, 0, 0);
    return sample;
  }

  /** The puts over gRPC that the nodes have answered, by how. */
  async #counted(): Promise<{ good: number; bad: number }> {
    let good = 0;
    let bad = 0;
    const pattern = /^quorate_requests_total\{edge="rpc",operation="put",status="(\w+)"\} (\d+)$/gm;
    for (const { url } of this.servers) {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      for (const [, status, count] of metrics.matchAll(pattern)) {
        if (status === "200") good += Number(count);
        else bad += Number(count);
      }
    }
    return { good, bad };
  }

  /** Each with an exit code of 0. */
  override async stop(): Promise<void> {
    await Promise.all(this.servers.map((node) => node.stop()));
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
