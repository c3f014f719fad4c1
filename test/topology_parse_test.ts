/** A topology from outside: believed only when it holds together; the first format still opens. */

import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { Document } from "../src/document.ts";
import { ownProgram, programOfOne } from "../src/protocol.ts";
import { Slots } from "../src/slots.ts";
import { joinedAt, replicasOf, type Topology } from "../src/topology.ts";
import { withNamespace } from "../src/topology_namespaces.ts";
import { isAddress, parseTopology, readTopology } from "../src/topology_parse.ts";
import { genesisOf } from "../src/topology_steps.ts";
import { isSuccessor } from "../src/topology_successor.ts";
import { runs, throwsSlug } from "./samples.ts";

const test = suite("topology parse");

type Raw = Record<string, unknown>;

const members = [1, 2, 3, 4].map((number) => ({
  nodeId: `${number}`.repeat(32),
  storeId: `a${number}`.repeat(16),
  name: `n${number}`,
  addresses: [`node${number}.example:8080`],
  clientUrl: `http://node${number}.example:8080`,
}));
const four = withNamespace(genesisOf(members, { expect: 4, partitions: 4 }), "cars", {
  ttlSeconds: 9,
}) as Topology;

/** What the first version wrote for a node on its own. */
const formatOne = {
  format: 1,
  clusterId: "3".repeat(32),
  epoch: 7,
  partitions: 8,
  members: [{ nodeId: "1".repeat(32), storeId: "2".repeat(32), name: "ada" }],
  namespaces: four.namespaces,
  nextNamespaceNumber: 4,
  dropped: [3],
};

function copy(of: unknown = four): Raw {
  return JSON.parse(JSON.stringify(of));
}

test("a document of format 2 is one in which nothing moves", () => {
  assert.equal(readTopology({ ...copy(), format: 2 }), { value: four });
  assert.equal(readTopology({ ...copy(), format: 2, move: { phase: 9 } }), { value: four });
});

test("U2: a document of version 1 has these fields and no other: earlier programs would lose them", () => {
  const told = members.map((member) => ({ ...member, program: ownProgram("1.0.0", 1) }));
  const document = copy(genesisOf(told, { expect: 4, partitions: 4 }));
  assert.is(document["format"], 3);
  assert.equal(Object.keys(document), [
    ...["format", "clusterId", "epoch", "partitions", "members", "voters", "replicas", "changed"],
    ...["joined", "namespaces", "nextNamespaceNumber", "dropped"],
  ]);
  assert.equal(Object.keys((document["members"] as readonly Raw[])[0] ?? {}), [
    ...["nodeId", "storeId", "name", "addresses", "clientUrl", "zone", "host", "weight"],
  ]);
  const more = copy(document);
  (more["members"] as Raw[])[0] = { ...(more["members"] as Raw[])[0], program: programOfOne(1) };
  assert.equal(readTopology({ ...more, protocol: 2 }), { value: document });
});

test("a document in which a version is on says what every member speaks, and is refused where that does not fit", () => {
  const told = members.map((member) => ({ ...member, program: ownProgram("1.0.0") }));
  const document = genesisOf(told, { expect: 4, partitions: 4 });
  assert.equal([document.format, document.protocol], [4, 2]);
  assert.equal(readTopology(copy(document)), { value: document });
  const faultOf = (raw: Raw) => {
    const read = readTopology(raw);
    return "error" in read ? read.error : "none";
  };
  assert.match(faultOf({ ...copy(document), protocol: 1 }), /none of its format/);
  assert.match(faultOf({ ...copy(document), protocol: undefined }), /none of its format/);
  assert.match(faultOf({ ...copy(document), protocol: 3 }), /turned on version 3/);
  for (const program of [undefined, programOfOne(1), { ...programOfOne(3) }, "1.0.0"]) {
    const wrong = copy(document);
    (wrong["members"] as Raw[])[2] = { ...(wrong["members"] as Raw[])[2], program };
    assert.match(faultOf(wrong), /a member does not speak/);
  }
  const later = throwsSlug("wrong-data-folder", () =>
    parseTopology({ ...copy(document), protocol: 3 }),
  );
  assert.match(later.message, /has turned on version 3 .* this program speaks versions 1 to 2/);
});

