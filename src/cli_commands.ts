/**
 * Cli commands: every command of `quorate`, described once.
 *
 * A row says what a command takes, which settings it reads and which file runs it. That file is
 * imported when the command runs and not before: `quorate get` must start in a fraction of the time
 * that it takes to load a server.
 *
 * Effects: none.
 *
 * @module
 */

import { namespaceForm, namespacePattern } from "./api.ts";
import type { Io } from "./cli_io.ts";
import type { Resolved } from "./config.ts";
import { choice, duration, type Kind, size, text, whole } from "./config_kinds.ts";
import type { Config } from "./config_table.ts";
import { settingNames, settings } from "./config_table.ts";

/** What a command was given, parsed. */
export interface Invocation extends Resolved {
  readonly arguments: readonly string[];
  /** By name, without dashes. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Runs a command and answers the exit code. */
export type Run = (invocation: Invocation, io: Io) => Promise<number>;

export interface CommandOption {
  /** Without dashes. */
  readonly name: string;
  /** Undefined for a switch. */
  readonly kind?: Kind<unknown>;
  /** May be given more than once. */
  readonly repeats?: true;
  readonly meaning: string;
}

export interface CommandRow {
  /** One or two words: `get`, `config show`. */
  readonly name: string;
  /** As in a usage line: `<key>` is needed, `[prefix]` is not. */
  readonly arguments: readonly (readonly [form: string, meaning: string])[];
  readonly meaning: string;
  readonly settings: readonly (keyof Config)[];
  readonly options: readonly CommandOption[];
  readonly examples: readonly string[];
  readonly load: () => Promise<Run>;
}

const key64: CommandOption = {
  name: "key64",
  meaning: "Keys on the command line are base64url without padding, for bytes that are not text.",
};

const reading = ["url", "namespace", "timeoutMs", "consistency", "r"] as const;
const writing = ["url", "namespace", "timeoutMs", "consistency", "w", "durability"] as const;

/** Seconds as the API counts them, or a time with a unit. */
const ttl: Kind<number> = {
  placeholder: "<time>",
  allowed: "whole seconds, or a time such as 90s or 12h",
  parse(given) {
    const seconds = whole(1, 315_360_000).parse(given);
    if ("value" in seconds) return seconds;
    const ms = duration(1000, 315_360_000_000).parse(given);
    if ("error" in ms) return ms;
    return ms.value % 1000 === 0 ? { value: ms.value / 1000 } : { error: "is not whole seconds" };
  },
  show: String,
};

/** A node by name, alone or with what it is to be. */
const nodeName = text("<node>", "the name of a node", /^[^\p{C}]{1,200}$/u);

/** What the simulator itself understands or refuses. */
function anyText(placeholder: string): Kind<unknown> {
  return text(placeholder, "what the simulator knows", /^/);
}

export const commands: readonly CommandRow[] = [
  {
    name: "serve",
    arguments: [],
    meaning: "Serves a node until it is told to stop (SIGTERM or Ctrl-C).",
    settings: settingNames.filter((name) => settings[name].scope === "serve"),
    options: [],
    examples: ["quorate serve", "quorate serve --name n1 --port 8080 --data-dir data/n1"],
    load: async () => (await import("./cli_serve.ts")).serve,
  },
  {
    name: "demo",
    arguments: [],
    meaning:
      "Serves a cluster on this machine, each node in a process of its own, until Ctrl-C: " +
      "with one log, and words on what to try.",
    settings: [],
    options: [
      { name: "nodes", kind: whole(1, 9), meaning: "How many; default 3." },
      {
        name: "port",
        kind: whole(0, 65_535, "<port>"),
        meaning: "The first one's, the others take those after it; 0: free ones. Default 8080.",
      },
      {
        name: "data-dir",
        kind: text("<folder>", "the path of a folder", /^[^\0]+$/),
        meaning: "Where they keep their data and their secret; default .quorate/demo.",
      },
    ],
    examples: ["quorate demo", "quorate demo --nodes 5 --port 9080"],
    load: async () => (await import("./cli_demo.ts")).demo,
  },
  {
    name: "chaos",
    arguments: [
      [
        "[action]",
        "pause, resume, kill or restart a node, or cut two from each other, or heal all ways, of a " +
          "demo or chaos cluster that runs; without it, a cluster of its own.",
      ],
      ["[node]", "The node, such as n3."],
      ["[other]", "Of cut: the other one."],
    ],
    meaning:
      "Serves a cluster on this machine, asks it for everything while nodes are killed, stopped and " +
      "cut off, and looks at the end whether every promise was kept.",
    settings: [],
    options: [
      { name: "time", kind: duration(1000, 604_800_000), meaning: "How long; default 1m." },
      { name: "seed", kind: whole(0, 4_294_967_295), meaning: "Draws the same troubles again." },
      {
        name: "fault",
        kind: text("<troubles>", "names of troubles with commas between them", /^./),
        meaning: "Only these, such as kill,isolate; none: only what is done by hand.",
      },
      { name: "nodes", kind: whole(3, 9), meaning: "How many; default 3." },
      {
        name: "port",
        kind: whole(0, 65_535, "<port>"),
        meaning: "The first one's, the others take those after it; default 0: free ones.",
      },
      {
        name: "data-dir",
        kind: text("<folder>", "the path of a folder", /^[^\0]+$/),
        meaning: "Where the data are, emptied at each start; default .quorate/chaos.",
      },
    ],
    examples: [
      "quorate chaos",
      "quorate chaos --seed 7 --time 10m --fault kill,stall",
      "quorate chaos kill n3",
      "quorate chaos cut n1 n2",
    ],
    load: async () => (await import("./cli_chaos.ts")).chaos,
  },
  {
    name: "get",
    arguments: [["<key>", "The key to read."]],
    meaning: "Prints the value of a key, byte for byte.",
    settings: [...reading, "output"],
    options: [key64],
    examples: ["quorate get users/1", "quorate get -o json users/1", "quorate get --key64 _w"],
    load: async () => (await import("./cli_data.ts")).get,
  },
  {
    name: "put",
    arguments: [
      ["<key>", "The key to write."],
      ["<value>", "The value; - takes it from the standard input, @file from a file."],
    ],
    meaning: "Writes a key.",
    settings: [...writing, "output"],
    options: [
      { name: "ttl", kind: ttl, meaning: "How long the key lives; without it, for ever." },
      {
        name: "content-type",
        kind: text("<type>", "a media type, such as application/json", /^[\x20-\x7e]{1,256}$/),
        meaning: "The media type; text/plain for an argument, octets for a file, unless given.",
      },
      {
        name: "meta",
        kind: text("<name=value>", "a lower-case name, '=' and a value", /^[^=\s]+=.*$/),
        repeats: true,
        meaning: "Metadata to keep with the value; may be given more than once.",
      },
      key64,
    ],
    examples: [
      "quorate put users/1 Ada",
      "quorate put users/1 @ada.json --content-type application/json",
      "date | quorate put --ttl 12h last/run -",
      "quorate put -- temperature -5",
    ],
    load: async () => (await import("./cli_data.ts")).put,
  },
  {
    name: "del",
    arguments: [["<key>", "The key to delete; it need not be there."]],
    meaning: "Deletes a key.",
    settings: [...writing, "output"],
    options: [key64],
    examples: ["quorate del users/1"],
    load: async () => (await import("./cli_data.ts")).del,
  },
  {
    name: "list",
    arguments: [["[prefix]", "Only keys that begin with it."]],
    meaning: "Lists keys in bytewise order.",
    settings: [...reading, "output"],
    options: [
      { name: "limit", kind: whole(1, 1_000_000), meaning: "How many at most; default 100." },
      { name: "all", meaning: "Every key, however many there are." },
      { name: "start", kind: text("<key>", "a key", /^/), meaning: "The first key, inclusive." },
      { name: "end", kind: text("<key>", "a key", /^/), meaning: "The last key, exclusive." },
      { name: "reverse", meaning: "From the end." },
      { name: "values", meaning: "With the values; -o json or yaml prints them." },
      {
        name: "cursor",
        kind: text("<cursor>", "what the list before gave as next", /^[\x21-\x7e]+$/),
        meaning: "Goes on where a list ended that told it.",
      },
      key64,
    ],
    examples: ["quorate list users/", "quorate list --all -o raw", "quorate list -o json --values"],
    load: async () => (await import("./cli_list.ts")).list,
  },
  {
    name: "count",
    arguments: [["[prefix]", "Only keys that begin with it."]],
    meaning: "Counts keys and the bytes of their values.",
    settings: [...reading, "output"],
    options: [key64],
    examples: ["quorate count", "quorate count users/"],
    load: async () => (await import("./cli_list.ts")).count,
  },
  {
    name: "ring",
    arguments: [["[key]", "A key; without it, all members and what each holds."]],
    meaning: "Prints which nodes hold what, or the replicas of a key in order.",
    settings: ["url", "namespace", "timeoutMs", "output"],
    options: [key64],
    examples: ["quorate ring", "quorate ring users/1", "quorate ring -o json users/1"],
    load: async () => (await import("./cli_ring.ts")).ring,
  },
  {
    name: "explain",
    arguments: [["<key>", "The key to look at; it need not be there."]],
    meaning: "Prints where a key lives, and what each of its replicas holds now.",
    settings: ["url", "namespace", "timeoutMs", "output"],
    options: [key64],
    examples: ["quorate explain users/1", "quorate explain users/1 -o json"],
    load: async () => (await import("./cli_explain.ts")).explain,
  },
  {
    name: "status",
    arguments: [],
    meaning:
      "Prints the members of the cluster as a node sees them: who is alive, what each holds.",
    settings: ["url", "timeoutMs", "output"],
    options: [{ name: "watch", meaning: "Draws it again every second, until Ctrl-C." }],
    examples: ["quorate status", "quorate status --watch", "quorate status -o json"],
    load: async () => (await import("./cli_status.ts")).status,
  },
  {
    name: "cluster plan",
    arguments: [],
    meaning:
      "Says what would move if members, weights or zones were others; changes nothing, and prints " +
      "the command that carries it out.",
    settings: ["url", "timeoutMs", "output"],
    options: [
      { name: "join", kind: nodeName, repeats: true, meaning: "A node that waits to be a member." },
      { name: "leave", kind: nodeName, repeats: true, meaning: "A member that is to go." },
      {
        name: "replace",
        kind: nodeName,
        repeats: true,
        meaning:
          "A member whose place a waiting node of the same name takes; <node>=<other> for one of " +
          "another name.",
      },
      {
        name: "accept-data-loss",
        meaning: "What only those that are replaced held is given up.",
      },
      {
        name: "drain",
        kind: nodeName,
        repeats: true,
        meaning: "A member that is to hold nothing.",
      },
      {
        name: "weight",
        kind: nodeName,
        repeats: true,
        meaning: "<node>=<weight>, 0 to 1000: one of 200 holds twice what one of 100 does.",
      },
      { name: "zone", kind: nodeName, repeats: true, meaning: "<node>=<zone>." },
    ],
    examples: [
      "quorate cluster plan --join n4 --join n5",
      "quorate cluster plan --replace n2",
      "quorate cluster plan --leave n1 --weight n4=200",
    ],
    load: async () => (await import("./cli_moves.ts")).plan,
  },
  {
    name: "cluster apply",
    arguments: [["<plan>", "Its id, as 'cluster plan' has printed it."]],
    meaning: "Carries out a plan, at the node that made it.",
    settings: ["url", "timeoutMs", "output"],
    options: [],
    examples: ["quorate cluster apply 5f1c09aa61e2b7d4"],
    load: async () => (await import("./cli_moves.ts")).apply,
  },
  {
    name: "cluster revert",
    arguments: [],
    meaning: "Takes back the move that is under way, as long as nothing is dropped.",
    settings: ["url", "timeoutMs", "output"],
    options: [],
    examples: ["quorate cluster revert"],
    load: async () => (await import("./cli_moves.ts")).revert,
  },
  {
    name: "cluster status",
    arguments: [],
    meaning:
      "Prints what moves, how far it is, who waits to join, what each member runs, and what waits for whom.",
    settings: ["url", "timeoutMs", "output"],
    options: [{ name: "watch", meaning: "Tells what changes, until nothing moves any more." }],
    examples: ["quorate cluster status", "quorate cluster status --watch"],
    load: async () => (await import("./cli_moves.ts")).movesStatus,
  },
  {
    name: "drain",
    arguments: [["<node>", "The member that is to hold nothing."]],
    meaning: "Moves all that a member holds to the others; it stays a member, of weight 0.",
    settings: ["url", "timeoutMs", "output"],
    options: [
      {
        name: "fewer-copies",
        meaning: "Also where keys have fewer replicas then, which is refused otherwise.",
      },
    ],
    examples: ["quorate drain n3", "quorate drain n3 --fewer-copies"],
    load: async () => (await import("./cli_moves.ts")).drainNode,
  },
  {
    name: "hints",
    arguments: [
      [
        "[wait]",
        "Waits until none are left on any member that can be reached, and nothing is marked to be compared first.",
      ],
    ],
    meaning: "Prints the writes that a node keeps for nodes that were away.",
    settings: ["url", "timeoutMs", "output"],
    options: [
      {
        name: "for",
        kind: duration(1, 86_400_000),
        meaning: "How long it waits at most; default 60s.",
      },
    ],
    examples: ["quorate hints", "quorate hints wait", "quorate hints wait --for 10m"],
    load: async () => (await import("./cli_hints.ts")).hints,
  },
  {
    name: "repair",
    arguments: [["[status|run]", "Tells how far it is, or compares now; status by default."]],
    meaning:
      "Prints how far a node has compared its partitions with the other replicas, or does it now.",
    settings: ["url", "timeoutMs", "output"],
    options: [
      {
        name: "partition",
        kind: whole(0, 1023),
        meaning: "With run: only this partition.",
      },
      {
        name: "of",
        kind: text("<namespace>", namespaceForm, namespacePattern),
        meaning: "With run: only namespaces with the n of this one.",
      },
    ],
    examples: ["quorate repair", "quorate repair run", "quorate repair run --partition 17"],
    load: async () => (await import("./cli_repair.ts")).repair,
  },
  {
    name: "import",
    arguments: [["[file]", "NDJSON to read; without it, or with -, the standard input."]],
    meaning:
      "Writes the records of an NDJSON file, a line each: " +
      "{key or key64, value or value64, contentType?, meta?, ttl? or expiresAt?}.",
    settings: [...writing, "output"],
    options: [
      {
        name: "from-line",
        kind: whole(1, 1_000_000_000_000),
        meaning: "Goes on from this line, after an import that stopped.",
      },
      { name: "concurrency", kind: whole(1, 64), meaning: "Batches under way at once; default 4." },
    ],
    examples: [
      "quorate import words.ndjson",
      "quorate export | quorate import --url http://b:8080",
    ],
    load: async () => (await import("./cli_import.ts")).importRecords,
  },
  {
    name: "export",
    arguments: [["[prefix]", "Only keys that begin with it."]],
    meaning: "Prints records as NDJSON, with values and metadata, as import reads them.",
    settings: [...reading],
    options: [
      { name: "start", kind: text("<key>", "a key", /^/), meaning: "The first key, inclusive." },
      { name: "end", kind: text("<key>", "a key", /^/), meaning: "The last key, exclusive." },
      key64,
    ],
    examples: ["quorate export > all.ndjson", "quorate export users/ | jq -r .key"],
    load: async () => (await import("./cli_export.ts")).exportRecords,
  },
  {
    name: "config show",
    arguments: [],
    meaning: "Prints every setting, its value, and where that came from.",
    settings: settingNames.filter((name) => name !== "configFile"),
    options: [],
    examples: ["quorate config show", "QUORATE_PORT=9000 quorate config show -o json"],
    load: async () => (await import("./cli_config.ts")).showConfig,
  },
  {
    name: "bench",
    arguments: [],
    meaning:
      "Measures a node: each connection sends a request when the one before was answered. " +
      "It writes keys of its own and deletes them at the end.",
    settings: [...reading, "w", "durability", "output"],
    options: [
      { name: "connections", kind: whole(1, 4096), meaning: "How many at once; default 16." },
      { name: "duration", kind: duration(1, 86_400_000), meaning: "How long; default 10s." },
      { name: "count", kind: whole(1, 1e12), meaning: "Stops after so many requests instead." },
      { name: "value-size", kind: size(0, 32 * 1024 ** 2), meaning: "Bytes; default 256B." },
      { name: "keys", kind: whole(1, 10_000_000), meaning: "Different keys; default 10000." },
      { name: "gets", kind: whole(0, 100), meaning: "Reads in a hundred requests; default 50." },
      {
        name: "prefix",
        kind: text("<prefix>", "1 to 900 of A-Z, a-z, 0-9, '-', '_' and '/'", /^[\w/-]{1,900}$/),
        meaning: "What its keys begin with; default quorate-bench/.",
      },
      {
        name: "cleanup",
        kind: choice("yes", "no"),
        meaning: "Whether the keys are deleted at the end; default yes.",
      },
    ],
    examples: ["quorate bench", "quorate bench --gets 0 --connections 64 --duration 30s -o json"],
    load: async () => (await import("./cli_bench.ts")).bench,
  },
  {
    name: "sim",
    arguments: [],
    meaning:
      "Simulates whole clusters of the real node, with faults, on virtual time, and checks every " +
      "promise. A seed is one run, event for event.",
    settings: [],
    options: [
      { name: "seeds", kind: anyText("<count>"), meaning: "How many; default 100." },
      { name: "seed", kind: anyText("<number>"), meaning: "The first one; default 1." },
      { name: "time", kind: anyText("<time>"), meaning: "Runs seeds for so long, such as 10m." },
      {
        name: "jobs",
        kind: anyText("<count>"),
        meaning: "How many run side by side. Default: one for each processor.",
      },
      {
        name: "fault",
        kind: anyText("<kinds>"),
        meaning: "Only these troubles: kill,isolate; or none.",
      },
      {
        name: "moves",
        kind: anyText("<many|none>"),
        meaning:
          "Members come and go, at least three times; or never. Default: as the seed has it.",
      },
      {
        name: "focus",
        kind: anyText("<name>"),
        meaning:
          "Worlds in which one kind of moment is common: deletes, moves, old copies and others.",
      },
      { name: "mutation", kind: anyText("<name>"), meaning: "Breaks a rule, to see it noticed." },
      {
        name: "schedule",
        kind: anyText("<file>"),
        meaning: "Runs what a failure told: its seed and its troubles, as JSON.",
      },
      { name: "replay", meaning: "Runs one seed and prints its whole trace." },
      { name: "hashes", meaning: "Prints what tells whether two runs were the same." },
      { name: "no-shrink", meaning: "Leaves the troubles of a seed that fails as they are." },
      { name: "paths", meaning: "Prints how often each rare path was met." },
      { name: "nightly", meaning: "Seeds from the date; fails when a path was never met." },
    ],
    examples: ["quorate sim --seeds 1000", "quorate sim --seed 7 --replay"],
    load: async () => (await import("./cli_sim.ts")).sim,
  },
];
