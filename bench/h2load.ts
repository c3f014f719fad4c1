/**
 * H2load: gRPC requests by Debian's h2load, one stream at a time on each connection.
 *
 * h2load sends one body, from a file, and it reads that file anew for every request. So the key in
 * the file is changed while h2load runs: a random one, several hundred times a second. That is
 * as far as h2load goes; with the other generators the key changes with every request.
 *
 * A gRPC call that failed is HTTP 200 as well: the caller compares what the server itself has
 * counted with the number answered here.
 *
 * Effects: a process, a file.
 *
 * @module
 */

import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { runToEnd } from "./process.ts";
import type { Load, Sample } from "./sample.ts";

const changeEveryMs = 1;
const graceMs = 30_000;

export interface GrpcLoad {
  readonly url: string;
  /** Where the body's file may be. */
  readonly file: string;
  /** The message with the key `keyOf(0)` in it; every key has the same length. */
  readonly message: Uint8Array;
  readonly keyOf: (index: number) => string;
}

/** Throws unless every answer was HTTP 200. */
export async function h2load(grpc: GrpcLoad, load: Load, requests: number): Promise<Sample> {
  const body = grpcFrame(grpc.message);
  writeFileSync(grpc.file, body);
  const file = openSync(grpc.file, "r+");
  const keyAt = Buffer.from(body).indexOf(grpc.keyOf(0));
  const change = (): void => {
    const key = grpc.keyOf(Math.floor(Math.random() * load.keys));
    writeSync(file, key, keyAt, "latin1");
  };
  const timer = setInterval(change, changeEveryMs);
  try {
    const { code, output } = await runToEnd(
      {
        command: "h2load",
        arguments: [
          ...["--threads", "1", "--clients", String(load.connections)],
          ...["--max-concurrent-streams", "1", "--requests", String(requests)],
          ...["--header", "content-type: application/grpc", "--header", "te: trailers"],
          ...["--data", grpc.file, grpc.url],
        ],
      },
      load.seconds * 1000 + graceMs,
    );
    if (code !== 0) throw new Error(`h2load failed (${code}):\n${output}`);
    return readResult(output, requests);
  } finally {
    clearInterval(timer);
    closeSync(file);
  }
}

function grpcFrame(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(5 + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, 5);
  return frame;
}

function readResult(output: string, requests: number): Sample {
  const perSecond = Number(/^finished in .*, ([\d.]+) req\/s/m.exec(output)?.[1]);
  const succeeded = Number(/ (\d+) succeeded, 0 failed, 0 errored, 0 timeout$/m.exec(output)?.[1]);
  const good = Number(/^status codes: (\d+) 2xx/m.exec(output)?.[1]);
  if (succeeded !== requests || good !== requests || !(perSecond > 0)) {
    throw new Error(`not all requests were answered with success:\n${output}`);
  }
  return { requests, perSecond };
}
