/**
 * Topology answer: what a client or an operator is told of the ring.
 *
 * Effects: none.
 *
 * @module
 */

import type { KeyPlace, Namespace, NodePlace, RingAnswer } from "./api.ts";
import type { Ring } from "./ring.ts";
import { type Member, replicasOf, sharesOf, type Topology } from "./topology.ts";

/** A document never changes, and neither does what is told of it. */
const ringAnswers = new WeakMap<Topology, RingAnswer>();

/** The members and what each holds. */
export function ringAnswer(topology: Topology): RingAnswer {
  const known = ringAnswers.get(topology);
  if (known !== undefined) return known;
  const answer = ringAnswerOf(topology);
  ringAnswers.set(topology, answer);
  return answer;
}

function ringAnswerOf(topology: Topology): RingAnswer {
  const { clusterId, epoch, partitions, members, voters } = topology;
  const shares = sharesOf(topology);
  const total = topology.replicas.reduce((sum, row) => sum + row.length, 0);
  return {
    clusterId,
    epoch,
    partitions,
    members: members.map((member, index) => {
      const { first, all } = shares[index] ?? { first: 0, all: 0 };
      return {
        ...placeOf(member),
        host: member.host,
        weight: member.weight,
        isVoter: voters.includes(member.nodeId),
        firstCount: first,
        replicaCount: all,
        share: all / total,
      };
    }),
  };
}

/** Where a key of a namespace lives. */
export function keyPlace(
  topology: Topology,
  ring: Ring,
  { name, number, policy }: Namespace,
  key: Uint8Array,
): KeyPlace {
  const { partition } = ring.place(number, key);
  const replicas = replicasOf(topology, partition, policy.n).map(placeOf);
  return { namespace: name, partition, n: policy.n, replicas };
}

/** The names of the first `count` nodes of a key's row, in order. */
export function getN(
  topology: Topology,
  ring: Ring,
  namespaceNumber: number,
  { key, count }: { readonly key: Uint8Array; readonly count: number },
): readonly string[] {
  const { partition } = ring.place(namespaceNumber, key);
  return replicasOf(topology, partition, count).map(({ name }) => name);
}

/** A member's name and where it is. */
export function placeOf({ name, nodeId, zone, addresses, clientUrl }: Member): NodePlace {
  return { node: name, nodeId, zone, addresses, ...(clientUrl === undefined ? {} : { clientUrl }) };
}
