/**
 * Metrics: the node's numbers in the text format of Prometheus.
 *
 * It is a `Report` beside the log: what effects count and observe lands in plain numbers here, at the
 * price of an addition. Requests are counted in `traffic`, budgets in `admission`. Only when somebody
 * asks for `/metrics` are all of them read and handed to prom-client, which knows the format; what is
 * known elsewhere (keys, disk space, hints, the ways to peers) is pulled then as well.
 *
 * Invariants
 * 1. A report never throws, never waits, and makes no object of prom-client.
 * 2. Labels come from closed lists, from names in the sources, or are members of the cluster.
 *
 * Effects: prom-client reads the process; `perf_hooks` the event loop. Source: Prometheus, "Exposition
 * formats" and "Writing exporters".
 *
 * @module
 */

import * as perf from "node:perf_hooks";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { type Admission, workClasses } from "./admission.ts";
import type {
  HintsAnswer,
  HintTarget,
  NodeInfo,
  ProtocolAnswer,
  ReadyCheck,
  RepairAnswer,
} from "./api.ts";
import type { MetricsPage } from "./exchange.ts";
import * as histograms from "./histogram.ts";
import type { LogReport } from "./log.ts";
import { counterTable, type HistogramRow, histogramTable } from "./metrics_table.ts";
import { Traffic } from "./traffic.ts";

/** What a scrape asks the node. */
export interface NodeSource {
  info(): Promise<NodeInfo>;
  readiness(): readonly ReadyCheck[];
  /** What is kept for nodes that could not be reached. @throws `not-ready` while the node starts */
  hints(): HintsAnswer;
  /** How far comparisons with other replicas are. @throws `not-ready` while the node starts */
  repair(): RepairAnswer;
  /** What the members speak. @throws `not-ready` while the node starts */
  protocol(): ProtocolAnswer;
  /** To every other member; none while the node is alone or starts. */
  peerLinks(): readonly PeerGauges[];
}

/** What a scrape asks the server. */
export interface ServerSource {
  readonly connections: number;
}

interface PeerGauges {
  /** The member's name. */
  readonly peer: string;
  /** How much is to be said for the peer being down (phi-accrual). */
  readonly phi: number;
  /** What waits to be sent to it. */
  readonly queueBytes: number;
}

/** More members than a cluster can have (`--bootstrap-expect` and topology hold it to fewer). */
const membersMax = 256;
/** Gauges whose names promise a counter, which `promtool check metrics` rejects. */
const misnamed = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];
const nanosecondsInSecond = 1e9;

export interface MetricsOptions {
  /** The log, which gets every line and keeps no numbers. */
  readonly log: LogReport;
  readonly admission: Admission;
  /** Whether the process's own numbers are shown; off for tests of the rest. Default true. */
  readonly process?: boolean;
}

type Labels = Readonly<Record<string, string | number>>;
type Sample = readonly [labels: Labels, value: number];

export class Metrics implements MetricsPage {
  readonly contentType: string = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly traffic: Traffic = new Traffic();
  /** For every part that reports. */
  readonly report: LogReport;
  readonly #registry = new Registry();
  readonly #counts = new Map<string, number>();
  readonly #marks = new Map<string, number>();
  readonly #observed = new Map<string, histograms.Histogram>();
  readonly #log: LogReport;
  #node: NodeSource | undefined;
  #server: ServerSource | undefined;
  /** What the node said of itself at this scrape. */
  #info: NodeInfo | undefined;

  constructor({ log, admission, process = true }: MetricsOptions) {
    this.#log = log;
    for (const [name, { bounds }] of Object.entries(histogramTable)) {
      this.#observed.set(name, new histograms.Histogram(bounds));
    }
    this.report = this.#reportBeside(log);
    this.#registerTraffic();
    this.#registerReports();
    this.#registerNode();
    this.#registerAdmission(admission);
    this.#registerCluster();
    this.#registerRepair();
    this.#registerProtocol();
    this.#registerLoop(admission);
    if (process) this.#registerProcess();
  }

  /** From when on the node is asked at each scrape. */
  watchNode(node: NodeSource): void {
    this.#node = node;
  }

  watchServer(server: ServerSource): void {
    this.#server = server;
  }

  async text(): Promise<string> {
    // A node that is closing may not answer any more; the rest is worth showing.
    this.#info = await this.#node?.info().catch(() => undefined);
    return this.#registry.metrics();
  }

