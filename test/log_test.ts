import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import { createReport, type LogOptions, type LogReport, textLine } from "../src/log.ts";
import { withFolder } from "./cli_harness.ts";

const test = suite("log");

/** What a report writes. */
async function written(
  options: Partial<LogOptions>,
  use: (report: LogReport) => void,
): Promise<string> {
  let text = "";
  await withFolder(async (folder) => {
    const file = path.join(folder, "log");
    const descriptor = fs.openSync(file, "w");
    const report = createReport({
      level: "info",
      format: "json",
      colour: false,
      descriptor,
      ...options,
    });
    use(report);
    await report.flush();
    text = fs.readFileSync(file, "utf8");
    fs.closeSync(descriptor);
  });
  return text;
}

test("a JSON line has the time, the level, the message and the fields", async () => {
  const text = await written({ node: "n1" }, (report) => {
    report.log("warn", "Nearly full.", { freeBytes: 10n, file: new Uint8Array(3) });
  });
  const line = JSON.parse(text) as Record<string, unknown>;
  assert.is(line["level"], "warn");
  assert.is(line["msg"], "Nearly full.");
  assert.is(line["node"], "n1");
  assert.is(line["freeBytes"], "10");
  assert.is(line["file"], "3 bytes");
  assert.match(String(line["time"]), /^\d{4}-\d\d-\d\dT/);
});

test("an error is logged with what it knows, and its cause", async () => {
  const text = await written({}, (report) => {
    const error = new QuorateError("corruption", "Bad bytes.", { cause: new Error("crc") });
    report.log("error", "Ended.", { error, other: new TypeError("odd") });
  });
  const line = JSON.parse(text) as { error: Record<string, unknown>; other: { name: string } };
  assert.is(line.error["slug"], "corruption");
  assert.is(line.error["detail"], "Bad bytes.");
  assert.match(String(line.error["cause"]), /^Error: crc/);
  assert.is(line.other.name, "TypeError");
});

test("lines below the level are not written", async () => {
  const text = await written({ level: "warn" }, (report) => {
    report.log("debug", "a");
    report.log("info", "b");
    report.log("warn", "c");
    report.log("error", "d");
  });
  const messages = text.trimEnd().split("\n");
  assert.equal(
    messages.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ["c", "d"],
  );
});

test("a text line is one line for a person", async () => {
  const text = await written({ format: "text" }, (report) => {
    report.log("info", "Checkpoint written.", { entries: 7, reason: "two words" });
  });
  assert.match(
    text,
    /^\d\d:\d\d:\d\d\.\d{3} info {2}Checkpoint written\. entries=7 reason="two words"\n$/,
  );
});

test("textLine() shows what a terminal would obey, and does not say it", () => {
  const fields = {
    level: "warn",
    time: "2026-01-02T03:04:05.678Z",
    msg: "n\u001b[2J\nx",
    why: "a\u001b[31m",
  };
  assert.is(
    textLine(JSON.stringify(fields), true),
    '03:04:05.678 \u001b[33mwarn \u001b[0m n\\u001b[2J\\u000ax why="a\\u001b[31m"\n',
  );
});

test("textLine() colours the level where it may", () => {
  const json = '{"level":"error","time":"2026-01-02T03:04:05.678Z","msg":"Ended."}';
  assert.is(textLine(json, false), "03:04:05.678 error Ended.\n");
  assert.is(textLine(json, true), "03:04:05.678 \u001b[31merror\u001b[0m Ended.\n");
});

test("counters, observations and marks are kept for whoever reads them", async () => {
  await written({}, (report) => {
    report.count("writes");
    report.count("writes", 2);
    report.observe("sync_ms", 4);
    report.observe("sync_ms", 2);
    report.sometimes("segment rolled");
    assert.is(report.counters().get("writes"), 3);
    assert.equal(report.observations().get("sync_ms"), { count: 2, sum: 6, max: 4 });
    assert.is(report.marks().get("segment rolled"), 1);
  });
});

test("lines on a full disk are lost and counted, and flush() does not try them for ever", async () => {
  const descriptor = fs.openSync("/dev/full", "w");
  const report = createReport({ level: "info", format: "json", colour: false, descriptor });
  for (let line = 0; line < 1000; line += 1) report.log("info", "lost");
  await report.flush();
  assert.is(report.counters().get("log_lines_lost"), 1000);
  fs.closeSync(descriptor);
});

test("a reader that takes nothing costs lines, and not memory without end nor the stop", () =>
  withFolder(async (folder) => {
    const pipe = path.join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    const descriptor = fs.openSync(pipe, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
    const report = createReport({
      level: "info",
      format: "json",
      colour: false,
      descriptor,
      flushMs: 1,
    });
    const text = "x".repeat(64 * 1024);
    for (let line = 0; line < 100; line += 1) report.log("info", text);
    await report.flush();
    const lost = report.counters().get("log_lines_lost") ?? 0;
    assert.ok(lost >= 84 && lost < 100, `1 MiB of 6.25 waits; ${lost} lines were lost`);
    // The descriptor stays open: the report still tries it, and its number must not mean another file.
  }));

test("lines of a slow reader keep their order", () =>
  withFolder(async (folder) => {
    const pipe = path.join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    const descriptor = fs.openSync(pipe, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
    const report = createReport({ level: "info", format: "json", colour: false, descriptor });
    for (let line = 0; line < 3000; line += 1) report.log("info", String(line).padEnd(200));
    const reader = spawn("head", ["-n", "3000", pipe], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    for await (const piece of reader.stdout) text += String(piece);
    await report.flush();
    const numbers = text.trimEnd().split("\n");
    assert.is(numbers.length, 3000);
    numbers.forEach((line, index) => {
      assert.is(Number((JSON.parse(line) as { msg: string }).msg), index);
    });
    fs.closeSync(descriptor);
  }));

test.run();
