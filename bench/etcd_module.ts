/**
 * Etcd module: the newest etcd, built from its Go module.
 *
 * Debian delivers an etcd that is some versions old. `bench/etcd/` has a module whose only command
 * is that of etcd's own server module, at a version that its lock names.
 *
 * Effects: processes, files in `bench/.cache`, which git ignores.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./machine.ts";
import { runToEnd } from "./process.ts";

/** Without the modules at hand it loads some hundred of them. */
const buildMsMax = 300_000;

/** The path of the program, or why there is none. */
export async function buildEtcd(): Promise<{ command: string } | { lack: string }> {
  const cache = join(root, "bench/.cache");
  mkdirSync(cache, { recursive: true });
  const command = join(cache, "etcd");
  const folder = join(root, "bench/etcd");
  const words = ["build", "-mod=readonly", "-o", command, "."];
  const { code, output } = await runToEnd({ command: "go", arguments: words, folder }, buildMsMax);
  if (code === 0) return { command };
  return { lack: `go cannot build it (${code}): ${output.trim().slice(-300)}` };
}
