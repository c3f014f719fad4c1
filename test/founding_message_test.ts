/** Founding message: the exchange of its header, word for word, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AgreedDocument, isFields } from "../src/agreed.ts";
import {
  emptyAnswer,
  fingerprintOf,
  foundingQuestion,
  memberAnswer,
  parseCandidate,
  parseFoundingAnswer,
} from "../src/founding_message.ts";
import { idOf } from "./exchange_harness.ts";
import { throwsSlug } from "./samples.ts";

const test = suite("founding_message");

const self = { nodeId: idOf(1), storeId: idOf(2), name: "n1", addresses: ["a:1"], zone: "a" };
const settings = { expect: 3, partitions: 8, clusterId: undefined };
const document: AgreedDocument = {
  clusterId: idOf(9),
  epoch: 1,
  members: [self],
  voters: [self.nodeId],
};
const held = fingerprintOf(document);
const parse = (raw: unknown): AgreedDocument => {
  assert.ok(isFields(raw), "it is a document");
  return raw as unknown as AgreedDocument;
};

test("a question says what its node has promised, and whether a fingerprint is enough", () => {
  for (const [promised, isBrief, text] of [
    [undefined, false, "{}"],
    [undefined, true, '{"isBrief":true}'],
    [document, false, `{"holds":"${held}"}`],
    [document, true, `{"holds":"${held}","isBrief":true}`],
  ] as const) {
    assert.is(JSON.stringify(foundingQuestion(promised, isBrief)), text);
  }
});

test("an answer has a document for whoever lacks it, and its fingerprint for whoever asks briefly", () => {
  const [one, two] = [JSON.stringify(self), JSON.stringify(settings)];
  const empty = `{"kind":"empty","self":${one},"settings":${two},"promised":`;
  const whole = JSON.stringify(document);
  for (const [question, text] of [
    [{}, `${empty}${whole}}`],
    [undefined, `${empty}${whole}}`],
    [{ holds: 7 }, `${empty}${whole}}`],
    [{ holds: idOf(3) }, `${empty}${whole}}`],
    [{ holds: held }, `${empty}"same"}`],
    [{ holds: held, isBrief: true }, `${empty}"same"}`],
    [{ isBrief: true }, `${empty}null,"fingerprint":"${held}"}`],
  ] as const) {
    assert.is(JSON.stringify(emptyAnswer({ self, settings }, document, question)), text);
  }
  const none = emptyAnswer({ self, settings }, undefined, { isBrief: true });
  assert.is(JSON.stringify(none), `${empty}null}`);
  assert.equal(memberAnswer(document, { isBrief: true }), { kind: "member", document });
  assert.equal(memberAnswer(document, { holds: held }), { kind: "member", document: "same" });
});

test("parseFoundingAnswer: reads what a node says, with the document that was not told again", () => {
  const read = (raw: unknown) => parseFoundingAnswer(raw, document, parse);
  assert.equal(read(memberAnswer(document, { holds: held })), { kind: "member", document });
  const known = { kind: "empty", self, settings, fingerprint: undefined };
  const told = emptyAnswer({ self, settings }, document, { holds: held, isBrief: true });
  assert.equal(read(told), { ...known, promised: document });
  const brief = emptyAnswer({ self, settings }, document, { isBrief: true });
  assert.equal(read(brief), { ...known, promised: undefined, fingerprint: held });
});

test("parseFoundingAnswer: refuses what says not who it is", () => {
  const good = { kind: "empty", self, settings, promised: null };
  const bad: readonly unknown[] = [
    ...[undefined, "empty", {}, { ...good, kind: "other" }, { ...good, self: {} }],
    ...[{ partitions: 0.5 }, { partitions: 8, expect: "3" }, { partitions: 8, clusterId: "x" }].map(
      (other) => ({ ...good, settings: other }),
    ),
  ];
  for (const raw of bad) {
    throwsSlug("invalid-request", () => parseFoundingAnswer(raw, undefined, parse));
  }
});

test("parseCandidate: keeps what it does not know, and refuses what is no description", () => {
  const good = { nodeId: idOf(1), storeId: idOf(2), name: "n1", addresses: [], zone: "a" };
  assert.equal(parseCandidate(good), good);
  for (const raw of [undefined, [], {}, { ...good, nodeId: 1 }, { ...good, addresses: "h" }]) {
    throwsSlug("invalid-request", () => parseCandidate(raw));
  }
});

test.run();
