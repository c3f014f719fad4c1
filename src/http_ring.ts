/**
 * HttpRing: where keys live, for an operator or a client that likes to ask the right node.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import { defaultNamespace } from "./api.ts";
import { type Exchange, type HttpContext, jsonReply, type Reply } from "./exchange.ts";
import { exactlyOne, parameters, parseParameters } from "./schemas.ts";
import { parseKey64, parseNamespace, parseQueryKey } from "./target.ts";

/** `GET /v1/ring[?key=]`. */
export function getRing(context: HttpContext, exchange: Exchange): Reply {
  const { key, key64, namespace } = parseParameters(parameters.ring, exchange);
  const { members, ...ring } = context.api.ring();
  const body = {
    ...ring,
    members: members.map(({ isVoter, firstCount, replicaCount, ...member }) => ({
      ...member,
      voter: isVoter,
      primaries: firstCount,
      replicas: replicaCount,
    })),
  };
  if (key === undefined && key64 === undefined && namespace === undefined) {
    return jsonReply(200, body);
  }
  const name = parseNamespace(namespace ?? defaultNamespace);
  exchange.namespace = name;
  const asked = exactlyOne("key", [
    key === undefined ? undefined : () => parseQueryKey(key),
    key64 === undefined ? undefined : () => parseKey64(key64),
  ])();
  exchange.key = asked;
  return jsonReply(200, { ...body, place: context.api.place(name, asked) });
}
