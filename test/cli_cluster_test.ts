/** The commands about the cluster: status, hints and explain, against nodes that are made up. */
import * as http from "node:http";
import type * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ClusterAnswer, HintsAnswer } from "../src/api.ts";
import type { Io } from "../src/cli_io.ts";
import { watchStatus } from "../src/cli_status.ts";
import { resolveConfig } from "../src/config.ts";
import { QuorateError } from "../src/errors.ts";
import { quorate, type Stand, withStand } from "./cli_harness.ts";

const test = suite("cli cluster");

const target = { storeId: "s-2", node: "n2", count: 1200, bytes: 1536 };
const kept: HintsAnswer["targets"] = [{ ...target, oldestAgeMs: 90_000, isDelivering: true }];

test("status prints each member, what is known of it and who sees it so, in each form", () =>
  withStand(async ({ ask, askWith, edge }) => {
    edge.api.hintTargets = kept;
    const { members, ...rest } = JSON.parse((await ask("status")).out);
    const voters = ["n1", "n2"];
    const features = [{ name: "member-programs", since: 2, on: false, waitsFor: ["n2", "n3"] }];
    const seen = { node: "n1", clusterId: "c", epoch: 3, partitions: 256, voters };
    assert.equal(rest, { ...seen, protocol: 1, features });
    assert.equal([members[0].self, members[0].disk.totalBytes], [true, 4 * 1024 ** 3]);
    assert.not.ok("keys" in members[1], "what was not heard is left out");
    assert.match((await ask("status", "-o", "yaml")).out, /state: "down"\n/);
    assert.is((await ask("status", "-o", "raw")).out, "n1\talive\nn2\tdown\nn3\tunknown\n");
    const { out, err } = await askWith({ columns: 120 }, "status");
    const [head = "", n1 = "", n2 = "", n3 = ""] = out.split("\n");
    assert.match(head, /^node +state +phi +heard +epoch +first of +replica of +keys +hints for it/);
    assert.match(
      n1,
      /^n1 +alive +0\.0 +this node +3 +256 +256 +0 +1\.0 GiB of 4\.0 GiB +0\.0\.1 \(1-2\) +http:/,
    );
    assert.match(
      n2,
      /^n2 +down +9\.3 +1\.0 min ago +2 +256 +256 +1,200, 1\.5 KiB +older \(1\) +http:/,
    );
    assert.match(n3, /^n3 +unknown +0\.0 +never +256 +256 +http:/);
    assert.match(err, "Cluster c as n1 sees it: 256 partitions, epoch 3, voters n1, n2.");
    assert.match(err, "Version 1 of the protocol between nodes is on.");
    assert.match(err, "member-programs (version 2) waits for n2, n3 to speak it.");
  }));

/** An `Io` of a terminal, and what was written to it, write by write. */
function terminal(isTerminal = true): { io: Io; writes: string[]; notes: string[] } {
  const writes: string[] = [];
  const notes: string[] = [];
  const io: Io = {
    environment: {},
    input: (async function* () {})(),
    columns: 80,
    outputIsTerminal: isTerminal,
    errorIsTerminal: isTerminal,
    write: async (data) => void writes.push(String(data)),
    note: (line) => void notes.push(line),
    draw: () => {},
    paint: (_, text) => text,
  };
  return { io, writes, notes };
}

function configFor({ edge }: Stand, flags: Readonly<Record<string, string>> = {}) {
  const url = `http://${edge.authority}`;
  return resolveConfig({ flags: { url, ...flags }, environment: {} }, "data").config;
}

test("status prints the table in the order of names, whatever the order of the members", () =>
  withStand(async ({ askWith, edge }) => {
    const { members, ...rest } = await edge.api.cluster();
    const named = ["n10", "n2", "n1"].map((node, index) => ({
      ...(members[index] as ClusterAnswer["members"][number]),
      node,
    }));
    edge.api.cluster = async () => ({ ...rest, members: named });
    const { out } = await askWith({ columns: 120 }, "status");
    const names = [...out.matchAll(/^(n\d+) /gm)].map(([, name]) => name);
    assert.equal(names, ["n1", "n2", "n10"]);
  }));

