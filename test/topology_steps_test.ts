/** How a cluster begins and grows: genesis, joins, voters, and what may follow a document. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes } from "../src/bytes.ts";
import { ownProgram, programOfOne } from "../src/protocol.ts";
import { Ring } from "../src/ring.ts";
import {
  joinedAt,
  membersMax,
  policyDefault,
  replicasOf,
  sharesOf,
  type Topology,
} from "../src/topology.ts";
import { getN, keyPlace, ringAnswer } from "../src/topology_answer.ts";
import { withNamespace, withoutNamespace } from "../src/topology_namespaces.ts";
import { readTopology } from "../src/topology_parse.ts";
import { chooseVoters } from "../src/topology_rows.ts";
import {
  genesis,
  genesisOf,
  type MemberFacts,
  memberOf,
  type Seal,
  withAddresses,
  withMember,
  withProgram,
  withProtocol,
} from "../src/topology_steps.ts";
import { isSuccessor, whyNotSuccessor } from "../src/topology_successor.ts";
import { runs, throwsSlug } from "./samples.ts";

const test = suite("topology steps");

function facts(number: number, zone = "z"): MemberFacts {
  const hex = number.toString(16);
  return {
    nodeId: `a${hex.padStart(31, "0")}`,
    storeId: `b${hex.padStart(31, "0")}`,
    name: `n${number}`,
    addresses: [`10.0.0.${number}:8080`],
    clientUrl: `http://10.0.0.${number}:8080`,
    zone,
  };
}

function cluster(count: number, partitions = 16): Topology {
  const members = Array.from({ length: count }, (_, index) => facts(index + 1, `z${index % 3}`));
  return genesisOf(members, { expect: count, partitions });
}

/** What every member says that has sealed this epoch and holds nothing. */
function sealsOf({ members, epoch }: Topology): Seal[] {
  return members.map(({ nodeId, storeId }) => ({ nodeId, storeId, epoch, records: 0 }));
}

function joined(topology: Topology, member: MemberFacts): Topology {
  return withMember(topology, member, sealsOf(topology)) as Topology;
}

function idsOf(topology: Topology, partition: number, n: number): string[] {
  return replicasOf(topology, partition, n).map(({ nodeId }) => nodeId);
}

test("U4: a version is turned on for all members at once, never off, and moves nothing", () => {
  const before = cluster(3);
  const program = ownProgram("1.0.0");
  const told = new Map(before.members.map(({ nodeId }) => [nodeId, program]));
  const [first = "", second = "", third = ""] = before.members.map(({ nodeId }) => nodeId);
  const some = new Map([first, second].map((nodeId) => [nodeId, program]));
  assert.is(withProtocol(before, 2, some), undefined, "one has not promised");
  const behind = new Map(told).set(third, programOfOne(1));
  assert.is(withProtocol(before, 2, behind), undefined, "one does not speak it");
  const next = withProtocol(before, 2, told) as Topology;
  assert.equal([next.format, next.protocol, next.epoch], [4, 2, 2]);
  assert.equal(
    next.members.map((member) => member.program),
    [program, program, program],
  );
  assert.ok(isSuccessor(before, next));
  assert.equal(
    [next.replicas, next.changed, next.joined],
    [before.replicas, before.changed, before.joined],
  );
  assert.is(withProtocol(next, 2, told), undefined, "it is on");
  assert.match(whyNotSuccessor(next, { ...before, epoch: 3 }) ?? "", /turns off/);
});

