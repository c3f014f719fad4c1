/**
 * Client stream: a list that comes as one body, an entry a line (NDJSON).
 *
 *     {"key":"a",...}\n {"key":"b",...}\n {"end":true}\n       whole
 *     {"key":"a",...}\n {"error":{...}}\n                       failed: the node's own error
 *     {"key":"a",...}\n {"ke                                    cut on the way
 *
 * Invariants
 * 1. It ends without an error only after its end line: a list that was cut is never taken for a whole one.
 *
 * Effects: reads the body.
 *
 * @module
 */

import {
  errorOfProblem,
  type FetchAnswer,
  type Fields,
  isObject,
  parseObject,
} from "./client_fetch.ts";
import { type ListEntry, listEntry } from "./client_shapes.ts";
import { QuorateError } from "./errors.ts";

/** A value of 32 MiB takes six times that in JSON at worst. */
const lineLengthMax = 256 * 1024 * 1024;

/** The entries of a list. @throws `unreachable` when it ends before its last line */
export async function* streamedEntries(answer: FetchAnswer): AsyncGenerator<ListEntry, void, void> {
  for await (const line of linesOf(answer)) {
    if (line.end === true) return;
    if (isObject(line.error)) throw errorOfProblem(line.error) ?? incomplete();
    yield listEntry(line);
  }
  throw incomplete();
}

/** The JSON objects of an NDJSON body. */
async function* linesOf(answer: FetchAnswer): AsyncGenerator<Fields, void, void> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let parts: string[] = [];
  let length = 0;
  for await (const piece of answer.pieces()) {
    // Only what is new is looked at: a line of many pieces would else be read again for each of them.
    const [first = "", ...others] = decoder.decode(piece, { stream: true }).split("\n");
    parts.push(first);
    length += first.length;
    for (const next of others) {
      yield parseObject(parts.join("")) ?? incomplete();
      parts = [next];
      length = next.length;
    }
    if (length > lineLengthMax) throw incomplete();
  }
}

function incomplete(): never {
  throw new QuorateError("unreachable", "The list ended before its last line: it is incomplete.", {
    hint: "The connection was cut. Go on from the last key with 'start'.",
  });
}
