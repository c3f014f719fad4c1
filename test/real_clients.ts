/**
 * RealClients: writers and readers at quorum of a real cluster, which never stop, and their history.
 *
 * Each writer has keys of its own and one node, or roams; the readers of a node read the keys of all.
 * What they see is checked as it comes (`history.ts`). What fails is kept with what was said about it.
 *
 * @module
 */

import * as assert from "uvu/assert";
import type { Outcome } from "../src/errors.ts";
import { History, valueText } from "./history.ts";
import { isReady, pause, type RealCluster } from "./real_cluster_harness.ts";
import { type Answer, Client, keptConnectionClosed, keyPath } from "./real_harness.ts";

export interface Failure {
  readonly node: number;
  readonly kind: "write" | "read";
  /** 0: the connection broke. */
  readonly status: number;
  readonly outcome: Outcome | undefined;
  readonly slug: string;
  /** What was said about it. */
  readonly detail: string;
  readonly beganMs: number;
  readonly endedMs: number;
}

export interface RealClientsOptions {
  readonly nodes: readonly number[];
  readonly writersPerNode?: number;
  readonly readersPerNode?: number;
  /** Each writer asks the nodes in turn, in place of one of them. */
  readonly isRoaming?: boolean;
  /**
   * As behind a load balancer: a request that finds a node stopping or gone is asked once more, of the next
   * one, and so are those that follow, until `/readyz` says that it is back.
   */
  readonly isRetrying?: boolean;
}

const keysPerWriter = 8;
/** Every so many writes of a writer one deletes. */
const deleteEvery = 7;
const pauseMs = 20;
/** How long replicas may take to be the same once no hint is left: what reads mend comes after them. */
const settleMsMax = 30_000;

export class RealClients {
  readonly history = new History();
  readonly failures: Failure[] = [];
  /** What cannot be, as the history found it. */
  readonly violations: string[] = [];
  readonly #cluster: RealCluster;
  readonly #clients: readonly Client[];
  readonly #running: readonly Promise<void>[];
  readonly #served: { count: number; longestMs: number }[];
  readonly #isRetrying: boolean;
  /** Nodes that were found away, and are not ready again. */
  readonly #away = new Set<number>();
  #isStopping = false;
  #turn = 0;

