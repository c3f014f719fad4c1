/**
 * Nodes: where a client sends its requests; to one server, or to those of a cluster in turn.
 *
 * A client that can choose among several addresses by itself (gRPC's "round_robin") is given all of
 * them. Every other one is given an origin a request.
 *
 * @module
 */

import assert from "node:assert/strict";
import { ask } from "./http_client.ts";

export class Nodes {
  readonly ports: readonly number[];
  #turn = 0;

  constructor(ports: readonly number[]) {
    this.ports = ports;
  }

  /** As in `--name`, in the order of the ports. */
  get names(): string[] {
    return this.ports.map((_, index) => `n${index + 1}`);
  }

  /** `127.0.0.1:1,127.0.0.1:2`, as the programs of other languages take it. */
  get addresses(): string {
    return this.ports.map((port) => `127.0.0.1:${port}`).join(",");
  }

  get origins(): string {
    return this.ports.map((port) => `http://127.0.0.1:${port}`).join(",");
  }

  /** The origin of the first one. */
  get origin(): string {
    return `http://127.0.0.1:${this.ports[0]}`;
  }

  /** The origin of the node whose turn it is. */
  next(): string {
    this.#turn += 1;
    return `http://127.0.0.1:${this.ports[this.#turn % this.ports.length]}`;
  }

  /** The same URL at the node whose turn it is; what is no URL of a node stays. */
  elsewhere(word: string): string {
    const { origin } = this;
    return word.startsWith(`${origin}/`) ? this.next() + word.slice(origin.length) : word;
  }

  /** The number of connections that each node has cut: of nobody who behaves. */
  async cut(): Promise<number[]> {
    const counts = this.ports.map(async (port) => {
      const { text } = await ask(port, "HTTP/1.1", { target: "/metrics" });
      const count = text.match(/^quorate_connections_cut_total (\d+)$/m)?.[1];
      assert.ok(count !== undefined, "the metrics count connections that were cut");
      return Number(count);
    });
    return Promise.all(counts);
  }

  /** The number of operations on data that each node has answered. */
  async answered(): Promise<number[]> {
    const counts = this.ports.map(async (port) => {
      const { text } = await ask(port, "HTTP/1.1", { target: "/metrics" });
      const lines = text.match(/^quorate_requests_total\{.*\} \d+$/gm) ?? [];
      assert.ok(lines.length > 0, "the metrics count requests");
      return (
        lines
          // The metrics themselves, for one.
          .filter((line) => !line.includes('operation="node"'))
          .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0)
      );
    });
    return Promise.all(counts);
  }
}
