/**
 * CoordinatorReadNotes: what a read tells of itself: in its error, and to whoever wants it explained.
 *
 * While it runs, it is noted of each replica what it said and how long that took. What the rules make of the
 * answers (which of them counted for nothing, and why) is asked of the quorum at the end.
 *
 *     { replicas: [{ node: "n1", status: "took", tookMs: 0.4 }, { node: "n2", status: "asked" }],
 *       hedges: 1, repairs: ["n3"], tookMs: 7.1 }
 *
 * Effects: Clock. Source: rules R1, R2.
 *
 * @module
 */

import type { Clock } from "./capability.ts";
import {
  errorLines,
  type KeyPlace,
  lackingHint,
  type ReplicaNote,
  rounded,
} from "./coordinator_ports.ts";
import { QuorateError } from "./errors.ts";
import type { Level } from "./level.ts";
import type { ReadQuorum } from "./quorum_read.ts";

export interface NotedRead {
  readonly key: Uint8Array;
  readonly level: Level;
  /** Whether an error says what happened, as an answer can. */
  readonly explains?: boolean | undefined;
}

/** What is asked of the quorum. */
export type JudgedReplies = Pick<ReadQuorum, "overruled" | "forgotten" | "replies">;

export class ReadNotes {
  /** By replica, as the quorum numbers them. */
  replicas: ReplicaNote[] = [];
  /** How many were asked because another one was late. */
  hedges = 0;
  /** Names of those that were given the record. */
  readonly repaired: string[] = [];
  readonly #read: NotedRead;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #beganMs: number;
  #epoch = 0;

  constructor(read: NotedRead, clock: Pick<Clock, "monotonicMs">) {
    this.#read = read;
    this.#clock = clock;
    this.#beganMs = clock.monotonicMs();
  }

  get tookMs(): number {
    return this.#clock.monotonicMs() - this.#beganMs;
  }

  /** The replicas are asked, under a newer topology once more: what was noted before counts no more. */
  begin({ replicas, epoch }: KeyPlace): void {
    this.replicas = replicas.map(({ name }) => ({ node: name, status: "not asked" }));
    this.#epoch = epoch;
  }

  explain(quorum: JudgedReplies): unknown {
    this.#noteIgnored(quorum);
    return {
      replicas: this.replicas.map((note) => ({ ...note })),
      hedges: this.hedges,
      repairs: this.repaired,
      tookMs: rounded(this.tookMs),
    };
  }

  quorumError(quorum: JudgedReplies): QuorateError {
    const { needed } = this.#read.level;
    const { replies } = quorum;
    const tookMs = Math.round(this.tookMs);
    return this.error(
      quorum,
      "read-quorum-not-met",
      replies < needed
        ? `${replies} of ${needed} replicas answered the read, after ${tookMs} ms, and no more can.`
        : `${replies} replicas answered, but too few could be given the newest version in ${tookMs} ms.`,
    );
  }

  error(
    quorum: JudgedReplies,
    slug: "timeout" | "read-quorum-not-met",
    detail: string,
  ): QuorateError {
    this.#noteIgnored(quorum);
    const { key, level, explains } = this.#read;
    return new QuorateError(slug, detail, {
      needed: level.needed,
      acks: quorum.replies,
      key,
      epoch: this.#epoch,
      replicas: errorLines(this.replicas),
      hint: this.#hint,
      ...(explains === true ? { explain: this.explain(quorum) } : {}),
    });
  }

  /** What would help: to ask for fewer replicas does not where one alone was asked for. */
  get #hint(): string {
    const lacking = lackingHint(this.replicas);
    if (this.#read.level.needed === 1) {
      return lacking ?? "Repeat the request. 'quorate status' tells which nodes are down.";
    }
    const fewer =
      "Repeat the request, or ask for fewer replicas: consistency=one reads whatever is there.";
    return lacking === undefined ? fewer : `${lacking} ${fewer}`;
  }

  #noteIgnored({ overruled, forgotten }: JudgedReplies): void {
    const ignore = (replicas: readonly number[], why: string): void => {
      for (const replica of replicas) (this.replicas[replica] as ReplicaNote).ignored = why;
    };
    ignore(overruled, "the record was deleted below a watermark that this replica does not have");
    for (const replica of forgotten) {
      const what =
        this.replicas[replica]?.tombstone === true ? "the delete is" : "the record is over,";
      ignore([replica], `${what} below the watermark and counts as nothing`);
    }
  }
}
