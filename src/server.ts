/**
 * Server: one port for HTTP/1.1, HTTP/2, Connect, gRPC and gRPC-Web.
 *
 *     accept -> peek (once a connection) -> node:http | node:http2
 *       a request -> /v1/kv and all that is not RPC -> http.ts
 *                 -> an RPC                         -> rpc.ts
 *
 * It listens on loopback. Another host has to be allowed by name (`insecure`), because there is no
 * TLS and no login.
 *
 * A stop has two steps. `drain` takes no new connections, ends the idle ones, tells the others
 * (`Connection: close`, GOAWAY) and refuses what still comes with 503 `draining`; it resolves when the
 * last request is answered. `close` gives that a moment, and cuts what is left.
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
import type { Api } from "./api.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { systemErrorCode } from "./capability.ts";
import { isLoopback } from "./config.ts";
import { QuorateError } from "./errors.ts";
import { RequestIds } from "./exchange.ts";
import { createHttp, type HttpEdge } from "./http.ts";
import type { NodeRequest, NodeResponse } from "./http_hot.ts";
import { createRpc, type RpcEdge, type RpcRequest, type RpcResponse } from "./rpc.ts";
import { Connection } from "./server_connection.ts";
import { http2Socket } from "./server_goaway.ts";
import {
  limitDefaults,
  lingerMs,
  pipelinedCutMax,
  type ServerLimits,
  sweepPeriodMs,
} from "./server_limits.ts";
import { drainingError, overloadedError } from "./server_problem.ts";
import { createHttp1, createHttp2 } from "./server_protocols.ts";

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
  readonly advertisedNames?: readonly string[];
  readonly corsOrigins?: readonly string[];
  /** The maxValue of a namespace that is made without one, in bytes. Default 1 MiB. */
  readonly valueBytesMax?: number;
}

export interface Server {
  readonly host: string;
  /** The port that it listens on. */
  readonly port: number;
  /** Takes nothing new; resolves when what is under way is answered. Idempotent. */
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
  readonly #http1: net.Server;
  readonly #http2: net.Server;
  readonly #listener: net.Server;
  readonly #connections = new Map<net.Socket, Connection>();
  readonly #sessions = new WeakMap<object, Connection>();
  /** The connection that is being handed to node:http2, whose session comes at once. */
  #handing: Connection | undefined;
  #requests = 0;
  #isDraining = false;
  #drainingMs = 0;
  #drained: Promise<void> | undefined;
  #tellDrained: () => void = () => {};
  #closed: Promise<void> | undefined;
  #cancelSweep: () => void = () => {};

  constructor(options: ServerOptions, host: string) {
    const { clock, random, report } = options;
    this.host = host;
    this.#limits = limitsOf(options);
    this.#clock = clock;
    this.#report = report;
    const settings = {
      valueBytesMax: options.valueBytesMax ?? valueBytesMaxDefault,
      corsOrigins: options.corsOrigins ?? [],
      loopback: options.loopback ?? isLoopback(host),
      advertisedNames: options.advertisedNames ?? [],
      bodyTimeoutMs: this.#limits.bodyTimeoutMs,
      bodyBytesMax: this.#limits.bodyBytesMax,
      clock,
      random,
      report,
    };
    this.#http = createHttp(options.api, settings);
    this.#rpc = createRpc(options.api, settings);
    this.#ids = new RequestIds(random);
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
    connection.peek((protocol) => {
      this.#handing = connection;
      if (protocol === "http1") this.#http1.emit("connection", socket);
      else
        this.#http2.emit(
          "connection",
          http2Socket(socket, () => connection.announceClose()),
        );
      this.#handing = undefined;
    });
  }

  #onClose(connection: Connection): void {
    this.#connections.delete(connection.socket);
    // Answers that were never begun have no "close" of their own on every runtime.
    this.#requests -= connection.forget();
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
    session.on("ping", onCostly);
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
    connection.begin(request, response);
    this.#requests += 1;
    response.on("close", () => this.#onAnswered(connection, request, response));
    if (this.#isDraining) {
      connection.announceClose();
      this.#rpc.refuse(request, response, drainingError());
    } else if (this.#isTooMany(connection)) {
      this.#report.count("requests_refused");
      if (connection.requests > pipelinedCutMax && connection.protocol === "http1") {
        this.#report.count("connections_cut");
        connection.cut();
      } else this.#rpc.refuse(request, response, overloadedError(this.#requests - 1));
    } else if (!connection.mustWait(response)) this.#handle(request, response);
  }

  #handle(request: RpcRequest, response: RpcResponse): void {
    if (isHttpPath(request.url) || !this.#rpc.takes(request)) {
      // What both have is declared once there, for the two of them.
      this.#http.handle(request as NodeRequest, response as NodeResponse);
    } else this.#rpc.handle(request, response);
  }

  #isTooMany(connection: Connection): boolean {
    if (this.#requests > this.#limits.requestsMax) return true;
    return connection.protocol === "http1" && connection.requests > this.#limits.pipelinedMax;
  }

  #onAnswered(connection: Connection, request: RpcRequest, response: RpcResponse): void {
    const nowMs = this.#clock.monotonicMs();
    if (connection.end(response, nowMs)) this.#requests -= 1;
    if (connection.protocol === "http2") {
      const { rstCode } = (request as { stream: { rstCode: number } }).stream;
      if (rstCode === 0) connection.floods.earn();
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
    if (!this.#isDraining || this.#requests > 0) return;
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

function limitsOf(options: Partial<ServerLimits>): ServerLimits {
  const limits: { -readonly [K in keyof ServerLimits]: number } = { ...limitDefaults };
  for (const name of Object.keys(limits) as (keyof ServerLimits)[]) {
    limits[name] = options[name] ?? limits[name];
  }
  return limits;
}

function needsInsecure(host: string): QuorateError {
  return new QuorateError(
    "invalid-config",
    `Other machines can reach ${host}, and this version has no TLS and no login: whoever reaches the port could read and change everything.`,
    {
      hint: "Listen on 127.0.0.1, or say `insecure` (--insecure) where a firewall or a proxy with TLS and login stands in front.",
    },
  );
}

const listenErrors: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EADDRINUSE: [
    "another program listens there",
    "Stop it, or choose another port (0 takes any free one).",
  ],
  EACCES: ["the system does not allow it", "Choose a port above 1023."],
  EADDRNOTAVAIL: ["this machine has no such address", "Choose another host."],
  ENOTFOUND: ["the name does not resolve", "Choose another host."],
};

function cannotListen(error: Error, host: string, port: number): QuorateError {
  const code = systemErrorCode(error) ?? "";
  const [why, hint] = listenErrors[code] ?? [error.message, "Choose another host or port."];
  const detail = `Cannot listen on ${host} port ${port}: ${why}.`;
  return new QuorateError("invalid-config", detail, { hint, cause: error });
}
