/**
 * The lock of a data folder, with real processes where life and death decide, and with clocks handed
 * in where time does.
 */

import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { SimRandom } from "../sim/random.ts";
import { toHex } from "../src/bytes.ts";
import { type Clock, systemErrorCode } from "../src/capability.ts";
import { QuorateError } from "../src/errors.ts";
import { type FolderLockOptions, lockFolder, lockName } from "../src/folder_lock.ts";
import { realRandom } from "../src/runtime.ts";
import { scriptCommand } from "./script_command.ts";

const test = suite("folder_lock");
const raceRounds = process.env["QUORATE_LONG"] === "1" ? 300 : 10;

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), "lock-"));
  try {
    await use(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

function lock(folder: string, more: Partial<FolderLockOptions> = {}): Promise<() => Promise<void>> {
  return lockFolder({ folder, clock: new SimClock(), random: realRandom, ...more });
}

/** The refusal of a lock that must be refused. */
async function refusal(attempt: Promise<() => Promise<void>>): Promise<QuorateError> {
  let release: () => Promise<void>;
  try {
    release = await attempt;
  } catch (error) {
    assert.instance(error, QuorateError, String(error));
    assert.is((error as QuorateError).slug, "data-folder-in-use");
    return error as QuorateError;
  }
  await release();
  return assert.unreachable("the folder was taken") as never;
}

interface Child {
  readonly pid: number;
  /** Lets it take the lock; what it says. */
  take(): Promise<string>;
  end(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
}

const childScript = fileURLToPath(new URL("folder_lock_child.ts", import.meta.url));

async function startChild(folder: string): Promise<Child> {
  const [file, ...args] = scriptCommand(childScript, [folder]);
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  const waiting: ((line: string) => void)[] = [];
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const next = waiting.shift();
    if (next === undefined) lines.push(line);
    else next(line);
  });
  const line = (): Promise<string> =>
    new Promise((fulfil) => {
      const said = lines.shift();
      if (said === undefined) waiting.push(fulfil);
      else fulfil(said);
    });
  const exited = new Promise<void>((fulfil) => child.on("exit", () => fulfil()));
  assert.is(await line(), "ready");
  const { pid } = child;
  assert.ok(pid !== undefined);
  return {
    pid,
    take: () => {
      child.stdin.write("\n");
      return line();
    },
    end: async (signal) => {
      process.kill(pid, signal);
      await exited;
    },
  };
}

/** What this process writes about itself, with some fields replaced. */
async function ownLock(folder: string, change: Record<string, unknown>): Promise<string> {
  const release = await lock(folder);
  const text = fs.readFileSync(join(folder, lockName), "utf8");
  await release();
  return JSON.stringify({ ...(JSON.parse(text) as object), token: "other", ...change });
}

function place(folder: string, text: string): void {
  fs.writeFileSync(join(folder, lockName), text);
}

/** A clock that has gone on by `stepMs` at each look at it. */
function steppingClock(stepMs: number, onLook: () => void = () => {}): Clock {
  const clock = new SimClock();
  let lookedMs = 0;
  return {
    nowMs: () => clock.nowMs(),
    monotonicMs: () => {
      onLook();
      lookedMs += stepMs;
      return lookedMs;
    },
    after: () => () => {},
    soon: (run) => clock.soon(run),
  };
}

test("lockFolder() takes a free folder, and leaves nothing when it is released", () =>
  withFolder(async (folder) => {
    const release = await lock(folder);
    assert.equal(fs.readdirSync(folder), [lockName]);
    await release();
    await release();
    assert.equal(fs.readdirSync(folder), []);
  }));

test("lockFolder() refuses what a living process holds, and names its pid and host", () =>
  withFolder(async (folder) => {
    const holder = await startChild(folder);
    try {
      assert.is(await holder.take(), "held");
      const error = await refusal(lock(folder));
      assert.match(error.detail, new RegExp(`process ${holder.pid} on host '${hostname()}'`));
      assert.match(error.hint ?? "", /Stop that process/);
      // Stopped, it still holds it. (Deno's own `kill` takes a stopped child for a dead one.)
      process.kill(holder.pid, "SIGSTOP");
      await refusal(lock(folder));
    } finally {
      await holder.end("SIGKILL");
    }
    const release = await lock(folder);
    assert.is(JSON.parse(fs.readFileSync(join(folder, lockName), "utf8")).pid, process.pid);
    await release();
  }));

test("lockFolder() refuses a folder that this process has open itself", () =>
  withFolder(async (folder) => {
    const release = await lock(folder);
    const { detail, hint } = await refusal(lock(folder));
    assert.match(detail, `: this process itself (${process.pid}) has it open.`);
    assert.match(hint ?? "", /close\(\) that first, or choose another folder .*dataDir/);
    assert.not.match(hint ?? "", /Stop that process/);
    await release();
    await (await lock(folder))();
  }));

test("lockFolder() takes over at once when the pid in the lock is another process's by now", () =>
  withFolder(async (folder) => {
    const text = await ownLock(folder, { startTicks: "1" });
    place(folder, text);
    await (await lock(folder, { clock: steppingClock(0) }))();
    assert.equal(
      fs.readdirSync(folder).filter((name) => name === lockName),
      [],
    );
  }));

test("lockFolder(): of many who find a dead one's lock at the same time, one gets the folder", async () => {
  const seed = Math.floor(Math.random() * 1_000);
  const random = new SimRandom(seed);
  for (let round = 0; round < raceRounds; round += 1) {
    await withFolder(async (folder) => {
      place(folder, await ownLock(folder, { startTicks: "1" }));
      const starters = Array.from({ length: 3 + random.below(6) }, async () => {
        for (let turn = random.below(12); turn > 0; turn -= 1) await fs.promises.stat(folder);
        return lock(folder);
      });
      const results = await Promise.allSettled(starters);
      const winners = results.filter((result) => result.status === "fulfilled");
      for (const winner of winners) await winner.value();
      assert.is(winners.length, 1, `seed ${seed}, round ${round}`);
    });
  }
});

/** The mark that says that a lock with this text is being removed, as a process would leave it. */
async function markOf(folder: string, text: string): Promise<string> {
  place(folder, text);
  await (await lock(folder, { clock: steppingClock(0) }))();
  const mark = fs.readdirSync(folder).find((name) => name.includes(".stale."));
  assert.ok(mark !== undefined);
  return join(folder, mark);
}

test("lockFolder() leaves a dead one's lock to who has marked it, and is refused by that one", () =>
  withFolder(async (folder) => {
    const text = await ownLock(folder, { startTicks: "1" });
    const mark = await markOf(folder, text);
    place(folder, text);
    let looks = 0;
    const alive = await ownLockElsewhere();
    const clock = steppingClock(100, () => {
      looks += 1;
      if (looks !== 2) return;
      // The one that made the mark gets on: it has removed the lock and placed its own.
      assert.is(fs.readFileSync(join(folder, lockName), "utf8"), text);
      place(folder, alive);
    });
    await refusal(lock(folder, { clock }));
    assert.is(fs.readFileSync(join(folder, lockName), "utf8"), alive);
    assert.ok(fs.existsSync(mark));
  }));

test("lockFolder() takes a dead one's lock whose mark's maker has died too, after six seconds", () =>
  withFolder(async (folder) => {
    const text = await ownLock(folder, { startTicks: "1" });
    await markOf(folder, text);
    place(folder, text);
    await (await lock(folder, { clock: steppingClock(3_500) }))();
    assert.not(fs.existsSync(join(folder, lockName)));
  }));

/** The lock that this living process would write. */
async function ownLockElsewhere(): Promise<string> {
  let text = "";
  await withFolder(async (folder) => {
    text = await ownLock(folder, {});
  });
  return text;
}

test("lockFolder(): of several processes that race for a dead one's lock, one gets the folder", () =>
  withFolder(async (folder) => {
    place(folder, await ownLock(folder, { startTicks: "1" }));
    const children = await Promise.all([1, 2, 3, 4].map(() => startChild(folder)));
    try {
      const said = await Promise.all(children.map((child) => child.take()));
      assert.equal(said.sort(), [
        "data-folder-in-use",
        "data-folder-in-use",
        "data-folder-in-use",
        "held",
      ]);
    } finally {
      await Promise.all(children.map((child) => child.end("SIGKILL")));
    }
  }));

for (const [who, change] of [
  ["another container", { pidNamespace: "pid:[1]" }],
  ["another machine", { bootId: "b", host: "elsewhere", pidNamespace: undefined }],
] as const) {
  test(`lockFolder() takes ${who}'s lock only when nobody touches it for six seconds`, () =>
    withFolder(async (folder) => {
      const text = await ownLock(folder, change);
      place(folder, text);
      let touches = 0;
      const touched = steppingClock(1_000, () => {
        touches += 1;
        fs.utimesSync(join(folder, lockName), touches, touches);
      });
      await refusal(lock(folder, { clock: touched }));
      assert.is(fs.readFileSync(join(folder, lockName), "utf8"), text);
      await (await lock(folder, { clock: steppingClock(3_500) }))();
    }));
}

test("lockFolder() takes a lock that says nothing when nobody touches it", () =>
  withFolder(async (folder) => {
    for (const text of ["", "{}", '{"pid":1', '{"pid":-1,"host":"a","token":"t"}', "null"]) {
      place(folder, text);
      await (await lock(folder, { clock: steppingClock(7_000) }))();
    }
  }));

test("lockFolder(): the holder touches its lock every two seconds, as its clock says", () =>
  withFolder(async (folder) => {
    const clock = new SimClock(1_000_000_000_000);
    const release = await lock(folder, { clock });
    const seen: number[] = [];
    for (let round = 1; round <= 3; round += 1) {
      await clock.advance(2_000);
      // The touch is under way on the real disk; the timer is set again when it is done.
      while (clock.timerCount === 0) await new Promise((turn) => setImmediate(turn));
      seen.push(fs.statSync(join(folder, lockName)).mtimeMs - 1_000_000_000_000);
    }
    assert.equal(seen, [2_000, 4_000, 6_000]);
    await release();
    assert.is(clock.timerCount, 0);
  }));

for (const [how, take, reason] of [
  ["was removed", (path: string) => fs.rmSync(path), /was removed/],
  [
    "is another's",
    (path: string) => fs.writeFileSync(path, '{"pid":4711,"host":"elsewhere","token":"t"}'),
    /taken by process 4711 on 'elsewhere'/,
  ],
] as const) {
  test(`lockFolder(): the holder reports when the lock ${how}, and leaves it then`, () =>
    withFolder(async (folder) => {
      const clock = new SimClock();
      let lost = (_: string): void => {};
      const reported = new Promise<string>((fulfil) => {
        lost = fulfil;
      });
      const release = await lock(folder, { clock, onLockLost: (why) => lost(why) });
      const path = join(folder, lockName);
      take(path);
      const left = fs.existsSync(path);
      await clock.advance(2_000);
      assert.match(await reported, reason);
      assert.is(clock.timerCount, 0);
      await release();
      assert.is(fs.existsSync(path), left);
    }));
}

test("lockFolder() removes what a process left that died while it took the lock, once it is old", () =>
  withFolder(async (folder) => {
    const [old, fresh] = [`${lockName}.old`, `${lockName}.fresh`];
    for (const name of [old, fresh, "table.mdb-lock"]) fs.writeFileSync(join(folder, name), "{}");
    fs.utimesSync(join(folder, old), 1_000, 1_000);
    const release = await lock(folder);
    assert.equal(fs.readdirSync(folder).sort(), [lockName, fresh, "table.mdb-lock"].sort());
    await release();
  }));

test("lockFolder() leaves nothing where the disk has no room for a lock", () =>
  withFolder(async (folder) => {
    const token = toHex(new SimRandom(1).bytes(12));
    // A disk that is full when the first byte comes.
    fs.symlinkSync("/dev/full", join(folder, `${lockName}.${token}`));
    const code = await lock(folder, { random: new SimRandom(1) }).then(
      () => "none",
      (error: unknown) => systemErrorCode(error),
    );
    assert.is(code, "ENOSPC");
    assert.equal(fs.readdirSync(folder), []);
  }));

test("lockFolder() rejects with the system's error where the folder is not there", () =>
  withFolder(async (folder) => {
    try {
      await lock(join(folder, "missing"));
      assert.unreachable("it was taken");
    } catch (error) {
      assert.is((error as NodeJS.ErrnoException).code, "ENOENT");
    }
  }));

test.run();
