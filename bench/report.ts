/**
 * Report: the figures of a run as tables, as JSON, and against what is promised.
 *
 * The tables are Markdown, for docs/performance.md as they are. Every ratio is of medians.
 *
 * Effects: none.
 *
 * @module
 */

import { aloneOn, type ClusterThroughput, etcdNames } from "./cluster.ts";
import type { Healing } from "./heal.ts";
import { BareHono } from "./hono.ts";
import type { Machine, Runtime } from "./machine.ts";
import type { MemoryRow } from "./memory.ts";
import type { LoadFigures, Moving } from "./move.ts";
import type { Openings } from "./opening.ts";
import type { ProfileTable, Share } from "./profile.ts";
import { Quorate } from "./quorate.ts";
import { QuorateCluster } from "./quorate_cluster.ts";
import { connectionLevels, type Figure, type Plan, valueBytes } from "./sample.ts";
import type { Throughput } from "./throughput.ts";

export interface Results {
  readonly date: string;
  readonly smoke: boolean;
  readonly machine: Machine;
  readonly main: Runtime;
  readonly plan: Plan;
  readonly put?: Throughput;
  readonly get?: Throughput;
  readonly cluster?: ClusterThroughput;
  readonly open?: Openings;
  readonly memory?: readonly MemoryRow[];
  readonly heal?: Healing;
  readonly move?: Moving;
  readonly profile?: readonly ProfileTable[];
}

/** Something that docs/performance.md promises, and what this run says of it. */
export interface Claim {
  readonly claim: string;
  readonly measured: string;
  readonly holds: boolean;
}

const moveP99Max = 3;
const healMsMax = 60_000;
const compareShareMax = 0.01;
const falseShareMax = 0.001;
const putOfEtcdMin = 2;
const putOfRedisMin = 0.5;
const getOfHonoMin = 0.7;
const getOfEtcdMin = 2;
/** What a cluster is measured by: the ratios at 16, 64 and 256 connections. */
interface ClusterBounds {
  readonly putOfEtcdMin: readonly number[];
  readonly getOfEtcdMin: number;
  readonly putCpuUsMax: number;
}

const clusterBounds: ClusterBounds = {
  putOfEtcdMin: [1.5, 2, 2],
  getOfEtcdMin: 2,
  putCpuUsMax: 60,
};
/** Node 20 has a slower socket and a slower collector. */
const clusterBoundsOfNode20: ClusterBounds = {
  putOfEtcdMin: [1.2, 1.6, 1.5],
  getOfEtcdMin: 1,
  putCpuUsMax: 90,
};
const putOfEtcdOverGrpcMin = 1;
const getOneOfAloneMin = 0.7;
const putOneDownMin = 0.8;
const cpuConnections = 256;
const openMsMax = 1500;
const rssAnonBytesMax = 300e6;
const getP99MsMax = 2;

/** The claims about which this run has both sides. */
export function claimsOf({ main, put, get, cluster, open, memory, heal, move }: Results): Claim[] {
  const own = Quorate.nameOn(main);
  const hono = BareHono.nameOn(main);
  const levels: readonly number[] = connectionLevels;
  const busy = levels.filter((level) => level >= 64);
  const claims = [
    ...ratioClaims("PUT", put, { own, other: "etcd", least: putOfEtcdMin, levels }),
    ...ratioClaims("PUT", put, { own, other: "redis", least: putOfRedisMin, levels: busy }),
    ...ratioClaims("GET", get, { own, other: hono, least: getOfHonoMin, levels }),
    ...ratioClaims("GET", get, { own, other: "etcd", least: getOfEtcdMin, levels }),
    ...clusterClaims(main, cluster),
  ];
  const opening = open?.rows.find(({ peer }) => peer === own);
  if (opening !== undefined) {
    claims.push({
      claim: `opening with a full log to replay: under ${openMsMax} ms`,
      measured: `${whole(opening.milliseconds)} ms`,
      holds: opening.milliseconds < openMsMax,
    });
  }
  const held = memory?.find(({ peer }) => peer === own);
  if (held !== undefined) {
    const keys = whole(held.keys);
    claims.push(
      {
        claim: `RssAnon with ${keys} keys: under ${rssAnonBytesMax / 1e6} MB`,
        measured: `${whole(held.rssAnonBytes / 1e6)} MB`,
        holds: held.rssAnonBytes < rssAnonBytesMax,
      },
      {
        claim: `p99 of a GET with ${keys} keys, 64 connections: under ${getP99MsMax} ms`,
        measured: `${held.p99Ms.toFixed(2)} ms`,
        holds: held.p99Ms < getP99MsMax,
      },
    );
  }
  return [...claims, ...healClaims(heal), ...moveClaims(move)];
}

