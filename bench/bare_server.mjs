/**
 * BareServer: what a runtime takes to read a request and to write an answer, and does nothing besides.
 *
 *     bare_server.mjs <socket|http2>
 *
 * `socket` looks at the first request of a connection to know how long each is, takes all of them for the
 * same, and answers with constant bytes: no server of HTTP/1.1 on this runtime can do less. `http2` answers every call with a constant
 * message of gRPC, by node:http2. It is JavaScript, so that every runtime starts it, without a loader.
 */
import { createServer as createHttp2 } from "node:http2";
import { createServer } from "node:net";

const value = "x".repeat(256);
const answers = {
  PUT: Buffer.from("HTTP/1.1 204 No Content\r\n\r\n", "latin1"),
  GET: Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${value.length}\r\n\r\n${value}`, "latin1"),
};
/** A message as long as the answer of a put. */
const message = Buffer.concat([Buffer.from([0, 0, 0, 0, 32]), Buffer.alloc(32, 1)]);

/** How long each request of a connection is, and what it is answered with; undefined: not all of it is there yet. */
function readFirst(bytes) {
  const text = bytes.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const body = Number(/^content-length: (\d+)\r$/im.exec(text.slice(0, end + 2))?.[1] ?? 0);
  return { length: end + 4 + body, answer: answers[text.slice(0, 3)] };
}

function serveSocket(socket) {
  let first;
  let head = Buffer.alloc(0);
  let pending = 0;
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    if (first === undefined) {
      head = Buffer.concat([head, chunk]);
      first = readFirst(head);
    }
    pending += chunk.length;
    while (first !== undefined && pending >= first.length) {
      pending -= first.length;
      socket.write(first.answer);
    }
  });
}

function serveStream(stream) {
  stream.on("error", () => {});
  stream.on("data", () => {});
  stream.on("end", () => {
    stream.respond(
      { ":status": 200, "content-type": "application/grpc" },
      { waitForTrailers: true },
    );
    stream.end(message);
  });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
}

const [, , kind] = process.argv;
const server = kind === "http2" ? createHttp2() : createServer(serveSocket);
if (kind === "http2") server.on("stream", serveStream);
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`listening on http://127.0.0.1:${server.address().port}\n`);
});
