/**
 * Real processes that are asked for more connections than they have descriptors, or than they allow.
 *
 * A connection takes a descriptor, and so do a segment of the log and the table. The operating system
 * is told to give the process few (`ulimit -n` in a shell that becomes the process), and clients open
 * more connections than that. Who was connected is served on, over many new segments of the log; when
 * the crowd has gone, whoever comes is served. Work is counted, never time, but for one thing: a
 * process that only waits must not use its processor.
 */
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withFolder } from "./cli_harness.ts";
import { Running } from "./cli_process.ts";
import { Client, keyPath } from "./real_harness.ts";

const test = suite("real_descriptors");
const isLong = process.env["QUORATE_LONG"] === "1";
const cli = fileURLToPath(new URL("../src/cli.ts", import.meta.url));

/** Starts a node that may have so many descriptors at once. */
async function withFew(
  folder: string,
  descriptors: number,
  use: (server: Running, url: string) => Promise<void>,
): Promise<void> {
  const words =
    "serve --port 0 --scrub-rate 0 --max-value 64KiB --segment-bytes 1MiB --memtable-bytes 1MiB";
  const server = new Running("sh", [
    "-c",
    `ulimit -n ${descriptors} && exec "$@"`,
    "sh",
    process.execPath,
    "--import",
    "tsx",
    cli,
    ...words.split(" "),
    "--data-dir",
    folder,
  ]);
  try {
    await use(server, await server.listening());
  } finally {
    await server.end("SIGKILL");
  }
}

/** Connections that say nothing. */
class Crowd {
  readonly #sockets: net.Socket[] = [];
  #closedCount = 0;

  /** Opens so many, and waits until each is open or was turned away. */
  static async open(url: string, count: number): Promise<Crowd> {
    const crowd = new Crowd();
    const port = Number(new URL(url).port);
    // Some at a time: the queue of those that wait to be accepted has a bound too.
    for (let begun = 0; begun < count; begun += 200) {
      const some = Array.from({ length: Math.min(200, count - begun) }, () => crowd.#join(port));
      await Promise.all(some);
    }
    return crowd;
  }

  get openCount(): number {
    return this.#sockets.length - this.#closedCount;
  }

  async leave(): Promise<void> {
    const left = this.#sockets.filter((socket) => !socket.destroyed);
    await Promise.all(
      left.map(
        (socket) =>
          new Promise<void>((resolve) => {
            socket.on("close", () => resolve());
            socket.destroy();
          }),
      ),
    );
  }

  #join(port: number): Promise<void> {
    return new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => resolve());
      this.#sockets.push(socket);
      socket.resume();
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#closedCount += 1;
        resolve();
      });
    });
  }
}

/** Processor time that a process has used, in ticks of 10 ms; undefined where /proc does not say. */
function ticksOf(pid: number | undefined): number | undefined {
  try {
    const words = fs
      .readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return Number(words[11]) + Number(words[12]);
  } catch {
    return undefined;
  }
}

/** Writes and reads back more than the memtable and a few segments hold. */
async function workOn(client: Client, round: string): Promise<void> {
  const value = "v".repeat(64 * 1024);
  for (let number = 0; number < 80; number += 1) {
    const put = await client.ask("PUT", keyPath(`${round}-${number}`), value);
    assert.is(put.status, 204, put.body);
  }
  for (const number of [0, 40, 79]) {
    const got = await client.ask("GET", keyPath(`${round}-${number}`));
    assert.is(got.body === value, true);
  }
}

/** Asks on new connections until one is answered. */
async function answered(url: string): Promise<void> {
  for (;;) {
    const client = new Client(url);
    try {
      if ((await client.ask("GET", "/livez")).status === 200) return;
    } catch {
      // Turned away: those who left may not have been noticed yet.
    } finally {
      client.close();
    }
  }
}

async function crowded(descriptors: number, count: number): Promise<void> {
  await withFolder(async (parent) => {
    await withFew(path.join(parent, "data"), descriptors, async (server, url) => {
      const client = new Client(url);
      await workOn(client, "alone");
      const crowd = await Crowd.open(url, count);
      await workOn(client, "crowded");
      assert.ok(crowd.openCount < descriptors, `${crowd.openCount} are open`);
      // Half a second of nothing: a node that tried to accept without end would work all through it.
      const before = ticksOf(server.process.pid);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const used = (ticksOf(server.process.pid) ?? 0) - (before ?? 0);
      assert.ok(used <= 25, `${used} ticks of 10 ms in half a second`);
      await crowd.leave();
      await answered(url);
      await workOn(client, "again");
      client.close();
      const { code } = await server.end("SIGTERM");
      assert.is(code, 0, server.err);
      assert.not.match(server.err, /EMFILE/, "its own files had descriptors");
    });
  });
}

test("a node with few descriptors serves those who are connected, keeps its own files, and accepts again", () =>
  crowded(160, isLong ? 5000 : 600));

if (isLong) {
  test("10,000 connections at once: those above the limit are turned away, and the node serves on", () =>
    crowded(20_000, 10_100));
}

test.run();