function moveClaims(move: Moving | undefined): Claim[] {
  if (move === undefined) return [];
  const ratio = move.during.p99Ms / move.before.p99Ms;
  return [
    {
      claim: `p99 while three nodes become five: at most ${moveP99Max} times that before`,
      measured: `${ratio.toFixed(2)} times`,
      holds: ratio <= moveP99Max,
    },
  ];
}

function healClaims(heal: Healing | undefined): Claim[] {
  if (heal === undefined) return [];
  const { healMs, compareShare, falseShare, differing, keys } = heal;
  return [
    {
      claim: `${whole(differing)} of ${whole(keys)} keys missed by one of five nodes: there within ${healMsMax / 1000} s`,
      measured: `${(healMs / 1000).toFixed(1)} s`,
      holds: healMs <= healMsMax,
    },
    {
      claim: `an idle node compares all it has once a period: under ${percent(compareShareMax)} of one core`,
      measured: small(compareShare),
      holds: compareShare < compareShareMax,
    },
    {
      claim: `segments that differ for writes under way alone: under ${percent(falseShareMax)}`,
      measured: small(falseShare),
      holds: falseShare < falseShareMax,
    },
  ];
}

function clusterClaims(main: Runtime, cluster: ClusterThroughput | undefined): Claim[] {
  if (cluster === undefined) return [];
  const { put, get, one, grpc } = cluster;
  const levels: readonly number[] = connectionLevels;
  const own = QuorateCluster.nameOn(main);
  const lost = QuorateCluster.nameOn(main, true);
  const old = put.figures.find(({ peer }) => peer.startsWith("Quorate, Node 20,"))?.peer;
  const beside = (peer: string, bounds: ClusterBounds): Claim[] =>
    etcdNames.flatMap((other) => [
      ...levels.flatMap((level, index) => {
        const least = bounds.putOfEtcdMin[index] ?? 0;
        return ratioClaims("quorum PUT", put, { own: peer, other, least, levels: [level] });
      }),
      ...ratioClaims("quorum GET", get, { own: peer, other, least: bounds.getOfEtcdMin, levels }),
    ]);
  const overGrpc = etcdNames.flatMap((other) =>
    ratioClaims("quorum PUT over gRPC", grpc, { own, other, least: putOfEtcdOverGrpcMin, levels }),
  );
  const onNode20 = [
    ...(old === undefined ? [] : beside(old, clusterBoundsOfNode20)),
    ...cpuClaims(put, old, clusterBoundsOfNode20),
  ];
  return [
    ...beside(own, clusterBounds),
    ...overGrpc,
    ...ratioClaims("GET at one", one, {
      own,
      other: aloneOn(main),
      least: getOneOfAloneMin,
      levels,
    }),
    ...ratioClaims("PUT, one node down", put, {
      own: lost,
      other: own,
      least: putOneDownMin,
      levels,
    }),
    ...cpuClaims(put, own, clusterBounds),
    ...onNode20.map((claim) => ({ ...claim, claim: `Node 20: ${claim.claim}` })),
  ];
}

function cpuClaims(
  put: Throughput,
  peer: string | undefined,
  { putCpuUsMax }: ClusterBounds,
): Claim[] {
  const isIt = (one: Figure) => one.peer === peer && one.connections === cpuConnections;
  const cpuUs = put.figures.find(isIt)?.cpuUs;
  if (cpuUs === undefined) return [];
  return [
    {
      claim: `quorum PUT, ${cpuConnections} connections: under ${putCpuUsMax} µs of CPU`,
      measured: `${cpuUs.toFixed(0)} µs`,
      holds: cpuUs < putCpuUsMax,
    },
  ];
}

interface Ratio {
  readonly own: string;
  readonly other: string;
  readonly least: number;
  readonly levels: readonly number[];
}

