/**
 * ApiMoves: how an operator asks for other members, weights or zones, and what is told of it.
 *
 * First a plan, which changes nothing and says what would move; then the plan is applied by its id,
 * while the epoch is still the one for which it was made. From then on the cluster does it by itself.
 *
 * Effects: none (types only).
 *
 * @module
 */

/** What is to be otherwise. Members and waiting nodes are told by name. */
export interface PlanRequest {
  /** Nodes that wait to be members. */
  readonly join?: readonly string[] | undefined;
  /** Members that are to go. */
  readonly leave?: readonly string[] | undefined;
  /** Members whose place a waiting node takes; `by` may have the same name. */
  readonly replace?: readonly { readonly node: string; readonly by: string }[] | undefined;
  /** What only those that are replaced held is given up. */
  readonly acceptDataLoss?: boolean | undefined;
  /** Members that stay and hold nothing: weight 0. */
  readonly drain?: readonly string[] | undefined;
  readonly weight?: readonly { readonly node: string; readonly weight: number }[] | undefined;
  readonly zone?: readonly { readonly node: string; readonly zone: string }[] | undefined;
}

/** A member as a plan sees it. */
export interface PlanMember {
  readonly node: string;
  readonly nodeId: string;
  readonly change: "stays" | "joins" | "leaves";
  /** Partitions that it holds, before and after. */
  readonly partitionsBefore: number;
  readonly partitionsAfter: number;
  /** As they are told, and as they will be about; left out where too little is known. */
  readonly bytesBefore?: number;
  readonly bytesAfter?: number;
}

export interface PlanAnswer {
  /** What `apply` is given. */
  readonly id: string;
  /** The epoch for which it was made: under another one it is refused. */
  readonly epoch: number;
  readonly members: readonly PlanMember[];
  /** Partitions whose replicas change, and how many copies that takes. */
  readonly partitions: number;
  readonly copies: number;
  /** About so many bytes are copied, and it takes about so long. */
  readonly bytes: number;
  readonly seconds: number;
  readonly warnings: readonly string[];
  /** The command that carries it out. */
  readonly next: string;
}

/** A move that is under way. */
export interface MoveProgress {
  /** The epoch at which it began: by it a move is named. */
  readonly begun: number;
  readonly phase: number;
  readonly doing: string;
  readonly isReverting: boolean;
  readonly joining: readonly string[];
  readonly leaving: readonly string[];
  readonly partitions: number;
  /** What the next phase waits for, as this node sees it; undefined: for nothing any more. */
  readonly waitsFor?: string;
  /** Members that copy, and how far they are. */
  readonly copies: readonly {
    readonly node: string;
    readonly done: number;
    readonly all: number;
  }[];
}

export interface MovesAnswer {
  readonly epoch: number;
  readonly move?: MoveProgress;
  /** Members that have lost data, as they tell, and what is to be done; left out when there are none. */
  readonly losses?: readonly {
    readonly node: string;
    /** Partitions that are not filled yet. */
    readonly lacking: number;
    /** Its vote is void until it is replaced. */
    readonly rolledBack: boolean;
    readonly next: string;
  }[];
  /** Nodes that have asked this one to join. */
  readonly waiting: readonly {
    readonly node: string;
    readonly nodeId: string;
    readonly addresses: readonly string[];
  }[];
  /** What to do next. */
  readonly next: string;
}

export interface MovesApi {
  /** @throws `invalid-request` for what cannot be, `contention` while something moves */
  plan(request: PlanRequest): Promise<PlanAnswer>;
  /** Begins it. @throws `contention` for a plan of another epoch, `invalid-request` for one that has begun */
  apply(id: string): Promise<MovesAnswer>;
  /** Takes the move that is under way back. @throws `invalid-request` when that cannot be any more */
  revert(): Promise<MovesAnswer>;
  moves(): MovesAnswer;
}
