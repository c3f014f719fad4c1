/**
 * HttpBatch: JSON bodies that write: batches, and the routes of the original program.
 *
 * A batch is an envelope of up to 1,000 operations. When the envelope is valid the answer is 200,
 * and each operation has a status of its own; an operation that cannot be (a key that is too long)
 * fails alone. The original routes `/put`, `/get` and `/delete` are the same operations on the
 * namespace `default`, in the JSON that they have always spoken.
 *
 * Invariants
 * 1. Results are in the order of the operations, one for each.
 * 2. An operation that was refused here never reaches the node.
 *
 * Effects: those of the node, through `Api`.
 *
 * @module
 */

import type { z } from "@hono/zod-openapi";
import {
  type BatchOperation,
  type BatchResult,
  batchBytesMax,
  contentTypeDefault,
  defaultNamespace,
  type LiveRecord,
  type Meta,
  type NamespacePolicy,
  type WriteAnswer,
} from "./api.ts";
import { valueTooLarge } from "./api_limit.ts";
import { AssertionError } from "./assert.ts";
import { equal, fromBase64url, isWellFormed, utf8Bytes } from "./bytes.ts";
import { QuorateError } from "./errors.ts";
import {
  type Exchange,
  type HttpContext,
  invalidRequest,
  jsonReply,
  noteFailure,
  type Reply,
} from "./exchange.ts";
import { grouped } from "./figures.ts";
import {
  answerHeaders,
  checkMetaBytes,
  etagOf,
  keyNotFound,
  parseContentType,
  readOptions,
  refuseConditions,
  refuseEncodings,
  writeOptions,
} from "./http_kv.ts";
import { expiresField, valueField } from "./http_list.ts";
import { parseJson } from "./json.ts";
import { keyField, problemOf } from "./problem.ts";
import { bodies, exactlyOne, parameters, parseBody, parseParameters } from "./schemas.ts";
import { parseKey64, parseNamespace, parseQueryKey, parseTextKey } from "./target.ts";
import { versionText } from "./version.ts";

const batchPath = "/v1/batch/";
/** A byte of a value takes at most six in JSON (`\u0000`). */
const jsonBytesPerByteMax = 6;
/** Room for the key, the meta and the names of the fields, escaped. */
const jsonEnvelopeBytesMax = 64 * 1024;
const smallBodyBytesMax = 64 * 1024;

/** What a route takes in JSON. */
interface JsonBody {
  readonly bytesMax: number;
  /** A body that could be sent; default: the one of a put. */
  readonly example?: string;
}

const deleteExample = '{"key":"hello"}';
const batchBody: JsonBody = { bytesMax: batchBytesMax, example: '{"ops":[{"get":"hello"}]}' };

type KeyForm = Readonly<{ key?: string | undefined; key64?: string | undefined }>;
type PutForm = z.output<typeof bodies.put>;
type BatchForm = z.output<typeof bodies.batch>["ops"][number];

/** `POST /v1/batch/{namespace}`. */
export async function runBatch(context: HttpContext, exchange: Exchange): Promise<Reply> {
  const namespace = parseNamespace(exchange.path.slice(batchPath.length));
  exchange.namespace = namespace;
  const parsed = parseParameters(parameters.batch, exchange);
  refuseConditions(exchange);
  const { policy } = context.api.namespace(namespace);
  const body = parseBody(bodies.batch, await readJson(context, exchange, batchBody));
  const asked = body.ops.map((form, index) => parseOperation(form, index, policy));
  const operations: BatchOperation[] = [];
  for (const one of asked) if (!(one instanceof QuorateError)) operations.push(one);
  exchange.sent = operations.some((operation) => operation.kind !== "get");
  const options = { ...writeOptions(parsed), namespace, requestId: exchange.requestId };
  const answers =
    operations.length === 0 ? [] : await context.api.batch({ ...options, operations });
  let next = 0;
  const results = asked.map((one, index) => {
    const op = nameOf(body.ops[index]);
    if (one instanceof QuorateError) {
      const outcome = op === "get" ? undefined : "none";
      noteFailure(context, exchange, one, one.outcome ?? outcome);
      return failedResult(exchange, op, {}, one, outcome);
    }
    const answer = answers[next];
    next += 1;
    return resultOf(context, exchange, one, answer);
  });
  return jsonReply(200, { results });
}