function ratioClaims(method: string, group: Throughput | undefined, ratio: Ratio): Claim[] {
  return ratio.levels.flatMap((connections) => {
    const value = ratioOf(group?.figures ?? [], ratio.own, ratio.other, connections);
    if (value === undefined) return [];
    const { other, least } = ratio;
    return [
      {
        claim: `${method}, ${connections} connections: at least ${least} of ${other}`,
        measured: value.toFixed(2),
        holds: value >= least,
      },
    ];
  });
}

function ratioOf(
  figures: readonly Figure[],
  own: string,
  other: string,
  connections: number,
): number | undefined {
  const of = (peer: string): number | undefined =>
    figures.find((figure) => figure.peer === peer && figure.connections === connections)?.perSecond;
  const [above, below] = [of(own), of(other)];
  return above === undefined || below === undefined ? undefined : above / below;
}

/** The whole report in Markdown. */
export function reportOf(results: Results): string {
  const { machine, plan, main, put, get, cluster, open, memory, heal, move, profile, smoke, date } =
    results;
  const processor = `${machine.processor}, ${machine.cores} cores, ${machine.memoryGiB} GiB`;
  const lines = [
    `${date}. ${processor}, Linux ${machine.kernel}, data on ${machine.fileSystem}.`,
    `${valueBytes}-byte values, ${whole(plan.keys)} keys; medians of ${plan.rounds} rounds of ${plan.seconds} s.`,
  ];
  if (smoke)
    lines.push("", "**A smoke run: it shows that everything runs. Its figures mean nothing.**");
  if (put) lines.push(...throughputTable("Synced PUT", put, Quorate.nameOn(main)));
  if (get) lines.push(...throughputTable("GET", get, Quorate.nameOn(main)));
  if (cluster) lines.push(...clusterTables(cluster, QuorateCluster.nameOn(main)));
  lines.push(...cpuTable(results));
  if (open) lines.push(...openTable(open));
  if (memory) lines.push(...memoryTable(memory));
  if (heal) lines.push(...healTable(heal));
  if (move) lines.push(...moveTable(move));
  for (const one of profile ?? []) lines.push(...profileTable(one, main));
  const claims = claimsOf(results);
  if (claims.length > 0) {
    const rows = claims.map(({ claim, measured, holds }) => [
      claim,
      measured,
      holds ? "yes" : "no",
    ]);
    lines.push("", `### What is promised, on ${main.name}`, "");
    lines.push(...table(["promise", "measured", "holds"], rows));
  }
  return `${lines.join("\n")}\n`;
}

function throughputTable(title: string, group: Throughput, own: string): string[] {
  const peers = [...new Set(group.figures.map(({ peer }) => peer))];
  const rows = peers.map((peer) => {
    const cells = connectionLevels.flatMap((connections) => {
      const figure = group.figures.find(
        (one) => one.peer === peer && one.connections === connections,
      );
      const ratio = ratioOf(group.figures, own, peer, connections);
      return [
        figure === undefined ? "" : whole(figure.perSecond),
        ratio === undefined ? "" : ratio.toFixed(2),
        figure?.p99Ms === undefined ? "" : figure.p99Ms.toFixed(2),
      ];
    });
    return [`${peer} (${group.versions[peer] ?? "?"})`, ...cells];
  });
  const heads = connectionLevels.flatMap((level) => [`${level}: a second`, "ratio", "p99 ms"]);
  const note = `The ratio is ${own} divided by the row. h2load tells no percentiles.`;
  return ["", `### ${title}`, "", ...table(["", ...heads], rows), "", note];
}

function clusterTables({ put, get, one, grpc }: ClusterThroughput, own: string): string[] {
  const measured = [
    ["Quorum PUT, synced on two of three disks", put],
    ["Quorum GET", get],
    ["GET with `consistency=one`", one],
    ["Quorum PUT over gRPC", grpc],
  ] as const;
  return measured.flatMap(([title, group]) => throughputTable(title, group, own));
}