test("a member's program is told where that is on, and whoever joins speaks what is on", () => {
  const program = ownProgram("1.0.0");
  const members = [1, 2, 3].map((number) => ({ ...facts(number), program }));
  const present = genesisOf(members, { expect: 3, partitions: 16 });
  const nodeId = present.members[1]?.nodeId ?? "";
  const other = { ...program, version: "1.0.1" };
  const next = withProgram(present, nodeId, other) as Topology;
  assert.ok(isSuccessor(present, next));
  assert.equal(next.members[1]?.program, other);
  assert.is(withProgram(next, nodeId, other), undefined);
  assert.is(withProgram(cluster(3), cluster(3).members[1]?.nodeId ?? "", other), undefined);
  const behind = throwsSlug("invalid-request", () => joined(present, facts(9)));
  assert.match(behind.message, /turned on version 2 .* 'n9' speaks version 1/);
  const four = joined(present, { ...facts(9), program });
  assert.ok(isSuccessor(present, four));
  assert.equal(four.members.at(-1)?.program, program);
  const old = joined(cluster(3), { ...facts(9), program });
  assert.not.ok("program" in (old.members.at(-1) ?? {}), "format 3 says nothing of it");
  const moved = withAddresses(present, nodeId, { addresses: ["10.0.0.9:1"] }) as Topology;
  assert.equal(moved.members[1]?.program, program, "another address is no other program");
});

test("T9: all nodes of a genesis compute the same document, whatever order they met in", () => {
  const first = cluster(5);
  assert.is(first.epoch, 1);
  assert.match(first.clusterId, /^[0-9a-f]{32}$/);
  const ids = first.members.map(({ nodeId }) => nodeId);
  assert.equal(ids, [...ids].sort());
  const property = fc.property(fc.shuffledSubarray([1, 2, 3, 4, 5], { minLength: 5 }), (order) => {
    const members = order.map((number) => facts(number, `z${(number - 1) % 3}`));
    assert.equal(genesisOf(members, { expect: 5, partitions: 16 }), first);
  });
  fc.assert(property, runs(30));
});

test("T9: the cluster's id comes from the node and store ids and the settings, and from nothing else", () => {
  const settings = { expect: 2, partitions: 16 };
  const { clusterId } = genesisOf([facts(1), facts(2)], settings);
  const moved = { ...facts(2), addresses: ["elsewhere:1"], zone: "other", name: "else" };
  assert.is(genesisOf([facts(1), moved], settings).clusterId, clusterId);
  const others = [
    genesisOf([facts(1), facts(3)], settings),
    genesisOf([facts(1), { ...facts(2), storeId: "c".repeat(32) }], settings),
    genesisOf([facts(1), facts(2)], { expect: 2, partitions: 32 }),
    genesisOf([facts(1), facts(2), facts(3)], { expect: 3, partitions: 16 }),
  ];
  const all = new Set([clusterId, ...others.map((other) => other.clusterId)]);
  assert.is(all.size, 5);
  // For ever: nodes of different versions have to agree on it.
  assert.is(clusterId, "9ad48dd1043ac80e44d44ac60cfa850f");
});

test("T9: two nodes of one name or one store make no cluster", () => {
  const settings = { expect: 2, partitions: 16 };
  const wrong: readonly (readonly [Partial<MemberFacts>, RegExp])[] = [
    [{ name: "n1" }, /name 'n1'/],
    [{ storeId: facts(1).storeId }, /presents it as well/],
    [{ nodeId: facts(1).nodeId }, /presents the store/],
  ];
  for (const [change, said] of wrong) {
    const error = throwsSlug("invalid-request", () =>
      genesisOf([facts(1), { ...facts(2), ...change }], settings),
    );
    assert.match(error.message, said);
    assert.ok(error.hint !== undefined);
  }
});

test("a member without words about itself gets its host from its address, and the usual weight", () => {
  const { nodeId, storeId, name } = facts(1);
  const bare = memberOf({ nodeId, storeId, name });
  assert.equal([bare.host, bare.zone, bare.weight, bare.addresses], ["n1", "default", 100, []]);
  assert.is(memberOf({ nodeId, storeId, name, addresses: ["[::1]:80"] }).host, "[::1]");
  assert.is(memberOf(facts(7)).host, "10.0.0.7");
});