/** `POST /put`. */
export async function seedPut(context: HttpContext, exchange: Exchange): Promise<Reply> {
  exchange.namespace = defaultNamespace;
  const parsed = parseParameters(parameters.put, exchange);
  refuseConditions(exchange);
  const { policy } = context.api.namespace(defaultNamespace);
  const bytesMax = policy.valueBytesMax * jsonBytesPerByteMax + jsonEnvelopeBytesMax;
  const body = parseBody(bodies.put, await readJson(context, exchange, { bytesMax }));
  const operation = putOperation(body, policy);
  exchange.key = operation.key;
  const ttl = operation.ttlSeconds ?? parsed.ttl;
  exchange.sent = true;
  const answer = await context.api.put({
    ...writeOptions(parsed),
    ...operation,
    ...(ttl === undefined ? {} : { ttlSeconds: ttl }),
    namespace: defaultNamespace,
    requestId: exchange.requestId,
  });
  return seedWritten(operation.key, answer, true);
}

/** `GET /get?key=`. */
export async function seedGet(context: HttpContext, exchange: Exchange): Promise<Reply> {
  exchange.namespace = defaultNamespace;
  const parsed = parseParameters(parameters.getKey, exchange);
  const key = queryKey(parsed.key, parsed.key64);
  exchange.key = key;
  const answer = await context.api.get({
    ...readOptions(parsed),
    namespace: defaultNamespace,
    requestId: exchange.requestId,
    key,
  });
  const headers = answerHeaders(answer, "Quorate-Replies");
  const { record } = answer;
  if (record === undefined) return keyNotFound(exchange, answer, headers, { found: false });
  headers.push("ETag", etagOf(record.version));
  const fields = { ...keyField(key), ...valueField(record.value), found: true };
  return jsonReply(200, { ...fields, ...recordFields(record) }, headers);
}

/** `POST` or `DELETE /delete?key=`, or with the JSON body; where both name a key, it is the same. */
export async function seedDelete(context: HttpContext, exchange: Exchange): Promise<Reply> {
  exchange.namespace = defaultNamespace;
  const parsed = parseParameters(parameters.deleteKey, exchange);
  refuseConditions(exchange);
  const inQuery = parsed.key !== undefined || parsed.key64 !== undefined;
  const asked = inQuery ? queryKey(parsed.key, parsed.key64) : undefined;
  exchange.key = asked;
  const body = await readJsonBytes(context, exchange, smallBodyBytesMax);
  const isBodyless = asked !== undefined && body.length === 0;
  const key = isBodyless
    ? asked
    : bodyKey(parseBody(bodies.delete, parseJson(body, deleteExample)));
  if (asked !== undefined && !equal(asked, key)) throw twoKeys();
  exchange.key = key;
  exchange.sent = true;
  const answer = await context.api.delete({
    ...writeOptions(parsed),
    namespace: defaultNamespace,
    requestId: exchange.requestId,
    key,
  });
  return seedWritten(key, answer, false);
}

/** A JSON body of at most `bytesMax`. */
export async function readJson(
  context: HttpContext,
  exchange: Exchange,
  { bytesMax, example }: JsonBody,
): Promise<unknown> {
  return parseJson(await readJsonBytes(context, exchange, bytesMax), example);
}

/** For what takes no body: `{}` says nothing, and anything else would be asked for in vain. */
export async function refuseBody(
  context: HttpContext,
  exchange: Exchange,
  hint: string,
): Promise<void> {
  const body = await readJsonBytes(context, exchange, smallBodyBytesMax);
  if (body.length === 0 || equal(body, utf8Bytes("{}"))) return;
  const about = `${exchange.method} ${exchange.path} takes no body, and one was sent.`;
  throw new QuorateError("invalid-request", about, { hint });
}

function readJsonBytes(
  context: HttpContext,
  exchange: Exchange,
  bytesMax: number,
): Uint8Array | Promise<Uint8Array> {
  refuseEncodings(exchange);
  const tooLarge = (bytes: number | undefined) => bodyTooLarge(bytes, bytesMax);
  return exchange.readBody(context, { bytesMax, tooLarge });
}

/** Only one of the two is meant, and which cannot be known. */
function twoKeys(): QuorateError {
  return new QuorateError("invalid-request", "The query names one key and the body another.", {
    outcome: "none",
    hint: "Name the key once: in the query or in the body.",
  });
}

function bodyTooLarge(bytes: number | undefined, limit: number): QuorateError {
  const size = bytes === undefined ? "more" : `${grouped(bytes)} bytes`;
  return new QuorateError(
    "value-too-large",
    `The body has ${size}; ${grouped(limit)} bytes are allowed here.`,
    { outcome: "none", limit, hint: "Send less in one request." },
  );
}

/** An operation as the node takes it, or why it cannot be. */
function parseOperation(
  form: BatchForm,
  index: number,
  policy: NamespacePolicy,
): BatchOperation | QuorateError {
  const given = [form.get, form.put, form.delete].filter((part) => part !== undefined);
  if (given.length !== 1) {
    throw invalidRequest(
      `The operation ops.${index} has ${given.length} of get, put and delete; it needs one.`,
      'For example {"get":{"key":"hello"}}.',
    );
  }
  try {
    if (form.get !== undefined) return { kind: "get", key: bodyKey(form.get) };
    if (form.put !== undefined) return putOperation(form.put, policy);
    return { kind: "delete", key: bodyKey(form.delete ?? {}) };
  } catch (error) {
    if (error instanceof QuorateError) return error;
    throw error;
  }
}

