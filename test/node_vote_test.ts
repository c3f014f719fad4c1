/** A vote is part of what a store remembers: one that has forgotten it is known as rolled back. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { MemoryTableDisk } from "../src/table_memory.ts";
import { type Place, Town } from "./town.ts";

const test = suite("node vote");

test("I3: a voter that was put back to before its vote is known, though it took no data since", async () => {
  for (const proposer of [0, 2]) {
    const town = new Town(3);
    await town.startAll();
    await town.pass(5000);
    const place = town.places[2] as Place;
    const copy = { disk: place.disk.copy(), image: place.table.image };
    // The third one's vote is needed, be it as the proposer or as another voter.
    const away = (town.places[1] as Place).address;
    for (const { address } of [town.places[0] as Place, place]) {
      town.network.cut(away, address);
      town.network.cut(address, away);
    }
    await town.done(town.at(proposer).putNamespace("made", {}));
    town.kill(2);
    place.disk = copy.disk;
    place.table = new MemoryTableDisk({}, copy.image);
    await town.start(2, 3);
    const isLost = (): boolean =>
      place.node
        ?.readiness()
        .some(({ name, detail }) => name === "replica" && detail?.includes("rolled back")) === true;
    await town.until(isLost);
    assert.ok(isLost());
    town.network.heal();
    await town.close();
  }
});

test.run();
