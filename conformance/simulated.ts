/**
 * Simulated: a seed of the simulator is the same run under every runtime, event for event.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import type { Check } from "./checks.ts";
import { run } from "./processes.ts";
import { type Runtime, root, runtimes } from "./tools.ts";

const seedCount = 12;
/** With 84 among them, which was another run where `finally` of promises takes fewer turns. */
const firstSeed = 73;
const limitMs = 120_000;

const hashes = new Map<string, Promise<string>>();

export function simulatedChecks(runtime: Runtime): Check[] {
  const reference = runtimes[0] as Runtime;
  return [
    {
      name: `${seedCount} seeds have the hashes that they have on ${reference.name}`,
      limitMs: 2 * limitMs,
      run: async () => assert.equal(await hashesOn(runtime), await hashesOn(reference)),
    },
  ];
}

function hashesOn(runtime: Runtime): Promise<string> {
  const known = hashes.get(runtime.name);
  if (known !== undefined) return known;
  const { command, scriptWords, environment } = runtime;
  const script = join(root, "sim/main.ts");
  const words = [
    ...scriptWords,
    script,
    "--hashes",
    "--seed",
    String(firstSeed),
    "--seeds",
    String(seedCount),
  ];
  const made = run(command, words, { folder: root, environment, limitMs }).then((ran) => {
    assert.equal(ran.code, 0, ran.err);
    const text = String(ran.out).trim();
    assert.equal(text.split("\n").length, seedCount);
    return text;
  });
  hashes.set(runtime.name, made);
  return made;
}