function putOperation(
  form: PutForm,
  policy: NamespacePolicy,
): Extract<BatchOperation, { kind: "put" }> {
  const key = bodyKey(form);
  const value = bodyValue(form);
  if (value.length > policy.valueBytesMax) throw valueTooLarge(value.length, policy.valueBytesMax);
  const meta: Meta = form.meta ?? [];
  checkMetaBytes(meta);
  return {
    kind: "put",
    key,
    value,
    contentType:
      form.contentType === undefined ? contentTypeDefault : parseContentType(form.contentType),
    meta,
    ...(form.ttl === undefined ? {} : { ttlSeconds: form.ttl }),
  };
}

function bodyKey(form: string | KeyForm): Uint8Array {
  if (typeof form === "string") return parseTextKey(form);
  const { key, key64 } = form;
  return exactlyOne("key", [
    key === undefined ? undefined : () => parseTextKey(key),
    key64 === undefined ? undefined : () => parseKey64(key64),
  ])();
}

function bodyValue(form: PutForm): Uint8Array {
  const { value, value64 } = form;
  if ((value === undefined) === (value64 === undefined)) {
    throw invalidRequest("Exactly one of value and value64 is needed.", "Give one of them.");
  }
  if (value !== undefined) {
    // JSON can hold half of a surrogate pair, UTF-8 cannot: it would come back as another value.
    if (!isWellFormed(value)) {
      throw invalidRequest("The value holds half of a surrogate pair.", "Use value64 for bytes.");
    }
    return utf8Bytes(value);
  }
  const bytes = fromBase64url(value64 ?? "");
  if (bytes === undefined) {
    throw invalidRequest("value64 is not base64url without padding.", "Encode it again.");
  }
  return bytes;
}

function queryKey(letters: string | undefined, text64: string | undefined): Uint8Array {
  return exactlyOne("key", [
    letters === undefined ? undefined : () => parseQueryKey(letters),
    text64 === undefined ? undefined : () => parseKey64(text64),
  ])();
}

function nameOf(form: BatchForm | undefined): BatchOperation["kind"] {
  if (form?.get !== undefined) return "get";
  return form?.put !== undefined ? "put" : "delete";
}

function resultOf(
  context: HttpContext,
  exchange: Exchange,
  operation: BatchOperation,
  result: BatchResult | undefined,
): Readonly<Record<string, unknown>> {
  const op = operation.kind;
  const about = keyField(operation.key);
  if (result === undefined) {
    throw new AssertionError("Broken invariant: http: the node answers every operation");
  }
  if (result.kind === "error") {
    const facts = op === "get" ? {} : ({ outcome: "unknown" } as const);
    const error = QuorateError.from(result.error, facts);
    noteFailure(context, exchange, error);
    return failedResult(exchange, op, about, error);
  }
  if (result.kind === "get") {
    const { record } = result.answer;
    if (record === undefined) {
      const error = QuorateError.untraced("key-not-found", "There is no such key.", {});
      return failedResult(exchange, op, about, error);
    }
    return { op, ...about, status: 200, ...valueField(record.value), ...recordFields(record) };
  }
  const { version, expiresAtMs } = result.answer;
  return { op, ...about, status: 204, version: versionText(version), ...expiresField(expiresAtMs) };
}

function failedResult(
  exchange: Exchange,
  op: string,
  about: object,
  error: QuorateError,
  outcome?: "none",
): Readonly<Record<string, unknown>> {
  const { requestId, namespace } = exchange;
  const problem = problemOf(error, { requestId, namespace, outcome });
  return { op, ...about, status: error.status, error: problem };
}

function recordFields(record: LiveRecord): Readonly<Record<string, unknown>> {
  return {
    version: versionText(record.version),
    contentType: record.contentType,
    ...(record.meta.length === 0 ? {} : { meta: Object.fromEntries(record.meta) }),
    ...expiresField(record.expiresAtMs),
  };
}

function seedWritten(key: Uint8Array, answer: WriteAnswer, isPut: boolean): Reply {
  const headers = answerHeaders(answer, "Quorate-Acks");
  if (isPut) headers.push("ETag", etagOf(answer.version));
  const fields = {
    ok: true,
    ...keyField(key),
    version: versionText(answer.version),
    acks: answer.replies,
    replicas: answer.replicas,
    consistency: answer.consistency,
    durability: answer.durability,
    node: answer.node,
    ...expiresField(answer.expiresAtMs),
  };
  return jsonReply(200, fields, headers);
}
