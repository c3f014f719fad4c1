/**
 * Schemas: what a request may say, and what an answer looks like, as zod schemas.
 *
 * The same objects validate parameters and bodies and are printed as `/openapi.json`, so the
 * document cannot promise what the node does not check. Objects are strict: an unknown parameter or
 * field is an error, never silently ignored, because a misspelt `ttl` must not store for ever.
 *
 * Invariants
 * 1. A parameter is read from the query, else from its header (`optionHeaders`).
 * 2. Whatever a schema lets through is within the limits of `api.ts`.
 *
 * Effects: none. Source: OpenAPI 3.1; RFC 9457.
 *
 * @module
 */

import { z } from "@hono/zod-openapi";
import {
  batchOperationsMax,
  contentTypeBytesMax,
  contentTypePattern,
  listLimitMax,
  type Meta,
  metaNamePattern,
  metaTextPattern,
  timeoutMsMax,
  ttlSecondsMax,
  valueBytesMaxLimit,
} from "./api.ts";
import { QuorateError } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import { grouped } from "./figures.ts";
import { partitionsMax } from "./ring.ts";
import { invalidKey, printable } from "./target.ts";

/** The header that may give a parameter where the query does not. */
export const optionHeaders: Readonly<Record<string, string>> = {
  consistency: "Quorate-Consistency",
  durability: "Quorate-Durability",
  timeout: "Quorate-Timeout",
  ttl: "Quorate-TTL",
  explain: "Quorate-Explain",
};

const timeoutPattern = /^(\d{1,5})(ms|s)$/;
const countPattern = /^[1-9]\d{0,8}$/;
const base64urlPattern = /^[A-Za-z0-9_-]*$/;
const cursorCharactersMax = 8192;
const contentTypeRule = `1 to ${contentTypeBytesMax} printable ASCII characters without spaces at its ends`;

const oneOf = (values: readonly string[]) => ({ error: `allowed are ${values.join(", ")}` });

/** A whole number from 1 to `max`, as text. */
function countText(max: number, description: string) {
  const rule = `it must be a whole number from 1 to ${grouped(max)}`;
  return z
    .string()
    .regex(countPattern, { error: rule })
    .transform(Number)
    .pipe(z.number().max(max, { error: rule }))
    .openapi({ type: "integer", minimum: 1, maximum: max, description });
}

/** A whole number from 0 to `max`, as text. */
function wholeText(max: number, description: string) {
  const rule = `it must be a whole number from 0 to ${max.toLocaleString("en")}`;
  return z
    .string()
    .regex(/^\d{1,9}$/, { error: rule })
    .transform(Number)
    .pipe(z.number().max(max, { error: rule }))
    .openapi({ type: "integer", minimum: 0, maximum: max, description });
}

function flagText(description: string) {
  const words = ["1", "true", "", "0", "false"] as const;
  return z
    .enum(words, oneOf(["1", "true", "0", "false"]))
    .transform((text) => text !== "0" && text !== "false")
    .openapi({ type: "string", enum: [...words], description });
}

const consistencyValues = ["one", "quorum", "all"] as const;
const durabilityValues = ["fsync", "memory"] as const;

const consistency = z.enum(consistencyValues, oneOf(consistencyValues)).openapi({
  description: "How many replicas must answer. Header: Quorate-Consistency.",
});

const replicasText = z
  .string()
  .regex(/^(?:quorum|all|[1-9]\d{0,3})$/, {
    error: "it must be a number from 1, 'quorum' or 'all'",
  })
  .transform((text) => (text === "quorum" || text === "all" ? text : Number(text)))
  .openapi({ type: "string", description: "A number of replicas, 'quorum' or 'all'." });

const durability = z.enum(durabilityValues, oneOf(durabilityValues)).openapi({
  description: "What an acknowledgement waits for. Header: Quorate-Durability.",
});

const timeoutRule = "it must be a time from 1ms to 60s, for example 250ms or 2s";
const timeout = z
  .string()
  .regex(timeoutPattern, { error: timeoutRule })
  .transform((text) =>
    text.endsWith("ms") ? Number.parseInt(text, 10) : Number.parseInt(text, 10) * 1000,
  )
  .pipe(z.number().min(1, { error: timeoutRule }).max(timeoutMsMax, { error: timeoutRule }))
  .openapi({
    type: "string",
    pattern: timeoutPattern.source,
    example: "250ms",
    description: "How long the request may take, at most 60s; default 5s. Header: Quorate-Timeout.",
  });

