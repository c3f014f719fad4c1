/**
 * HonoServer: what a runtime and Hono can do at most: one route, one constant answer.
 *
 * It has a node:http server and Hono's own listener for it, on the path of a read of the store. It
 * is JavaScript, so that Node 20 starts it like the others, without a loader.
 */
import { createServer } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";

const value = new Uint8Array(256).fill(0x78);
const headers = { "Content-Type": "application/octet-stream", "Content-Length": "256" };

const app = new Hono();
app.get("/v1/kv/:namespace/:key", (context) => context.body(value, 200, headers));

const server = createServer(getRequestListener(app.fetch));
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`listening on http://127.0.0.1:${server.address().port}\n`);
});