/** What all servers of a system together use for one request. */
function cpuTable({ put, get, cluster }: Results): string[] {
  const measured = [
    ["PUT", put],
    ["GET", get],
    ["quorum PUT", cluster?.put],
    ["quorum GET", cluster?.get],
    ["quorum PUT over gRPC", cluster?.grpc],
  ] as const;
  const groups = measured.flatMap(([head, group]) =>
    group?.figures.some(({ cpuUs }) => cpuUs !== undefined) ? [[head, group] as const] : [],
  );
  if (groups.length === 0) return [];
  const all = groups.flatMap(([, { figures }]) => figures);
  const peers = [...new Set(all.map(({ peer }) => peer))];
  const rows = peers.map((peer) => {
    const cells = groups.map(([, { figures }]) => {
      const isIt = (one: Figure) => one.peer === peer && one.connections === cpuConnections;
      return figures.find(isIt)?.cpuUs?.toFixed(0) ?? "";
    });
    return [peer, ...cells];
  });
  const title = `### CPU of all servers for one request, in µs, at ${cpuConnections} connections`;
  return ["", title, "", ...table(["", ...groups.map(([head]) => head)], rows)];
}

function openTable({ records, logBytes, rows }: Openings): string[] {
  const cells = rows.map((row) => [
    row.peer,
    whole(row.milliseconds),
    `${whole(row.lowest)} to ${whole(row.highest)}`,
    whole(row.emptyMilliseconds),
  ]);
  const replayed = `${whole(records)} records, ${(logBytes / 1024 ** 2).toFixed(1)} MiB of log`;
  const heads = ["", "ms", "from, to", "of an empty folder, ms"];
  return ["", `### Opening after kill -9: ${replayed}`, "", ...table(heads, cells)];
}

function memoryTable(rows: readonly MemoryRow[]): string[] {
  const cells = rows.map((row) => [
    row.peer,
    (row.rssAnonBytes / 1e6).toFixed(0),
    whole(row.getsPerSecond),
    row.p50Ms.toFixed(2),
    row.p99Ms.toFixed(2),
    row.loadSeconds.toFixed(1),
  ]);
  const heads = ["", "RssAnon, MB", "GETs a second", "p50 ms", "p99 ms", "loaded in s"];
  const title = `### ${whole(rows[0]?.keys ?? 0)} keys, GETs on 64 connections`;
  return ["", title, "", ...table(heads, cells)];
}

function moveTable({ keys, connections, before, during, moveSeconds }: Moving): string[] {
  const row = (what: string, { perSecond, p50Ms, p99Ms }: LoadFigures): string[] => [
    what,
    whole(perSecond),
    p50Ms.toFixed(1),
    p99Ms.toFixed(1),
  ];
  const title = `### Three nodes become five: ${whole(keys)} keys, half PUT and half GET at quorum on ${connections} connections`;
  const heads = ["", "requests a second", "p50 ms", "p99 ms"];
  const rows = [row("before", before), row(`for ${moveSeconds.toFixed(1)} s, the move`, during)];
  return ["", title, "", ...table(heads, rows)];
}

function healTable(heal: Healing): string[] {
  const title = `### Five nodes, ${whole(heal.keys)} keys: replicas that differ come to be the same`;
  const rows = [
    ["keys that one node missed", whole(heal.differing)],
    ["until all were there, from when it served again", `${(heal.healMs / 1000).toFixed(1)} s`],
    ["records that comparisons moved for it", whole(heal.byRepair)],
    ["processor time of a node for comparing all it has, once", `${whole(heal.compareCpuMs)} ms`],
    ["that is, once a period, of one core", small(heal.compareShare)],
    ["writes a second beside comparisons of everything", whole(heal.writesPerSecond)],
    ["segments that differed meanwhile, of those compared", small(heal.falseShare)],
  ];
  return ["", title, "", ...table(["", ""], rows)];
}

function profileTable(profile: ProfileTable, main: Runtime): string[] {
  const { operation, perSecond, busy, areas, functions } = profile;
  const method = operation.toUpperCase();
  const head = `### Where the main thread spends its time: ${method}, 64 connections, ${main.name}`;
  const text = `${whole(perSecond)} a second under the profiler; the thread was busy ${percent(busy)} of the time.`;
  const rows = (shares: readonly Share[]) =>
    shares.map(({ what, share }) => [what, percent(share)]);
  return [
    ...["", head, "", text, ""],
    ...table(["module", "own time"], rows(areas)),
    "",
    ...table(["function", "own time"], rows(functions)),
  ];
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = heads.map((_, column) => (column === 0 ? "---" : "---:"));
  return [line(heads), line(rule), ...rows.map(line)];
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

function small(share: number): string {
  return `${(share * 100).toFixed(3)} %`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
