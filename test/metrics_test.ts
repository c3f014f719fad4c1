/**
 * What `/metrics` shows, and that `promtool` has nothing against it. A machine without promtool skips
 * that one, except where CI is set, which installs it.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Admission } from "../src/admission.ts";
import type { ProtocolAnswer } from "../src/api.ts";
import { QuorateError } from "../src/errors.ts";
import { createReport } from "../src/log.ts";
import { Metrics } from "../src/metrics.ts";
import { counterTable, histogramTable } from "../src/metrics_table.ts";
import { FakeApi } from "./fake_api.ts";
import { withServer } from "./server_harness.ts";

const test = suite("metrics");

const budget = { requestsMax: 10, bytesMax: 1000 };
const limits = { client: budget, replication: budget, hint: budget, lagMsMax: 0 };

function open(isWithProcess = false) {
  const admission = new Admission(limits);
  const log = createReport({ level: "error", format: "json", colour: false });
  const metrics = new Metrics({ log, admission, process: isWithProcess });
  return { admission, metrics };
}

const linesOf = (text: string) => text.split("\n").filter((line) => !line.startsWith("#"));

async function sampleOf(metrics: Metrics, sample: string): Promise<number | undefined> {
  const line = linesOf(await metrics.text()).find((one) => one.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length));
}

/** Everything that a cluster with trouble would show. */
function fill({ metrics, admission }: ReturnType<typeof open>): void {
  const api = new FakeApi();
  const kept = { bytes: 500, isDelivering: false };
  api.hintTargets = [
    { ...kept, storeId: "s-2", node: "n2", count: 4, oldestAgeMs: 1500 },
    { ...kept, storeId: "s-9", count: 1 },
  ];
  const links = [{ peer: 'n"2', phi: 8.5, queueBytes: 7 }];
  const protocol = (): ProtocolAnswer => ({
    protocol: 1,
    members: [
      { node: "n1", version: "0.1.0", speaks: { lowest: 1, highest: 2 } },
      { node: "n2", speaks: { lowest: 1, highest: 1 } },
      { node: "n3" },
    ],
    features: [{ name: "member-programs", since: 2, isOn: false, waitsFor: ["n2", "n3"] }],
  });
  metrics.watchNode(Object.assign(api, { peerLinks: () => links, protocol }));
  metrics.watchServer({ connections: 3 });
  const { report, traffic } = metrics;
  for (const name of Object.keys(counterTable)) report.count(name, 2);
  for (const name of Object.keys(histogramTable)) report.observe(name, 3);
  report.sometimes("wal: segment rolled");
  report.count("not in the table");
  traffic.cell("http", "get").add(200, 3);
  traffic.cell("rpc", "put").refuse(503);
  traffic.fail("overloaded", "none");
  admission.client.begin();
}

test("counts, observations and marks of the effects become samples in base units", async () => {
  const opened = open();
  fill(opened);
  const { metrics } = opened;
  const expected: Readonly<Record<string, number>> = {
    quorate_write_acknowledgements_total: 2,
    'quorate_events_total{event="wal: segment rolled"}': 1,
    'quorate_events_total{event="not in the table"}': 1,
    quorate_wal_sync_seconds_sum: 0.003,
    'quorate_wal_sync_seconds_bucket{le="0.0025"}': 0,
    'quorate_wal_sync_seconds_bucket{le="0.005"}': 1,
    'quorate_wal_sync_seconds_bucket{le="+Inf"}': 1,
    'quorate_requests_total{edge="http",operation="get",status="200"}': 1,
    'quorate_requests_total{edge="rpc",operation="put",status="503"}': 1,
    'quorate_request_seconds_count{edge="http",operation="get"}': 1,
    'quorate_request_errors_total{slug="overloaded",outcome="none"}': 1,
    'quorate_requests_in_flight{work="client"}': 1,
    quorate_connections: 3,
    'quorate_hints{target="n2"}': 4,
    'quorate_hints{target="s-9"}': 1,
    'quorate_hint_oldest_seconds{target="n2"}': 1.5,
    quorate_repair_pairs: 512,
    quorate_repair_due: 12,
    quorate_repair_running: 1,
    quorate_repair_marks: 2,
    quorate_repair_waiting: 9,
    quorate_repair_same_seconds: 660,
    quorate_repair_oldest_seconds: 599,
    'quorate_link_queue_bytes{peer="n\\"2"}': 7,
    'quorate_peer_phi{peer="n\\"2"}': 8.5,
    quorate_protocol_version: 1,
    'quorate_member_protocol_version{member="n1",version="0.1.0"}': 2,
    'quorate_member_protocol_version{member="n2",version=""}': 1,
    'quorate_feature_waits_for{feature="member-programs"}': 2,
  };
  for (const [sample, value] of Object.entries(expected)) {
    assert.is(await sampleOf(metrics, sample), value, sample);
  }
});

test("what nobody knows yet is left out, rather than shown as zero", async () => {
  const { metrics } = open();
  assert.is(await sampleOf(metrics, "quorate_keys"), undefined);
  assert.match(await metrics.text(), "# TYPE quorate_keys gauge");
});

