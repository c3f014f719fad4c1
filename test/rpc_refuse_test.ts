import { once } from "node:events";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuorateError } from "../src/errors.ts";
import { refusalReply, sendRefusal } from "../src/rpc_refuse.ts";

const test = suite("rpc refuse");

test("a gRPC refusal is a head that ends its stream, also when a message was sent", async () => {
  const failure = new QuorateError("no-such-route", "There is no such method.");
  const server = http2.createServer((request, response) => {
    sendRefusal(request, response, refusalReply(failure, "grpc", "id-1"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    const stream = session.request({ ":method": "POST", "content-type": "application/grpc" });
    stream.end(new Uint8Array(5));
    const [headers, flags] = await once(stream, "response");
    assert.is(headers[":status"], 200);
    assert.is(headers["grpc-status"], "12");
    assert.is(headers["quorate-request-id"], "id-1");
    assert.ok((flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0);
  } finally {
    session.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

test.run();
