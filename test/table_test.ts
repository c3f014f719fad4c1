import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import { openTable } from "../src/table.ts";
import { addTableTests, type TableHome } from "./table_suite.ts";

const test = suite("table");

async function lmdbHome(): Promise<TableHome> {
  const folder = fs.mkdtempSync(join(tmpdir(), "table-"));
  return {
    open: () => openTable({ path: join(folder, "table.mdb") }),
    remove: async () => fs.rmSync(folder, { recursive: true }),
  };
}

addTableTests(test, "table", lmdbHome);

test.run();
