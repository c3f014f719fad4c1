/**
 * Cluster asking: what a node asks of a cluster before it is a part of it, or where it has lost sight of it.
 *
 * An empty node asks one member to take it in, while the others hear of it. Whoever is asked for a plan has
 * to know who waits, so `askedMax` members are told: all of them but in a large cluster. Where the one that was asked is gone, or cannot take it in
 * now, another one is: its disk may have been replaced, so that it waits to be taken in itself.
 *
 * An answer may take five times as long as any other, since all members have to be asked for it, and so long
 * nobody can tell that an address is a dead one. The members hear of the node meanwhile, again and again, and
 * at most `toldGapMsMax` apart: `cluster_waiting` forgets who is silent for longer than that.
 *
 *     n4 -> n3 (gone): join        n4 -> n1, n2: waiting    at 0 s
 *                                  n4 -> n1, n2: waiting    at 2, 4, 6, 8 s
 *        (no answer)               n4 -> n1: join           at 11 s
 *
 * Effects: Clock, the peers. Source: rules T3, T7, T9.
 *
 * @module
 */

import { type Fields, isAddresses, isFields, isId } from "./agreed.ts";
import { documentTopic } from "./agreement.ts";
import type { Clock } from "./capability.ts";
import type { Slug } from "./errors.ts";
import { type JoinerParts, joinRetryMs } from "./join.ts";
import type { Peers, Place } from "./peers.ts";
import type { Topology } from "./topology.ts";

/** How long an answer is waited for that needs nobody else. */
export const askMs = 2000;
/** Who is being asked may refuse just before the others hear again; they do when the next one is asked. */
export const toldGapMsMax = askMs + joinRetryMs;
/** So many members hear of a node that wants to join. */
const askedMax = 16;

/**
 * The `ask` of `joinAt`: at `address` first, then at the other members of the document and at the `named`
 * addresses: who waits for long may find the members there when they have all come to others. While one is asked,
 * all of these hear of it every `timeoutMs`.
 */
export function askInTurn(
  peers: Pick<Peers, "askAt">,
  {
    address,
    document,
    named,
  }: {
    readonly address: string;
    readonly document: Topology;
    /** `--peers`, without its own. */
    readonly named: readonly string[];
  },
  { clock, timeoutMs }: { readonly clock: Pick<Clock, "after">; readonly timeoutMs: number },
): JoinerParts<Topology>["ask"] {
  const known = document.members.flatMap(({ addresses }) => addresses);
  // At most half of them are named ones.
  const members = [...new Set([address, ...known])].slice(0, askedMax);
  const others = named.filter((one) => !members.includes(one)).slice(0, askedMax / 2);
  const all = [...members.slice(0, askedMax - others.length), ...others];
  let turn = 0;
  return async (topic, body) => {
    const at = all[turn % all.length] as string;
    let cancel = (): void => {};
    const tell = (told: readonly string[]): void => {
      for (const other of told) peers.askAt(other, "waiting", body, timeoutMs).catch(() => {});
      // Who is asked has not said yet that it cannot be now: as time goes by it should know, too.
      cancel = clock.after(timeoutMs, () => tell(all));
    };
    tell(all.filter((other) => other !== at));
    try {
      const reply = await peers.askAt(at, topic, body, 5 * timeoutMs);
      if (isNotReady(reply)) turn += 1;
      return { at, reply };
    } catch (error) {
      turn += 1;
      return { at, error };
    } finally {
      cancel();
    }
  };
}

function isNotReady(reply: unknown): boolean {
  if (!isFields(reply) || reply["kind"] !== "refused") return false;
  const slug: Slug = "not-ready";
  return reply["slug"] === slug;
}

/** What a member knows of the others. */
export interface News {
  /** Above the epoch that it was asked for; undefined: it has none. */
  readonly document: unknown;
  /** Those that it reaches; a member of an earlier version does not tell. */
  readonly places: readonly Place[];
}

/** What whoever is at these addresses knows: a document above an epoch, and where the members are. */
export async function newsAt(
  peers: Pick<Peers, "askAt">,
  addresses: readonly string[],
  epoch: number,
  timeoutMs: number,
): Promise<readonly News[]> {
  const question = { above: epoch, wantsPlaces: true };
  const asked = addresses.map((address) =>
    peers.askAt(address, documentTopic, question, timeoutMs),
  );
  const replies = await Promise.allSettled(asked);
  return replies.flatMap((reply) =>
    reply.status === "fulfilled" && isFields(reply.value) ? [readNews(reply.value)] : [],
  );
}

function readNews({ document, places }: Fields): News {
  const told: readonly unknown[] = Array.isArray(places) ? places : [];
  return { document: isFields(document) ? document : undefined, places: told.filter(isPlace) };
}

function isPlace(raw: unknown): raw is Place {
  return isFields(raw) && isId(raw["nodeId"]) && isAddresses(raw["addresses"]);
}
