/**
 * Reads the import lines of the program and compares them with the table of who may import whom.
 *
 * The core is pure, the effects reach the world only through the capabilities handed to them, and
 * imports point inward. That is what lets the whole node run inside a simulator, and it cannot be
 * added later: so it is a test. Imports of types count as well. The rules are also shown to catch
 * what they forbid, on small made-up trees.
 *
 * A file belongs to the noun at the head of its name: `wal_format.ts` is part of `wal`, unless it
 * has a row of its own. Files of one noun import each other freely, but never in a circle.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

type Layer = "core" | "effects" | "edges";

interface Row {
  readonly layer: Layer;
  /** Within a layer, imports go to a lower level only. */
  readonly level: number;
  /** Beyond that: modules that it may import as well. Each needs its reason beside it. */
  readonly also?: readonly string[];
  /** Instead of that: the only modules that it may import. */
  readonly only?: readonly string[];
}

const levelZero = ["assert", "bytes", "capability", "errors", "hash"];

const table: Readonly<Record<string, Row>> = {
  // Core: data in, data out.
  assert: { layer: "core", level: 0 },
  bytes: { layer: "core", level: 0 },
  capability: { layer: "core", level: 0, also: ["errors"] },
  errors: { layer: "core", level: 0 },
  hash: { layer: "core", level: 0, also: ["assert"] },
  ordered: { layer: "core", level: 0 },
  slab: { layer: "core", level: 0 },
  hlc: { layer: "core", level: 1 },
  // A version is a stamp and an origin.
  version: { layer: "core", level: 1, also: ["hlc"] },
  // What a node is asked and answers: versions are part of it.
  api: { layer: "core", level: 1, also: ["version"] },
  // What nodes have in common; errors name what is missing.
  protocol: { layer: "core", level: 1 },
  // Whether an object of options says only what is known.
  option_kinds: { layer: "core", level: 2 },
  checked_json: { layer: "core", level: 1 },
  histogram: { layer: "core", level: 1 },
  admission: { layer: "core", level: 1 },
  traffic: { layer: "core", level: 2 },
  config: { layer: "core", level: 2 },
  record: { layer: "core", level: 2 },
  ring: { layer: "core", level: 2 },
  placement: { layer: "core", level: 2 },
  digest: { layer: "core", level: 3 },
  level: { layer: "core", level: 2 },
  figures: { layer: "core", level: 0 },
  in_flight: { layer: "core", level: 0 },
  watermark: { layer: "core", level: 2 },
  message: { layer: "core", level: 4 },
  handshake: { layer: "core", level: 5 },
  standing: { layer: "core", level: 0 },
  cursor: { layer: "core", level: 3 },
  topology: { layer: "core", level: 3 },
  detector: { layer: "core", level: 3 },
  // What the agreement needs of a document, whatever else is in it.
  agreed: { layer: "core", level: 2 },
  founding_message: { layer: "core", level: 3 },
  register: { layer: "core", level: 3 },
  quorum: { layer: "core", level: 3 },

  // Effects: reach the world through Clock, Random, Disk and Network only.
  wal: { layer: "effects", level: 1 },
  table: { layer: "effects", level: 1 },
  // The same interface in memory; without this it would be declared twice.
  table_memory: { layer: "effects", level: 1, also: ["table"] },
  slots: { layer: "effects", level: 1 },
  // What the folder says of itself and of the cluster, in slots.
  identity: { layer: "effects", level: 2 },
  document: { layer: "effects", level: 2 },
  remembered: { layer: "effects", level: 2 },
  holdings: { layer: "effects", level: 2 },
  losses: { layer: "effects", level: 2 },
  store: { layer: "effects", level: 2 },
  // Promises and boot numbers, in slots; they meet their peers through ports.
  register_store: { layer: "effects", level: 2 },
  boots: { layer: "effects", level: 2 },
  // These three reach the store and each other through ports.
  scan: { layer: "effects", level: 3 },
  // What this node answers for its partitions.
  replica: { layer: "effects", level: 3 },
  listing: { layer: "effects", level: 5 },
  listing_page: { layer: "effects", level: 4 },
  batch: { layer: "effects", level: 4 },
  gossip: { layer: "effects", level: 4 },
  agreement: { layer: "effects", level: 4 },
  founding: { layer: "effects", level: 4 },
  join: { layer: "effects", level: 4 },
  coordinator: { layer: "effects", level: 4 },
  deadlines: { layer: "effects", level: 1 },
  pauses: { layer: "effects", level: 1 },
  channel: { layer: "effects", level: 1 },
  link: { layer: "effects", level: 2 },
  peers: { layer: "effects", level: 3 },
  handoff: { layer: "effects", level: 4 },
  repair: { layer: "effects", level: 4 },
  // Composes what makes a node one of many.
  cluster: { layer: "effects", level: 5 },
  // Composes the effects; imports no edge, so that the simulator needs none.
  node: { layer: "effects", level: 6 },

  // Edges: parse what comes from outside, and hand the real capabilities in.
  folder_lock: { layer: "edges", level: 0, only: levelZero },
  runtime: { layer: "edges", level: 1 },
  log: { layer: "edges", level: 1 },
  lag: { layer: "edges", level: 1 },
  metrics: { layer: "edges", level: 3 },
  target: { layer: "edges", level: 1 },
  json: { layer: "edges", level: 2 },
  exchange: { layer: "edges", level: 2 },
  guard: { layer: "edges", level: 3 },
  problem: { layer: "edges", level: 3 },
  schemas: { layer: "edges", level: 3 },
  http_headers: { layer: "edges", level: 2 },
  openapi: { layer: "edges", level: 3 },
  // What applications and the command line load: small, and without any server code.
  client: {
    layer: "edges",
    level: 1,
    only: ["errors", "bytes", "api", "config", "version", "option_kinds"],
  },
  http: { layer: "edges", level: 4 },
  rpc: { layer: "edges", level: 4 },
  server: { layer: "edges", level: 5 },
  // Reads a table in another process, as the store would: what it holds is the store's.
  table_verify: { layer: "edges", level: 2, also: ["table", "store"] },
  // A node with the types that an application likes.
  database: { layer: "edges", level: 5, also: ["node"] },
  // One constant, which an application's node tells as well.
  cli_version: { layer: "edges", level: 0 },
  // These two start a node: they choose the real table and hand it in.
  cli: { layer: "edges", level: 6, also: ["node", "table"] },
  // The same with a port for other nodes: apart, so that a node alone loads no server.
  member: { layer: "edges", level: 6, also: ["node", "table"] },
  mod: { layer: "edges", level: 7, also: ["node", "table"] },
};

