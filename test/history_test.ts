/**
 * History: the checker of what clients saw accepts what can be, and rejects what cannot.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { History, type Told, valueText, type Write } from "./history.ts";

const test = suite("history");

const key = "k";

function put(history: History, told: Told): Write {
  const write = history.beginWrite(key, "put");
  history.endWrite(write, told);
  return write;
}

function read(history: History, write: Write | undefined): void {
  history.endRead(
    history.beginRead(key),
    write === undefined || write.kind === "delete" ? undefined : valueText(write),
  );
}

const good: Readonly<Record<string, (history: History) => void>> = {
  "nothing before the first write": (history) => read(history, undefined),
  "what was acknowledged": (history) => read(history, put(history, "ok")),
  "a write that is under way, or what was before it": (history) => {
    const first = put(history, "ok");
    const second = history.beginWrite(key, "put");
    read(history, first);
    read(history, second);
  },
  "a partial write, at once or later": (history) => {
    const first = put(history, "ok");
    const second = put(history, "partial");
    read(history, first);
    read(history, second);
  },
  "an unknown write over a delete": (history) => {
    const gone = history.beginWrite(key, "delete");
    history.endWrite(gone, "ok");
    const second = put(history, "unknown");
    read(history, undefined);
    read(history, second);
  },
  "an old value by a read that began before the newer one was acknowledged": (history) => {
    const first = put(history, "ok");
    const early = history.beginRead(key);
    put(history, "ok");
    history.endRead(early, valueText(first));
  },
  "one of two deletes": (history) => {
    for (const told of ["ok", "partial"] as const) {
      history.endWrite(history.beginWrite(key, "delete"), told);
    }
    read(history, undefined);
  },
};

const bad: Readonly<Record<string, (history: History) => void>> = {
  "a value that nobody wrote": (history) => {
    put(history, "ok");
    history.endRead(history.beginRead(key), "k#7");
  },
  "another key's value": (history) => {
    put(history, "ok");
    history.endRead(history.beginRead(key), "l#1");
  },
  "nothing where a write was acknowledged": (history) => {
    put(history, "ok");
    read(history, undefined);
  },
  "a value older than one that was acknowledged": (history) => {
    const first = put(history, "ok");
    put(history, "ok");
    read(history, first);
  },
  "a value that was deleted": (history) => {
    const first = put(history, "ok");
    history.endWrite(history.beginWrite(key, "delete"), "ok");
    read(history, first);
  },
  "a write that was told to be none": (history) => {
    put(history, "ok");
    read(history, put(history, "none"));
  },
  "a write that was seen before it was told to be none": (history) => {
    const write = history.beginWrite(key, "put");
    read(history, write);
    history.endWrite(write, "none");
  },
  "a read that goes back behind an earlier one": (history) => {
    const first = put(history, "ok");
    const second = put(history, "partial");
    read(history, second);
    read(history, first);
  },
  "nothing after a partial write was seen": (history) => {
    read(history, put(history, "partial"));
    read(history, undefined);
  },
  "a partial write after a newer one was acknowledged": (history) => {
    const first = put(history, "partial");
    put(history, "ok");
    read(history, first);
  },
};

for (const [name, run] of Object.entries(good)) {
  test(`history accepts ${name}`, () => {
    assert.not.throws(() => run(new History()));
  });
}

for (const [name, run] of Object.entries(bad)) {
  test(`history rejects ${name}`, () => {
    assert.throws(() => run(new History()), /^'k'|'k'/);
  });
}

test.run();