const ttl = countText(
  ttlSecondsMax,
  "Seconds that the key lives. Without it the key stays, unless the namespace has a ttl. Header: Quorate-TTL.",
);

const explain = flagText("Adds what happened to the answer. Header: Quorate-Explain.");

const keyText = z.string().openapi({ description: "The key, percent-encoded; any bytes." });
const key64Text = z.string().openapi({
  description: "The key, base64url without padding.",
  pattern: base64urlPattern.source,
});

function rangeText(what: string) {
  return z.string().openapi({ description: `${what}, percent-encoded.` });
}

function range64Text(what: string) {
  return z
    .string()
    .regex(base64urlPattern, { error: "it must be base64url without padding" })
    .openapi({ description: `${what}, base64url without padding.` });
}

const keyFields = { key: keyText.optional(), key64: key64Text.optional() };
/** Of requests about many keys, which have no explanation: it would be one of every key. */
const manyFields = {
  consistency: consistency.optional(),
  r: replicasText.optional(),
  timeout: timeout.optional(),
};
const readFields = { ...manyFields, explain: explain.optional() };
const writeFields = {
  consistency: consistency.optional(),
  w: replicasText.optional(),
  durability: durability.optional(),
  timeout: timeout.optional(),
  explain: explain.optional(),
};

/** The parameters of each route, by name. */
export const parameters = {
  none: z.strictObject({}),
  getKey: z.strictObject({ ...keyFields, ...readFields }),
  putKey: z.strictObject({ ...keyFields, ...writeFields, ttl: ttl.optional() }),
  deleteKey: z.strictObject({ ...keyFields, ...writeFields }),
  put: z.strictObject({ ...writeFields, ttl: ttl.optional() }),
  list: z.strictObject({
    prefix: rangeText("Only keys that begin with it").optional(),
    prefix64: range64Text("Only keys that begin with it").optional(),
    start: rangeText("The first key, inclusive").optional(),
    start64: range64Text("The first key, inclusive").optional(),
    end: rangeText("The last key, exclusive").optional(),
    end64: range64Text("The last key, exclusive").optional(),
    limit: countText(listLimitMax, "Items in a page; default 100.").optional(),
    cursor: z
      .string()
      .min(1, { error: "it must be the 'next' of a page before" })
      .max(cursorCharactersMax, { error: "it must be the 'next' of a page before" })
      .openapi({ description: "'next' of the page before." })
      .optional(),
    reverse: flagText("Lists from the end.").optional(),
    values: flagText("Adds the values to the items.").optional(),
    ...manyFields,
  }),
  count: z.strictObject({
    prefix: rangeText("Only keys that begin with it").optional(),
    prefix64: range64Text("Only keys that begin with it").optional(),
    ...manyFields,
  }),
  batch: z.strictObject({
    ...manyFields,
    w: replicasText.optional(),
    durability: durability.optional(),
  }),
  ring: z.strictObject({
    ...keyFields,
    namespace: z
      .string()
      .openapi({ description: "The namespace of the key; default is 'default'." })
      .optional(),
  }),
  hints: z.strictObject({
    wait: flagText(
      "Answers when no hints are left and nothing is marked to be compared first, or 504 when the timeout is over.",
    ).optional(),
    timeout: timeout.optional(),
  }),
  repair: z.strictObject({
    partition: wholeText(partitionsMax - 1, "Only this partition.").optional(),
    namespace: z
      .string()
      .openapi({ description: "Only namespaces with the n of this one." })
      .optional(),
  }),
  ready: z.strictObject({ verbose: flagText("One line for each check.").optional() }),
} as const;

/** As pairs: an object that zod makes lacks the name `__proto__`, which is a name as any other. */
const meta = z
  .custom<object>(isObject, { error: "it must be an object of texts" })
  .transform((given, context): Meta => {
    const pairs: [string, string][] = [];
    for (const [name, value] of Object.entries(given)) {
      const refuse = (message: string) =>
        context.addIssue({ code: "custom", path: [name], message });
      if (!metaNamePattern.test(name)) refuse("a name is a lower-case header name");
      else if (typeof value !== "string" || !metaTextPattern.test(value)) {
        refuse("a value is printable ASCII without spaces at its ends");
      } else pairs.push([name, value]);
    }
    return pairs;
  })
  .openapi({
    type: "object",
    additionalProperties: { type: "string", pattern: metaTextPattern.source },
  });

