/**
 * ChaosClient: sends requests to real nodes over HTTP, and writes down what becomes of them as the
 * simulator's clients do (`sim/history.ts`), so that the same checkers judge both.
 *
 * A delete goes as a batch of one, because only a batch names the version of a delete; a get asks
 * for the explanation, which names the version of a delete that it found.
 *
 * Invariants
 * 1. Every operation is in the history from its beginning, so that one without an answer is there too.
 * 2. A value is written once: it tells which write a read has seen.
 *
 * Effects: the network; ticks are counted, no clock is read.
 *
 * @module
 */

import type { Operation, OperationKind, Told } from "../sim/history.ts";
import { nameOf, valueText, valueType } from "../sim/value.ts";
import type { Consistency } from "../src/api.ts";
import { QuorateClient, QuorateError } from "../src/client.ts";
import { majority } from "../src/level.ts";

/** Whole chapters are listed, and not counted. */
export type ChaosKind = Exclude<OperationKind, "count">;

export interface Ask {
  readonly client: string;
  /** The index of the node that is asked. */
  readonly node: number;
  readonly kind: ChaosKind;
  /** Of a list: what the keys begin with. */
  readonly key: string;
  readonly level: Consistency;
  readonly timeoutMs: number;
  /** Of a put: how long the value is at least. */
  readonly valueBytes?: number;
}

/** Where operations are written down. */
export interface Recorder {
  readonly history: Operation[];
}

export interface Target {
  readonly name: string;
  readonly url: string;
}

const namespace = "default";
const listMax = 1000;
/** After the node's own time it is given this much more to say so. */
const graceMs = 2000;

export class ChaosClients {
  readonly #targets: readonly Target[];
  readonly #clients: readonly QuorateClient[];
  readonly #replicas: number;
  #tick = 0;
  #number = 0;

  constructor(targets: readonly Target[], replicas: number) {
    this.#targets = targets;
    this.#clients = targets.map(({ url }) => new QuorateClient({ url, namespace }));
    this.#replicas = replicas;
  }

  /** Resolves when the client is answered, or has none to wait for any more. */
  async ask(ask: Ask, { history }: Recorder): Promise<Operation> {
    const { node, kind, key, level, client } = ask;
    this.#number += 1;
    const value = `v${this.#number}`;
    const operation: Operation = {
      ...{ number: this.#number, client, kind, level, durability: "fsync", ttlMs: undefined },
      key: kind === "list" ? "" : key,
      ...(kind === "put" ? { value, bytes: textOf(value, ask).length } : { value: undefined }),
      needed: { one: 1, quorum: majority(this.#replicas), all: this.#replicas }[level],
      replicas: this.#replicas,
      node: this.#targets[node]?.name ?? "",
      begun: this.#next(),
      ended: undefined,
      // No value here expires, so no clock is asked.
      clocks: { leastMs: Number.NEGATIVE_INFINITY, mostMs: Number.POSITIVE_INFINITY },
      told: { kind: "nothing" },
    };
    history.push(operation);
    operation.told = await this.#request(operation, ask).catch(failure);
    if (operation.told.kind !== "nothing") operation.ended = this.#next();
    return operation;
  }

  #request(operation: Operation, ask: Ask): Promise<Told> {
    const client = this.#clients[ask.node];
    const target = this.#targets[ask.node];
    if (client === undefined || target === undefined) throw new Error("there is no such node");
    const { kind, key, level: consistency, timeoutMs } = ask;
    const choices = { consistency, timeoutMs };
    switch (kind) {
      case "put":
        return put(client, key, textOf(operation.value ?? "", ask), choices);
      case "delete":
        return remove(client, key, choices);
      case "get":
        return get(target.url, key, choices);
      case "list":
        return list(client, key, choices);
    }
  }

  #next(): number {
    this.#tick += 1;
    return this.#tick;
  }
}

function textOf(value: string, { valueBytes = 0 }: Ask): string {
  return valueText(value, valueBytes);
}

interface Choices {
  readonly consistency: Consistency;
  readonly timeoutMs: number;
}

async function put(
  client: QuorateClient,
  key: string,
  value: string,
  choices: Choices,
): Promise<Told> {
  const { version } = await client.put(key, value, { ...choices, contentType: valueType });
  if (version === undefined) throw new Error("a write was answered without its version");
  return { kind: "written", version };
}

async function remove(client: QuorateClient, key: string, choices: Choices): Promise<Told> {
  const [result] = await client.batch([{ kind: "delete", key }], choices);
  if (result?.kind === "error") throw result.error;
  if (result?.kind !== "delete") throw new Error("a delete was answered with something else");
  return { kind: "written", version: result.version };
}

/** The client of applications does not tell of explanations. */
async function get(url: string, key: string, choices: Choices): Promise<Told> {
  const { consistency, timeoutMs } = choices;
  const query = `consistency=${consistency}&timeout=${timeoutMs}ms&explain=true`;
  const answer = await fetch(`${url}/v1/kv/${namespace}/${key}?${query}`, {
    signal: AbortSignal.timeout(timeoutMs + graceMs),
  });
  const body = await answer.text();
  if (answer.status === 200) {
    const version = /^(?:W\/)?"(.*)"$/.exec(answer.headers.get("etag") ?? "")?.[1];
    if (version === undefined) throw new Error("a record was answered without its version");
    const value = nameOf(body, answer.headers.get("content-type") ?? "");
    return { kind: "found", version, value, bytes: body.length };
  }
  const problem = JSON.parse(body) as { readonly type?: string };
  if (answer.status !== 404) {
    const slug = String(problem.type).replace(/^.*\//, "") as QuorateError["slug"];
    return { kind: "failed", slug, outcome: undefined };
  }
  const explained = JSON.parse(answer.headers.get("quorate-explain") ?? "") as Explained;
  const named = explained.replicas
    .filter(({ ignored }) => ignored === undefined)
    .map(({ version }) => version)
    .filter((version) => version !== undefined && version !== "nothing")
    .sort();
  return { kind: "absent", named: named.at(-1) };
}

interface Explained {
  readonly replicas: readonly { readonly version?: string; readonly ignored?: string }[];
}

async function list(client: QuorateClient, prefix: string, choices: Choices): Promise<Told> {
  const page = await client.listPage({ ...choices, prefix, pageSize: listMax });
  const items = page.entries.map(({ key, version }) => ({
    key: new TextDecoder().decode(key),
    version,
  }));
  return { kind: "listed", items, isWhole: page.next === undefined };
}

/** No answer, or one that says why. An error of another kind is one of this program. */
function failure(error: unknown): Told {
  if (error instanceof QuorateError) {
    // The client's own words for a connection that broke: the node has told nothing.
    if (error.slug === "unreachable" && error.outcome !== "none") return { kind: "nothing" };
    return { kind: "failed", slug: error.slug, outcome: error.outcome };
  }
  const isOfNetwork = error instanceof TypeError || (error as Error).name === "TimeoutError";
  if (isOfNetwork) return { kind: "nothing" };
  throw error;
}

/** What became of writes that failed; reads have no outcome. */
export function failureName({ kind, told }: Operation): string | undefined {
  const isWrite = kind === "put" || kind === "delete";
  if (told.kind === "nothing")
    return isWrite ? "write without an answer" : "read without an answer";
  if (told.kind !== "failed") return undefined;
  return isWrite ? `write ${told.outcome ?? "unknown"}` : "read refused";
}

export function isAcknowledged({ kind, told }: Operation): boolean {
  return (kind === "put" || kind === "delete") && told.kind === "written";
}
