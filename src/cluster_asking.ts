/**
 * Cluster asking: what a node asks of a cluster before it is a part of it, or where it has lost sight of it.
 *
 * An empty node asks one member to take it in, while the others hear of it. Whoever is asked for a plan has
 * to know who waits, so all members are told. Where the one that was asked is gone, or cannot take it in
 * now, another one is: its disk may have been replaced, so that it waits to be taken in itself.
 *
 * Effects: the peers. Source: rules T3, T7, T9.
 *
 * @module
 */

import { isFields } from "./agreed.ts";
import { documentTopic } from "./agreement.ts";
import type { Slug } from "./errors.ts";
import type { Peers } from "./peers.ts";
import type { Topology } from "./topology.ts";

/** So many members hear of a node that wants to join. */
const askedMax = 16;

/** The `ask` of `joinAt`: at `address` first, and then at the other members of the document. */
export function askInTurn(
  peers: Pick<Peers, "askAt">,
  { address, document }: { readonly address: string; readonly document: Topology },
  timeoutMs: number,
): (at: string, topic: string, body: unknown) => Promise<unknown> {
  const others = document.members.flatMap(({ addresses }) => addresses);
  const all = [address, ...others.filter((other) => other !== address)].slice(0, askedMax);
  let turn = 0;
  return async (_, topic, body) => {
    const at = all[turn % all.length] as string;
    for (const other of all) {
      if (other !== at) peers.askAt(other, "waiting", body, timeoutMs).catch(() => {});
    }
    try {
      const reply = await peers.askAt(at, topic, body, 5 * timeoutMs);
      if (isNotReady(reply)) turn += 1;
      return reply;
    } catch (error) {
      turn += 1;
      throw error;
    }
  };
}

function isNotReady(reply: unknown): boolean {
  if (!isFields(reply) || reply["kind"] !== "refused") return false;
  const slug: Slug = "not-ready";
  return reply["slug"] === slug;
}

/** The documents above an epoch that whoever is at these addresses has. */
export async function documentsAt(
  peers: Pick<Peers, "askAt">,
  addresses: readonly string[],
  epoch: number,
  timeoutMs: number,
): Promise<readonly unknown[]> {
  const asked = addresses.map((address) =>
    peers.askAt(address, documentTopic, { above: epoch }, timeoutMs),
  );
  const found: unknown[] = [];
  for (const reply of await Promise.allSettled(asked)) {
    if (reply.status === "rejected" || !isFields(reply.value)) continue;
    if (isFields(reply.value["document"])) found.push(reply.value["document"]);
  }
  return found;
}