test("status of a node that has left says that it is no member, and fails", () =>
  withStand(async ({ ask, askWith, edge }) => {
    const { members, ...rest } = await edge.api.cluster();
    const others = members.filter(({ isSelf }) => !isSelf);
    edge.api.cluster = async () => ({ ...rest, members: others });
    for (const run of [
      ask("status"),
      ask("status", "-o", "raw"),
      askWith({ columns: 120 }, "status"),
    ]) {
      const { code, err } = await run;
      assert.is(code, 1);
      assert.is(err.split("n1 is no member of the cluster any more").length, 2, "once");
    }
  }));

test("status --watch draws over what it drew, and over a node that is away and comes back", () =>
  withStand(async (stand) => {
    const { io, writes, notes } = terminal();
    const { api } = stand.edge;
    const { cluster } = api;
    let turns = 0;
    const code = await watchStatus({ config: configFor(stand) }, io, async () => {
      turns += 1;
      api.cluster =
        turns === 1
          ? () => Promise.reject(new QuorateError("not-ready", "The node is starting."))
          : cluster;
      return turns < 3;
    });
    assert.is(code, 0);
    assert.is(turns, 3);
    assert.is(writes.length, 3);
    for (const write of writes) assert.ok(write.startsWith("\u001b[H\u001b[J"));
    assert.match(writes[0] ?? "", /n2 +down/);
    assert.is(writes[1], "\u001b[H\u001b[J");
    assert.match(notes.join("\n"), "The node is starting.");
    assert.match(writes[2] ?? "", /n1 +alive/);
  }));

test("status --watch is refused where there is nothing to draw over", () =>
  withStand(async (stand) => {
    const { code, err } = await stand.ask("status", "--watch");
    assert.is(code, 2);
    assert.match(err, "needs a terminal");
    assert.is((await stand.askWith({ columns: 80 }, "status", "--watch", "-o", "json")).code, 2);
  }));

test("hints prints for whom a node keeps how much, in each form", () =>
  withStand(async ({ ask, askWith, edge }) => {
    const none = { node: "n1", count: 0, bytes: 0, marks: 0, targets: [] };
    assert.equal(JSON.parse((await ask("hints")).out), none);
    const nothing = await askWith({ columns: 80 }, "hints");
    assert.equal([nothing.out, nothing.err], ["", "n1 keeps no hints.\n"]);
    const gone = { storeId: "s-9", count: 1, bytes: 10, isDelivering: false };
    edge.api.hintTargets = [...kept, gone];
    const { targets, count } = JSON.parse((await ask("hints")).out);
    assert.is(count, 1201);
    assert.equal(targets[0], { ...target, oldestAgeMs: 90_000, delivering: true });
    assert.is((await ask("hints", "-o", "raw")).out, "n2\t1200\nstore s-9\t1\n");
    const { out, err } = await askWith({ columns: 80 }, "hints");
    assert.match(out, /n2 +1,200 +1\.5 KiB +1\.5 min ago +being delivered\n/);
    assert.match(out, /store s-9 +1 +10 B +kept\n/);
    assert.match(err, "n1 keeps 1,201 hints (1.5 KiB) for others.");
  }));

test("hints takes only wait, and --for only with it", () =>
  withStand(async ({ ask }) => {
    assert.is((await ask("hints", "drop")).code, 2);
    assert.is((await ask("hints", "--for", "1s")).code, 2);
    assert.is((await ask("hints", "wait", "--for", "1")).code, 2);
  }));

test("repair prints what runs, what is marked and how far it is, in each form", () =>
  withStand(async ({ ask, askWith, edge }) => {
    assert.equal(JSON.parse((await ask("repair")).out), edge.api.repairState);
    assert.is((await ask("repair", "status", "-o", "raw")).out, "500\t512\t12\t2\n");
    const { out, err } = await askWith({ columns: 120 }, "repair");
    assert.match(out, /17 +3 +n2 +is compared \(scheduled\) +1\.5 s\n/);
    assert.match(out, /3 +3 +n2 +is marked: what differs is known/);
    assert.match(out, /4 +1 +store s-9 +is marked/);
    assert.match(out, /5 +3 +keeps its deletes: n2 is not reached/);
    assert.match(
      err,
      "Deletes or mortal records wait in 9 partitions; 4 were never known to be the same",
    );
    assert.match(
      err,
      "n1 compared 500 of 512 pairs in the last 10.0 min, the oldest 10.0 min ago.",
    );
    assert.match(err, "12 are due, about 2.5 s.");
    assert.match(
      err,
      "1,200 comparisons, 1,190 without a difference, 3 broken off; 7 records sent, 11 got.",
    );
    const { running: _running, ...state } = edge.api.repairState;
    edge.api.repairState = {
      ...state,
      running: [],
      marks: [],
      heldBack: [],
      markCount: 0,
      due: 0,
      nextMs: 900,
    };
    const idle = await askWith({ columns: 120 }, "repair", "status");
    assert.is(idle.out, "");
    assert.match(idle.err, "None is due, the next in 0.9 s.");
    edge.api.repairState = { ...edge.api.repairState, pairs: 0 };
    assert.is(
      (await askWith({ columns: 120 }, "repair")).err,
      "n1 holds nothing that another node holds.\n",
    );
  }));