test("T7: a member joins a cluster that is sealed and empty, and everything says so", () => {
  let present = genesis("c".repeat(32), 16, facts(1));
  for (let number = 2; number <= 6; number += 1) {
    const next = joined(present, facts(number));
    assert.is(whyNotSuccessor(present, next), undefined);
    assert.is(next.epoch, present.epoch + 1);
    assert.is(next.members.length, number);
    assert.is(next.members.at(-1)?.name, `n${number}`);
    const { nodeId } = facts(number);
    for (let partition = 0; partition < 16; partition += 1) {
      const row = idsOf(next, partition, 3);
      assert.is(row.length, Math.min(3, number));
      if (!row.includes(nodeId)) continue;
      assert.is(joinedAt(next, partition, 3, nodeId), next.epoch, "T6");
      assert.is(next.changed[partition], next.epoch, "T2");
    }
    const shares = sharesOf(next);
    assert.is(
      shares.reduce((sum, { first }) => sum + first, 0),
      16,
    );
    assert.is(
      shares.reduce((sum, { all }) => sum + all, 0),
      16 * Math.min(3, number),
    );
    assert.equal(readTopology(JSON.parse(JSON.stringify(next))), { value: next });
    present = next;
  }
});

test("T7: nobody joins while a member has not sealed this epoch, or holds a record", () => {
  const present = cluster(3);
  const seals = sealsOf(present);
  const join = (given: readonly Seal[]) => () => withMember(present, facts(9), given);
  const last = seals[2] as Seal;
  for (const given of [
    [],
    seals.slice(0, 2),
    [...seals.slice(0, 2), { ...last, epoch: present.epoch - 1 }],
    [...seals.slice(0, 2), { ...last, epoch: present.epoch + 1 }],
    [...seals.slice(0, 2), { ...last, storeId: "d".repeat(32) }],
  ]) {
    const error = throwsSlug("contention", join(given));
    assert.is(error.outcome, "none");
    assert.match(error.message, /has to seal epoch 1/);
  }
  const held = throwsSlug("not-ready", join([...seals.slice(0, 2), { ...last, records: 1 }]));
  assert.match(held.message, /Member 'n3' holds 1 records/);
});

test("I1: a known name or store under another node, and another store of a known node, are refused", () => {
  const present = cluster(3);
  const seals = sealsOf(present);
  const wrong: readonly (readonly [MemberFacts, RegExp])[] = [
    [{ ...facts(9), name: "n2" }, /The name 'n2' belongs to the member a0/],
    [{ ...facts(9), storeId: facts(2).storeId }, /belongs to the member 'n2'/],
    [
      { ...facts(2), storeId: "d".repeat(32) },
      /is a member with the store b0.*presents the store d/,
    ],
  ];
  for (const [member, said] of wrong) {
    const error = throwsSlug("invalid-request", () => withMember(present, member, seals));
    assert.match(error.message, said);
    assert.match(error.hint ?? "", /replace|copied/);
  }
  assert.is(withMember(present, facts(2), []), undefined, "a member is one already");
});

