/**
 * HttpFetch: a fetch Request as a source, and a reply as a fetch Response.
 *
 * For embedding the application in something that speaks fetch, and for tests without a socket. A
 * Request has lost the raw target: `..` is resolved before it gets here, so keys with such segments
 * have to come as `?key=`.
 *
 * Effects: timers, through the clock.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import {
  BodyBuffer,
  type BodyLimit,
  bodyTimedOut,
  type Reply,
  type ReplyStream,
  type Source,
} from "./exchange.ts";

export class FetchSource implements Source {
  readonly method: string;
  readonly target: string;
  readonly host: string | undefined;
  readonly #request: Request;

  constructor(request: Request) {
    this.#request = request;
    this.method = request.method;
    const afterScheme = request.url.indexOf("//") + 2;
    const path = request.url.indexOf("/", afterScheme);
    this.target = request.url.slice(path);
    this.host = request.headers.get("host") ?? request.url.slice(afterScheme, path);
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  headerNames(): Iterable<string> {
    return this.#request.headers.keys();
  }

  async readBody(limit: BodyLimit, clock: Clock): Promise<Uint8Array> {
    const buffer = new BodyBuffer(limit, this.header("content-length"));
    const reader = this.#request.body?.getReader();
    if (reader === undefined) return buffer.take();
    let cancelTimer = () => {};
    const timeout = new Promise<never>((_resolve, reject) => {
      cancelTimer = clock.after(limit.timeoutMs, () =>
        reject(bodyTimedOut(limit.timeoutMs, buffer.bytes)),
      );
    });
    try {
      for (;;) {
        const { done, value } = await Promise.race([reader.read(), timeout]);
        if (done) return buffer.take();
        buffer.add(value);
      }
    } catch (error) {
      // The rest is nobody's business; a failure to cancel changes nothing about the error.
      reader.cancel().catch(() => {});
      throw error;
    } finally {
      cancelTimer();
    }
  }
}

export function toResponse(reply: Reply): Response {
  const headers = new Headers();
  for (let index = 0; index < reply.headers.length; index += 2) {
    headers.append(reply.headers[index] ?? "", reply.headers[index + 1] ?? "");
  }
  const { body } = reply;
  if (body === undefined) return new Response(null, { status: reply.status, headers });
  if (body instanceof Uint8Array) {
    return new Response(new Uint8Array(body), { status: reply.status, headers });
  }
  return new Response(webStream(body), { status: reply.status, headers });
}

/** Pulls one piece whenever the reader has room for it. */
function webStream(pieces: ReplyStream): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await pieces.next();
        if (done === true) controller.close();
        else controller.enqueue(encoder.encode(value));
      } catch (error) {
        controller.error(error);
      }
    },
    async cancel() {
      await pieces.return();
    },
  });
}