test("a document of format 1 opens as a cluster of one, and its next is of format 3", async () => {
  const disk = new SimDisk();
  const slots = await Slots.open(disk, "topology");
  await slots.write(formatOne);
  const unexpected = () => {
    throw new Error("there is a document");
  };
  const document = await Document.open(disk, unexpected);
  const { present } = document;
  assert.is(present.format, 3);
  for (const field of ["clusterId", "epoch", "partitions", "namespaces", "dropped"] as const) {
    assert.equal(present[field], formatOne[field], field);
  }
  const [member] = formatOne.members;
  assert.equal(present.voters, [member?.nodeId]);
  for (let partition = 0; partition < 8; partition += 1) {
    assert.equal(
      replicasOf(present, partition, 3).map(({ name }) => name),
      ["ada"],
    );
    assert.is(joinedAt(present, partition, 3, member?.nodeId ?? ""), 1);
  }
  const next = await document.change((now) => withNamespace(now, "more", {}));
  assert.ok(isSuccessor(present, next));
  const again = await Document.open(disk.crash("durable"), unexpected);
  assert.equal(again.present, next);
  assert.is(again.present.format, 3);
});

test("readTopology() gives back what was written, without fields that it does not know", () => {
  assert.equal(readTopology(copy()), { value: four });
  const more = {
    ...copy(),
    colour: "red",
    members: members.map((one, index) => ({ ...four.members[index], ...one, x: 1 })),
  };
  assert.equal(readTopology(more), { value: four });
});

test("readTopology() refuses each thing that does not hold together, and says which", () => {
  const set =
    (...path: readonly (string | number)[]) =>
    (value: unknown) =>
    (raw: Raw) => {
      let at = raw as Record<string | number, unknown>;
      for (const step of path.slice(0, -1)) at = at[step] as Record<string | number, unknown>;
      at[path.at(-1) as string] = value;
    };
  const id = "9".repeat(32);
  const rows: readonly (readonly [change: (raw: Raw) => void, said: RegExp])[] = [
    [set("clusterId")("F".repeat(32)), /cluster id/],
    [set("epoch")(0), /epoch/],
    [set("epoch")(2 ** 53), /epoch/],
    [set("partitions")(5), /power of two/],
    [set("partitions")(8), /has no replicas/],
    [set("members")([]), /members are no list/],
    [set("members")(Array(301).fill(four.members[0])), /members are no list/],
    [set("members", 0, "nodeId")("1"), /a member is not/],
    [set("members", 0, "storeId")(7), /a member is not/],
    [set("members", 0, "name")(""), /a member is not/],
    [set("members", 0, "name")("a\nb"), /a member is not/],
    [set("members", 0, "weight")(-1), /a member is not/],
    [set("members", 0, "weight")(1.5), /a member is not/],
    [set("members", 0, "weight")(1001), /a member is not/],
    [set("members", 0, "zone")(""), /a member is not/],
    [set("members", 0, "host")("x".repeat(256)), /a member is not/],
    [set("members", 0, "addresses")(["nowhere"]), /a member is not/],
    [set("members", 0, "addresses")(Array(9).fill("a:1")), /a member is not/],
    [set("members", 0, "clientUrl")("javascript:x"), /a member is not/],
    [set("members", 0, "addresses")([]), /no address/],
    [set("members", 1, "nodeId")("1".repeat(32)), /one nodeId/],
    [set("members", 1, "storeId")("a1".repeat(16)), /one storeId/],
    [set("members", 1, "name")("n1"), /one name/],
    [set("voters")([]), /voters/],
    [set("voters")(four.members.slice(0, 2).map(() => members[0]?.nodeId)), /voters/],
    [set("voters")([id]), /a voter is no member/],
    [set("replicas")([]), /has no replicas/],
    [set("replicas", 2)([0, 1]), /partition 2 has not as many/],
    [set("replicas", 2)([0, 1, 1]), /partition 2 has not as many/],
    [set("replicas", 2)([0, 1, 4]), /partition 2 is no member/],
    [set("replicas", 2)([0, 1, -1]), /partition 2 is no member/],
    [set("replicas", 2)([0, 1, "2"]), /partition 2 is no member/],
    [set("replicas", 2)(Array.from({ length: 10 }, (_, index) => index)), /partition 2 has not/],
    [set("changed", 1)(3), /partition 1 changed in no epoch/],
    [set("changed", 1)(0), /partition 1 changed in no epoch/],
    [
      set(
        "joined",
        3,
      )([
        [1, 1, 1],
        [1, 1],
      ]),
      /partition 3 joined/,
    ],
    [set("joined", 3, 0)([1, 1]), /partition 3 joined/],
    [set("joined", 3, 0, 0)(2), /partition 3 joined/],
    [set("joined", 3, 0, 2)(0), /partition 3 joined/],
    [set("nextNamespaceNumber")(1), /number is not below/],
    [set("nextNamespaceNumber")(2 ** 32), /next namespace/],
    [set("dropped")([1]), /one number/],
    [set("dropped")(Array.from({ length: 1001 }, (_, index) => index)), /deleted namespaces/],
    [set("namespaces", 0, "name")("cars"), /one name/],
    [set("namespaces", 0, "name")("other"), /'default' is missing/],
    [set("namespaces", 1, "number")(0), /one number/],
    [set("namespaces", 1, "policy", "n")(10), /a namespace is not/],
    [set("namespaces", 1, "policy", "r")(4), /a namespace is not/],
    [set("namespaces", 1, "policy", "w")("most"), /a namespace is not/],
    [set("namespaces", 1, "policy", "resolve")("siblings"), /a namespace is not/],
    [set("namespaces", 1, "policy", "ttlSeconds")(0), /a namespace is not/],
    [set("namespaces", 1, "policy", "valueBytesMax")(1e9), /a namespace is not/],
    [set("namespaces", 1, "policy", "durability")("none"), /a namespace is not/],
    [set("format")(3), /format/],
    [set("format")("2"), /format/],
  ];
  for (const [change, said] of rows) {
    const raw = copy();
    change(raw);
    const read = readTopology(raw);
    assert.match("error" in read ? read.error : `taken, for ${said}`, said);
  }
  for (const raw of [null, undefined, 1, "x", [], [four]]) {
    assert.equal(readTopology(raw), { error: "it is not an object" });
  }
  const row = copy();
  set("replicas", 0)([2])(row);
  assert.match(throwsSlug("corruption", () => parseTopology(row)).message, /partition 0/);
});