test("what a client is told of the ring is what the rows say", () => {
  const topology = withNamespace(cluster(6), "five", { n: 5 }) as Topology;
  const ring = new Ring(topology.clusterId, topology.partitions);
  const { members, ...rest } = ringAnswer(topology);
  assert.equal(rest, { clusterId: topology.clusterId, epoch: 2, partitions: 16 });
  assert.equal(
    members.filter(({ isVoter }) => isVoter).map(({ nodeId }) => nodeId),
    topology.members.map(({ nodeId }) => nodeId).filter((id) => topology.voters.includes(id)),
  );
  assert.is(
    members.reduce((sum, { replicaCount }) => sum + replicaCount, 0),
    16 * 5,
  );
  assert.ok(Math.abs(members.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9);
  for (let number = 0; number < 50; number += 1) {
    const key = utf8Bytes(`user/${number}`);
    for (const namespace of topology.namespaces) {
      const place = keyPlace(topology, ring, namespace, key);
      assert.is(place.partition, ring.place(namespace.number, key).partition);
      assert.is(place.replicas.length, namespace.policy.n);
      const ids = place.replicas.map(({ nodeId }) => nodeId);
      assert.equal(ids, idsOf(topology, place.partition, namespace.policy.n));
      const names = place.replicas.map(({ node }) => node);
      for (const count of [1, 2, 3]) {
        const first = getN(topology, ring, namespace.number, { key, count });
        assert.equal(first, names.slice(0, count));
      }
      assert.is(getN(topology, ring, namespace.number, { key, count: 99 }).length, 5);
    }
  }
});

test("there are at most so many members", () => {
  let full = cluster(3, 1);
  const members = Array.from({ length: membersMax }, (_, index) => memberOf(facts(index + 1)));
  full = { ...full, members };
  const error = throwsSlug("invalid-request", () => withMember(full, facts(999), sealsOf(full)));
  assert.match(error.message, /at most 300/);
});

test("T6: a member joins the sets of each n apart, and stays in those that it was in", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 6 }),
    fc.array(fc.constantFrom("z0", "z1", "z2"), { minLength: 1, maxLength: 4 }),
    (count, zones) => {
      let present = cluster(count);
      for (const [index, zone] of zones.entries()) {
        const next = joined(present, facts(50 + index, zone));
        assert.ok(isSuccessor(present, next));
        for (let partition = 0; partition < 16; partition += 1) {
          for (let n = 1; n <= 3; n += 1) {
            const before = idsOf(present, partition, n);
            for (const nodeId of idsOf(next, partition, n)) {
              const expected = before.includes(nodeId)
                ? joinedAt(present, partition, n, nodeId)
                : next.epoch;
              assert.is(joinedAt(next, partition, n, nodeId), expected);
            }
          }
        }
        present = next;
      }
    },
  );
  fc.assert(property, runs(40));
  const three = cluster(4);
  const [outside] = three.members.filter(({ nodeId }) => !idsOf(three, 0, 3).includes(nodeId));
  assert.is(joinedAt(three, 0, 3, outside?.nodeId ?? ""), undefined);
});

test("a namespace with more replicas makes the rows longer at their end, and others' sets stay", () => {
  const present = cluster(6);
  const next = withNamespace(present, "five", { n: 5 }) as Topology;
  assert.ok(isSuccessor(present, next));
  assert.equal(next.voters, present.voters);
  for (let partition = 0; partition < 16; partition += 1) {
    const row = idsOf(next, partition, 5);
    assert.is(row.length, 5);
    assert.equal(row.slice(0, 3), idsOf(present, partition, 3));
    assert.is(joinedAt(next, partition, 3, row[0] as string), 1);
    assert.is(joinedAt(next, partition, 5, row[4] as string), 2);
    assert.is(next.changed[partition], 2);
  }
  // However uneven the rows are: here three members hold everything.
  const uneven = { ...present, replicas: present.replicas.map(() => [0, 1, 2]) };
  for (const row of (withNamespace(uneven, "five", { n: 5 }) as Topology).replicas) {
    assert.equal(row.slice(0, 3), [0, 1, 2]);
  }
  const same = withNamespace(next, "two", { n: 2, r: 1, w: 1 }) as Topology;
  assert.is(same.replicas, next.replicas);
  const gone = withoutNamespace(same, "five") as Topology;
  assert.is(gone.replicas, next.replicas, "rows never shrink while members stay");
  assert.ok(isSuccessor(same, gone));
});

test("T1: there is an odd number of voters, over zones first, and they stay when they can", () => {
  const rows: readonly (readonly [members: number, voters: number])[] = [
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 3],
    [5, 5],
    [9, 5],
  ];
  for (const [members, voters] of rows) {
    const topology = cluster(members);
    assert.is(topology.voters.length, voters);
    assert.is(new Set(topology.voters).size, voters);
  }
  const members = ["a", "a", "a", "b", "c"].map((zone, index) => memberOf(facts(index + 1, zone)));
  const zoneOf = (id: string) => members.find(({ nodeId }) => nodeId === id)?.zone;
  assert.equal(chooseVoters(members.slice(0, 4), []).map(zoneOf), ["a", "b", "a"]);
  const present = [members[2], members[3], members[4]].map((member) => member?.nodeId as string);
  const four = [members[0], members[2], members[3], members[4]].map(
    (member) => member ?? memberOf(facts(0)),
  );
  assert.equal(chooseVoters(four, present), present, "n1 comes first, and would change nothing");
});

