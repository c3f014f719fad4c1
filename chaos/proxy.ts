/**
 * Proxy: the ways between real nodes, a TCP proxy for each ordered pair, and what befalls them.
 *
 *     node i --dials--> proxy (i, j) --> node j      "there": what i says, "back": what j answers
 *     node j --dials--> proxy (j, i) --> node i
 *
 * A network that loses packets closes nothing: the bytes are sent again until they come through. So a
 * way that is held keeps what it is given, in order, ends of connections included, and hands it on
 * when it is let go. `sever` is the other kind of loss, of which both ends are told; a connection
 * that was left `halfOpen` is gone at one end, and the other is not told.
 *
 * Effects: the network, timers.
 *
 * @module
 */

import * as net from "node:net";

/** Beyond this a held way takes no more, and who sends has to wait, as a kernel's buffers do. */
const heldBytesMax = 1024 * 1024;

interface Piece {
  /** Undefined: the end of what comes. */
  readonly bytes: Buffer | undefined;
  readonly dueMs: number;
}

/** One direction of one connection. */
class Flow {
  readonly #source: net.Socket;
  readonly #sink: net.Socket;
  readonly #way: Way;
  readonly #pieces: Piece[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(source: net.Socket, sink: net.Socket, way: Way) {
    this.#source = source;
    this.#sink = sink;
    this.#way = way;
    source.on("data", (bytes: Buffer) => this.#take(bytes));
    source.on("error", () => {});
    source.on("end", () => this.#take(undefined));
    source.on("close", () => this.#take(undefined));
    sink.on("drain", () => this.pump());
  }

  /** Hands on what is due. */
  pump(): void {
    clearTimeout(this.#timer);
    for (;;) {
      const [first] = this.#pieces;
      if (first === undefined || this.#way.isHeld || this.#isOver) return;
      const waitMs = first.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        return;
      }
      this.#pieces.shift();
      if (first.bytes === undefined) {
        this.#isOver = true;
        this.#sink.destroy();
        return;
      }
      this.#heldBytes -= first.bytes.length;
      const hasRoom = this.#sink.write(first.bytes);
      if (this.#heldBytes < heldBytesMax) this.#source.resume();
      if (!hasRoom) return;
    }
  }

  /** Nothing is handed on any more. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #take(bytes: Buffer | undefined): void {
    if (this.#isOver) return;
    const isFirst = this.#pieces.length === 0;
    this.#pieces.push({ bytes, dueMs: performance.now() + this.#way.delayMs });
    this.#heldBytes += bytes?.length ?? 0;
    if (this.#heldBytes >= heldBytesMax) this.#source.pause();
    if (isFirst) this.pump();
  }
}

/** What befalls one direction of a proxy. */
interface Way {
  isHeld: boolean;
  delayMs: number;
}

interface Connection {
  readonly dialing: net.Socket;
  readonly dialed: net.Socket;
  readonly there: Flow;
  readonly back: Flow;
}

/** The way from one node to another, with the answers. */
export class TcpProxy {
  readonly there: Way = { isHeld: false, delayMs: 0 };
  readonly back: Way = { isHeld: false, delayMs: 0 };
  /** Connections are refused. */
  isSevered = false;
  readonly #server: net.Server;
  readonly #connections = new Set<Connection>();

  private constructor(target: number) {
    this.#server = net.createServer((dialing) => this.#onConnection(dialing, target));
  }

  /** A proxy to a port, on a port of its own. */
  static async listen(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.on("error", reject);
      proxy.#server.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Hands on what was held. */
  release(): void {
    this.there.isHeld = false;
    this.back.isHeld = false;
    this.isSevered = false;
    this.pump();
  }

  /** Hands on what nothing holds any more. */
  pump(): void {
    for (const { there, back } of this.#connections) {
      there.pump();
      back.pump();
    }
  }

  /** Both ends are told that the connection is gone. */
  sever(): void {
    this.isSevered = true;
    for (const { dialing, dialed } of this.#connections) {
      dialing.destroy();
      dialed.destroy();
    }
  }

  /** Whoever was dialed loses its connections, and whoever dialed is not told. */
  halfOpen(): void {
    for (const { there, back, dialed } of this.#connections) {
      there.end();
      back.end();
      dialed.destroy();
    }
  }

  async close(): Promise<void> {
    this.sever();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #onConnection(dialing: net.Socket, target: number): void {
    if (this.isSevered) {
      dialing.on("error", () => {});
      dialing.resetAndDestroy();
      return;
    }
    const dialed = net.connect({ port: target, host: "127.0.0.1", noDelay: true });
    dialing.setNoDelay(true);
    const there = new Flow(dialing, dialed, this.there);
    const back = new Flow(dialed, dialing, this.back);
    const connection = { dialing, dialed, there, back };
    this.#connections.add(connection);
    dialing.on("close", () => {
      // What is held for the other end has not arrived there, the end of the connection included.
      if (!this.there.isHeld) this.#connections.delete(connection);
    });
  }
}

/** All ways between some nodes, which are named by their places in the list of ports. */
export class Ways {
  readonly #proxies: readonly (readonly (TcpProxy | undefined)[])[];

  private constructor(proxies: readonly (readonly (TcpProxy | undefined)[])[]) {
    this.#proxies = proxies;
  }

  static async between(ports: readonly number[]): Promise<Ways> {
    const rows = ports.map((_, source) =>
      Promise.all(
        ports.map((port, target) => (source === target ? undefined : TcpProxy.listen(port))),
      ),
    );
    return new Ways(await Promise.all(rows));
  }

  /** The proxy by which a node reaches another one. */
  at(source: number, target: number): TcpProxy {
    const proxy = this.#proxies[source]?.[target];
    if (proxy === undefined) throw new Error(`there is no way from ${source} to ${target}`);
    return proxy;
  }

  /** Nothing that a node says comes to another one any more; what that one says still comes to it. */
  cut(source: number, target: number): void {
    this.at(source, target).there.isHeld = true;
    this.at(target, source).back.isHeld = true;
  }

  /** Neither hears the other. */
  part(one: number, other: number): void {
    this.cut(one, other);
    this.cut(other, one);
  }

  /** A node's ways to all others, and theirs to it. */
  of(index: number): readonly TcpProxy[] {
    return this.#proxies.flatMap((row, source) =>
      row.filter(
        (proxy, target): proxy is TcpProxy =>
          proxy !== undefined && (source === index || target === index),
      ),
    );
  }

  /** What a node says and hears is late by so much. */
  delay(index: number, delayMs: number): void {
    for (const { there, back } of this.of(index)) {
      there.delayMs = delayMs;
      back.delayMs = delayMs;
    }
  }

  heal(): void {
    for (const proxy of this.#all) {
      proxy.there.delayMs = 0;
      proxy.back.delayMs = 0;
      proxy.release();
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((proxy) => proxy.close()));
  }

  get #all(): readonly TcpProxy[] {
    return this.#proxies.flatMap((row) => row.filter((proxy) => proxy !== undefined));
  }
}
