/**
 * Built: whether `dist` is what the sources say. `setup.mjs` builds where it is not, and the tests run
 * the program from its sources where it is not.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const sources = [
  "mod.ts",
  "src",
  "sim",
  "chaos",
  "package.json",
  "tsconfig.json",
  "tsconfig.build.json",
];

/** Written after each build, with the time at which it began. */
export function stampOf(root) {
  return join(root, "dist/.built");
}

/** Whether no source was changed since the last build. */
export function isBuilt(root) {
  const newest = Math.max(...sources.map((source) => newestMs(join(root, source))));
  return newest <= modifiedMs(stampOf(root));
}

/** 0 where there is nothing. */
export function modifiedMs(path) {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function newestMs(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newestMs(join(path, name))));
}
