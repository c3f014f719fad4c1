/** A page that is being made, whose values come in whatever order. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ListItem, listPageBytesMax } from "../src/api.ts";
import { latin1, utf8Bytes } from "../src/bytes.ts";
import type { Hlc } from "../src/hlc.ts";
import { itemOverheadBytes, Page } from "../src/listing_page.ts";
import type { Found } from "../src/scan.ts";

const test = suite("listing_page");
const version = { hlc: 1n as Hlc, origin: 1n };

function foundOf(name: string): Found {
  const plain = { contentType: "text/plain", meta: [], value: new Uint8Array(0) };
  const record = { version, tombstone: false, ...plain };
  return { key: utf8Bytes(name), name, record, valueBytes: 1, sequence: 0 };
}

function itemOf(name: string, valueBytes = 1): ListItem {
  const value = new Uint8Array(valueBytes);
  return { key: utf8Bytes(name), version, bytes: valueBytes, contentType: "text/plain", value };
}

function sizeOf(name: string, valueBytes = 1): number {
  return itemOverheadBytes + name.length + valueBytes;
}

/** Adds an item whose value a test gives later; undefined: it was deleted. */
function addLater(page: Page, name: string): (item: ListItem | undefined) => void {
  let give: (item: ListItem | undefined) => void = () => {};
  const item = new Promise<ListItem | undefined>((resolve) => {
    give = resolve;
  });
  page.add(foundOf(name), sizeOf(name), item);
  return give;
}

const names = ({ items }: Page): string[] => items.map(({ key }) => latin1(key));

test("Page: values that come out of order make no difference to the order of items", async () => {
  const page = new Page(10);
  const gives = ["a", "b", "c"].map((name) => addLater(page, name));
  gives[2]?.(itemOf("c"));
  gives[1]?.(itemOf("b"));
  gives[0]?.(itemOf("a"));
  await page.settle();
  assert.equal(names(page), ["a", "b", "c"]);
  assert.equal(page.last, utf8Bytes("c"));
  assert.is(page.isMore, false);
});

test("Page: what was deleted since leaves its place to another, and the next page does not begin with it", async () => {
  const page = new Page(2);
  const gives = ["a", "b"].map((name) => addLater(page, name));
  assert.not.ok(page.takes(sizeOf("c")), "so far it looks full");
  gives[0]?.(itemOf("a"));
  gives[1]?.(undefined);
  await page.settle();
  assert.ok(page.takes(sizeOf("c")));
  assert.equal(names(page), ["a"]);
  assert.equal(page.last, utf8Bytes("b"));
});

test("Page: a value that has grown ends the page before it, and what comes behind is for the next", async () => {
  const page = new Page(10);
  const gives = ["a", "b", "c"].map((name) => addLater(page, name));
  gives[0]?.(itemOf("a"));
  gives[1]?.(itemOf("b", listPageBytesMax));
  gives[2]?.(itemOf("c"));
  await page.settle();
  assert.equal(names(page), ["a"]);
  assert.equal(page.last, utf8Bytes("a"));
  assert.ok(page.isMore);
  assert.not.ok(page.takes(sizeOf("d")));
});

test("Page: one item that is larger than a page is a page", async () => {
  const page = new Page(10);
  assert.ok(page.takes(2 * listPageBytesMax));
  const give = addLater(page, "a");
  give(itemOf("a", 2 * listPageBytesMax));
  await page.settle();
  assert.equal(names(page), ["a"]);
  assert.not.ok(page.takes(sizeOf("b")));
});

test("Page: a value that cannot be read fails the page, also behind one that is waited for", async () => {
  const page = new Page(10);
  const give = addLater(page, "a");
  page.add(foundOf("b"), sizeOf("b"), Promise.reject(new Error("no quorum")));
  give(itemOf("a"));
  const failed = await page.settle().then(
    () => "settled",
    ({ message }: Error) => message,
  );
  assert.is(failed, "no quorum");
});

test.run();
