/**
 * What it costs to be many is measured with real nodes: a small cluster here, and twice the same.
 */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { joinShare, measureScale } from "../sim/scale.ts";

const test = suite("sim_scale");

test("measureScale(): an idle cluster is listened to, a node goes and comes, and all come to know", async () => {
  const options = { seed: 3, nodes: 6, partitions: 64, idleMs: 10_000 };
  const scale = await measureScale(options);
  const { messages = 0, bytes = 0 } = scale.perSecond.get("heartbeat") ?? {};
  // Five others are asked a second, and as many answered; a heartbeat and its answer are counted one by one.
  assert.ok(messages > 8 && messages < 12, `${messages} messages a second`);
  assert.ok(bytes > 100 * messages && bytes < 2000 * messages, `${bytes} bytes a second`);
  assert.ok(scale.down.firstMs > 1000, JSON.stringify(scale.down));
  assert.ok(scale.down.firstMs <= scale.down.medianMs && scale.down.medianMs <= scale.down.lastMs);
  assert.ok(scale.documentBytes > 1000);
  assert.equal(await measureScale(options), scale, "the same seed, the same figures");
});

test("joinShare(): little more moves than the new node holds", () => {
  for (const nodes of [3, 10, 40]) {
    const { moved, even } = joinShare(nodes, 1024);
    assert.ok(moved > 0.8 * even && moved < 1.3 * even, `${nodes}: ${moved}, ${even}`);
  }
});

test.run();
