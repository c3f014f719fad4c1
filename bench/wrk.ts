/**
 * Wrk: the load on a server that speaks HTTP/1.1, by Debian's wrk and load.lua.
 *
 * A closed loop on keep-alive connections. wrk counts the answers that it has read when the time is
 * over; up to one more request a connection is then still under way, and may be done.
 *
 * Effects: a process.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { runToEnd } from "./process.ts";
import { expectBetween, type Load, type Operation, type Sample, valueBytes } from "./sample.ts";

const script = fileURLToPath(new URL("./load.lua", import.meta.url));
const graceMs = 30_000;

interface WrkResult {
  readonly requests: number;
  readonly microseconds: number;
  readonly p50: number;
  readonly p99: number;
  readonly status: number;
  readonly broken: number;
  readonly timeouts: number;
}

/**
 * Throws unless every answer was a success. The keys are those behind number `first` of their order,
 * as many as there are requests.
 */
export async function wrk(
  url: string,
  operation: Operation,
  { connections, seconds, keys, marker }: Load,
  first = 0,
): Promise<Sample> {
  const [method, query] = operation === "get one" ? ["get", "?consistency=one"] : [operation, ""];
  const { code, output } = await runToEnd(
    {
      command: "wrk",
      arguments: [
        ...["--threads", "1", "--connections", String(connections)],
        ...["--duration", `${seconds}s`, "--timeout", "10s", "--script", script],
        ...[url, "--", method, String(keys), String(first), marker, query],
      ],
    },
    seconds * 1000 + graceMs,
  );
  const text = /^RESULT (.*)$/m.exec(output)?.[1];
  if (code !== 0 || text === undefined) throw new Error(`wrk failed (${code}):\n${output}`);
  const result = JSON.parse(text) as WrkResult;
  if (result.status + result.broken + result.timeouts > 0 || result.requests === 0) {
    throw new Error(`not all requests were answered with success:\n${output}`);
  }
  return {
    requests: result.requests,
    perSecond: result.requests / (result.microseconds / 1e6),
    p50Ms: result.p50 / 1000,
    p99Ms: result.p99 / 1000,
  };
}

/** Throws unless a server answers a key with a value that has the length of all. */
export async function seeValue(url: string, key: string): Promise<void> {
  const response = await fetch(`${url}/v1/kv/default/${key}`);
  const { byteLength } = await response.arrayBuffer();
  expectBetween("bytes of a value", byteLength, valueBytes, valueBytes);
}
