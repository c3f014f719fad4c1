/**
 * Cli demo plan: the nodes of a demo, and what has to hold before the first of them is started.
 *
 * Effects: looks whether ports are free, keeps the cluster's secret in a file.
 *
 * @module
 */

import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import * as net from "node:net";
import { join } from "node:path";
import { toHex } from "./bytes.ts";
import { systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";

export interface DemoNode {
  readonly name: string;
  readonly port: number;
  readonly url: string;
  /** Of `quorate`, to serve it. */
  readonly words: readonly string[];
}

export interface DemoPlan {
  readonly folder: string;
  readonly nodes: readonly DemoNode[];
}

export interface DemoChoices {
  readonly count: number;
  /** Of the first node, the others follow; 0: free ones. */
  readonly port: number;
  readonly folder: string;
}

const host = "127.0.0.1";
const portMax = 65_535;
const secretFile = "secret";
const secretBytes = 32;
const secretPattern = /^[\x21-\x7e]{16,256}$/;

/** The nodes, on ports that were free a moment ago. @throws `invalid-config` */
export async function planDemo({ count, port, folder }: DemoChoices): Promise<DemoPlan> {
  if (port + count - 1 > portMax) {
    const detail = `${count} nodes from port ${port} on would need ports above ${portMax}.`;
    throw new QuorateError("invalid-config", detail, { hint: "Choose a lower --port." });
  }
  const wanted = Array.from({ length: count }, (_, index) => (port === 0 ? 0 : port + index));
  const ports = await freePorts(wanted);
  const peers = ports.map((own) => `${host}:${own}`).join(",");
  const cluster = count === 1 ? [] : ["--peers", peers, "--bootstrap-expect", `${count}`];
  const nodes = ports.map((own, index) => {
    const name = `n${index + 1}`;
    const base = ["--name", name, "--port", `${own}`, "--data-dir", join(folder, name)];
    return { name, port: own, url: `http://${host}:${own}`, words: ["serve", ...base, ...cluster] };
  });
  return { folder, nodes };
}

export function secretPath(folder: string): string {
  return join(folder, secretFile);
}

/** What the nodes know of each other: made at the first start, and kept for the next. */
export async function demoSecret(folder: string): Promise<string> {
  const path = secretPath(folder);
  const fresh = toHex(crypto.getRandomValues(new Uint8Array(secretBytes)));
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(path, `${fresh}\n`, { flag: "wx", mode: 0o600 });
    return fresh;
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw unusable(path, error);
  }
  try {
    // Whoever can read it can join the cluster.
    await chmod(path, 0o600);
    const kept = (await readFile(path, "utf8")).trim();
    if (secretPattern.test(kept)) return kept;
  } catch (error) {
    throw unusable(path, error);
  }
  throw new QuorateError(
    "invalid-config",
    `${path} holds no secret: 16 to 256 printable characters on one line.`,
    { hint: `Put back what it held, or remove ${folder} to begin anew.` },
  );
}

/** All at once, so that no two of them are the same. */
async function freePorts(wanted: readonly number[]): Promise<readonly number[]> {
  const servers: net.Server[] = [];
  try {
    const ports: number[] = [];
    for (const port of wanted) {
      const server = net.createServer();
      servers.push(server);
      ports.push(await listenOn(server, port));
    }
    return ports;
  } finally {
    await Promise.all(servers.map(closed));
  }
}

function listenOn(server: net.Server, port: number): Promise<number> {
  return new Promise((settle, reject) => {
    server.once("error", (error) => reject(taken(port, error)));
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      settle(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

function closed(server: net.Server): Promise<void> {
  return new Promise((settle) => {
    server.close(() => settle());
  });
}

function taken(port: number, error: Error): QuorateError {
  const isTaken = systemErrorCode(error) === "EADDRINUSE";
  const why = isTaken ? "another program listens there" : error.message;
  const stop = isTaken ? `Stop it ('lsof -i :${port}' names it), or choose` : "Choose";
  return new QuorateError("invalid-config", `Port ${port} cannot be used: ${why}.`, {
    hint: `${stop} others: --port 9080 takes 9080 and the ones after it, --port 0 any free ones.`,
    cause: error,
  });
}

function unusable(path: string, error: unknown): QuorateError {
  const why = systemErrorCode(error) ?? String(error);
  return new QuorateError("invalid-config", `The file ${path} cannot be used: ${why}.`, {
    hint: "Choose another folder with --data-dir, or make this one usable.",
    cause: error,
  });
}
