/**
 * Takes the lock of the folder given and says `held`, or why it could not; then stays until its
 * input ends. For the tests of the lock: a process that can be killed, and one that races.
 */

import { SimClock } from "../sim/clock.ts";
import { QuorateError } from "../src/errors.ts";
import { lockFolder } from "../src/folder_lock.ts";
import { realRandom } from "../src/runtime.ts";

const [folder = ""] = process.argv.slice(2);
console.log("ready");
process.stdin.once("data", async () => {
  try {
    await lockFolder({ folder, clock: new SimClock(), random: realRandom });
    console.log("held");
  } catch (error) {
    console.log(error instanceof QuorateError ? error.slug : String(error));
  }
});