test("repair run compares all, a partition, or the namespaces with the n of one", () =>
  withStand(async ({ ask, askWith, edge }) => {
    assert.equal(JSON.parse((await ask("repair", "run")).out), { node: "n1", pairs: 512 });
    assert.is((await ask("repair", "run", "--partition", "0", "-o", "raw")).out, "2\n");
    const { err } = await askWith({ columns: 80 }, "repair", "run", "--of", "users");
    assert.match(err, "n1: 512 comparisons are due now.");
    assert.equal(edge.api.repairsAsked, [{}, { partition: 0 }, { namespace: "users" }]);
    assert.is((await ask("repair", "stop")).code, 2);
    assert.is((await ask("repair", "--partition", "1")).code, 2);
    assert.is((await ask("repair", "run", "--partition", "1024")).code, 2);
  }));

/** Two nodes that answer, one that does not; each says that it is the one that answers. */
async function withCluster(run: (first: Stand, second: Stand) => Promise<void>): Promise<void> {
  await withStand((first) =>
    withStand(async (second) => {
      const { cluster } = first.edge.api;
      const { members, ...rest } = await cluster.call(first.edge.api);
      const urls = [first, second].map(({ edge }) => `http://${edge.authority}`);
      const answer = (self: number): ClusterAnswer => ({
        ...rest,
        members: members.map((member, index) => ({
          ...member,
          isSelf: index === self,
          // Nothing listens on the last one's port.
          clientUrl: urls[index] ?? "http://127.0.0.1:1",
        })),
      });
      first.edge.api.cluster = async () => answer(0);
      second.edge.api.cluster = async () => answer(1);
      const { hints } = second.edge.api;
      second.edge.api.hints = () => ({ ...hints.call(second.edge.api), node: "n2" });
      await run(first, second);
    }),
  );
}

test("hints wait asks every member that it can reach, and ends when none has any", () =>
  withCluster(async (first, second) => {
    const done = await first.ask("hints", "wait");
    assert.is(done.code, 0);
    assert.match(done.err, /^No hints are left on n1, n2\.\n/);
    assert.match(done.err, "Not asked, because they cannot be reached: n3.");
    // The third is no end: what was marked may have been handed on behind it.
    const looks = [
      [3, 0],
      [2, 1],
      [0, 0],
      [0, 1],
      [0, 0],
      [0, 0],
    ] as const;
    const left = [...looks];
    const { api } = second.edge;
    api.hints = () => {
      const [count, marks] = left.shift() ?? [9, 9];
      return { node: "n2", count, bytes: 10 * count, marks, targets: [] };
    };
    const waited = await first.ask("hints", "wait", "-o", "json");
    assert.equal([waited.code, left.length], [0, 0], waited.err);
    const nodes = ["n1", "n2"];
    assert.equal(JSON.parse(waited.out), { count: 0, nodes, unreachable: ["n3"] });
  }));

test("hints wait takes no node for the member whose address led to it", () =>
  withCluster(async (first, second) => {
    // As where each of them says that clients reach it on loopback.
    second.edge.api.hints = () => first.edge.api.hints();
    const { code, err } = await first.ask("hints", "wait");
    assert.is(code, 0);
    assert.match(err, /^No hints are left on n1\.\n/);
    assert.match(err, "Not asked, because they cannot be reached: n2, n3.");
  }));