test("format 1 is for one member: anything else under it is refused", () => {
  const [member] = formatOne.members;
  for (const change of [
    { members: [member, { ...member, nodeId: "5".repeat(32) }] },
    { members: [] },
    { members: [null] },
    { members: "ada" },
    { partitions: 3 },
    { partitions: 1e9 },
  ]) {
    throwsSlug(
      "corruption",
      () => parseTopology({ ...formatOne, ...change }),
      JSON.stringify(change),
    );
  }
});

test("readTopology() takes nothing broken, whatever stands at any place", () => {
  const places: (readonly (string | number)[])[] = [];
  const walk = (value: unknown, path: readonly (string | number)[]): void => {
    if (path.length > 0) places.push(path);
    if (typeof value !== "object" || value === null) return;
    for (const [name, inner] of Object.entries(value)) walk(inner, [...path, name]);
  };
  walk(four, []);
  const property = fc.property(
    fc.constantFrom(...places),
    fc.oneof(fc.jsonValue(), fc.integer(), fc.constantFrom(1, 2, 3)),
    (path, value) => {
      const raw = copy();
      let at = raw as Record<string, unknown>;
      for (const step of path.slice(0, -1)) at = at[step] as Record<string, unknown>;
      at[String(path.at(-1))] = value;
      const read = readTopology(raw);
      if ("error" in read) return;
      // What was taken reads the same again, and its rows name different members.
      assert.equal(readTopology(copy(read.value)), read);
      for (let partition = 0; partition < read.value.partitions; partition += 1) {
        const names = replicasOf(read.value, partition, 3).map(({ name }) => name);
        assert.is(new Set(names).size, 3);
      }
    },
  );
  fc.assert(property, runs(1000));
});

test("isAddress() takes a host and a port", () => {
  for (const good of ["a:1", "10.0.0.1:8080", "node-1.example.org:65535", "[::1]:80"]) {
    assert.ok(isAddress(good), good);
  }
  for (const bad of [
    "a",
    "a:",
    ":1",
    "a:0",
    "a:65536",
    "::1:80",
    "a b:1",
    "[x]:1",
    "a:1\n",
    1,
    null,
  ]) {
    assert.not.ok(isAddress(bad), String(bad));
  }
});

test.run();