  constructor(cluster: RealCluster, options: RealClientsOptions) {
    const { nodes, writersPerNode = 3, readersPerNode = 2, isRoaming = false } = options;
    this.#isRetrying = options.isRetrying === true;
    this.#cluster = cluster;
    this.#clients = cluster.members.map(({ url }) => new Client(url));
    this.#served = cluster.members.map(() => ({ count: 0, longestMs: 0 }));
    this.#running = nodes.flatMap((node) => [
      ...Array.from({ length: writersPerNode }, (_, writer) =>
        this.#write(`w${node}-${writer}`, isRoaming ? nodes : [node]),
      ),
      ...Array.from({ length: readersPerNode }, () => this.#read(node)),
    ]);
  }

  /** Resolves when so many more requests of each of these nodes were served. */
  async more(count: number, nodes: readonly number[]): Promise<void> {
    const least = nodes.map((node) => this.#servedBy(node).count + count);
    while (nodes.some((node, index) => this.#servedBy(node).count < (least[index] ?? 0))) {
      await pause(10);
    }
  }

  /** Resolves when a node's clients were refused so many more times. */
  async moreFailures(count: number, node: number): Promise<void> {
    const least = this.failuresOf([node]).length + count;
    while (this.failuresOf([node]).length < least) await pause(10);
  }

  failuresOf(nodes: readonly number[]): readonly Failure[] {
    return this.failures.filter(({ node }) => nodes.includes(node));
  }

  /** The longest that a served request of a node took since this was asked last, in ms. */
  longestMs(node: number): number {
    const served = this.#servedBy(node);
    const { longestMs } = served;
    served.longestMs = 0;
    return Math.round(longestMs);
  }

  /** What failed, by node, kind and answer, and how long the longest one took. */
  summary(): string {
    const groups = new Map<string, { count: number; longestMs: number; detail: string }>();
    for (const failure of this.failures) {
      const { node, kind, status, slug, outcome, beganMs, endedMs } = failure;
      const name = `n${node + 1} ${kind} ${status} ${slug} ${outcome ?? ""}`;
      const { count, longestMs, detail } = groups.get(name) ?? {
        ...{ count: 0, longestMs: 0, detail: failure.detail },
      };
      groups.set(name, {
        detail,
        count: count + 1,
        longestMs: Math.max(longestMs, Math.round(endedMs - beganMs)),
      });
    }
    const { acknowledgedCount, readCount } = this.history;
    const lines = [...groups].map(
      ([name, { count, longestMs, detail }]) =>
        `${name}: ${count}, the longest ${longestMs} ms, the first: ${detail}`,
    );
    return [`${acknowledgedCount} writes and ${readCount} reads served`, ...lines].join("\n");
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#running);
  }

  /** Every key, read by each node at `all`, and what all replicas hold of it. */
  async checkEverywhere(): Promise<void> {
    const { history } = this;
    assert.equal(this.violations, []);
    await this.#cluster.withoutHints();
    for (const client of this.#clients) {
      await Promise.all(
        history.keys.map(async (key) => {
          const read = history.beginRead(key);
          const answer = await this.#atAll(client, key);
          assert.ok(answer.status === 200 || answer.status === 404, answer.body);
          history.endRead(read, answer.status === 200 ? answer.body : undefined);
        }),
      );
    }
    const untilMs = performance.now() + settleMsMax;
    let unlike = await this.#unlike();
    while (unlike.length > 0 && performance.now() < untilMs) {
      await pause(pauseMs);
      unlike = await this.#unlike();
    }
    assert.equal(unlike, [], "every key is the same on all replicas");
    for (const client of this.#clients) client.close();
  }

  /** The answer of all replicas; a way that was healed a moment ago may be found again a little later. */
  async #atAll(client: Client, key: string): Promise<Answer> {
    const untilMs = performance.now() + settleMsMax;
    for (;;) {
      const answer = await client.ask("GET", `${keyPath(key)}?consistency=all`);
      if (answer.status < 500 || performance.now() > untilMs) return answer;
      await pause(pauseMs);
    }
  }

  /** Keys of which the replicas hold different versions. */
  async #unlike(): Promise<readonly string[]> {
    const { keys } = this.history;
    const counts = await Promise.all(keys.map((key) => this.#cluster.versionsOf(key)));
    return keys.filter((_, index) => counts[index] !== 1);
  }

  async #write(writer: string, nodes: readonly number[]): Promise<void> {
    for (let count = 1; !this.#isStopping; count += 1) {
      const node = nodes[count % nodes.length] as number;
      const key = `${writer}-${count % keysPerWriter}`;
      const isDelete = count % deleteEvery === 0;
      const write = this.history.beginWrite(key, isDelete ? "delete" : "put");
      const failure = await this.#ask(node, "write", (client) =>
        isDelete
          ? client.ask("DELETE", keyPath(key))
          : client.ask("PUT", keyPath(key), valueText(write)),
      );
      const told = "failure" in failure ? (failure.failure.outcome ?? "unknown") : "ok";
      this.#check(() => this.history.endWrite(write, told));
      if (told !== "ok") await pause(pauseMs);
    }
  }

  async #read(node: number): Promise<void> {
    while (!this.#isStopping) {
      const { keys } = this.history;
      this.#turn += 1;
      const key = keys[(this.#turn * 7) % keys.length];
      if (key === undefined) {
        await pause(pauseMs);
        continue;
      }
      const read = this.history.beginRead(key);
      const asked = await this.#ask(node, "read", (client) => client.ask("GET", keyPath(key)));
      if ("failure" in asked) await pause(pauseMs);
      else {
        const { status, body } = asked.answer;
        this.#check(() => this.history.endRead(read, status === 200 ? body : undefined));
      }
    }
  }

  async #ask(
    node: number,
    kind: Failure["kind"],
    ask: (client: Client) => Promise<Answer>,
  ): Promise<{ readonly answer: Answer } | { readonly failure: Failure }> {
    const beganMs = performance.now();
    const at = (index: number): Promise<Answer> =>
      ask(this.#clients[index] as Client).catch((error: unknown) => ({
        status: 0,
        body: JSON.stringify({ type: String(error) }),
      }));
    const next = (node + 1) % this.#clients.length;
    const [one, other] = this.#away.has(node) ? [next, node] : [node, next];
    const first = await at(one);
    const isAway = this.#isRetrying && isUntouched(first);
    if (isAway && !this.#away.has(one)) void this.#awaitReady(one);
    const answer = isAway ? await at(other) : first;
    const endedMs = performance.now();
    const isServed = kind === "write" ? answer.status === 204 : [200, 404].includes(answer.status);
    if (isServed) {
      const served = this.#servedBy(node);
      served.count += 1;
      served.longestMs = Math.max(served.longestMs, endedMs - beganMs);
      return { answer };
    }
    const said = JSON.parse(answer.body) as { type: string; outcome?: Outcome; detail?: string };
    const { outcome, type: slug, detail = "" } = said;
    const failure = { node, kind, status: answer.status, outcome, slug, detail, beganMs, endedMs };
    this.failures.push(failure);
    return { failure };
  }

  async #awaitReady(node: number): Promise<void> {
    this.#away.add(node);
    const { url } = this.#cluster.at(node);
    while (!this.#isStopping && !(await isReady(url))) await pause(pauseMs);
    this.#away.delete(node);
  }

  #check(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.violations.push(String(error));
    }
  }

  #servedBy(node: number): { count: number; longestMs: number } {
    const served = this.#served[node];
    if (served === undefined) throw new Error(`there is no node ${node}`);
    return served;
  }
}

/** The node is stopping or starting, or closed the connection: what is asked again is the same write. */
function isUntouched({ status, body }: Answer): boolean {
  if (status !== 0 && status !== 503) return false;
  const { type, outcome } = JSON.parse(body) as { type: string; outcome?: Outcome };
  if (status === 0) return type.includes("ECONNREFUSED") || type.includes(keptConnectionClosed);
  return /(?:draining|not-ready)$/.test(type) && outcome === "none";
}
