/** Whom a node asks that is no member yet, and when it turns to another one. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { refusalOf } from "../src/agreed.ts";
import { askInTurn, toldGapMsMax } from "../src/cluster_asking.ts";
import { QuorateError } from "../src/errors.ts";
import { genesisOf } from "../src/topology_steps.ts";

const test = suite("cluster asking");

const document = genesisOf(
  [1, 2, 3].map((number) => ({
    nodeId: `${number}`.repeat(32),
    storeId: `a${number}`.repeat(16),
    name: `n${number}`,
    addresses: [`10.0.0.${number}:80`],
  })),
  { expect: 3, partitions: 4 },
);

const timing = (clock: SimClock) => ({ clock, timeoutMs: 2000 });

/** Asks so often, and answers who was asked to take it in each time. */
async function asked(
  times: number,
  answer: (at: string) => unknown,
  named: readonly string[] = [],
): Promise<readonly string[]> {
  const found: string[] = [];
  const askAt = async (at: string, topic: string): Promise<unknown> => {
    if (topic !== "join") return {};
    found.push(at);
    return answer(at);
  };
  const at = { address: "10.0.0.2:80", document, named };
  const ask = askInTurn({ askAt }, at, timing(new SimClock()));
  for (let time = 0; time < times; time += 1) await ask("join", {});
  return found;
}

const refused = (slug: "not-ready" | "contention"): unknown =>
  refusalOf(new QuorateError(slug, "Not now.", { outcome: "none" }));

test("askInTurn() goes on with whoever takes it in, and turns to another where nobody is", async () => {
  assert.equal(await asked(3, () => ({ kind: "joined" })), new Array(3).fill("10.0.0.2:80"));
  const gone = await asked(3, (at) => {
    if (at === "10.0.0.2:80") throw new Error("nobody is there");
    return refused("contention");
  });
  assert.equal(gone, ["10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"]);
});

test("askInTurn() turns to another where one that was a member waits to be taken in itself", async () => {
  const waiting = await asked(3, (at) =>
    at === "10.0.0.2:80" ? refused("not-ready") : { kind: "joined" },
  );
  assert.equal(waiting, ["10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"]);
});

test("askInTurn() comes to all that --peers names when the members are found where they were no more", async () => {
  const named = ["10.0.0.2:80", "n1.example:80", "n2.example:80"];
  const found = await asked(
    6,
    (at) => {
      if (at !== "n2.example:80") throw new Error("nobody is there");
      return { kind: "joined" };
    },
    named,
  );
  assert.equal(found.slice(3), ["n1.example:80", "n2.example:80", "n2.example:80"]);
});

test("askInTurn() tells the members every two seconds, while it waits at an address where nobody is", async () => {
  const clock = new SimClock();
  const heard = new Map<string, number[]>();
  const askAt = async (at: string, topic: string, _: unknown, timeoutMs: number) => {
    if (at === "10.0.0.2:80") {
      await new Promise<void>((resolve) => void clock.after(timeoutMs, resolve));
      throw new Error("nobody is there");
    }
    const times = heard.get(at) ?? [];
    heard.set(at, times);
    if (topic === "waiting") times.push(clock.monotonicMs());
    return refused("contention");
  };
  const at = { address: "10.0.0.2:80", document, named: [] };
  const ask = askInTurn({ askAt }, at, timing(clock));
  const asking = ask("join", {});
  for (let second = 0; second < 30; second += 1) await clock.advance(1000);
  const asked = await asking;
  assert.is(asked.at, "10.0.0.2:80");
  assert.ok("error" in asked);
  assert.is(toldGapMsMax, 3000, "from 8 s until it asks another one, a second after 10 s");
  for (const at of ["10.0.0.1:80", "10.0.0.3:80"]) {
    assert.equal(heard.get(at), [0, 2000, 4000, 6000, 8000]);
  }
});

test.run();