const bodyKey = {
  key: z.string().optional(),
  key64: z.string().optional().openapi({ description: "The key, base64url without padding." }),
};
const bodyValue = {
  value: z.string().optional(),
  value64: z.string().optional().openapi({ description: "The value, base64url without padding." }),
  contentType: z
    .string()
    .max(contentTypeBytesMax, { error: contentTypeRule })
    .regex(contentTypePattern, { error: contentTypeRule })
    .optional(),
  meta: meta.optional(),
  ttl: z.int().min(1).max(ttlSecondsMax).optional(),
};

const keyObject = z.strictObject(bodyKey);
const putObject = z.strictObject({ ...bodyKey, ...bodyValue });

/** The JSON bodies of requests. */
export const bodies = {
  put: putObject.openapi("PutBody"),
  delete: keyObject.openapi("DeleteBody"),
  batch: z
    .strictObject({
      ops: z
        .array(
          z.strictObject({
            get: z.union([z.string(), keyObject]).optional(),
            put: putObject.optional(),
            delete: z.union([z.string(), keyObject]).optional(),
          }),
        )
        .max(batchOperationsMax, { error: `at most ${batchOperationsMax} operations` }),
    })
    .openapi("BatchBody", { description: "Each operation has exactly one of get, put, delete." }),
  namespace: z
    .strictObject({
      n: z.int().min(1).max(1000).optional(),
      r: z.union([z.int().min(1).max(1000), z.enum(["quorum", "all"])]).optional(),
      w: z.union([z.int().min(1).max(1000), z.enum(["quorum", "all"])]).optional(),
      resolve: z.enum(["lww", "siblings"]).optional(),
      ttl: z.int().min(1).max(ttlSecondsMax).optional(),
      maxValue: z.int().min(1).max(valueBytesMaxLimit).optional(),
      durability: z.enum(durabilityValues).optional(),
    })
    .openapi("NamespaceBody", { description: "What is left out keeps its value." }),
} as const;

function isObject(given: unknown): boolean {
  return typeof given === "object" && given !== null && !Array.isArray(given);
}

/** The parameters of a request, checked: from the query, else from their headers. */
export function parseParameters<Schema extends z.ZodObject>(
  schema: Schema,
  exchange: Exchange,
): z.output<Schema> {
  const given = exchange.parameters;
  const raw: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of given) raw[name] = value;
  for (const name in optionHeaders) {
    if (given.has(name) || !(name in schema.shape)) continue;
    const value = exchange.header((optionHeaders[name] as string).toLowerCase());
    if (value !== undefined) raw[name] = value;
  }
  const parsed = schema.safeParse({ ...raw });
  if (parsed.success) return parsed.data;
  throw parameterError(parsed.error, schema, raw, given);
}

function parameterError(
  error: z.ZodError,
  schema: z.ZodObject,
  raw: Readonly<Record<string, string>>,
  given: ReadonlyMap<string, string>,
): QuorateError {
  const issue = error.issues[0];
  const known = Object.keys(schema.shape).sort();
  if (issue?.code === "unrecognized_keys") {
    const taken = known.length === 0 ? "This route takes none." : `Known are ${known.join(", ")}.`;
    return new QuorateError(
      "invalid-request",
      `The query parameter '${printable(issue.keys[0] ?? "")}' is not known on this route.`,
      { hint: taken },
    );
  }
  const name = String(issue?.path[0] ?? "");
  const where = given.has(name)
    ? `The query parameter '${name}'`
    : `The header ${optionHeaders[name] ?? name}`;
  return new QuorateError(
    name === "r" || name === "w" ? "invalid-quorum" : "invalid-request",
    `${where} is '${printable(raw[name] ?? "")}'; ${issue?.message ?? "it is not valid"}.`,
  );
}

/** A JSON body, checked against its schema. */
export function parseBody<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.join(".") ?? "";
  const where = path === "" ? "The JSON body" : `The field '${printable(path)}' of the JSON body`;
  throw new QuorateError(
    "invalid-request",
    `${where} is not valid: ${printable(issue?.message ?? "unknown", 256)}.`,
    { outcome: "none", hint: "GET /openapi.json describes the body of every route." },
  );
}

/** Exactly one of two forms of a field, or an `invalid-key` that names both. */
export function exactlyOne<Value>(name: string, forms: readonly (Value | undefined)[]): Value {
  const given = forms.filter((form) => form !== undefined);
  const only = given[0];
  if (given.length === 1 && only !== undefined) return only;
  throw invalidKey(
    given.length === 0
      ? `No ${name} is given; exactly one form of it is needed.`
      : `The ${name} is given in ${given.length} forms; exactly one is needed.`,
  );
}