/** What only one noun (or a few) may import from outside. Anything else is refused. */
const doors: readonly { readonly what: RegExp; readonly by: readonly string[] }[] = [
  { what: /^node:(?:zlib|crypto)$/, by: ["hash"] },
  { what: /^xxhash-wasm$/, by: ["hash"] },
  { what: /^lmdb$/, by: ["table"] },
  { what: /^sorted-btree$/, by: ["ordered"] },
  { what: /^zod$|^@hono\/zod-openapi$/, by: ["http", "schemas", "openapi"] },
  { what: /^hono(\/|$)/, by: ["http"] },
  { what: /^@hono\/node-server$/, by: ["http", "server"] },
  { what: /^@connectrpc\/|^@bufbuild\/protobuf/, by: ["rpc"] },
  { what: /^pino$/, by: ["log"] },
  { what: /^prom-client$/, by: ["metrics"] },
  { what: /^(commander|cli-table3|smol-toml)$/, by: ["cli"] },
  {
    what: /^node:/,
    by: ["runtime", "folder_lock", "table_verify", "server", "rpc", "log", "metrics", "cli", "mod"],
  },
  { what: /^#gen$/, by: ["rpc"] },
];

/** What would make an effect or the core depend on more than it is handed. */
const forbiddenNames: readonly RegExp[] = [
  /\bDate\.now\b/,
  /\bnew Date\(\)/,
  /\bMath\.random\b/,
  /\bperformance\.\w/,
  /\b(?:set|clear)(?:Timeout|Interval|Immediate)\b/,
  /\bAbortSignal\.timeout\b/,
  /\bcrypto\.\w/,
  /\bprocess\.\w/,
  /\bconsole\.\w/,
  /\bfetch\(/,
  /\b(?:Bun|Deno)\.\w/,
  /\brequire\(/,
];

/**
 * The simulator's own doors: the command lines with what reads the date, counts the time and begins processes
 * for them, and the one to the real event loop, which is shut for everything else while a world runs.
 */
const simDoors = [
  "sim/guard.ts",
  "sim/main.ts",
  "sim/choices.ts",
  "sim/command.ts",
  "sim/jobs.ts",
  "sim/mutations_main.ts",
  "sim/scale_main.ts",
  "sim/subsets_main.ts",
  "sim/sums.ts",
];

/**
 * The one file of the program that reaches the simulator, and the one that it reaches: a command, which
 * loads it when it runs. No part of a node may.
 */
const simCommand = { from: "src/cli_sim.ts", to: "sim/command.ts" };

/**
 * What of the simulator real clusters are judged by: it knows nothing of simulated nodes, and is
 * published with `chaos/`.
 */
const simShared = [
  "sim/chance.ts",
  "sim/check.ts",
  "sim/history.ts",
  "sim/trouble.ts",
  "sim/value.ts",
];

/** The one module that loads what stands on the program, and only when its command runs. */
const chaosCommand = "src/cli_chaos.ts";

/** Stands on the whole program, as an edge above all edges, and has a door for what a test needs. */
const chaosDoors = /^node:(?:child_process|fs|net|path|timers\/promises)$/;

/** These give the same bits on every runtime; exp, log and pow do not. */
const exactMath = /^(?:sqrt|floor|ceil|trunc|round|min|max|abs|sign|imul|clz32)$/;

const linesMax = 500;
const root = fileURLToPath(new URL("..", import.meta.url));

type Tree = ReadonlyMap<string, string>;

function readTree(): Tree {
  const paths = ["src", "sim", "chaos"]
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`))
    .filter((path) => path.endsWith(".ts"));
  if (existsSync(join(root, "mod.ts"))) paths.push("mod.ts");
  return new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

/** A source without its comments, so that an example or a remark is not taken for code. */
function withoutComments(source: string): string {
  return source.replace(/^\s*\/?\*.*$/gm, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** What is loaded together with a module. */
function importsAtLoad(source: string): string[] {
  const whole = /^(?:import|export)\s(?:[^;"]*?\sfrom\s+)?"([^"]+)"/gm;
  return [...withoutComments(source).matchAll(whole)].map((match) => match[1] as string);
}

/** The same, and what is imported only when it is needed. */
function importsOf(source: string): string[] {
  const later = [...withoutComments(source).matchAll(/\bimport\(\s*"([^"]+)"/g)];
  return [...importsAtLoad(source), ...later.map((match) => match[1] as string)];
}

/** The path of an import in the tree, `#gen` for generated code, or a package's name. */
function resolveImport(from: string, specifier: string): string {
  if (!specifier.startsWith(".")) return specifier;
  const path = new URL(specifier, `file:///${from}`).pathname.slice(1);
  return path.startsWith("src/gen/") ? "#gen" : path;
}

/** The noun of a file: the longest row that its name is or begins with; undefined: no row. */
function nounOf(path: string): string | undefined {
  const name = path.replace(/^src\//, "").replace(/\.ts$/, "");
  const parts = name.split("_");
  for (let length = parts.length; length > 0; length -= 1) {
    const noun = parts.slice(0, length).join("_");
    if (Object.hasOwn(table, noun)) return noun;
  }
  return undefined;
}

/** Every breach of the table, one sentence each. */
function violations(tree: Tree): string[] {
  const found: string[] = [];
  for (const [path, source] of tree) {
    if (!/^(?:sim|chaos)\//.test(path) && nounOf(path) === undefined) {
      found.push(
        `${path} is not in the table of test/layers_test.ts: add a row that says its layer and level`,
      );
      continue;
    }
    for (const specifier of importsOf(source)) {
      const target = resolveImport(path, specifier);
      // It is loaded when the command runs that is about it, and stands above the program.
      const isLazy = !importsAtLoad(source).includes(specifier);
      if (path === chaosCommand && target === "chaos/main.ts" && isLazy) continue;
      const reason = refusal(tree, path, target);
      if (reason !== undefined) found.push(`${path} imports ${specifier}: ${reason}`);
    }
    found.push(...forbiddenUses(path, source));
  }
  return [...found, ...circles(tree)];
}

/** Why a file may not import a target; undefined when it may. */
function refusal(tree: Tree, path: string, target: string): string | undefined {
  if (target === "#gen" || !target.endsWith(".ts")) return refusalOutside(path, target);
  if (!tree.has(target)) return "there is no such file";
  if (path.startsWith("chaos/")) return refusalOfChaos(target);
  if (target.startsWith("chaos/")) return "only its command loads it, when it runs";
  if (path.startsWith("sim/")) return refusalOfSim(target);
  if (target.startsWith("sim/")) {
    const isLater = !importsAtLoad(tree.get(path) ?? "").includes(`../${target}`);
    if (path === simCommand.from && target === simCommand.to && isLater) return undefined;
    return "the program never imports the simulator";
  }
  const from = nounOf(path);
  const to = nounOf(target);
  if (from === undefined || to === undefined) return "one of the two has no row in the table";
  if (from === to) return undefined;
  const source = table[from] as Row;
  const aim = table[to] as Row;
  if (source.also?.includes(to)) return undefined;
  if (source.only !== undefined) {
    return source.only.includes(to)
      ? undefined
      : `${from} may import ${source.only.join(", ")} only`;
  }
  if (source.layer === aim.layer) {
    if (aim.level < source.level) return undefined;
    return `both are ${source.layer}, and ${to} is not on a lower level than ${from}`;
  }
  if (aim.layer === "core") return undefined;
  return `${source.layer} may not import ${aim.layer}`;
}

function refusalOfSim(target: string): string | undefined {
  if (target.startsWith("sim/")) return undefined;
  const noun = nounOf(target);
  if (noun === undefined) return "it has no row in the table";
  if (table[noun]?.layer === "edges") return "the simulator is a runtime of its own, without edges";
  return undefined;
}

function refusalOfChaos(target: string): string | undefined {
  if (!target.startsWith("sim/") || simShared.includes(target)) return undefined;
  return `of the simulator it takes ${simShared.join(", ")} only`;
}

function refusalOutside(path: string, target: string): string | undefined {
  if (path.startsWith("chaos/")) {
    return chaosDoors.test(target) ? undefined : "chaos asks real nodes as their clients do";
  }
  if (path.startsWith("sim/")) {
    if (simDoors.includes(path) && target.startsWith("node:")) return undefined;
    return /^(node:|lmdb$)/.test(target) || target === "#gen"
      ? "the simulator touches nothing real"
      : undefined;
  }
  const door = doors.find(({ what }) => what.test(target));
  if (door === undefined)
    return "it has no door: say in test/layers_test.ts which module is its door";
  const noun = nounOf(path);
  if (noun !== undefined && door.by.includes(noun)) return undefined;
  return `only ${door.by.join(", ")} may`;
}

/** Clocks, chance and I/O by name; and in the core, inexact mathematics. */
function forbiddenUses(path: string, source: string): string[] {
  const noun = nounOf(path);
  const layer = path.startsWith("sim/")
    ? "sim"
    : noun === undefined
      ? undefined
      : table[noun]?.layer;
  if (path.startsWith("chaos/")) return [];
  if (layer === "edges" || layer === undefined || simDoors.includes(path)) return [];
  const code = withoutComments(source);
  const found = forbiddenNames
    .map((name) => name.exec(code)?.[0])
    .filter((name) => name !== undefined)
    .map((name) => `${path} names ${name}: ${layer} reaches the world only through a capability`);
  if (layer !== "core") return found;
  for (const [, name] of code.matchAll(/\bMath\.(\w+)/g)) {
    if (name !== undefined && exactMath.test(name)) continue;
    found.push(`${path} uses Math.${name}: its last bits differ between runtimes`);
  }
  return found;
}

/**
 * Files that import each other in a circle. An import at run time closes none: by then both files
 * are loaded. (The command line imports a command's file only when that command runs.)
 */
function circles(tree: Tree): string[] {
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const begin = trail.indexOf(path);
    if (begin !== -1) {
      found.push(`a circle of imports: ${[...trail.slice(begin), path].join(" -> ")}`);
      return;
    }
    if (done.has(path)) return;
    for (const specifier of importsAtLoad(tree.get(path) ?? "")) {
      const target = resolveImport(path, specifier);
      if (tree.has(target)) visit(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of tree.keys()) visit(path, []);
  return found;
}

const layers = suite("layers");

layers("layers: every import of the program follows the table", () => {
  const tree = readTree();
  assert.ok(tree.size > 10, "the sources were found");
  assert.equal(violations(tree), []);
  const nouns = new Set([...tree.keys()].map(nounOf));
  for (const noun of Object.keys(table))
    assert.ok(nouns.has(noun), `a row without a file: ${noun}`);
  for (const [path, source] of tree) {
    const lines = source.split("\n").length - 1;
    if (lines > linesMax) console.log(`note: ${path} has ${lines} lines; is it two nouns?`);
  }
});

/** A made-up tree that breaks one rule -> what is said of it. */
const breaches: readonly {
  readonly rule: string;
  readonly tree: Record<string, string>;
  readonly said: RegExp;
}[] = [
  {
    rule: "a module without a row",
    tree: { "src/teapot.ts": "" },
    said: /src\/teapot\.ts is not in the table/,
  },
  {
    rule: "the core that imports an effect",
    tree: { "src/ring.ts": `import { Wal } from "./wal.ts";`, "src/wal.ts": "" },
    said: /core may not import effects/,
  },
  {
    rule: "an effect that imports an edge, be it a type",
    tree: { "src/store.ts": `import type { App } from "./http.ts";`, "src/http.ts": "" },
    said: /effects may not import edges/,
  },
  {
    rule: "an import over several lines",
    tree: { "src/store.ts": `import {\n  a,\n  b,\n} from "./http.ts";`, "src/http.ts": "" },
    said: /effects may not import edges/,
  },
  {
    rule: "a re-export",
    tree: { "src/store.ts": `export * from "./http.ts";`, "src/http.ts": "" },
    said: /effects may not import edges/,
  },
  {
    rule: "an import at run time",
    tree: { "src/store.ts": `const a = await import("./http.ts");`, "src/http.ts": "" },
    said: /effects may not import edges/,
  },
  {
    rule: "an edge that imports an effect other than by name",
    tree: { "src/http.ts": `import { Store } from "./store.ts";`, "src/store.ts": "" },
    said: /edges may not import effects/,
  },
  {
    rule: "an import to the same level",
    tree: { "src/wal.ts": `import { t } from "./table.ts";`, "src/table.ts": "" },
    said: /table is not on a lower level than wal/,
  },
  {
    rule: "a part of a noun that goes where the noun may not",
    tree: { "src/wal_format.ts": `import { t } from "./store.ts";`, "src/store.ts": "" },
    said: /store is not on a lower level than wal/,
  },
  {
    rule: "a client that loads the server",
    tree: { "src/client.ts": `import { s } from "./log.ts";`, "src/log.ts": "" },
    said: /client may import errors/,
  },
  {
    rule: "the program that imports the simulator",
    tree: { "src/node.ts": `import { d } from "../sim/disk.ts";`, "sim/disk.ts": "" },
    said: /never imports the simulator/,
  },
  {
    rule: "a command that loads the simulator before it runs",
    tree: {
      "src/cli_sim.ts": `import { runSim } from "../sim/command.ts";`,
      "sim/command.ts": "",
    },
    said: /never imports the simulator/,
  },
  {
    rule: "another command that loads the simulator",
    tree: {
      "src/cli_bench.ts": `const a = await import("../sim/command.ts");`,
      "sim/command.ts": "",
    },
    said: /never imports the simulator/,
  },
  {
    rule: "the simulator that imports an edge",
    tree: { "sim/disk.ts": `import { r } from "../src/runtime.ts";`, "src/runtime.ts": "" },
    said: /without edges/,
  },
  {
    rule: "a command that loads a real cluster's troubles before they are asked for",
    tree: {
      "src/cli_chaos.ts": `import { runChaos } from "../chaos/main.ts";`,
      "chaos/main.ts": "",
    },
    said: /only its command loads it, when it runs/,
  },
  {
    rule: "a real cluster that takes the simulator's nodes",
    tree: { "chaos/main.ts": `import { p } from "../sim/place.ts";`, "sim/place.ts": "" },
    said: /of the simulator it takes/,
  },
  {
    rule: "a package that comes in by another door",
    tree: { "src/store.ts": `import { open } from "lmdb";` },
    said: /only table may/,
  },
  {
    rule: "a package without a door",
    tree: { "src/cli.ts": `import "left-pad";` },
    said: /it has no door/,
  },
  {
    rule: "node:fs in an effect",
    tree: { "src/wal.ts": `import * as fs from "node:fs";` },
    said: /only runtime/,
  },
  {
    rule: "generated code outside the RPC",
    tree: { "src/http.ts": `import { a } from "./gen/kv/kv_pb.ts";` },
    said: /only rpc/,
  },
  {
    rule: "a circle inside one noun",
    tree: {
      "src/wal.ts": `import { a } from "./wal_open.ts";`,
      "src/wal_open.ts": `import type { B } from "./wal.ts";`,
    },
    said: /a circle of imports: src\/wal\.ts -> src\/wal_open\.ts -> src\/wal\.ts/,
  },
  {
    rule: "a file that is not there",
    tree: { "src/wal.ts": `import { a } from "./wal_gone.ts";` },
    said: /there is no such file/,
  },
  {
    rule: "inexact mathematics in the core",
    tree: { "src/ring.ts": "const a = Math.log(2);" },
    said: /Math\.log/,
  },
];

for (const { rule, tree, said } of breaches) {
  layers(`layers catches ${rule}`, () => {
    const found = violations(new Map(Object.entries(tree)));
    assert.is(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", said);
  });
}

const impure = [
  "Date.now()",
  "new Date()",
  "Math.random()",
  "performance.now()",
  "setTimeout(run, 1)",
  "setInterval(run, 1)",
  "setImmediate(run)",
  "AbortSignal.timeout(1)",
  "crypto.getRandomValues(a)",
  "process.exit(1)",
  "console.log(1)",
  "fetch(url)",
  "Deno.cwd()",
  "require(name)",
];
for (const use of impure) {
  layers(`layers catches ${use} in an effect`, () => {
    const found = violations(new Map([["src/wal.ts", `const a = ${use};\n`]]));
    assert.ok(found.some((line) => line.includes("only through a capability")));
  });
}

layers("layers lets a comment name what code may not", () => {
  const source = `/**\n * Never \`Date.now()\`.\n * import { a } from "./http.ts";\n */\n// or setTimeout(…)\n`;
  assert.equal(violations(new Map([["src/wal.ts", source]])), []);
});

layers("layers lets the command load a real cluster's troubles when it runs", () => {
  const source = `const run = async () => (await import("../chaos/main.ts")).runChaos();`;
  const tree = { "src/cli_chaos.ts": source, "chaos/main.ts": "" };
  assert.equal(violations(new Map(Object.entries(tree))), []);
});

layers("layers lets the parts of a noun import each other", () => {
  const tree = { "src/wal.ts": `import { a } from "./wal_format.ts";`, "src/wal_format.ts": "" };
  assert.equal(violations(new Map(Object.entries(tree))), []);
});

layers.run();
