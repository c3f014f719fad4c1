/**
 * Rpc health: grpc.health.v1, from what the node says of its readiness.
 *
 * `Check` and `List` answer at once. `Watch` sends the state, and again at each change; since a node
 * tells nobody when its readiness changes, it is asked once a second while somebody watches.
 *
 * Invariants
 * 1. After `drain` every service is NOT_SERVING, every watcher is told and its stream ends.
 * 2. One timer serves all watchers, and none runs when there are none.
 *
 * Effects: a timer, through the clock. Source: gRPC health checking protocol.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { Api } from "./api.ts";
import type { Clock } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import {
  type Health,
  type HealthCheckResponse,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "./gen/grpc/health/v1/health_pb.ts";
import { connectError } from "./rpc_error.ts";

/** How often readiness is looked at while somebody watches. */
const watchPeriodMs = 1000;

export interface HealthService {
  readonly implementation: ServiceImpl<typeof Health>;
  /** Not serving from now on; ends the streams of all watchers. */
  drain(): void;
}

/** The health of a node; `services` are the names that may be asked for, besides "" for all. */
export function createHealth(
  node: Pick<Api, "readiness">,
  clock: Clock,
  services: readonly string[],
): HealthService {
  const names = new Set(["", ...services]);
  const watchers = new Set<() => void>();
  let isDraining = false;
  let isArmed = false;

  const statusOf = (service: string): ServingStatus => {
    if (!names.has(service)) return ServingStatus.SERVICE_UNKNOWN;
    const isReady = !isDraining && node.readiness().every(({ ok }) => ok);
    return isReady ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  const wakeAll = () => {
    for (const wake of watchers) wake();
  };
  const arm = () => {
    if (isArmed) return;
    isArmed = true;
    clock.after(watchPeriodMs, () => {
      isArmed = false;
      wakeAll();
      if (watchers.size > 0) arm();
    });
  };

  /** Resolves at the next look, the end of the call or the drain. */
  const nextLook = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const wake = () => {
        watchers.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      watchers.add(wake);
      signal.addEventListener("abort", wake);
      arm();
    });

  async function* watch(service: string, signal: AbortSignal): AsyncGenerator<HealthCheckResponse> {
    let sent: ServingStatus | undefined;
    while (!signal.aborted) {
      const status = statusOf(service);
      if (status !== sent) yield answer(status);
      sent = status;
      if (isDraining) throw connectError(draining(), "");
      await nextLook(signal);
    }
    // A deadline that is over is told as such: an end without an error says that all was told.
    signal.throwIfAborted();
  }

  return {
    implementation: {
      async check({ service }) {
        const status = statusOf(service);
        if (status === ServingStatus.SERVICE_UNKNOWN) throw unknown(service);
        return answer(status);
      },
      async list() {
        const statuses = Object.fromEntries(
          [...names].map((name) => [name, answer(statusOf(name))]),
        );
        return create(HealthListResponseSchema, { statuses });
      },
      watch: ({ service }, { signal }) => watch(service, signal),
    },
    drain() {
      isDraining = true;
      wakeAll();
    },
  };
}

function answer(status: ServingStatus): HealthCheckResponse {
  return create(HealthCheckResponseSchema, { status });
}

function unknown(service: string): ConnectError {
  const shown = JSON.stringify(service.slice(0, 80));
  return new ConnectError(`There is no service ${shown} on this node.`, Code.NotFound);
}

function draining(): QuorateError {
  return new QuorateError("draining", "The node is shutting down.", {
    hint: "Watch another node, or this one when it is back.",
  });
}