test("hints wait ends with timeout when some are left, and says who keeps them for whom", () =>
  withCluster(async (first) => {
    first.edge.api.hintTargets = kept;
    const { code, err, out } = await first.ask("hints", "wait", "--for", "1ms");
    assert.equal([code, out], [1, ""], "no write lacked replicas");
    assert.match(err, "After 1ms, 1,200 hints and marks are left: n1 keeps 1,200 for n2.");
    assert.match(err, /hint: .*--for waits longer/);
  }));

test("hints wait goes on with the members it knows when the node at --url goes away", () =>
  withCluster(async (first, second) => {
    let looks = 0;
    second.edge.api.hints = () => {
      looks += 1;
      first.edge.api.cluster = () => Promise.reject(new QuorateError("not-ready", "Away."));
      const count = looks < 2 ? 1 : 0;
      return { node: "n2", count, bytes: count, marks: 0, targets: [] };
    };
    assert.is((await first.ask("hints", "wait")).code, 0);
    assert.is(looks, 2);
    assert.is((await first.ask("hints", "wait")).code, 1, "a first answer is needed");
  }));

const newer = "0000018bcfe5687b-00000000000000aa";
const older = "0000018bcfe56800-00000000000000bb";
const explained = {
  namespace: "default",
  key: "users/1",
  partition: 7,
  epoch: 3,
  n: 3,
  replicas: [
    {
      ...{ node: "n1", status: "found", version: newer, tombstone: true, tookMs: 0.2 },
      ...{ up: true, counts: true, epoch: 3, sameBefore: "2025-01-01T00:00:00.000Z" },
    },
    {
      ...{ node: "n2", status: "found", version: older, tombstone: false, bytes: 2048 },
      ...{ tookMs: 1.25, up: true, counts: false, epoch: 2, expiresAt: "2030-01-01T00:00:00.000Z" },
    },
    { node: "n3", status: "no answer", error: "the link was cut\u001b[2J", up: false },
  ],
};

/** A server that answers everything with one body, and keeps what it was asked. */
async function withAnswer(
  body: unknown,
  run: (url: string, asked: string[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(`${request.url} ${request.headers["quorate-timeout"]}`);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((settle) => server.listen(0, "127.0.0.1", settle));
  try {
    await run(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`, asked);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

test("explain prints what each replica of a key holds, and which copy is the newest", () =>
  withAnswer(explained, async (url, asked) => {
    const environment = { QUORATE_URL: url };
    const json = await quorate(["explain", "users/1"], { environment });
    assert.equal(JSON.parse(json.out), explained);
    const { out, err } = await quorate(["explain", "users/1"], { environment, columns: 120 });
    const [head = "", n1 = "", n2 = "", n3 = ""] = out.split("\n");
    assert.match(
      head,
      /^replica +node +status +version +copy +holds +epoch +same before +ms +error$/,
    );
    assert.match(
      n1,
      /^1 +n1 +found +0000018bcfe5687b-00000000000000aa +newest +deleted +3 +2025-01-01T00:00:00\.000Z +0\.2$/,
    );
    assert.match(
      n2,
      /^2 +n2 +found, does not count .*bb +older +2\.0 KiB, until 2030-01-01T00:00:00\.000Z +2 +1\.3$/,
    );
    assert.match(n3, /^3 +n3 +no answer, believed down +"the link was cut\\u001b\[2J"$/);
    assert.is(err, "users/1 in 'default': partition 7, epoch 3, n 3.\n");
    const raw = await quorate(["explain", "users/1", "-o", "raw"], { environment });
    assert.is(
      raw.out,
      `n1\tfound\t${newer}\tdeleted\nn2\tfound\t${older}\tvalue\nn3\tno answer\t\t\n`,
    );
    assert.is(asked[0], "/v1/explain/default/users/1 5000ms");
    const odd = ["explain", "--key64", "_w", "-n", "logs", "--timeout", "2s"];
    await quorate(odd, { environment });
    assert.is(asked.at(-1), "/v1/explain/logs?key64=_w 2000ms");
  }));

test("explain says so when the answer is not that of a node", () =>
  withAnswer({ partition: 7 }, async (url) => {
    const { code, err } = await quorate(["explain", "k", "--url", url]);
    assert.is(code, 1);
    assert.match(err, "not that of a Quorate node");
  }));

test.run();
