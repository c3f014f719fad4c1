/**
 * `open()`: what it is told is checked before a folder is made, and whatever fails is a QuorateError.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type OpenOptions, open } from "../mod.ts";
import { withFolder } from "./cli_harness.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("mod");

test("open() refuses an option that it does not have, and values that cannot be, and makes no folder", () =>
  withFolder(async (folder) => {
    const dataDir = join(folder, "data");
    const cases: readonly (readonly [unknown, RegExp])[] = [
      [null, /options of open\(\) are null/],
      [undefined, /options of open\(\) are undefined/],
      ["data", /options of open\(\) are 'data'/],
      [{}, /given no dataDir/],
      [{ dataDir: undefined }, /given no dataDir/],
      [{ dataDir: 5 }, /dataDir of open\(\) is 5; it has to be a string/],
      [{ dataDir: "" }, /dataDir of open\(\) is ''/],
      [{ dataDir, bogus: 1 }, /no option 'bogus' for open\(\)/],
      [{ dataDir, name: 5 }, /name of open\(\) is 5/],
      [{ dataDir, report: "stdout" }, /report of open\(\) is 'stdout'/],
      [{ dataDir, diskReserveBytes: -1 }, /diskReserveBytes of open\(\) is -1/],
      [{ dataDir, acceptDataLoss: "yes" }, /acceptDataLoss of open\(\) is 'yes'/],
      [{ dataDir, peers: "127.0.0.1:7001" }, /peers of open\(\) is '127/],
      [{ dataDir, port: 7001 }, /given port, and no peers/],
      [{ dataDir, bootstrapExpect: 3, clusterSecret: "s" }, /given clusterSecret, and no peers/],
      [{ dataDir, serveClients: true, peers: undefined }, /given serveClients, and no peers/],
    ];
    for (const [options, said] of cases) {
      const { detail, hint } = await rejectsSlug("invalid-config", open(options as OpenOptions));
      assert.match(detail, said);
      assert.match(hint ?? "", /dataDir|peers/);
      assert.not.ok(fs.existsSync(dataDir));
    }
  }));

test("open() says what is wrong with a folder that cannot be used", () =>
  withFolder(async (folder) => {
    const file = join(folder, "file");
    fs.writeFileSync(file, "");
    for (const dataDir of [file, join(file, "data"), join(folder, "x".repeat(300))]) {
      const { detail, hint } = await rejectsSlug("invalid-config", open({ dataDir }));
      assert.match(detail, /^Cannot use the data folder /);
      assert.match(hint ?? "", /dataDir/);
    }
    const { cause } = await rejectsSlug("internal", open({ dataDir: "a\0b" }));
    assert.instance(cause, Error);
  }));

test("open() says of a folder that this process has open that it is this process", () =>
  withFolder(async (folder) => {
    const database = await open({ dataDir: folder });
    try {
      const error = await rejectsSlug("data-folder-in-use", open({ dataDir: folder }));
      assert.match(error.detail, /this process itself/);
      assert.match(error.hint ?? "", /close\(\) that first, .*dataDir/);
    } finally {
      await database.close();
    }
    await (await open({ dataDir: folder })).close();
  }));

test("open() takes what it is told at once: the object and the folder of the process may change while it opens", () =>
  withFolder(async (folder) => {
    const before = process.cwd();
    const elsewhere = join(folder, "elsewhere");
    fs.mkdirSync(elsewhere);
    process.chdir(folder);
    const options = { dataDir: "data" };
    const opening = open(options);
    options.dataDir = "other";
    process.chdir(elsewhere);
    try {
      const database = await opening;
      await database.put("k", "v");
      await database.close();
      assert.equal(fs.readdirSync(elsewhere), []);
      assert.ok(fs.existsSync(join(folder, "data", "table.lmdb")));
    } finally {
      process.chdir(before);
    }
  }));

test.run();