  #reportBeside(log: LogReport): LogReport {
    const add = (map: Map<string, number>, name: string, by: number): void => {
      map.set(name, (map.get(name) ?? 0) + by);
    };
    return {
      ...log,
      count: (name, by = 1) => add(this.#counts, name, by),
      observe: (name, value) => {
        const histogram = this.#observed.get(name);
        if (histogram === undefined) add(this.#marks, name, 1);
        else histogram.observe(value / (histogramTable[name]?.divisor ?? 1));
      },
      sometimes: (name) => add(this.#marks, name, 1),
    };
  }

  #registerTraffic(): void {
    const { traffic } = this;
    this.#counter("quorate_requests_total", "Requests that were answered.", () =>
      requestSamples(traffic),
    );
    this.#counter("quorate_request_errors_total", "Failures, and what is known of the write.", () =>
      traffic.failures().map(({ slug, outcome, count }) => [{ slug, outcome }, count]),
    );
    this.#histogram(
      "quorate_request_seconds",
      "From the head of a request to its answer, of requests that were taken on.",
      () =>
        traffic.cells
          .filter(({ latency }) => latency.count > 0)
          .map(({ edge, operation, latency }) => [{ edge, operation }, latency]),
    );
  }

  #registerReports(): void {
    for (const [name, { metric, help }] of Object.entries(counterTable)) {
      this.#counter(metric, help, () => [
        [{}, (this.#counts.get(name) ?? 0) + (this.#log.counters().get(name) ?? 0)],
      ]);
    }
    for (const [name, histogram] of this.#observed) {
      const { metric, help } = histogramTable[name] as HistogramRow;
      this.#histogram(metric, help, () => [[{}, histogram]]);
    }
    const events = "Rare paths that were taken, by the name in the source.";
    this.#counter("quorate_events_total", events, () => {
      const unknown = [...this.#counts].filter(([name]) => counterTable[name] === undefined);
      return [...this.#marks, ...unknown].map(([event, count]) => [{ event }, count]);
    });
  }

  #registerNode(): void {
    const one = (name: string, help: string, read: (info: NodeInfo) => number): void => {
      this.#gauge(name, help, () => (this.#info === undefined ? [] : [[{}, read(this.#info)]]));
    };
    one("quorate_keys", "Live records on this node.", (info) => info.keys);
    one("quorate_value_bytes", "Bytes of all live values.", (info) => info.bytes);
    one("quorate_disk_free_bytes", "Room left for the data.", (info) => info.disk.freeBytes);
    one("quorate_disk_size_bytes", "Size of the data's disk.", (info) => info.disk.totalBytes);
    one(
      "quorate_damaged_partitions",
      "Partitions that have lost records.",
      (info) => info.damagedPartitions.length,
    );
    one("quorate_topology_epoch", "The epoch of the topology in use.", (info) => info.epoch);
    one("quorate_boots", "How often this data folder was opened.", (info) => info.boot);
    this.#gauge("quorate_node_info", "1, with what this node is.", () => {
      if (this.#info === undefined) return [];
      const { node, version, runtime } = this.#info;
      return [[{ node, version, runtime }, 1]];
    });
    this.#gauge("quorate_ready", "1 when a check of /readyz passes, else 0.", () =>
      (this.#node?.readiness() ?? []).map(({ name, ok }) => [{ check: name }, ok ? 1 : 0]),
    );
    this.#gauge("quorate_connections", "Connections of clients that are open.", () =>
      this.#server === undefined ? [] : [[{}, this.#server.connections]],
    );
  }

  #registerAdmission(admission: Admission): void {
    this.#gauge("quorate_requests_in_flight", "Requests under way, by class of work.", () =>
      workClasses.map((work) => [{ work }, admission[work].requests]),
    );
    this.#gauge("quorate_requests_in_flight_max", "Above it, work is refused.", () =>
      workClasses.map((work) => [{ work }, admission[work].limits.requestsMax]),
    );
    this.#gauge("quorate_request_bytes", "Bytes that requests under way hold.", () =>
      workClasses.map((work) => [{ work }, admission[work].bytes]),
    );
    this.#gauge("quorate_request_bytes_max", "Above it, work is refused.", () =>
      workClasses.map((work) => [{ work }, admission[work].limits.bytesMax]),
    );
  }

  #registerCluster(): void {
    const hints = (
      name: string,
      help: string,
      read: (hint: HintTarget) => number | undefined,
    ): void => {
      this.#gauge(name, help, () =>
        this.#hintTargets().flatMap((target): readonly Sample[] => {
          const value = read(target);
          // A store that is no member any more has no name.
          const label = target.node ?? target.storeId;
          return value === undefined ? [] : [[{ target: label }, value]];
        }),
      );
    };
    const peers = (name: string, help: string, read: (peer: PeerGauges) => number): void => {
      this.#gauge(name, help, () => {
        const all = this.#node?.peerLinks().slice(0, membersMax) ?? [];
        return all.map((peer) => [{ peer: peer.peer }, read(peer)]);
      });
    };
    hints("quorate_hints", "Writes kept for a node that was not reached.", ({ count }) => count);
    hints("quorate_hint_bytes", "Bytes of the writes kept for a node.", ({ bytes }) => bytes);
    hints(
      "quorate_hint_oldest_seconds",
      "Age of the oldest write kept for a node.",
      ({ oldestAgeMs }) => (oldestAgeMs === undefined ? undefined : oldestAgeMs / 1000),
    );
    peers("quorate_peer_phi", "Suspicion that a peer is down (phi-accrual).", ({ phi }) => phi);
    peers(
      "quorate_link_queue_bytes",
      "Bytes that wait to be sent to a peer.",
      ({ queueBytes }) => queueBytes,
    );
  }

  #registerRepair(): void {
    const repair = (
      name: string,
      help: string,
      read: (repair: RepairAnswer) => number | undefined,
    ): void => {
      this.#gauge(name, help, () => {
        const value = this.#repair(read);
        return value === undefined ? [] : [[{}, value]];
      });
    };
    repair("quorate_repair_pairs", "Pairs of a partition and another replica.", (at) => at.pairs);
    repair("quorate_repair_due", "Pairs that wait to be compared now.", ({ due }) => due);
    repair("quorate_repair_running", "Pairs that are being compared.", (at) => at.running.length);
    repair("quorate_repair_marks", "Partitions known to differ.", ({ markCount }) => markCount);
    repair(
      "quorate_partitions_without_data",
      "Partitions that count for nothing until they are filled from other replicas.",
      ({ lackingCount }) => lackingCount,
    );
    repair(
      "quorate_store_rolled_back",
      "1: the store was rolled back, and its vote is void.",
      ({ rolledBack }) => (rolledBack ? 1 : 0),
    );
    repair(
      "quorate_repair_waiting",
      "Partitions in which deletes or records with an end wait to be dropped.",
      ({ waiting }) => waiting,
    );
    repair(
      "quorate_repair_same_seconds",
      "Age of the oldest watermark of a partition in which something waits to be dropped.",
      ({ oldestSameAgeMs }) => (oldestSameAgeMs === undefined ? undefined : oldestSameAgeMs / 1000),
    );
    repair(
      "quorate_repair_oldest_seconds",
      "Age of the oldest of each pair's last comparisons.",
      ({ oldestAgeMs }) => (oldestAgeMs === undefined ? undefined : oldestAgeMs / 1000),
    );
  }

  #registerProtocol(): void {
    const protocol = (
      name: string,
      help: string,
      read: (protocol: ProtocolAnswer) => readonly Sample[],
    ): void => {
      this.#gauge(name, help, () => {
        try {
          return this.#node === undefined ? [] : read(this.#node.protocol());
        } catch {
          // A node that starts has no document yet.
          return [];
        }
      });
    };
    protocol(
      "quorate_protocol_version",
      "The version of the protocol between nodes that is turned on.",
      (at) => [[{}, at.protocol]],
    );
    protocol(
      "quorate_member_protocol_version",
      "The highest version of the protocol that a member speaks, with the version of its program.",
      ({ members }) =>
        members
          .slice(0, membersMax)
          .flatMap(({ node, version = "", speaks }): readonly Sample[] =>
            speaks === undefined ? [] : [[{ member: node, version }, speaks.highest]],
          ),
    );
    protocol(
      "quorate_feature_waits_for",
      "Members without which a feature is not turned on.",
      ({ features }) =>
        features.map(({ name, waitsFor }): Sample => [{ feature: name }, waitsFor.length]),
    );
  }

  #hintTargets(): readonly HintTarget[] {
    try {
      return this.#node?.hints().targets.slice(0, membersMax) ?? [];
    } catch {
      // A node that starts does not know yet what it keeps.
      return [];
    }
  }

  #repair(read: (repair: RepairAnswer) => number | undefined): number | undefined {
    try {
      const repair = this.#node?.repair();
      return repair === undefined ? undefined : read(repair);
    } catch {
      return undefined;
    }
  }

  #registerLoop(admission: Admission): void {
    const delays = loopDelays();
    this.#gauge(
      "quorate_event_loop_lag_seconds",
      "How late the event loop is: smoothed, and since the scrape before where the runtime tells.",
      () => {
        const smoothed: Sample = [{ statistic: "smoothed" }, admission.lagMs / 1000];
        return [smoothed, ...(delays?.() ?? [])];
      },
    );
  }

  #registerProcess(): void {
    try {
      collectDefaultMetrics({ register: this.#registry });
    } catch (error) {
      // Another runtime than Node may lack what one of them reads; those before it are there.
      this.#log.log("debug", "Some numbers of the process are not to be had.", { error });
    }
    for (const name of misnamed) this.#registry.removeSingleMetric(name);
  }

  #counter(name: string, help: string, read: () => Iterable<Sample>): void {
    const metric = new Counter({ name, help, registers: [this.#registry] });
    pull(metric, { name, help, type: "counter" }, () => valuesOf(read()));
  }

  #gauge(name: string, help: string, read: () => Iterable<Sample>): void {
    const metric = new Gauge({ name, help, registers: [this.#registry] });
    pull(metric, { name, help, type: "gauge" }, () => valuesOf(read()));
  }

  #histogram(
    name: string,
    help: string,
    read: () => readonly (readonly [labels: Labels, histogram: histograms.Histogram])[],
  ): void {
    const metric = new Histogram({ name, help, registers: [this.#registry] });
    pull(metric, { name, help, type: "histogram" }, () =>
      read().flatMap(([labels, histogram]) => bucketsOf(name, labels, histogram)),
    );
  }
}

interface Value {
  readonly metricName?: string;
  readonly labels: Labels;
  readonly value: number;
}

/**
 * Has a metric of prom-client say what is read when it is asked, in place of what it holds: nothing is
 * ever put into it, so nothing has to be found in it by labels either.
 */
function pull(
  metric: Counter | Gauge | Histogram,
  about: { readonly name: string; readonly help: string; readonly type: string },
  read: () => Iterable<Value>,
): void {
  const get = async () => ({ ...about, aggregator: "sum", values: [...read()] });
  Object.assign(metric, { get, getForPromString: get });
}

function* valuesOf(samples: Iterable<Sample>): Iterable<Value> {
  for (const [labels, value] of samples) yield { labels, value };
}

function bucketsOf(
  name: string,
  labels: Labels,
  histogram: histograms.Histogram,
): readonly Value[] {
  const { bounds, count, sum } = histogram;
  const below = histogram.cumulative();
  const buckets = bounds.map((le, index) => ({
    metricName: `${name}_bucket`,
    labels: { ...labels, le },
    value: below[index] as number,
  }));
  return [
    ...buckets,
    { metricName: `${name}_bucket`, labels: { ...labels, le: "+Inf" }, value: count },
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

function* requestSamples(traffic: Traffic): Iterable<Sample> {
  for (const cell of traffic.cells) {
    const { edge, operation } = cell;
    for (const [status, count] of cell.statuses()) yield [{ edge, operation, status }, count];
  }
}

/** The delays of the event loop since they were last read; undefined where no runtime tells them. */
function loopDelays(): (() => readonly Sample[]) | undefined {
  try {
    const delays = perf.monitorEventLoopDelay({ resolution: 10 });
    delays.enable();
    return () => {
      // Nothing was measured yet, or the runtime only has the name of it.
      if (!Number.isFinite(delays.mean)) return [];
      const samples: Sample[] = [
        [{ statistic: "p50" }, delays.percentile(50) / nanosecondsInSecond],
        [{ statistic: "p99" }, delays.percentile(99) / nanosecondsInSecond],
        [{ statistic: "max" }, delays.max / nanosecondsInSecond],
      ];
      delays.reset();
      return samples;
    };
  } catch {
    return undefined;
  }
}
