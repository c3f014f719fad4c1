/** An error on the terminal stays in one piece, whatever else is written there at the same time. */

import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Io, printError, printUsage } from "../src/cli_io.ts";
import { QuorateError } from "../src/errors.ts";

const test = suite("cli_io");

/** What was written to the standard error, a text for each write. */
function writesOf(print: (io: Io) => void): string[] {
  const writes: string[] = [];
  print({
    environment: {},
    input: (async function* () {})(),
    columns: undefined,
    outputIsTerminal: false,
    errorIsTerminal: false,
    write: async () => {},
    note: (line) => writes.push(line),
    draw: (text) => writes.push(text),
    paint: (_, text) => text,
  });
  return writes;
}

test("every kind of error goes out in one write: the log's lines cannot come between its own", () => {
  const inUse = new QuorateError("data-folder-in-use", "The lock was removed.", { hint: "Wait." });
  const own = writesOf((io) => printError(io, inUse));
  assert.equal(own, [
    "error: The data folder is in use (data-folder-in-use)\nwhy:   The lock was removed.\nhint:  Wait.",
  ]);
  assert.is(writesOf((io) => printError(io, new Error("broken"))).length, 1);
  assert.is(writesOf((io) => printUsage(io, "why", "hint")).length, 1);
});

test.run();
