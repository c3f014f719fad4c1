/**
 * Cli demo control: how another process tells a demo, or a chaos cluster, what to do with its nodes.
 *
 * A pause or a kill could be sent to the node's process by whoever reads its pid. A restart cannot:
 * the cluster's own process has to start it, with the words, the secret and the channel that it gave
 * it before. So one way for all: the cluster's process listens on a port of the loopback address,
 * and writes that port and a fresh token into the file `control` of its folder, readable by its
 * owner alone. Unlike a socket in the folder this has no limit on the length of a path; unlike a
 * file that is polled it answers what became of the word; and a file that a killed process has left
 * leads to a port where nobody knows the token.
 *
 * Invariants
 * 1. Without the token nothing is done.
 * 2. Who asks is answered when it is done, or told why not.
 *
 * Effects: a server on the loopback address, a file.
 *
 * @module
 */

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { join } from "node:path";
import { toHex } from "./bytes.ts";
import type { Crew, CrewMember } from "./cli_demo_crew.ts";
import { QuorateError } from "./errors.ts";

/** What is done: answers a line on it. @throws `invalid-request` when it cannot be */
export type Hand = (words: readonly string[]) => Promise<string>;

export interface Control {
  close(): Promise<void>;
}

const host = "127.0.0.1";
const controlFile = "control";
const tokenBytes = 16;
const bodyCharactersMax = 1024;
/** A restart waits until a node has stopped in order. */
const answerMsMax = 60_000;

/** @throws `invalid-config` when the nodes of a folder are served by another process */
export async function refuseSecond(folder: string): Promise<void> {
  const isThere = await tellControl(folder, []).then(
    (said) => said !== undefined,
    () => true,
  );
  if (!isThere) return;
  throw new QuorateError("invalid-config", `A cluster runs in ${folder} already.`, {
    hint: "Stop it with Ctrl-C where it runs, or choose another folder with --data-dir.",
  });
}

