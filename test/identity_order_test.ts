/**
 * The identity of a folder when several parts of a node change it at once.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimDisk } from "../sim/disk.ts";
import { SimRandom } from "../sim/random.ts";
import { Identity } from "../src/identity.ts";

const test = suite("identity_order");

test("V1: a new origin is kept, also when a scrub ends and the node closes at the same moment", async () => {
  const disk = new SimDisk();
  const random = new SimRandom(1);
  const identity = await Identity.open(disk, random, undefined);
  await identity.attempt();
  await identity.begin(7);
  const before = identity.origin;
  const [origin] = await Promise.all([
    identity.renewOrigin(random),
    identity.trusted(),
    identity.end(9),
  ]);
  assert.is.not(origin, before);
  assert.is(identity.origin, origin, "in this process");
  const next = await Identity.open(disk.crash("durable"), random, undefined);
  assert.is(next.origin, origin, "in the next one");
  assert.is(next.clean, true);
  assert.is(next.sequence, 9);
  assert.is(next.uncleanStarts, 0);
  assert.is(next.boot, 1);
});

test("a change of the identity that fails leaves it as it was, and the next one succeeds", async () => {
  const disk = new SimDisk();
  const random = new SimRandom(2);
  const identity = await Identity.open(disk, random, undefined);
  const before = identity.origin;
  disk.failCall(2, { code: "EIO" });
  const [failed, done] = await Promise.allSettled([
    identity.renewOrigin(random),
    identity.begin(3),
  ]);
  assert.is(failed.status, "rejected");
  assert.is(done.status, "fulfilled");
  assert.is(identity.origin, before);
  const next = await Identity.open(disk.crash("durable"), random, undefined);
  assert.equal([next.origin, next.boot, next.sequence], [before, 1, 3]);
});

test.run();
