/**
 * Etcd: a single etcd or a cluster of them, asked over gRPC.
 *
 * As it is delivered: every put is synced to its log before the answer, every range is linearizable.
 * Only the quota of its database is raised, since it keeps every revision of the run. Messages are
 * written by hand, field by field of etcd's rpc.proto: there are four of them.
 *
 * Invariants
 * 1. etcd's own counters decide whether a call was a success: `grpc_server_handled_total`, and for
 *    puts the revision, which goes up by one with each.
 *
 * Effects: a process, connections.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { connect } from "node:http2";
import { join } from "node:path";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { freePort } from "./free_port.ts";
import { Program } from "./process.ts";
import {
  expectBetween,
  type Load,
  type Operation,
  type Peer,
  type Sample,
  valueBytes,
} from "./sample.ts";
import { type Server, Servers } from "./servers.ts";

const quotaBytes = 8 * 1024 ** 3;
/** etcd takes 128 operations a transaction. */
const transactionMax = 100;

export interface EtcdStart {
  readonly folder: string;
  readonly keys: number;
  /** Default: etcd. */
  readonly name?: string;
  /** Default: the one that is installed. */
  readonly command?: string;
  /** Default: one. Requests are spread over all. */
  readonly members?: number;
}

export class Etcd extends Servers<Server> implements Peer {
  readonly name: string;
  readonly version: string;
  readonly #folder: string;

  private constructor(
    { name = "etcd", folder }: EtcdStart,
    members: readonly Server[],
    version: string,
  ) {
    super(members);
    this.name = name;
    this.#folder = folder;
    this.version = version;
  }

  static async start(start: EtcdStart): Promise<Etcd> {
    const { folder, command = "etcd" } = start;
    mkdirSync(folder, { recursive: true });
    const places: { name: string; url: string; peerUrl: string }[] = [];
    for (let member = 1; member <= (start.members ?? 1); member += 1) {
      const [port, peerPort] = [await freePort(), await freePort()];
      const peerUrl = `http://127.0.0.1:${peerPort}`;
      places.push({ name: `n${member}`, url: `http://127.0.0.1:${port}`, peerUrl });
    }
    const cluster = places.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
    const members = places.map(({ name, url, peerUrl }) => {
      const words = [
        ...["--name", name, "--data-dir", join(folder, name), "--log-level", "error"],
        ...["--listen-client-urls", url, "--advertise-client-urls", url],
        ...["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl],
        ...["--initial-cluster", cluster, "--quota-backend-bytes", String(quotaBytes)],
      ];
      return { program: new Program({ command, arguments: words }), url };
    });
    const etcd = new Etcd(start, members, "");
    await etcd.settle();
    const version = (await (await fetch(`${etcd.#url}/version`)).json()) as { etcdserver: string };
    const known = new Etcd(start, members, version.etcdserver);
    await known.#fill(start.keys);
    return known;
  }

  /** Of the member that is asked for what all know. */
  get #url(): string {
    return this.servers[0]?.url ?? "";
  }

  /** Every member answers, and knows who leads. */
  async settle(): Promise<void> {
    for (const { program, url } of this.servers) {
      await program.answers(async () => {
        const health = (await (await fetch(`${url}/health`)).json()) as { health?: unknown };
        return health.health === "true";
      });
    }
  }

  async run(operation: Operation, load: Load): Promise<Sample> {
    const put = operation !== "get";
    const method = put ? "Put" : "Range";
    const before = await this.#counted(method);
    const { sample, requests } = await this.call(load, {
      path: `/etcdserverpb.KV/${method}`,
      file: join(this.#folder, "body"),
      message: put ? putRequest(keyOf(0), load.marker) : rangeRequest(keyOf(0)),
      keyOf,
    });
    const after = await this.#counted(method);
    expectBetween("calls that etcd counts", after.good - before.good, requests, requests);
    expectBetween("calls that failed", after.bad - before.bad, 0, 0);
    if (put) {
      expectBetween("revisions", after.revision - before.revision, requests, requests);
    } else {
      expectBetween("bytes of a value", await this.#valueLength(keyOf(1)), valueBytes, valueBytes);
    }
    return sample;
  }

  async #counted(method: string): Promise<{ good: number; bad: number; revision: number }> {
    let good = 0;
    let bad = 0;
    const pattern =
      /^grpc_server_handled_total\{grpc_code="(\w+)",grpc_method="(\w+)".*\} (\S+)$/gm;
    for (const { url } of this.servers) {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      for (const [, code, itsMethod, count] of metrics.matchAll(pattern)) {
        if (itsMethod !== method) continue;
        if (code === "OK") good += Number(count);
        else bad += Number(count);
      }
    }
    // The question for the revision is a Range itself, so it is asked between puts only.
    const revision = method === "Put" ? (await this.#count()).revision : 0;
    return { good, bad, revision };
  }

  async #valueLength(key: string): Promise<number> {
    const [answer] = await this.#call("Range", [rangeRequest(key)]);
    return readRange(answer).valueLength;
  }

  async #count(): Promise<{ revision: number; count: number }> {
    const everything = new BinaryWriter().uint32((1 << 3) | 2).bytes(new Uint8Array(1));
    everything
      .uint32((2 << 3) | 2)
      .bytes(new Uint8Array(1))
      .uint32(9 << 3)
      .bool(true);
    const [answer] = await this.#call("Range", [everything.finish()]);
    return readRange(answer);
  }

