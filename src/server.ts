/**
 * Server: one port for HTTP/1.1, HTTP/2, Connect, gRPC and gRPC-Web.
 *
 *     accept -> peek (once a connection) -> wire -> node:http | node:http2
 *       a request -> /v1/kv and all that is not RPC -> http.ts
 *                 -> an RPC                         -> rpc.ts
 *
 * It listens on loopback. Another host has to be allowed by name (`insecure`), because there is no
 * TLS and no login.
 *
 * A stop has two steps. `drain` takes no new connections, ends the idle ones, tells the others
 * (`Connection: close`, GOAWAY) and refuses what still comes with 503 `draining`; it resolves when the
 * last request is answered. `close` gives that a moment, and cuts what is left. Streams of other nodes are
 * open until then: the requests that are waited for may need them, and the node takes leave of the
 * others itself, in between.
 *
 * Invariants
 * 1. A request that was handed on is answered or its connection is cut: `drain` forgets none.
 * 2. Every connection is in one set, from accept to close, and swept for its deadlines.
 * 3. Nothing an outsider sends throws here.
 *
 * Effects: listens on a port; timers, through the clock.
 *
 * @module
 */

import type { ServerHttp2Session } from "node:http2";
import * as net from "node:net";
import { Admission, tooManyRequests } from "./admission.ts";
import type { Api } from "./api.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { isLoopback } from "./config.ts";
import { type MetricsPage, RequestIds } from "./exchange.ts";
import { createHttp, type HttpEdge } from "./http.ts";
import type { NodeRequest, NodeResponse } from "./http_hot.ts";
import { createRpc, type RpcEdge, type RpcRequest, type RpcResponse } from "./rpc.ts";
import type { AcceptPeer } from "./rpc_peer.ts";
import { Connection, type ExchangeKind } from "./server_connection.ts";
import { http2Socket } from "./server_goaway.ts";
import {
  limitsOf,
  lingerMs,
  pipelinedCutMax,
  type ServerLimits,
  sweepPeriodMs,
} from "./server_limits.ts";
import { ServerLoad } from "./server_load.ts";
import {
  cannotListen,
  drainingError,
  needsInsecure,
  notForClients,
  notForPeers,
  twoHostsError,
} from "./server_problem.ts";
import { createHttp1, createHttp2, hasTwoHosts } from "./server_protocols.ts";
import { ServerWire, WireOutbox } from "./server_wire.ts";
import type { Traffic } from "./traffic.ts";

export interface ServerOptions extends Partial<ServerLimits> {
  readonly api: Api;
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** Allows a host that other machines can reach, without TLS or login. */
  readonly insecure?: boolean;
  /** Whether Host headers are checked; default: when `host` is loopback. */
  readonly loopback?: boolean;
  /** Under which Host it answers as well, besides the names of loopback and `host`. */
  readonly advertisedNames?: readonly string[];
  readonly corsOrigins?: readonly string[];
  /** Takes streams of other nodes; undefined: the node is in no cluster. */
  readonly accept?: AcceptPeer | undefined;
  /** The port that other nodes have instead of this one, which then refuses them. */
  readonly peersPort?: number | undefined;
  /** Serves other nodes alone; whatever else comes is refused. */
  readonly isForPeers?: boolean;
  /** The maxValue of a namespace that is made without one, in bytes. Default 1 MiB. */
  readonly valueBytesMax?: number;
  /** What the node takes on at once; default: the limits' requests and bytes, whatever the lag. */
  readonly admission?: Admission;
  readonly traffic?: Traffic;
  readonly metrics?: MetricsPage;
  /** Whether each request is a line of the log, at the level debug. */
  readonly accessLog?: boolean;
  /** False sends every RPC through the router; for tests that compare the two ways. */
  readonly hotRpc?: boolean;
}

export interface Server {
  readonly host: string;
  /** The port that it listens on. */
  readonly port: number;
  /** Connections that are open. */
  readonly connections: number;
  /** Takes nothing new; resolves when what clients have under way is answered. Idempotent. */
  drain(): Promise<void>;
  /** Drains for at most `closeTimeoutMs`, then cuts what is left. Idempotent. */
  close(): Promise<void>;
}

const hostDefault = "127.0.0.1";
const valueBytesMaxDefault = 1024 * 1024;
const backlogMax = 1024;

