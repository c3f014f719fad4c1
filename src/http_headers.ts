/**
 * HttpHeaders: the headers of answers, each described once.
 *
 * The routes name the sets that their answers have, and the OpenAPI document is made of these. A test
 * asks every route and holds what was sent against what is described. Headers of the body itself
 * (Content-Type, Content-Length) stand elsewhere in OpenAPI, and those of a connection are no part of it.
 *
 * Effects: none.
 *
 * @module
 */

/** Every header that an answer may have, with what it says. `Quorate-Meta-*` has no one name. */
export const headerMeanings = {
  "Cache-Control": "'private, no-cache' on what may change under a cache, 'no-store' on a problem.",
  Date: "When it was answered, by the node's clock.",
  "Quorate-Request-Id": "The request's id: as given, or made for it. It is in the log of the node.",
  "Server-Timing": "total;dur=<milliseconds>: how long the node took.",
  Vary: "What the answer depends on: 'Accept' where several types are served, 'Origin' with --cors-origin.",
  "Access-Control-Allow-Origin": "The origin of the request, where --cors-origin lists it.",
  "Access-Control-Expose-Headers": "'*', where --cors-origin lists the origin.",
  "Quorate-Replies": "<replies>/<n>: how many replicas of the key answered the read.",
  "Quorate-Acks": "<acks>/<n>: how many replicas of the key acknowledged the write.",
  "Quorate-Consistency":
    "What was used: one, quorum or all; 'eventual' for a write at or below half of n.",
  "Quorate-Node": "The node that coordinated.",
  "Quorate-Epoch": "The epoch of the topology under which it was answered.",
  "Quorate-Explain": "What happened, as JSON in ASCII, where 'explain' asked for it.",
  "Quorate-Durability": "How durable the write was when it was acknowledged: fsync or memory.",
  "Quorate-Expires": "When the key expires, in ISO 8601, where it does.",
  ETag: 'The version: "<hlc, 16 hex>-<origin, 16 hex>".',
  "Last-Modified": "The time in the version, cut to the second.",
  "Accept-Ranges": "'none': a value is read whole.",
  "X-Content-Type-Options": "'nosniff'.",
  "Content-Security-Policy": "So that a page stored as a value runs nothing.",
  "Retry-After": "Seconds after which to repeat; only where nothing was written.",
} as const;

export type HeaderName = keyof typeof headerMeanings;

/** Which headers an answer has: always, or sometimes. */
export type HeaderSet = { readonly [Name in HeaderName]?: "always" | "sometimes" };

/** Of every answer, whatever it is. */
export const commonHeaders: HeaderSet = {
  "Cache-Control": "always",
  Date: "always",
  "Quorate-Request-Id": "always",
  "Server-Timing": "always",
  Vary: "sometimes",
  "Access-Control-Allow-Origin": "sometimes",
  "Access-Control-Expose-Headers": "sometimes",
};

const coordinated: HeaderSet = {
  "Quorate-Consistency": "always",
  "Quorate-Node": "always",
  "Quorate-Epoch": "always",
};
const version: HeaderSet = { ETag: "always", "Last-Modified": "always" };

/** Of what was answered about many keys. */
export const manyHeaders: HeaderSet = { "Quorate-Replies": "always", ...coordinated };
export const listHeaders: HeaderSet = { ...manyHeaders, Vary: "always" };

/** Of the JSON about one key, on the original routes. */
export const seedGetHeaders: HeaderSet = {
  ...manyHeaders,
  "Quorate-Explain": "sometimes",
  ETag: "always",
};
export const seedPutHeaders: HeaderSet = {
  ...{ "Quorate-Acks": "always", ...coordinated },
  "Quorate-Explain": "sometimes",
  ETag: "always",
};
export const seedDeleteHeaders: HeaderSet = {
  ...{ "Quorate-Acks": "always", ...coordinated },
  "Quorate-Explain": "sometimes",
};

/** Of a 304: what a GET says of the version. */
export const notModifiedHeaders: HeaderSet = {
  ...manyHeaders,
  ...version,
  "Quorate-Explain": "sometimes",
  "Quorate-Expires": "sometimes",
  "Accept-Ranges": "always",
};
export const getHeaders: HeaderSet = {
  ...notModifiedHeaders,
  "X-Content-Type-Options": "always",
  "Content-Security-Policy": "always",
};
export const deleteHeaders: HeaderSet = { ...seedDeleteHeaders, "Quorate-Durability": "always" };
export const putHeaders: HeaderSet = {
  ...deleteHeaders,
  ...version,
  "Quorate-Expires": "sometimes",
};

/** Of text that is no value. */
export const textHeaders: HeaderSet = { "X-Content-Type-Options": "always" };
export const pageHeaders: HeaderSet = {
  ...textHeaders,
  "Content-Security-Policy": "always",
  Vary: "always",
};

/** Of a problem: with what a read counted that found no key, or not the version that If-Match names. */
export const problemHeaders: HeaderSet = {
  "Quorate-Replies": "sometimes",
  "Quorate-Consistency": "sometimes",
  "Quorate-Node": "sometimes",
  "Quorate-Epoch": "sometimes",
  "Quorate-Explain": "sometimes",
  "Quorate-Expires": "sometimes",
  ETag: "sometimes",
  "Last-Modified": "sometimes",
  "Accept-Ranges": "sometimes",
  "Retry-After": "sometimes",
};
