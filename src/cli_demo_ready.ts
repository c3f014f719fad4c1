/**
 * Cli demo ready: whether a node of a demo serves, and what it waits for until then.
 *
 * Effects: the network.
 *
 * @module
 */

import { isSlug } from "./errors.ts";

const readyTimeoutMs = 1000;

/** Undefined when the node is ready, else what it waits for. */
export async function askReady(url: string): Promise<string | undefined> {
  try {
    const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(readyTimeoutMs) });
    const body = await answer.text();
    if (answer.ok) return undefined;
    return detailOf(body) ?? `/readyz answers ${answer.status}`;
  } catch {
    return "/readyz does not answer";
  }
}

function detailOf(body: string): string | undefined {
  try {
    const { type, detail } = JSON.parse(body) as { type?: unknown; detail?: unknown };
    const slug = String(type).replace(/^.*\//, "");
    return isSlug(slug) && typeof detail === "string" ? detail : undefined;
  } catch {
    return undefined;
  }
}
