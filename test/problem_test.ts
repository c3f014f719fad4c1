import { suite } from "uvu";
import * as assert from "uvu/assert";
import { utf8Bytes, utf8OrUndefined } from "../src/bytes.ts";
import { QuorateError, type Slug, slugTable } from "../src/errors.ts";
import type { Reply } from "../src/exchange.ts";
import { problemOf, problemReply } from "../src/problem.ts";

const about = { requestId: "r1" };

function headerOf(reply: Reply, name: string): string | undefined {
  const index = reply.headers.indexOf(name);
  return index < 0 ? undefined : reply.headers[index + 1];
}

const test = suite("problem");

test("every slug has a problem with its type, title, status, detail, hint and request id", () => {
  for (const slug of Object.keys(slugTable) as Slug[]) {
    const problem = problemOf(new QuorateError(slug, "Why."), about);
    assert.equal(Object.keys(problem), ["type", "title", "status", "detail", "hint", "requestId"]);
    assert.is(problem["type"], `/problems/${slug}`);
    assert.is(problem["status"], slugTable[slug].status);
    assert.is(problem["detail"], "Why.");
  }
});

test("problemOf() tells every fact of the error, and takes from the exchange what it leaves out", () => {
  const replicas = [{ node: "n2", status: "refused", reason: "clock-skew" }];
  const error = new QuorateError("write-quorum-not-met", "Why.", {
    outcome: "partial",
    hint: "Do this.",
    needed: 2,
    acks: 1,
    replicas,
    epoch: 7,
    limit: 9,
  });
  const key = Uint8Array.of(0xff);
  const problem = problemOf(error, { requestId: "r1", namespace: "users", key, outcome: "none" });
  assert.equal(problem, {
    type: "/problems/write-quorum-not-met",
    title: slugTable["write-quorum-not-met"].title,
    status: 503,
    detail: "Why.",
    hint: "Do this.",
    requestId: "r1",
    outcome: "partial",
    needed: 2,
    acks: 1,
    replicas,
    limit: 9,
    epoch: 7,
    namespace: "users",
    key64: "_w",
  });
});

test("problemOf() writes a key as text only where it is text", () => {
  const error = new QuorateError("key-not-found", "Why.", { key: utf8Bytes("é") });
  assert.is(problemOf(error, about)["key"], "é");
  assert.is(problemOf(error, about)["key64"], undefined);
});

test("P7: Retry-After goes only with an outcome of none, or where nothing was to be written", () => {
  const retry = (facts: object) =>
    headerOf(
      problemReply(
        new QuorateError("overloaded", "Why.", { retryAfterSeconds: 0.2, ...facts }),
        about,
      ),
      "Retry-After",
    );
  assert.is(retry({}), "1");
  assert.is(retry({ outcome: "none" }), "1");
  assert.is(retry({ outcome: "unknown" }), undefined);
  assert.is(retry({ outcome: "partial" }), undefined);
});

test("problemReply() is never cached, and its length is that of its bytes", () => {
  const reply = problemReply(new QuorateError("timeout", "Zu spät: 5 s."), about);
  assert.is(reply.status, 504);
  assert.is(headerOf(reply, "Content-Type"), "application/problem+json");
  assert.is(headerOf(reply, "Cache-Control"), "no-store");
  assert.instance(reply.body, Uint8Array);
  const body = reply.body as Uint8Array;
  assert.is(headerOf(reply, "Content-Length"), String(body.length));
  assert.is(JSON.parse(utf8OrUndefined(body) ?? "").detail, "Zu spät: 5 s.");
});

test("errors: one that is untraced says the same, and the next one is traced again", () => {
  const facts = { namespace: "default", hint: "It was never written." };
  const plain = QuorateError.untraced("key-not-found", "There is no such key.", facts);
  const traced = new QuorateError("key-not-found", "There is no such key.", facts);
  assert.is(plain.message, traced.message);
  assert.is(plain.slug, traced.slug);
  assert.is(plain.facts, facts);
  assert.not.match(plain.stack ?? "", "problem_test");
  assert.match(traced.stack ?? "", "problem_test");
});

test.run();
