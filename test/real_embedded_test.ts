/**
 * An application with the database in its own process, killed at random while it writes.
 *
 * The test tells it what to write and hears what is on disk. After each kill another process opens
 * the folder: every key holds its last acknowledged write or a later try, whole.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimRandom } from "../sim/random.ts";
import { withFolder } from "./cli_harness.ts";
import { Ledger, type Try } from "./real_harness.ts";
import { scriptCommand } from "./script_command.ts";

const test = suite("real_embedded");
const isLong = process.env["QUORATE_LONG"] === "1";
const rounds = isLong ? 100 : 5;
const atOnce = 16;
const keys = 60;
const seed = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${seed}: TEST_SEED=${seed} has the same choices`);
const script = fileURLToPath(new URL("real_embedded_child.ts", import.meta.url));

/** The application; every line that it says, until its end. */
class Application {
  readonly ended: Promise<NodeJS.Signals | null>;
  readonly #child;
  readonly #ready: Promise<void>;
  #hear: (line: string) => void = () => {};
  err = "";

  constructor(folder: string) {
    const [file, ...words] = scriptCommand(script, [folder]);
    this.#child = spawn(file, words, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stdin.on("error", () => {});
    this.#child.stderr.on("data", (chunk) => {
      this.err += String(chunk);
    });
    this.ended = new Promise((settle) => {
      this.#child.on("close", (_, signal) => settle(signal));
    });
    this.#ready = new Promise((settle, reject) => {
      createInterface({ input: this.#child.stdout }).on("line", (line) => {
        if (line === "ready") settle();
        else this.#hear(line);
      });
      this.ended.then(() => reject(new Error(`it did not open: ${this.err}`)), reject);
    });
  }

  ready(): Promise<void> {
    return this.#ready;
  }

  tell(line: string, hear: (line: string) => void): void {
    this.#hear = hear;
    this.#child.stdin.write(`${line}\n`);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

async function check(application: Application, ledger: Ledger, what: string): Promise<void> {
  const line = await new Promise<string>((settle, reject) => {
    application.tell("0 read", settle);
    application.ended.then(() => reject(new Error(`${what}: ${application.err}`)), reject);
  });
  // The last line of a process that ended in the middle of it is no answer.
  assert.ok(line.endsWith("}"), `${what}: the answer is cut. ${application.err}`);
  const found = JSON.parse(line.slice(2)) as Record<string, string>;
  for (const key of ledger.keys) ledger.settle(key, found[key], what);
  const unknown = Object.keys(found).filter((key) => !ledger.keys.includes(key));
  assert.equal(unknown, [], `${what}: nothing is listed that was not written`);
}

/** Keeps so many writes under way, and kills it after some acknowledgements. */
async function writeUntilKilled(
  application: Application,
  ledger: Ledger,
  random: SimRandom,
): Promise<void> {
  const killAfter = 1 + random.below(1500);
  const underWay = new Map<number, Try>();
  let heard = 0;
  const begin = (): void => {
    const key = `k${random.below(keys)}`;
    const kind = random.below(6) === 0 ? "delete" : "put";
    const isLarge = random.below(20) === 0;
    const attempt = ledger.begin(key, kind, random.below(isLarge ? 60_000 : 300));
    underWay.set(attempt.number, attempt);
    const words = [attempt.number, kind, key, attempt.bytes];
    application.tell(words.join(" "), hear);
  };
  const hear = (line: string): void => {
    const attempt = underWay.get(Number.parseInt(line, 10));
    if (attempt === undefined) return;
    underWay.delete(attempt.number);
    ledger.acknowledge(attempt);
    heard += 1;
    if (heard === killAfter) application.kill();
    begin();
  };
  for (let count = 0; count < atOnce; count += 1) begin();
  assert.is(await application.ended, "SIGKILL", application.err);
}

test("P1: an application that is killed loses nothing that its database acknowledged", () =>
  withFolder(async (folder) => {
    const random = new SimRandom(seed);
    const ledger = new Ledger();
    for (let round = 1; round <= rounds + 1; round += 1) {
      const application = new Application(folder);
      try {
        await application.ready();
        await check(application, ledger, `seed ${seed}, round ${round}`);
        if (round <= rounds) await writeUntilKilled(application, ledger, random);
        ledger.endAll();
      } finally {
        application.kill();
        await application.ended;
      }
    }
    assert.ok(ledger.acknowledgedCount > rounds);
    console.log(`${rounds} kills, ${ledger.acknowledgedCount} acknowledged`);
  }));

test.run();
