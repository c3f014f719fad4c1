/**
 * Mutations of what members have to speak before it is turned on.
 *
 * Effects: the prototypes of the program's classes, while a mutation is on.
 *
 * @module
 */

import { ClusterProtocol } from "../src/cluster_protocol.ts";
import { Peers } from "../src/peers.ts";
import { type MemberProgram, ownProgram, protocolRange } from "../src/protocol.ts";
import { all, type Mutation, method } from "./mutation.ts";

export const protocolMutations: readonly Mutation[] = [
  {
    name: "a version is turned on that not all members speak",
    rule: "U4: a version is on when every member has promised to run no program without it",
    suits: ({ nodes, earlierStarts }) => nodes > 1 && earlierStarts.some((count) => count > 0),
    begin: all(
      method(
        Peers,
        "programOf",
        (old) =>
          function (nodeId: string) {
            const told: MemberProgram | undefined = old.call(this, nodeId);
            return told === undefined ? undefined : { ...told, highest: protocolRange.highest };
          },
      ),
      method(Peers, "protocolWith", () => () => protocolRange.highest),
      method(ClusterProtocol, "handle", () => async ({ protocol }: { protocol: number }) => ({
        kind: "pledged",
        protocol,
        program: ownProgram("0.0.1"),
      })),
    ),
  },
];
