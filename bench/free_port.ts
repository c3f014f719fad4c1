/**
 * FreePort: a port for a program that has to be told one before it runs.
 *
 * A port that the kernel chooses for nobody in particular lies in the range that it also takes the
 * near ends of outgoing connections from, and those of other programs that choose none: by the time
 * the program listens, it may be another's. Ports below that range are only taken by name.
 *
 * Effects: the network, and chance.
 *
 * @module
 */

import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Above the ports of well-known services, below those that Linux gives out (from 32768 on). */
const portMin = 12_000;
const portEnd = 32_000;
const triesMax = 100;

/** Whoever was given one may not listen on it yet. */
const given = new Set<number>();

/** A port of 127.0.0.1 that nobody listens on, and that nobody else of this process was given. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const port = randomInt(portMin, portEnd);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(`No port from ${portMin} to ${portEnd} of 127.0.0.1 is free.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
