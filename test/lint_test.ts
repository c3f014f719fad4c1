/** Types, style and generated code: what the tools of the repository say must be "nothing". */

import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("..", import.meta.url));

const tools = join(root, "node_modules/.bin");
const shownCharactersMax = 4000;

/** Runs a tool of node_modules; answers what it said, and its exit code. */
function tool(name: string, args: readonly string[]): Promise<{ code: number; said: string }> {
  // buf looks for its plugin in the PATH.
  const env = { ...process.env, NO_COLOR: "1", PATH: `${tools}${delimiter}${process.env.PATH}` };
  return new Promise((fulfil) => {
    execFile(join(tools, name), args, { cwd: root, env }, (error, stdout, stderr) => {
      fulfil({ code: error === null ? 0 : Number(error.code ?? 1), said: `${stdout}${stderr}` });
    });
  });
}

async function saysNothing(name: string, args: readonly string[]): Promise<void> {
  const { code, said } = await tool(name, args);
  assert.ok(code === 0, said.trim().slice(0, shownCharactersMax));
}

const lint = suite("lint");

lint("lint: the compiler finds no error", () => saysNothing("tsc", ["-p", "tsconfig.json"]));

lint("lint: the build that npm start makes compiles", () =>
  saysNothing("tsc", ["-p", "tsconfig.build.json", "--noEmit"]),
);

lint("lint: format and style are as biome wants them", () =>
  saysNothing("biome", ["check", "--error-on-warnings", "."]),
);

lint("lint: the proto files pass buf's rules", () => saysNothing("buf", ["lint"]));

lint("lint: the generated code is what the proto files generate", async () => {
  const fresh = mkdtempSync(join(tmpdir(), "generated-"));
  try {
    await saysNothing("buf", ["generate", "--output", fresh]);
    const paths = generatedFiles(join(fresh, "src/gen"));
    assert.ok(paths.length > 0);
    assert.equal(generatedFiles(join(root, "src/gen")), paths, "run 'npm run generate'");
    for (const path of paths) {
      const expected = readFileSync(join(fresh, "src/gen", path), "utf8");
      const actual = readFileSync(join(root, "src/gen", path), "utf8");
      assert.ok(actual === expected, `src/gen/${path} is out of date: run 'npm run generate'`);
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
});

function generatedFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .sort();
}

lint.run();
