/**
 * Rpc error: how a failure is said over Connect, gRPC and gRPC-Web.
 *
 * A `QuorateError` becomes a `ConnectError` with the code of the one table in `errors.ts`, and with
 * an `ErrorDetail` that has all that a problem document of HTTP has.
 *
 * Effects: none.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { AssertionError } from "./assert.ts";
import { type ConnectCode, type Outcome, QuorateError, slugTable } from "./errors.ts";
import * as error from "./gen/quorate/v1/error_pb.ts";

const codes: Readonly<Record<ConnectCode, Code>> = {
  invalid_argument: Code.InvalidArgument,
  failed_precondition: Code.FailedPrecondition,
  unauthenticated: Code.Unauthenticated,
  permission_denied: Code.PermissionDenied,
  not_found: Code.NotFound,
  unimplemented: Code.Unimplemented,
  aborted: Code.Aborted,
  resource_exhausted: Code.ResourceExhausted,
  internal: Code.Internal,
  data_loss: Code.DataLoss,
  unavailable: Code.Unavailable,
  deadline_exceeded: Code.DeadlineExceeded,
};

const outcomes: Readonly<Record<Outcome, error.Outcome>> = {
  none: error.Outcome.NONE,
  partial: error.Outcome.PARTIAL,
  unknown: error.Outcome.UNKNOWN,
};

export function errorDetail(failure: QuorateError, requestId: string): error.ErrorDetail {
  const { facts } = failure;
  return create(error.ErrorDetailSchema, {
    slug: failure.slug,
    title: failure.title,
    detail: failure.detail,
    hint: facts.hint ?? slugTable[failure.slug].about,
    requestId,
    status: failure.status,
    ...(facts.outcome !== undefined && { outcome: outcomes[facts.outcome] }),
    ...(facts.needed !== undefined && { needed: facts.needed }),
    ...(facts.acks !== undefined && { acks: facts.acks }),
    ...(facts.key !== undefined && { key: facts.key }),
    ...(facts.namespace !== undefined && { namespace: facts.namespace }),
    ...(facts.epoch !== undefined && { epoch: BigInt(facts.epoch) }),
    ...(facts.limit !== undefined && { limit: BigInt(facts.limit) }),
    ...(facts.retryAfterSeconds !== undefined && { retryAfterSeconds: facts.retryAfterSeconds }),
    replicas: (facts.replicas ?? []).map(({ node, status, reason }) => ({
      node,
      status,
      reason: reason ?? "",
    })),
  });
}

/**
 * Any failure as Connect says it; `code` where a protocol wants another than the table's. An
 * assertion is not a failure of the request: it passes.
 */
export function connectError(failure: unknown, requestId: string, code?: Code): ConnectError {
  if (failure instanceof ConnectError) return failure;
  if (failure instanceof AssertionError) throw failure;
  const ours = QuorateError.from(failure);
  const known = new ConnectError(ours.message, code ?? codes[slugTable[ours.slug].connect]);
  known.cause = ours;
  known.details.push({ desc: error.ErrorDetailSchema, value: errorDetail(ours, requestId) });
  const wait = ours.facts.retryAfterSeconds;
  if (wait !== undefined) known.metadata.set("retry-after", String(wait));
  return known;
}

/** How a call of gRPC went, as its trailers say it; undefined: well. */
export function trailersOf(error: ConnectError | undefined): Record<string, string> {
  return Object.fromEntries(setTrailerStatus(new Headers(), error));
}
