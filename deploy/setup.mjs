/**
 * Setup: makes a fresh clone runnable, without any dependency of its own.
 *
 * `npm start` and `npm test` call it first. It checks the version of Node, installs the locked
 * dependencies when the lock is newer than what is installed, and compiles `dist` when a source is
 * newer than the last build. When there is nothing to do it takes some milliseconds.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isBuilt, modifiedMs, stampOf } from "./built.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(
    `error: Quorate needs Node 20.19 or later, and this is ${process.versions.node}.\n` +
      "hint: install Node 24, which is what we recommend, and run the same command again.\n",
  );
  process.exit(1);
}

const installed = modifiedMs(join(root, "node_modules/.package-lock.json"));
if (modifiedMs(join(root, "package-lock.json")) > installed) {
  run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], "install the dependencies");
}

if (!isBuilt(root)) {
  const builtMs = Date.now();
  rmSync(join(root, "dist"), { recursive: true, force: true });
  run(
    process.execPath,
    ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"],
    "compile",
  );
  mkdirSync(join(root, "dist"), { recursive: true });
  writeFileSync(stampOf(root), `${builtMs}\n`);
}

function run(command, args, purpose) {
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (result.status !== 0) {
    process.stderr.write(`error: could not ${purpose}: '${command} ${args.join(" ")}' failed.\n`);
    process.exit(result.status ?? 1);
  }
}