/** Serves a node; rejects with `invalid-config` when it cannot listen. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const host = options.host ?? hostDefault;
  if (!isLoopback(host) && options.insecure !== true) throw needsInsecure(host);
  const server = new PortServer(options, host);
  await server.listen(options.port);
  return server;
}

class PortServer implements Server {
  readonly host: string;
  readonly #limits: ServerLimits;
  readonly #clock: Clock;
  readonly #report: Report;
  /** For what is refused before it is a request. */
  readonly #ids: RequestIds;
  readonly #http: HttpEdge;
  readonly #rpc: RpcEdge;
  readonly #isForPeers: boolean;
  readonly #takesPeers: boolean;
  readonly #peersPort: number | undefined;
  readonly #http1: net.Server;
  readonly #http2: net.Server;
  readonly #listener: net.Server;
  readonly #outbox: WireOutbox;
  readonly #connections = new Map<net.Socket, Connection>();
  readonly #sessions = new WeakMap<object, Connection>();
  /** The connection that is being handed to node:http2, whose session comes at once. */
  #handing: Connection | undefined;
  readonly #load: ServerLoad;
  #isDraining = false;
  #drainingMs = 0;
  #drained: Promise<void> | undefined;
  #tellDrained: () => void = () => {};
  #tellPeersEnded: () => void = () => {};
  #closed: Promise<void> | undefined;
  #cancelSweep: () => void = () => {};

  constructor(options: ServerOptions, host: string) {
    const { clock, random, report } = options;
    this.host = host;
    this.#limits = limitsOf(options);
    this.#clock = clock;
    this.#report = report;
    const admission = options.admission ?? admissionOf(this.#limits);
    this.#load = new ServerLoad(admission.client, this.#limits.connectionsMax);
    const settings = {
      valueBytesMax: options.valueBytesMax ?? valueBytesMaxDefault,
      corsOrigins: options.corsOrigins ?? [],
      loopback: options.loopback ?? isLoopback(host),
      advertisedNames: [host, ...(options.advertisedNames ?? [])],
      bodyTimeoutMs: this.#limits.bodyTimeoutMs,
      bodies: this.#load.clients,
      ...(options.traffic === undefined ? {} : { traffic: options.traffic }),
      ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
      accessLog: options.accessLog === true,
      clock,
      random,
      report,
    };
    this.#http = createHttp(options.api, settings);
    this.#rpc = createRpc(options.api, {
      ...settings,
      accept: options.accept,
      onProven: (response) => this.#load.proven(response),
      hotPath: options.hotRpc !== false,
    });
    this.#isForPeers = options.isForPeers === true;
    this.#takesPeers = options.accept !== undefined;
    this.#peersPort = options.peersPort;
    this.#ids = new RequestIds(random);
    this.#outbox = new WireOutbox(clock);
    const onRequest = (request: RpcRequest, response: RpcResponse) =>
      this.#onRequest(request, response);
    this.#http1 = createHttp1({
      onRequest,
      onBroken: (socket, failure) => {
        const connection = this.#connections.get(socket as net.Socket);
        if (connection === undefined) socket.destroy();
        else connection.refuse(failure, clock.monotonicMs());
      },
    });
    this.#http2 = createHttp2(this.#limits, {
      onRequest,
      onSession: (session) => this.#onSession(session),
    });
    // Half-open, as node:http has it: a client may close its half and still wait for the answer.
    this.#listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      this.#onSocket(socket),
    );
  }

  get port(): number {
    return (this.#listener.address() as net.AddressInfo | null)?.port ?? 0;
  }

  get connections(): number {
    return this.#connections.size;
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const onError = (error: Error) => reject(cannotListen(error, this.host, port));
      this.#listener.once("error", onError);
      const host = this.host.replace(/^\[|\]$/g, "");
      this.#listener.listen({ host, port, backlog: backlogMax }, () => {
        this.#listener.off("error", onError);
        this.#listener.on("error", (error) => {
          // For example no descriptor left for a new connection; those that are open go on.
          this.#report.log("error", "A connection could not be accepted.", { error });
        });
        this.#armSweep();
        resolve();
      });
    });
  }

  drain(): Promise<void> {
    this.#drained ??= new Promise((resolve) => {
      this.#tellDrained = resolve;
      this.#isDraining = true;
      this.#listener.close();
      this.#rpc.drain();
      this.#drainingMs = this.#clock.monotonicMs();
      for (const connection of this.#connections.values()) {
        // Its client has begun to send a request, and is owed an answer, be it "draining".
        if (!connection.isBeginning) connection.endWhenIdle(this.#drainingMs);
      }
      this.#checkDrained();
    });
    return this.#drained;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    let cancelTimer = () => {};
    const late = new Promise<void>((resolve) => {
      cancelTimer = this.#clock.after(this.#limits.closeTimeoutMs, resolve);
    });
    await Promise.race([this.drain(), late]);
    this.#rpc.endPeers();
    const peersEnded = new Promise<void>((resolve) => {
      this.#tellPeersEnded = resolve;
    });
    // The end of their streams is on its way; who does not take it is not waited for.
    if (this.#load.peerStreams > 0) await Promise.race([peersEnded, late]);
    cancelTimer();
    this.#cancelSweep();
    for (const connection of this.#connections.values()) connection.cut();
    this.#tellDrained();
  }

  #onSocket(socket: net.Socket): void {
    if (this.#isDraining || this.#connections.size >= this.#limits.connectionsMax) {
      this.#report.count("connections_refused");
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, this.#limits, this.#ids, this.#clock.monotonicMs());
    this.#connections.set(socket, connection);
    // A connection that was reset has nobody left to tell.
    socket.on("error", () => {});
    socket.on("close", () => this.#onClose(connection));
    // What the parsers have to say about it they say in the same turn.
    socket.on("end", () =>
      this.#clock.soon(() => connection.endOfClient(this.#clock.monotonicMs())),
    );
    connection.peek((protocol) => {
      if (protocol === "http1") this.#beginWire(connection);
      else this.#beginHttp2(connection);
    });
  }

  #beginHttp2(connection: Connection): void {
    this.#handing = connection;
    this.#http2.emit(
      "connection",
      http2Socket(connection.socket, () => connection.announceClose()),
    );
    this.#handing = undefined;
  }

  /** Plain requests for one key are served from their bytes; from the first other one on, by node:http. */
  #beginWire(connection: Connection): void {
    connection.wire = new ServerWire(connection.socket, this.#outbox, {
      mayTake: () =>
        !this.#isForPeers && !this.#isDraining && this.#load.refusal("client") === undefined,
      run: (source, operation) => this.#http.run(source, operation),
      onBegin: () => {
        connection.beginWire();
        this.#load.clients.begin();
      },
      onEnd: () => {
        // A connection that is gone was forgotten, with its request.
        if (connection.wire === undefined) return;
        this.#load.clients.end();
        const nowMs = this.#clock.monotonicMs();
        connection.endWire(nowMs);
        if (!this.#isDraining) return;
        connection.endWhenIdle(nowMs);
        this.#checkDrained();
      },
      onOther: () => {
        connection.wire = undefined;
        this.#http1.emit("connection", connection.socket);
      },
    });
  }

  #onClose(connection: Connection): void {
    this.#connections.delete(connection.socket);
    this.#load.forget(connection);
    this.#checkPeersEnded();
    this.#checkDrained();
  }

  #onSession(session: ServerHttp2Session): void {
    const connection = this.#handing;
    if (connection === undefined) {
      session.destroy();
      return;
    }
    connection.session = session;
    this.#sessions.set(session, connection);
    const onCostly = () => this.#onCostly(connection);
    session.on("ping", () => {
      connection.hear(this.#clock.monotonicMs());
      onCostly();
    });
    session.on("remoteSettings", () => {
      connection.isSettled = true;
      onCostly();
    });
    if (this.#isDraining) session.close();
  }

  /** A client had something done that brings it nothing. */
  #onCostly(connection: Connection): void {
    if (connection.isFlooding || connection.floods.take(this.#clock.monotonicMs())) return;
    connection.isFlooding = true;
    this.#report.count("connections_flooding");
    // Not from inside an event of the session: on Deno that ends the process.
    this.#clock.soon(() => connection.endFlood());
  }

  #onRequest(request: RpcRequest, response: RpcResponse): void {
    const connection = this.#connectionOf(request);
    if (connection === undefined) {
      response.destroy();
      return;
    }
    const kind = this.#kindOf(request);
    const refusal = this.#load.refusal(kind);
    connection.begin(request, response, kind);
    const madeRoom = this.#load.begin(kind, { response, connection }, this.#clock.monotonicMs());
    if (madeRoom) this.#report.count("requests_refused");
    response.on("close", () => this.#onAnswered(connection, request, response));
    if (connection.isClosed) {
      // It came when the connection was closed for idling: what nobody can be told of is not begun.
      connection.cut();
    } else if (this.#isDraining) {
      connection.announceClose();
      this.#rpc.refuse(request, response, drainingError());
    } else if (connection.isStuck) {
      // Whoever asks for what may never end asks for nothing behind it.
      this.#report.count("connections_cut");
      connection.cut();
    } else if (refusal !== undefined || this.#isPipelining(connection)) {
      this.#report.count("requests_refused");
      if (connection.requests > pipelinedCutMax && connection.protocol === "http1") {
        this.#report.count("connections_cut");
        connection.cut();
      } else
        this.#rpc.refuse(request, response, refusal ?? tooManyRequests(connection.requests - 1));
    } else if (!connection.mustWait(response)) this.#handle(request, response);
  }

  #kindOf({ url }: RpcRequest): ExchangeKind {
    if (this.#takesPeers && isPeerPath(url)) return "peer";
    return isIdlePath(url) ? "idle" : "client";
  }

  #checkPeersEnded(): void {
    if (this.#load.peerStreams === 0) this.#tellPeersEnded();
  }

  #handle(request: RpcRequest, response: RpcResponse): void {
    if (this.#isForPeers && !isPeerPath(request.url)) {
      this.#rpc.refuse(request, response, notForClients());
      return;
    }
    if (this.#peersPort !== undefined && isPeerPath(request.url)) {
      this.#rpc.refuse(request, response, notForPeers(this.#peersPort));
      return;
    }
    if (hasTwoHosts(request)) this.#rpc.refuse(request, response, twoHostsError());
    else if (isHttpPath(request.url) || !this.#rpc.takes(request)) {
      // What both have is declared once there, for the two of them.
      this.#http.handle(request as NodeRequest, response as NodeResponse);
    } else this.#rpc.handle(request, response);
  }

  #isPipelining(connection: Connection): boolean {
    return connection.protocol === "http1" && connection.requests > this.#limits.pipelinedMax;
  }

  #onAnswered(connection: Connection, request: RpcRequest, response: RpcResponse): void {
    const nowMs = this.#clock.monotonicMs();
    const hasCost = this.#load.end({ response, connection }, nowMs);
    this.#checkPeersEnded();
    if (connection.protocol === "http2") {
      const { rstCode } = (request as { stream: { rstCode: number } }).stream;
      // What opens streams and proves nothing costs, however they end.
      if (rstCode === 0 && !hasCost) connection.floods.earn();
      else this.#onCostly(connection);
    } else if (connection.requests > 0) this.#beginNext(connection);
    if (!this.#isDraining) return;
    connection.endWhenIdle(nowMs);
    this.#checkDrained();
  }

  /** Begins the request that waited for the one that was answered, if there is one. */
  #beginNext(connection: Connection): void {
    const next = connection.takeNext();
    if (next === undefined) return;
    const [request, response] = next;
    if (this.#isDraining) this.#rpc.refuse(request, response, drainingError());
    else this.#handle(request, response);
  }

  #connectionOf(request: RpcRequest): Connection | undefined {
    if (request.httpVersionMajor < 2) return this.#connections.get(request.socket as net.Socket);
    const { session } = (request as { stream: { session?: object } }).stream;
    return session === undefined ? undefined : this.#sessions.get(session);
  }

  #checkDrained(): void {
    if (!this.#isDraining || this.#load.isOfClients) return;
    for (const connection of this.#connections.values()) if (connection.isBeginning) return;
    this.#tellDrained();
  }

  /** Heads that were begun before the drain are not waited for any longer. */
  #endBeginning(nowMs: number): void {
    if (nowMs - this.#drainingMs < lingerMs) return;
    for (const connection of this.#connections.values()) connection.endWhenIdle(nowMs);
    this.#checkDrained();
  }

  #armSweep(): void {
    this.#cancelSweep = this.#clock.after(sweepPeriodMs, () => {
      this.#sweep();
      this.#armSweep();
    });
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    let outgoingBytes = 0;
    this.#load.sweep(nowMs);
    for (const connection of this.#connections.values()) {
      if (connection.sweep(nowMs)) this.#report.count("connections_cut");
      else outgoingBytes += connection.outgoingBytes;
    }
    if (outgoingBytes > this.#limits.outgoingBytesMax) this.#cutLargest(outgoingBytes);
    if (this.#isDraining) this.#endBeginning(nowMs);
  }

  /** Cuts the connections that leave the most unread, until the rest is within the limit. */
  #cutLargest(outgoingBytes: number): void {
    const byBytes = [...this.#connections.values()]
      .map((connection) => ({ connection, bytes: connection.outgoingBytes }))
      .sort((a, b) => b.bytes - a.bytes);
    let left = outgoingBytes;
    for (const { connection, bytes } of byBytes) {
      if (left <= this.#limits.outgoingBytesMax) return;
      this.#report.count("connections_cut");
      connection.cut();
      left -= bytes;
    }
  }
}

/** The path that carries nearly all traffic is told before any other question is asked. */
function isHttpPath(url: string | undefined): boolean {
  return url?.startsWith("/v1/") === true;
}

/** What waits, until its client ends it, for a change or for a question. */
function isIdlePath(url: string | undefined): boolean {
  if (url?.startsWith("/grpc.") !== true) return false;
  return url.startsWith("/grpc.reflection.") || url.startsWith("/grpc.health.v1.Health/Watch");
}

function isPeerPath(url: string | undefined): boolean {
  return url?.startsWith("/quorate.peer.") === true;
}

function admissionOf({ requestsMax, bodyBytesMax }: ServerLimits): Admission {
  const budget = { requestsMax, bytesMax: bodyBytesMax };
  return new Admission({ client: budget, replication: budget, hint: budget, lagMsMax: 0 });
}
