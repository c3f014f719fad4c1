/**
 * What must hold for every file of the repository, whatever it is for: nothing names the machine it
 * was written on, no test is left out silently, no link of the documents leads nowhere.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commands } from "../src/cli_commands.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const textBytesMax = 2 * 1024 * 1024;

/** Every file that is or would be committed. */
const files = execFileSync(
  "git",
  ["ls-files", "--cached", "--others", "--exclude-standard", "-z"],
  {
    cwd: root,
    encoding: "utf8",
  },
)
  .split("\0")
  .filter((path) => path !== "" && existsSync(join(root, path)))
  .filter((path) => statSync(join(root, path)).size <= textBytesMax);

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** `path:line: text` of each line that matches. */
function linesLike(pattern: RegExp, paths: readonly string[]): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, index) =>
        pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [],
      ),
  );
}

const repo = suite("repo");

repo("repo: what a hint tells to run is a command that there is", () => {
  const known = new Set(commands.flatMap(({ name }) => name.split(" ").slice(0, 1)));
  const sources = files.filter((path) => /^src\/[^/]+\.ts$/.test(path));
  // `: quorate NAME` ends a sentence of a hint; `quorate genesis 1` is text that is hashed.
  const told = sources.flatMap((path) =>
    [...read(path).matchAll(/[:(`] ?quorate ([a-z]+)/g)].map((match) => `${path}: ${match[1]}`),
  );
  assert.ok(told.length > 0, "nothing was found: the pattern is wrong");
  const unknown = told.filter((line) => !known.has(line.slice(line.indexOf(": ") + 2)));
  assert.equal(
    unknown.filter((line) => !line.endsWith(": genesis")),
    [],
  );
});

repo("repo: the files were found", () => {
  assert.ok(files.includes("package.json"));
  assert.ok(files.includes("test/repo_test.ts"));
});

// The patterns are put together from pieces, so that this file does not match itself.
const machinePaths = new RegExp(
  `(?:^|[\\s"'\`(=:])/(?:${["work", "root", "home", "Users"].join("|")})/`,
);
const registryHosts = new RegExp(
  ["registry\\.npm", "registry\\.yarn", "npm\\.pkg", "pypi\\.", "proxy\\.golang", "deb\\.debian"]
    .map((head) => `${head}[a-z]*\\.(?:org|com|js)`)
    .join("|"),
);

repo("repo: no file names a path of the machine it was written on", () => {
  assert.equal(linesLike(machinePaths, files), []);
});

repo("repo: the check of machine paths finds one", () => {
  assert.ok(machinePaths.test(`cd ${"/home"}/ada/quorate`));
  assert.ok(machinePaths.test(`"${"/work"}/main"`));
  assert.not.ok(machinePaths.test("the /workspace and node_modules/homedir/x"));
});

repo("repo: no file names the host of a registry", () => {
  assert.equal(linesLike(registryHosts, files), []);
});

repo("repo: no lock says where a package was downloaded", () => {
  const locks = files.filter((path) => path.endsWith("package-lock.json"));
  assert.ok(locks.length > 0);
  assert.equal(linesLike(/"resolved":/, locks), []);
});

repo("repo: every dependency is pinned to one version", () => {
  const packages = files.filter((path) => path.endsWith("package.json"));
  for (const path of packages) {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(read(path)) as Record<
      string,
      Record<string, string>
    >;
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      assert.match(version, /^(?:\d+\.\d+\.\d+|file:\S+)$/, `${path}: ${name} is ${version}`);
    }
  }
});

const tests = files.filter((path) => /^(?:test|conformance)\/.*\.m?[tj]s$/.test(path));

repo("repo: no test is left running alone", () => {
  assert.equal(linesLike(/^\s*\w+\.only\(/, tests), []);
});

repo("repo: a test that is skipped has its reason in a comment right above it", () => {
  const silent = tests.flatMap((path) => {
    const lines = read(path).split("\n");
    return lines.flatMap((line, index) => {
      const explained = /^\s*\/\//.test(lines[index - 1] ?? "");
      // A test begins with its name; `skip` of something else does not.
      return /^\s*\w+\.skip\(\s*(?:["'`]|$)/.test(line) && !explained
        ? [`${path}:${index + 1}`]
        : [];
    });
  });
  assert.equal(silent, []);
});

repo("repo: every module of the program opens by saying what it is", () => {
  const modules = files.filter((path) =>
    /^(?:src\/[^/]*|sim\/[^/]*|chaos\/[^/]*|mod)\.ts$/.test(path),
  );
  assert.ok(modules.length > 10);
  const silent = modules.filter((path) => {
    const header =
      read(path)
        .replace(/^#!.*\n/, "")
        .match(/^\/\*\*[\s\S]*?\*\//)?.[0] ?? "";
    return !header.includes("@module");
  });
  assert.equal(silent, []);
});

/** GitHub's name for a heading's anchor. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");
}

function withoutCode(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
}

/** Why a link of a document leads nowhere; undefined when it arrives. */
function brokenLink(document: string, link: string): string | undefined {
  if (/^[a-z]+:/.test(link)) return undefined;
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? document : normalize(join(dirname(document), path));
  if (!existsSync(join(root, target))) return `${document} links to ${link}: no such file`;
  if (anchor === undefined || !target.endsWith(".md")) return undefined;
  const headings = [
    ...read(target)
      .replace(/^```[\s\S]*?^```/gm, "")
      .matchAll(/^#+ (.*)$/gm),
  ];
  if (headings.some(([, heading]) => anchorOf(heading ?? "") === anchor)) return undefined;
  return `${document} links to ${link}: no such heading`;
}

repo("repo: every link between the documents arrives", () => {
  const documents = files.filter((path) => path.endsWith(".md"));
  const broken = documents.flatMap((document) =>
    [...withoutCode(read(document)).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, link]) => brokenLink(document, link ?? ""))
      .filter((reason) => reason !== undefined),
  );
  assert.equal(broken, []);
});

repo("repo: a link to nowhere would be found", () => {
  assert.match(brokenLink("README.md", "docs/nowhere.md") ?? "", "no such file");
  assert.match(brokenLink("README.md", "#no-such-heading-at-all") ?? "", "no such heading");
});

repo.run();
