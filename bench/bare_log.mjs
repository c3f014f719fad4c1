/**
 * BareLog: the least that a synced write costs on a runtime and a disk.
 *
 *     bare_log.mjs FILE PORT [PORT ...]
 *
 * Every request is a PUT whose body goes into one file, many in one write with O_DSYNC (group commit), and is
 * answered with constant bytes when a majority of all processes has it on its disk: this one, and those at the
 * further ports, which get it as fixed messages over plain sockets, many in one write. There is no key, no version, no
 * index and no check; nothing is ever read, and the file begins again at its start when it is full. What
 * a store does for a write comes on top. It is JavaScript, so that every runtime starts it, without a loader.
 */
import { constants, openSync, write, writeSync } from "node:fs";
import { connect, createServer } from "node:net";

const [, , file, ownPort, ...otherPorts] = process.argv;
const fileBytes = 64 * 1024 * 1024;
const messageBytes = 300;
const numberBytes = 4;
const redialMs = 100;
const answer = Buffer.from("HTTP/1.1 204 No Content\r\n\r\n", "latin1");
const needed = Math.floor((1 + otherPorts.length) / 2) + 1;

const { O_CREAT, O_RDWR, O_DSYNC } = constants;
const fd = openSync(file, O_CREAT | O_RDWR | O_DSYNC);
writeSync(fd, Buffer.alloc(fileBytes), 0, fileBytes, 0);

let position = 0;
let bodies = [];
let tellers = [];
let isWriting = false;

/** Calls `tell` when the body is on the disk. */
function append(body, tell) {
  bodies.push(body);
  tellers.push(tell);
  if (isWriting) return;
  isWriting = true;
  setImmediate(writeBatch);
}

function writeBatch() {
  const batch = Buffer.concat(bodies);
  const told = tellers;
  bodies = [];
  tellers = [];
  if (position + batch.length > fileBytes) position = 0;
  write(fd, batch, 0, batch.length, position, (error) => {
    if (error !== null) throw error;
    for (const tell of told) tell();
    if (bodies.length > 0) writeBatch();
    else isWriting = false;
  });
  position += batch.length;
}

/** Calls `take` with each of the pieces of so many bytes that come. */
function inPieces(socket, bytes, take) {
  let rest = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (; at + bytes <= rest.length; at += bytes) take(rest.subarray(at, at + bytes));
    rest = rest.subarray(at);
  });
}

/** What is given to it in one turn goes out in one write. */
function batched(send) {
  let parts = [];
  return (part) => {
    if (parts.push(part) > 1) return;
    setImmediate(() => {
      const whole = Buffer.concat(parts);
      parts = [];
      send(whole);
    });
  };
}

/** Another process: its copies are numbered, and it says which of them it has. */
class Other {
  #socket;
  #last = 0;
  #waiting = new Map();
  #send = batched((bytes) => this.#socket.write(bytes));

  constructor(port) {
    this.#dial(port);
  }

  copy(body, tell) {
    const message = Buffer.allocUnsafe(messageBytes);
    this.#last = (this.#last + 1) >>> 0;
    message.writeUInt32LE(this.#last, 0);
    body.copy(message, numberBytes, 0, messageBytes - numberBytes);
    this.#waiting.set(this.#last, tell);
    this.#send(message);
  }

  #dial(port) {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.#socket = socket;
    socket.on("error", () => setTimeout(() => this.#dial(port), redialMs));
    inPieces(socket, numberBytes, (piece) => {
      const number = piece.readUInt32LE(0);
      this.#waiting.get(number)?.();
      this.#waiting.delete(number);
    });
  }
}

const others = otherPorts.map((port) => new Other(Number(port)));

createServer({ noDelay: true }, (socket) => {
  const reply = batched((bytes) => socket.write(bytes));
  socket.on("error", () => socket.destroy());
  inPieces(socket, messageBytes, (message) => {
    append(message, () => reply(Buffer.from(message.subarray(0, numberBytes))));
  });
}).listen(Number(ownPort), "127.0.0.1");

/** Where the body of a connection's first request begins, and how long both are; undefined: not all of the head is there. */
function shapeOf(bytes) {
  const text = bytes.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const body = Number(/^content-length: (\d+)\r$/im.exec(text.slice(0, end + 2))?.[1] ?? 0);
  return { bodyAt: end + 4, bytes: end + 4 + body };
}

const server = createServer({ noDelay: true }, (socket) => {
  let shape;
  let rest = Buffer.alloc(0);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    shape ??= shapeOf(rest);
    while (shape !== undefined && rest.length >= shape.bytes) {
      const body = rest.subarray(shape.bodyAt, shape.bytes);
      rest = rest.subarray(shape.bytes);
      let acks = 0;
      const tell = () => {
        acks += 1;
        if (acks === needed) socket.write(answer);
      };
      append(body, tell);
      for (const other of others) other.copy(body, tell);
    }
  });
});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`listening on http://127.0.0.1:${server.address().port}\n`);
});
