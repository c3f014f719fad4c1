/** What a read tells of itself: the lines of its errors, and its explanation. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimClock } from "../sim/clock.ts";
import { utf8Bytes } from "../src/bytes.ts";
import type { KeyPlace } from "../src/coordinator_ports.ts";
import { ReadNotes } from "../src/coordinator_read_notes.ts";

const test = suite("coordinator read notes");

const place = (epoch: number, ...names: string[]): KeyPlace =>
  ({ partition: 1, epoch, replicas: names.map((name) => ({ name })) }) as unknown as KeyPlace;

function notesOf(needed: number, explains = false) {
  const clock = new SimClock();
  const level = { needed } as never;
  const notes = new ReadNotes({ key: utf8Bytes("k"), level, explains }, clock);
  notes.begin(place(3, "n1", "n2", "n3"));
  return { clock, notes };
}

const judged = (replies: number, overruled: number[] = [], forgotten: number[] = []) => ({
  ...{ replies, overruled, forgotten },
});

test("ReadNotes.quorumError() tells whether too few answered, or too few could be given the version", async () => {
  const { clock, notes } = notesOf(2);
  await clock.advance(40);
  const few = notes.quorumError(judged(1));
  assert.is(few.detail, "1 of 2 replicas answered the read, after 40 ms, and no more can.");
  assert.equal(
    [few.slug, few.facts.acks, few.facts.needed, few.facts.epoch],
    ["read-quorum-not-met", 1, 2, 3],
  );
  const given = notes.quorumError(judged(2));
  assert.match(given.detail, "2 replicas answered, but too few could be given the newest version");
  assert.is(given.facts.explain, undefined, "nobody has asked for it");
});

test("ReadNotes.error() advises fewer replicas only where more than one was asked for", () => {
  const hintOf = (needed: number) =>
    notesOf(needed).notes.error(judged(0), "timeout", "There was no answer.").hint ?? "";
  assert.match(hintOf(2), "consistency=one");
  assert.not.match(hintOf(1), "consistency=one");
});

test("ReadNotes.explain() tells which answers counted for nothing, and forgets those of an older topology", () => {
  const { notes } = notesOf(2, true);
  notes.hedges += 1;
  notes.repaired.push("n2");
  const told = notes.explain(judged(2, [0], [2])) as Record<string, unknown>;
  const replicas = told["replicas"] as readonly { node: string; ignored?: string }[];
  assert.match(replicas[0]?.ignored ?? "", "deleted below a watermark");
  assert.is(replicas[1]?.ignored, undefined);
  assert.match(replicas[2]?.ignored ?? "", "counts as nothing");
  assert.equal([told["hedges"], told["repairs"]], [1, ["n2"]]);
  notes.begin(place(4, "n1", "n4"));
  const error = notes.quorumError(judged(0));
  assert.is(error.facts.epoch, 4);
  const { replicas: now } = error.facts.explain as { readonly replicas: readonly object[] };
  assert.equal(now, [
    { node: "n1", status: "not asked" },
    { node: "n4", status: "not asked" },
  ]);
});

test.run();