test("a node that starts, and does not say what it keeps, takes no other number away", async () => {
  const { metrics } = open();
  const api = new FakeApi();
  api.hints = () => {
    throw new QuorateError("not-ready", "The node is starting.");
  };
  api.repair = () => {
    throw new QuorateError("not-ready", "The node is starting.");
  };
  const protocol = (): ProtocolAnswer => {
    throw new QuorateError("not-ready", "The node is starting.");
  };
  metrics.watchNode(Object.assign(api, { peerLinks: () => [], protocol }));
  assert.is(await sampleOf(metrics, "quorate_boots"), (await api.info()).boot);
  assert.not.match(await metrics.text(), /^quorate_hints\{/m);
  assert.not.match(await metrics.text(), /^quorate_repair_due/m);
  assert.not.match(await metrics.text(), /^quorate_protocol_version/m);
});

test("every name that the sources count or observe has a row with its help and unit", () => {
  const folder = new URL("../src/", import.meta.url);
  const counted = new Set<string>();
  const observed = new Set<string>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
    const source = readFileSync(new URL(file, folder), "utf8");
    for (const [, verb, name = ""] of source.matchAll(/\.(count|observe)\(\s*"([^"]+)"/g)) {
      (verb === "count" ? counted : observed).add(name);
    }
  }
  assert.ok(counted.size > 5 && observed.size > 3, "the sources were found");
  for (const name of counted) assert.ok(counterTable[name] !== undefined, name);
  for (const name of observed) assert.ok(histogramTable[name] !== undefined, name);
});

/** The names in the table of the documentation; a brace after `_` stands for several of them. */
function documentedNames(): ReadonlySet<string> {
  const text = readFileSync(new URL("../docs/operations.md", import.meta.url), "utf8");
  const rows = text.split("\n").filter((line) => line.startsWith("| `quorate_"));
  const written = rows.flatMap((row) => {
    const cell = row.slice(0, row.indexOf(" | "));
    return [...cell.matchAll(/`(quorate_(?:[a-z_]|(?<=_)\{[a-z_,]+\})+)/g)].map(
      ([, name = ""]) => name,
    );
  });
  return new Set(
    written.flatMap((name) => {
      const [before = "", parts, after = ""] = name.split(/[{}]/);
      return parts === undefined ? [name] : parts.split(",").map((part) => before + part + after);
    }),
  );
}

test("docs/operations.md has every number of the node, and no other", async () => {
  const opened = open();
  fill(opened);
  const text = await opened.metrics.text();
  const shown = [...text.matchAll(/^# TYPE (quorate_\w+)/gm)].map(([, name = ""]) => name);
  assert.equal([...documentedNames()].sort(), shown.sort());
});

test("promtool check metrics has nothing against any of it", async () => {
  const opened = open(true);
  fill(opened);
  const text = await opened.metrics.text();
  const checked = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
  if (checked.error !== undefined && process.env["CI"] === undefined) {
    console.log("skipped: promtool (Debian's package prometheus) is not on this machine");
    return;
  }
  assert.is(checked.error, undefined, "promtool runs");
  assert.is(`${checked.stdout}${checked.stderr}`, "");
  assert.is(checked.status, 0);
});

test("each line is a comment or a sample, and no name is typed twice", async () => {
  const opened = open(true);
  fill(opened);
  const text = await opened.metrics.text();
  const types = [...text.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1]);
  assert.is(new Set(types).size, types.length);
  assert.ok(types.includes("process_cpu_seconds_total"));
  assert.not.ok(
    types.some((name) => name?.startsWith("nodejs_active_") && name.endsWith("_total")),
  );
  for (const line of linesOf(text)) {
    assert.match(line, /^$|^[a-z0-9_]+(\{[a-z_]+="[^\n]*"\})? (-?[0-9.e+-]+|\+Inf|Nan)$/);
  }
});

const served = open();

test(
  "GET /metrics has the format's content type, and counts requests of every way in",
  withServer(
    async ({ url }) => {
      await fetch(`${url}/v1/kv/default/k`, { method: "PUT", body: "x" });
      await fetch(`${url}/v1/kv/default/none`);
      await fetch(`${url}/v1/nowhere`);
      const body = '{"key":"k"}';
      const headers = { "content-type": "application/json" };
      await fetch(`${url}/kv.KVStore/Get`, { method: "POST", headers, body });
      const answer = await fetch(`${url}/metrics`);
      assert.is(answer.status, 200);
      assert.is(answer.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
      const lines = linesOf(await answer.text());
      for (const labels of [
        'edge="http",operation="put",status="204"',
        'edge="http",operation="get",status="404"',
        'edge="http",operation="other",status="404"',
        'edge="rpc",operation="get",status="200"',
      ]) {
        assert.ok(lines.includes(`quorate_requests_total{${labels}} 1`), labels);
      }
    },
    { metrics: served.metrics, traffic: served.metrics.traffic, admission: served.admission },
  ),
);

test.run();