test("a node that is reached elsewhere moves nothing", () => {
  const present = cluster(3);
  const { nodeId } = facts(2);
  const next = withAddresses(present, nodeId, { addresses: ["10.9.9.9:1"] }) as Topology;
  assert.ok(isSuccessor(present, next));
  const moved = next.members.find((member) => member.nodeId === nodeId);
  assert.equal(
    [moved?.addresses, moved?.host, moved?.clientUrl],
    [["10.9.9.9:1"], "10.9.9.9", undefined],
  );
  assert.is(next.replicas, present.replicas);
  assert.is(withAddresses(next, nodeId, { addresses: ["10.9.9.9:1"] }), undefined);
});

test("a document that breaks what the protocol rests on follows none", () => {
  const present = withNamespace(cluster(4), "cars", {}) as Topology;
  const next = withoutNamespace(present, "cars") as Topology;
  assert.is(whyNotSuccessor(present, next), undefined);
  const grown = joined(present, facts(9));
  const row = grown.replicas.findIndex((_, partition) => grown.changed[partition] === grown.epoch);
  const kept = grown.replicas.findIndex((_, partition) => grown.changed[partition] !== grown.epoch);
  assert.ok(row >= 0 && kept >= 0, "some rows change, and some stay");
  const since = grown.joined[row] as readonly (readonly number[])[];
  const broken: readonly (readonly [Topology, RegExp])[] = [
    [{ ...next, clusterId: "f".repeat(32) }, /another cluster/],
    [{ ...next, partitions: 8 }, /number of partitions/],
    [{ ...next, epoch: present.epoch + 2 }, /epoch/],
    [present, /epoch/],
    [{ ...next, nextNamespaceNumber: 1 }, /used again/],
    [{ ...next, dropped: [] }, /not dropped/],
    [{ ...next, dropped: [1, 7], nextNamespaceNumber: 8 }, /no namespace had it/],
    [
      {
        ...next,
        namespaces: [...next.namespaces, { name: "x", number: 1, policy: policyDefault }],
        dropped: [],
      },
      /changed its name/,
    ],
    [
      {
        ...grown,
        namespaces: present.namespaces.map((one) => ({ ...one, policy: { ...one.policy, n: 2 } })),
      },
      /changed its name, n or resolve/,
    ],
    [
      {
        ...grown,
        members: grown.members.map((one, index) =>
          index === 0 ? { ...one, storeId: "e".repeat(32) } : one,
        ),
      },
      /changed its store/,
    ],
    [
      {
        ...grown,
        members: grown.members.map((one, index) =>
          index === 0 ? { ...one, nodeId: "e".repeat(32) } : one,
        ),
      },
      /changed its node/,
    ],
    [{ ...grown, changed: grown.changed.with(row, 1) }, /changed, and says otherwise/],
    [{ ...grown, changed: grown.changed.with(kept, grown.epoch) }, /did not change/],
    [
      {
        ...grown,
        joined: grown.joined.with(
          row,
          since.map((epochs) => epochs.map(() => 1)),
        ),
      },
      /when its replicas joined/,
    ],
  ];
  for (const [document, why] of broken) {
    assert.match(whyNotSuccessor(present, document) ?? "it may", why);
  }
  const reused = {
    ...next,
    dropped: [],
    namespaces: [...next.namespaces, { name: "x", number: 1, policy: policyDefault }],
  };
  const after = { ...reused, epoch: next.epoch + 1 };
  assert.match(whyNotSuccessor(next, after) ?? "it may", /was used before/, "T8");
});

test.run();