  /** Every key once, many in a transaction. */
  async #fill(keys: number): Promise<void> {
    const transactions: Uint8Array[] = [];
    for (let start = 0; start < keys; start += transactionMax) {
      const transaction = new BinaryWriter();
      for (let index = start; index < Math.min(keys, start + transactionMax); index += 1) {
        const put = new BinaryWriter().uint32((2 << 3) | 2).bytes(putRequest(keyOf(index), "-"));
        transaction.uint32((2 << 3) | 2).bytes(put.finish());
      }
      transactions.push(transaction.finish());
    }
    await this.#call("Txn", transactions);
    expectBetween("etcd: keys at the start", (await this.#count()).count, keys, keys);
  }

  /** Calls a method for each message, 16 at a time; throws unless all have the status 0. */
  async #call(method: string, messages: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const session = connect(this.#url);
    const path = `/etcdserverpb.KV/${method}`;
    const ask = (message: Uint8Array): Promise<Uint8Array> =>
      new Promise((fulfil, reject) => {
        const headers = { "content-type": "application/grpc", te: "trailers" };
        const stream = session.request({ ":method": "POST", ":path": path, ...headers });
        const chunks: Buffer[] = [];
        let status: unknown;
        stream.on("response", (fields) => {
          status = fields["grpc-status"];
        });
        stream.on("trailers", (fields) => {
          status = fields["grpc-status"];
        });
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("error", reject);
        stream.on("close", () => {
          if (status === "0") fulfil(Buffer.concat(chunks).subarray(5));
          else reject(new Error(`etcd: ${method} ended with grpc-status ${status}`));
        });
        const head = new Uint8Array(5);
        new DataView(head.buffer).setUint32(1, message.length);
        stream.end(Buffer.concat([head, message]));
      });
    const answers: Uint8Array[] = [];
    try {
      for (let start = 0; start < messages.length; start += 16) {
        answers.push(...(await Promise.all(messages.slice(start, start + 16).map(ask))));
      }
      return answers;
    } finally {
      session.destroy();
    }
  }
}

function keyOf(index: number): string {
  return `key:${String(index).padStart(12, "0")}`;
}

/** PutRequest { bytes key = 1; bytes value = 2; } */
function putRequest(key: string, marker: string): Uint8Array {
  const value = Buffer.from(marker.padEnd(valueBytes, "x"));
  const writer = new BinaryWriter().uint32((1 << 3) | 2).string(key);
  return writer
    .uint32((2 << 3) | 2)
    .bytes(value)
    .finish();
}

/** RangeRequest { bytes key = 1; … } */
function rangeRequest(key: string): Uint8Array {
  return new BinaryWriter()
    .uint32((1 << 3) | 2)
    .string(key)
    .finish();
}

/** RangeResponse { ResponseHeader header = 1 { int64 revision = 3; }; KeyValue kvs = 2; int64 count = 4; } */
function readRange(message: Uint8Array | undefined): {
  revision: number;
  count: number;
  valueLength: number;
} {
  const fields = fieldsOf(message ?? new Uint8Array());
  const header = fieldsOf(fields.get(1) as Uint8Array);
  const record = fields.get(2);
  const value = record instanceof Uint8Array ? fieldsOf(record).get(5) : undefined;
  return {
    revision: Number(header.get(3) ?? 0),
    count: Number(fields.get(4) ?? 0),
    valueLength: value instanceof Uint8Array ? value.length : 0,
  };
}

/** The last value of each field: a number, or the bytes. */
function fieldsOf(message: Uint8Array): Map<number, number | Uint8Array> {
  const fields = new Map<number, number | Uint8Array>();
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === 2) fields.set(field, reader.bytes());
    else if (wireType === 0) fields.set(field, Number(reader.uint64()));
    else reader.skip(wireType);
  }
  return fields;
}