/** Listens for words until it is closed. @throws `invalid-config` when another process does */
export async function openControl(folder: string, hand: Hand): Promise<Control> {
  await refuseSecond(folder);
  const token = toHex(crypto.getRandomValues(new Uint8Array(tokenBytes)));
  const server = createServer((request, response) => {
    void answer(request, token, hand).then(({ status, body }) => {
      response.writeHead(status, { "content-type": "application/json", connection: "close" });
      response.end(JSON.stringify(body));
    });
  });
  const port = await listen(server);
  // The server alone keeps no process.
  server.unref();
  const path = join(folder, controlFile);
  await mkdir(folder, { recursive: true });
  const text = JSON.stringify({ url: `http://${host}:${port}`, token, pid: process.pid });
  await rm(path, { force: true });
  await writeFile(path, `${text}\n`, { mode: 0o600 });
  return {
    async close() {
      await rm(path, { force: true });
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Tells the process of a folder what to do; its answer; undefined when there is none. */
export async function tellControl(
  folder: string,
  words: readonly string[],
): Promise<string | undefined> {
  const found = await readControl(folder);
  if (found === undefined) return undefined;
  let told: { said?: unknown; why?: unknown; hint?: unknown };
  try {
    const reply = await fetch(found.url, {
      method: "POST",
      headers: { authorization: `Bearer ${found.token}` },
      body: JSON.stringify(words),
      signal: AbortSignal.timeout(answerMsMax),
    });
    // Another program on the port of one that was killed.
    if (reply.status !== 200 && reply.status !== 400) return undefined;
    told = (await reply.json()) as typeof told;
  } catch (error) {
    if (error instanceof Error && error.name === "TimeoutError") {
      const detail = `The process of ${folder} did not answer within ${answerMsMax / 1000} s.`;
      throw new QuorateError("timeout", detail, { cause: error });
    }
    return undefined;
  }
  if (typeof told.said === "string") return told.said;
  throw new QuorateError(
    "invalid-request",
    String(told.why),
    typeof told.hint === "string" ? { hint: told.hint } : {},
  );
}

/** What a demo does by hand: `pause n3`, `resume n3`, `kill n3`, `restart n3`. */
export async function handCrew(crew: Crew, [action, ...names]: readonly string[]): Promise<string> {
  if (action === "cut" || action === "heal") {
    throw new QuorateError("invalid-request", "The nodes of a demo reach each other directly.", {
      hint: "'quorate chaos' serves a cluster whose ways can be cut; --fault none leaves it alone.",
    });
  }
  const member = memberOf(crew, names);
  const { name } = member.node;
  switch (action) {
    case "pause":
      if (!member.pause()) throw member.isRunning ? isPaused(name) : notThere(name);
      return `${name} is paused: its process is there, and does nothing.`;
    case "resume":
      if (!member.resume()) throw member.isRunning ? runs(name) : notThere(name);
      return `${name} goes on.`;
    case "kill":
      if (!member.kill()) throw notThere(name);
      await member.child.ended;
      return `${name} is killed.`;
    case "restart":
      if (!(await member.restart()))
        throw refused(`${name} is being started already.`, "Wait a moment.");
      return `${name} is started, as process ${member.child.pid}.`;
    default:
      throw refused(`'${action ?? ""}' is nothing that can be done.`, "See quorate chaos --help.");
  }
}

function notThere(name: string): QuorateError {
  return refused(`${name} does not run.`, `'quorate chaos restart ${name}' starts it.`);
}

function isPaused(name: string): QuorateError {
  return refused(`${name} is paused.`, `'quorate chaos resume ${name}' lets it go on.`);
}

function runs(name: string): QuorateError {
  return refused(`${name} is not paused.`, `'quorate chaos pause ${name}' would pause it.`);
}

/** The one member that is named. */
export function memberOf(crew: Crew, names: readonly string[]): CrewMember {
  const [name = ""] = names;
  const member = names.length === 1 ? crew.named(name) : undefined;
  if (member !== undefined) return member;
  const all = crew.members.map(({ node }) => node.name).join(", ");
  const what = names.length === 1 ? `There is no node '${name}'.` : "One node has to be named.";
  throw new QuorateError("invalid-request", what, { hint: `The nodes are ${all}.` });
}

function refused(detail: string, hint: string): QuorateError {
  return new QuorateError("invalid-request", detail, { hint });
}

interface Reply {
  readonly status: number;
  readonly body: object;
}

async function answer(request: IncomingMessage, token: string, hand: Hand): Promise<Reply> {
  if (request.headers.authorization !== `Bearer ${token}`) return { status: 403, body: {} };
  try {
    return { status: 200, body: { said: await hand(wordsOf(await bodyOf(request))) } };
  } catch (error) {
    const { detail, hint } = QuorateError.from(error);
    return { status: 400, body: { why: detail, ...(hint === undefined ? {} : { hint }) } };
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const piece of request.setEncoding("utf8")) {
    text += String(piece);
    if (text.length > bodyCharactersMax)
      throw refused("The words are too long.", "An action and the names of nodes.");
  }
  return text;
}

function wordsOf(text: string): readonly string[] {
  const words: unknown = JSON.parse(text);
  return Array.isArray(words) ? words.map(String) : [];
}

async function readControl(
  folder: string,
): Promise<{ readonly url: string; readonly token: string } | undefined> {
  try {
    const text = await readFile(join(folder, controlFile), "utf8");
    const { url, token } = JSON.parse(text) as { url?: unknown; token?: unknown };
    if (typeof url !== "string" || typeof token !== "string") return undefined;
    return url.startsWith(`http://${host}:`) ? { url, token } : undefined;
  } catch {
    return undefined;
  }
}

function listen(server: Server): Promise<number> {
  return new Promise((settle, reject) => {
    server.once("error", reject);
    server.listen({ host, port: 0 }, () => {
      const address = server.address();
      settle(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
}
