/** Asking for a copy: not too much at once, again where the other is busy, and nothing of who cannot know. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { hlcAt } from "../src/hlc.ts";
import type { PeerRequest } from "../src/message.ts";
import { type Ask, RepairPeer } from "../src/repair_peer.ts";
import { rejectsSlug } from "./samples.ts";

const test = suite("repair peer");

const read: PeerRequest = {
  ...{ kind: "read", epoch: 1, namespaceNumber: 0, n: 3, key: new Uint8Array(1) },
  ...{ wants: "record", durability: "fsync", coverMs: 0, requestId: "t" },
} as const;

function from(counts: boolean) {
  const own = { nodeId: "a", storeId: "b", boot: 1, epoch: 1, syncedSequence: 0 };
  return { from: { ...own, clockHlc: hlcAt(1), counts } };
}

test("a node that takes on four requests at a time is asked for hundreds, until all are answered", async () => {
  const clock = new SimClock();
  let underWay = 0;
  let most = 0;
  const request: Ask = async () => {
    if (underWay >= 4) {
      return { kind: "refused", reason: "overloaded", detail: "busy", ...from(true) };
    }
    underWay += 1;
    most = Math.max(most, underWay);
    await new Promise<void>((resolve) => void clock.after(5, resolve));
    underWay -= 1;
    return { kind: "nothing", ...from(true) };
  };
  const peer = new RepairPeer(clock, { request }, { mustCount: false });
  const asked = Promise.all(Array.from({ length: 200 }, () => peer.request("n", read, 1000)));
  let replies: readonly { readonly kind: string }[] | undefined;
  void asked.then((all) => {
    replies = all;
  });
  for (let step = 0; step < 600 && replies === undefined; step += 1) {
    await clock.advance(5);
    for (let turn = 0; turn < 20; turn += 1) await undefined;
  }
  assert.is(replies?.length, 200);
  assert.ok(replies?.every(({ kind }) => kind === "nothing"));
  assert.is(most, 4);
});

test("R4: what a replica answers that cannot know what it should hold is no answer to a copy", async () => {
  const clock = new SimClock();
  const request: Ask = async () => ({ kind: "nothing", ...from(false) });
  const copied = new RepairPeer(clock, { request }, { mustCount: true });
  await rejectsSlug("not-ready", copied.request("n", read, 1000));
  // To a comparison it says nothing of what is absent, and what is there is good.
  const compared = new RepairPeer(clock, { request }, { mustCount: false });
  assert.is((await compared.request("n", read, 1000)).kind, "nothing");
});

test.run();
