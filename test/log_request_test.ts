/**
 * One id goes with a request through its answer, its problem and the log, whichever way it came in.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Report, silentReport } from "../src/capability.ts";
import { Traffic } from "../src/traffic.ts";
import { withServer } from "./server_harness.ts";

const test = suite("log of requests");

type Line = { readonly level: string; readonly message: string } & Record<string, unknown>;

function keeping(): { readonly report: Report; readonly lines: Line[] } {
  const lines: Line[] = [];
  const report: Report = {
    ...silentReport,
    log: (level, message, fields = {}) => lines.push({ ...fields, level, message }),
  };
  return { report, lines };
}

const rpcHeaders = { "content-type": "application/json" };

for (const [way, ask] of [
  [
    "http",
    (url: string, headers: object) => fetch(`${url}/v1/kv/default/k`, { headers: { ...headers } }),
  ],
  [
    "http",
    (url: string, headers: object) => fetch(`${url}/v1/count/default`, { headers: { ...headers } }),
  ],
  [
    "rpc",
    (url: string, headers: object) =>
      fetch(`${url}/kv.KVStore/Get`, {
        method: "POST",
        headers: { ...headers, ...rpcHeaders },
        body: '{"key":"k"}',
      }),
  ],
] as const) {
  const { report, lines } = keeping();
  test(
    `a request over ${way} and its unforeseen error are logged with the id of the answer`,
    withServer(
      async ({ url, api }) => {
        await ask(url, { "quorate-request-id": "from-client" });
        assert.equal(
          lines.map(({ level, message, edge, requestId }) => ({ level, message, edge, requestId })),
          [{ level: "debug", message: "Answered.", edge: way, requestId: "from-client" }],
        );
        api.failure = new Error("a bug");
        const answer = await ask(url, {});
        assert.is(answer.status, 500);
        const requestId = answer.headers.get("quorate-request-id");
        const [, ...rest] = lines;
        assert.equal(
          rest.map((line) => [line.level, line["requestId"]]),
          [
            ["error", requestId],
            ["debug", requestId],
          ],
        );
        assert.is(rest[1]?.["status"], 500);
      },
      { report, accessLog: true },
    ),
  );
}

const quiet = keeping();

test(
  "without an access log a request that is answered as it should be is no line",
  withServer(
    async ({ url }) => {
      await fetch(`${url}/livez`);
      assert.equal(quiet.lines, []);
    },
    { report: quiet.report },
  ),
);

const kept = keeping();
test(
  "a reply that could not be written is logged without the key that was asked for",
  withServer(
    async ({ api, url }) => {
      const list = api.list.bind(api);
      // No header can have this name.
      api.list = async (request) => ({ ...(await list(request)), node: "n\u2603" });
      const cut = await fetch(`${url}/v1/keys/default?prefix=a-key-of-a-client`).then(
        () => undefined,
        (error: unknown) => error,
      );
      assert.instance(cut, Error);
      const [line] = kept.lines;
      assert.is(line?.message, "A reply could not be written.");
      assert.not.match(JSON.stringify(kept.lines), "a-key-of-a-client");
    },
    { report: kept.report },
  ),
);

const broken = keeping();
test("an unforeseen error in the middle of a list is logged and counted", async () => {
  const traffic = new Traffic();
  await withServer(
    async ({ api, url }) => {
      for (const key of ["a", "b"]) {
        await fetch(`${url}/v1/kv/default/${key}`, { method: "PUT", body: "v" });
      }
      api.pagesBeforeFailure = 1;
      api.failure = new Error("a bug");
      const headers = { accept: "application/x-ndjson" };
      const list = await fetch(`${url}/v1/keys/default?limit=1`, { headers });
      const requestId = list.headers.get("quorate-request-id");
      await list.text().catch(() => {});
      assert.equal(
        broken.lines.map((line) => [line.level, line["requestId"]]),
        [["error", requestId]],
      );
    },
    { report: broken.report, traffic },
  )();
  assert.equal(traffic.failures(), [{ slug: "internal", outcome: "not-a-write", count: 1 }]);
});

test.run();
