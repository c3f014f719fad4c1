/**
 * Compares docs/rules.md with what it tells of: every rule that is cited anywhere is stated there, and the
 * modules, tests and mutations that it names are there.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mutations } from "../sim/mutations.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const folders = ["src", "sim", "test", "chaos", "docs", "bench", "conformance"];
const citing = [
  ...["README.md", "mod.ts"],
  ...folders.flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => /\.(?:ts|mjs|md)$/.test(name) && name !== "rules_test.ts")
      .map((name) => `${folder}/${name}`),
  ),
];

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** V8 is no rule, but a part of Node. */
const rulePattern = /\b(?!V8\b)[LVWRHGTDIP]\d+\b/g;

/** The rules in a text; `H1 to H3` are three. */
function citedIn(text: string): string[] {
  const ranges = [...text.matchAll(/\b([LVWRHGTDIP])(\d+) to \1(\d+)\b/g)];
  const between = ranges.flatMap(([, letter, from, to]) =>
    Array.from({ length: Number(to) - Number(from) }, (_, at) => `${letter}${Number(from) + at}`),
  );
  return [...between, ...(text.match(rulePattern) ?? [])];
}

/** By its name: what stands below the heading of a rule, in one line. */
function statedIn(text: string): Map<string, string> {
  const sections = text.split(/^#+ /m).map((section) => section.replace(/\s+/g, " "));
  return new Map(
    sections.flatMap((section) => {
      const name = /^([A-Z]\d+)\. /.exec(section)?.[1];
      return name === undefined ? [] : [[name, section] as const];
    }),
  );
}

const rules = statedIn(read("docs/rules.md"));

/** What is quoted in `section` behind `head`, one after another. */
function quoted(section: string, head: RegExp): { by: string; names: string[] }[] {
  const lists = new RegExp(`${head.source}((?:"[^"]+"(?:, )?)+)`, "g");
  return [...section.matchAll(lists)].map(([, by = "", list = ""]) => {
    return { by, names: [...list.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name) };
  });
}

const test = suite("rules");

test("rules: what is cited anywhere is stated", () => {
  const missing = citing.flatMap((path) =>
    citedIn(read(path))
      .filter((rule) => !rules.has(rule))
      .map((rule) => `${path} cites ${rule}`),
  );
  assert.equal([...new Set(missing)], []);
});

test("rules: one that is missing would be found, in a range too", () => {
  assert.equal(citedIn("Source: rules W1, H1 to H3; V8 in Node. (T10)"), [
    ...["H1", "H2", "W1", "H1", "H3", "T10"],
  ]);
  assert.equal([...statedIn("## A\n\n### W1. All\n\nTo\nall.\n\nW2. None.\n").keys()], ["W1"]);
});

test("rules: each tells what breaks without it, where it is, and what notices that", () => {
  for (const [name, section] of rules) {
    for (const part of ["Without it", "Where", "Noticed by"]) {
      assert.ok(section.includes(`- **${part}**: `), `${name}: ${part}`);
    }
  }
});

test("rules: the modules and tests that are named are there", () => {
  for (const [name, section] of rules) {
    const where = /- \*\*Where\*\*: (.*?) - \*\*/.exec(section)?.[1] ?? "";
    assert.match(where, /`|^nowhere/, `${name}: where it is`);
    for (const [, module = ""] of where.matchAll(/`([^`]+)`/g)) {
      const isThere = ["src", "sim"].some((one) => existsSync(join(root, one, `${module}.ts`)));
      assert.ok(isThere, `${name}: the module ${module}`);
    }
    for (const { by, names } of quoted(section, /`(\w+_test)`: /)) {
      const source = read(`test/${by}.ts`);
      for (const begin of names.map((one) => one.replace(/…$/, ""))) {
        assert.ok(source.includes(`"${begin}`), `${name}: ${by} has no "${begin}"`);
      }
    }
  }
});

test("rules: a mutation of a rule is named below one that it breaks, and no other is", () => {
  const known = new Set(mutations.map(({ name }) => name));
  const named = new Map(
    [...rules].map(([rule, section]) => {
      const names = quoted(section, /mutations? ()/).flatMap((list) => list.names);
      return [rule, new Set(names)] as const;
    }),
  );
  for (const [rule, names] of named) {
    for (const name of names) assert.ok(known.has(name), `${rule} names "${name}"`);
  }
  for (const { name, rule } of mutations) {
    const broken = citedIn(rule);
    const isNamed = broken.some((one) => named.get(one)?.has(name) === true);
    // What upgrades go by is in docs/upgrading.md, and some break what has no letter.
    const isOther = broken.length === 0;
    assert.ok(isNamed || isOther, `"${name}" is named below none of ${broken.join(", ")}`);
  }
});

test.run();
