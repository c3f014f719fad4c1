/**
 * Json: a JSON text from a stranger, parsed within bounds.
 *
 * `JSON.parse` alone is too kind for a store: it takes bytes that are not UTF-8 once they were
 * decoded loosely, lets the last of two equal names win, and nests as deep as the engine bears.
 * Here the bytes must be UTF-8, the nesting is counted before anything is built, and a repeated
 * name is an error, because its sender meant one of the two and we cannot know which.
 *
 * Invariants
 * 1. What is answered has at most `depthMax` levels and no object with a repeated name.
 * 2. The check reads the text once; on text that is not JSON it says nothing, `JSON.parse` does.
 *
 * Effects: none. Source: RFC 8259 sections 4, 8.1 and 9.
 *
 * @module
 */

import { utf8OrUndefined } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import { printable } from "./target.ts";

export const depthMax = 16;

const exampleDefault = '{"key":"hello","value":"world"}';

/** The value of a JSON text; throws `invalid-request`, with `example` as what could have been sent. */
export function parseJson(bytes: Uint8Array, example: string = exampleDefault): unknown {
  const text = utf8OrUndefined(bytes);
  if (text === undefined) throw invalidJson("The body is not valid UTF-8.", example);
  if (text.trim() === "") throw invalidJson("The body is empty.", example);
  checkShape(text, "The body", example);
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalidJson(`The body is not valid JSON: ${printable(why, 160)}`, example);
  }
}

/** Throws `invalid-request` for a text (`what`) that nests too deep or repeats a name in one object. */
export function checkShape(text: string, what: string, example = exampleDefault): void {
  // One entry for each open bracket: the names met in an object, undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === openObject || code === openArray) {
      if (open.length === depthMax) {
        throw invalidJson(`${what} nests deeper than ${depthMax} levels.`, example);
      }
      open.push(code === openObject ? new Set() : undefined);
    } else if (code === closeObject || code === closeArray) {
      open.pop();
    } else if (code === quote) {
      const end = endOfString(text, index + 1);
      const names = open.at(-1);
      if (names !== undefined && isColonNext(text, end + 1)) {
        const name = nameOf(text.slice(index, end + 1));
        if (names.has(name)) {
          throw invalidJson(
            `${what} has the field '${printable(name)}' twice in one object.`,
            example,
          );
        }
        names.add(name);
      }
      index = end;
    }
  }
}

/** The index of the quote that ends a string, or the end of the text. */
function endOfString(text: string, start: number): number {
  let from = start;
  for (;;) {
    const end = text.indexOf('"', from);
    if (end < 0) return text.length;
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === backslash) escapes += 1;
    if (escapes % 2 === 0) return end;
    from = end + 1;
  }
}

function isColonNext(text: string, start: number): boolean {
  let index = start;
  while (isSpace(text.charCodeAt(index))) index += 1;
  return text.charCodeAt(index) === colon;
}

/** The name itself, so that `"a"` and `"\u0061"` are found equal. */
function nameOf(literal: string): string {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal;
  }
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9 || code === 10 || code === 13;
}

function invalidJson(detail: string, example: string): QuorateError {
  return new QuorateError("invalid-request", detail, {
    outcome: "none",
    hint: `Send one JSON object in UTF-8, for example ${example}.`,
  });
}

const quote = 34;
const colon = 58;
const backslash = 92;
const openArray = 91;
const closeArray = 93;
const openObject = 123;
const closeObject = 125;
