/**
 * Who may ask, and for what: origins, hosts, methods and routes, on every way through the edge.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { everyWayOf, problemIn } from "./http_harness.ts";

const test = suite("guard");
const everyWay = everyWayOf(test);

everyWay(
  "what is not served is 404, another method 405 with Allow, OPTIONS 204 with Allow",
  async (edge) => {
    for (const target of [
      "/nope",
      "/",
      "/v1",
      "/v1/kv",
      "/v1/kv/",
      "/v1/kv//a",
      "/v1/watch/default",
    ]) {
      problemIn(await edge.ask(target), 404, "no-such-route");
    }
    const allowed: readonly (readonly [target: string, method: string, allow: string])[] = [
      ["/v1/kv/default/a", "POST", "GET, HEAD, PUT, DELETE, OPTIONS"],
      ["/v1/kv/default?key=a", "PATCH", "GET, HEAD, PUT, DELETE, OPTIONS"],
      ["/put", "GET", "POST, OPTIONS"],
      ["/delete", "GET", "POST, DELETE, OPTIONS"],
      ["/v1/info", "DELETE", "GET, HEAD, OPTIONS"],
      ["/v1/keys/default", "TRACE", "GET, HEAD, OPTIONS"],
    ];
    for (const [target, method, allow] of allowed) {
      const heard = await edge.ask({ method, target });
      problemIn(heard, 405, "method-not-allowed");
      assert.is(heard.headers["allow"], allow);
      const options = await edge.ask({ method: "OPTIONS", target });
      assert.is(options.status, 204);
      assert.is(options.headers["allow"], allow);
    }
  },
);

everyWay("a page of another origin is 403, and no CORS header is given to it", async (edge) => {
  const own = `http://${edge.authority}`;
  const ask = (headers: Record<string, string>) =>
    edge.ask({ method: "PUT", target: "/v1/kv/default/a", body: "1", headers });
  for (const headers of [
    { origin: "http://evil.example" },
    { origin: "null" },
    { "sec-fetch-site": "cross-site" },
    { origin: own, "sec-fetch-site": "cross-site" },
  ]) {
    const heard = await ask(headers);
    problemIn(heard, 403, "forbidden");
    assert.is(heard.headers["access-control-allow-origin"], undefined);
  }
  assert.is((await ask({ origin: own, "sec-fetch-site": "same-origin" })).status, 204);
  assert.is((await ask({ "sec-fetch-site": "none" })).status, 204);
  const preflight = await edge.ask({
    method: "OPTIONS",
    target: "/v1/kv/default/a",
    headers: { origin: "http://evil.example", "access-control-request-method": "PUT" },
  });
  assert.is(preflight.status, 204);
  assert.is(preflight.headers["access-control-allow-origin"], undefined);
});

everyWay(
  "a listed origin may use the node and gets its CORS headers",
  async (edge) => {
    const origin = "https://app.example";
    const headers = { origin, "sec-fetch-site": "cross-site" };
    const put = await edge.put("/v1/kv/default/a", "1", headers);
    assert.is(put.status, 204);
    assert.is(put.headers["access-control-allow-origin"], origin);
    assert.is(put.headers["vary"], "Origin");
    const preflight = await edge.ask({
      method: "OPTIONS",
      target: "/v1/kv/default/a",
      headers: { origin, "access-control-request-headers": "quorate-ttl" },
    });
    assert.is(preflight.headers["access-control-allow-headers"], "quorate-ttl");
    assert.match(preflight.headers["access-control-allow-methods"] ?? "", "PUT");
    problemIn(
      await edge.put("/v1/kv/default/a", "1", { origin: "https://b.example" }),
      403,
      "forbidden",
    );
  },
  { corsOrigins: ["https://app.example"] },
);

everyWay(
  "on loopback a Host that is not the node's is 421",
  async (edge) => {
    const ask = (host: string) => edge.ask({ target: "/livez", headers: { host } });
    for (const host of [
      "evil.example",
      "evil.example:8080",
      "127.0.0.2",
      "localhost.evil.example",
    ]) {
      problemIn(await ask(host), 421, "misdirected-request");
    }
    for (const host of [
      "localhost",
      "LOCALHOST:1",
      "127.0.0.1:8080",
      "[::1]:9",
      "db.lan",
      "n1:8080",
      "[fd00::1]:8080",
      "[fd00::2]",
    ]) {
      assert.is((await ask(host)).status, 200, host);
    }
    problemIn(await ask("n1:8081"), 421, "misdirected-request");
  },
  { advertisedNames: ["db.lan", "N1:8080", "FD00::1", "[fd00::2]"] },
);

everyWay(
  "off loopback any Host is taken",
  async (edge) => {
    assert.is((await edge.ask({ target: "/livez", headers: { host: "db.example" } })).status, 200);
  },
  { loopback: false },
);

test.run();
