/**
 * Standing: what this replica's answers are worth, partition by partition, after a start.
 *
 * A store that was restarted may have lost what it had acknowledged: its disk was rolled back to an
 * older state, or the end of its log was cut. It cannot know by itself; the peers that remember how far
 * it had come can. Until they have told, it answers nothing; until it has compared what it may lack,
 * its answers do not count.
 *
 *     start --told by every other replica that is up, and one--> told --compared likewise, for each n--> whole
 *       |                                                          \--for one n: counts for that
 *       \--one remembers more than the store opened with: `isLost`, it was rolled back
 *
 * Whether what a store that was rolled back holds is worth anything is told by `losses`: it fills.
 *
 * Invariants
 * 1. A standing only rises, `asked` to `told` to `whole`; `isLost` is for ever.
 * 2. A partition that has no other replica is whole for as long as that is so: the topology may be as old
 *    as a store that was rolled back, and a newer one name those who remember it.
 *
 * Effects: none. Source: rules I3, D3, R4; promise P9.
 *
 * @module
 */

/** What a replica's answers are worth. */
export type Standing =
  /** It must not answer: who remembers it has not told yet. */
  | "asked"
  /** It takes writes; what was not compared yet does not count: no writes either, which D3 does not ask for. */
  | "told"
  /** Reads and writes count, where it has data. */
  | "whole";

export interface StandingOptions {
  /**
   * The synced sequence that the store opened with, counted as others know it. A batch at the log's end that was
   * cut is not in it: where others have heard of it, it is as lost as one of which nothing is left.
   */
  readonly openedSequence: number;
  /** It was found to be rolled back in an earlier run. */
  readonly wasLost?: boolean;
  /** Bytes other than zeros were cut off the log (D3). */
  readonly wasCut: boolean;
  readonly partitions: number;
  /** The other replicas of a partition, by node id. */
  readonly othersOf: (partition: number) => readonly string[];
  /**
   * The same for each n in use for which there are some: who holds it for a larger n alone has nothing to
   * compare for the smaller one. Default: one n.
   */
  readonly othersByN?: (partition: number) => ReadonlyMap<number, readonly string[]>;
  /** Whether a node has not answered a handshake within 2 s of the first attempt. */
  readonly isDown: (nodeId: string) => boolean;
  /** A peer remembers more than the store opened with. */
  readonly onLost?: (rememberedSequence: number) => void;
}

export class Standings {
  readonly #options: StandingOptions;
  /** By node: the highest sequence of this store that it remembers. */
  readonly #told = new Map<string, number>();
  /** By partition: the nodes with which it was compared. */
  readonly #compared = new Map<number, Set<string>>();
  /** By partition; only what has risen. */
  readonly #reached: Standing[];
  /** By partition: each n for which enough of the others were compared. */
  readonly #comparedFor = new Map<number, Set<number>>();
  /** Partitions that had no other replica when they were looked at: nothing of them was cut. */
  readonly #wasFree = new Set<number>();
  #isLost = false;

  constructor(options: StandingOptions) {
    this.#options = options;
    this.#isLost = options.wasLost === true;
    this.#reached = new Array<Standing>(options.partitions).fill("asked");
  }

  /** Whether a peer remembers more than the store opened with, now or in an earlier run (I3). */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Whether every partition is whole. */
  get isWhole(): boolean {
    return this.#reached.every((reached, partition) => {
      return reached === "whole" || this.of(partition) === "whole";
    });
  }

  /** Whether some partition is not answered for, as nobody has told yet (I3). */
  get isAsked(): boolean {
    return this.#reached.some((reached, partition) => {
      return reached === "asked" && this.of(partition) === "asked";
    });
  }

  /** A peer has answered the handshake: what it remembers of this store, 0 for nothing. */
  tell(nodeId: string, rememberedSequence: number): void {
    // What it remembers later is of this run, and says nothing about what was there at the start.
    if (this.#told.has(nodeId)) return;
    this.#told.set(nodeId, rememberedSequence);
    if (rememberedSequence <= this.#options.openedSequence) return;
    this.#isLost = true;
    this.#options.onLost?.(rememberedSequence);
  }

  /**
   * Why this store's vote, and what it has promised, are void (I3); undefined: they count. A store
   * that was rolled back has forgotten promises, and could help to choose a second document.
   *
   * Those that join may never have come up, and then nobody else could take that back: only one that is
   * there has to tell, where all the others join.
   */
  whyNoVote(others: readonly string[], joining: readonly string[] = []): string | undefined {
    if (this.#isLost) return "its store was rolled back";
    const isTold = (nodeId: string): boolean => this.#told.has(nodeId);
    const isAlone = others.every((nodeId) => joining.includes(nodeId));
    if (isAlone && others.every((nodeId) => isTold(nodeId) || this.#options.isDown(nodeId))) {
      return undefined;
    }
    if (this.#isAnsweredBy(others, isTold)) return undefined;
    return "the other members have not told yet what they remember of its store";
  }

  /** A partition was compared with a node's, in both directions, from its begin to its end. */
  compare(partition: number, nodeId: string): void {
    let nodes = this.#compared.get(partition);
    if (nodes === undefined) {
      nodes = new Set();
      this.#compared.set(partition, nodes);
    }
    nodes.add(nodeId);
  }

  of(partition: number): Standing {
    const reached = this.#reached[partition] as Standing;
    if (reached === "whole") return reached;
    const others = this.#options.othersOf(partition);
    if (others.length === 0) {
      this.#wasFree.add(partition);
      return "whole";
    }
    const now = this.#rise(partition, others, reached);
    this.#reached[partition] = now;
    return now;
  }

  /** Whether its answers count for namespaces with this n: of a cut end, what was compared for it (D3). */
  counts(partition: number, n: number): boolean {
    const standing = this.of(partition);
    if (standing !== "told") return standing === "whole";
    const byN = this.#options.othersByN?.(partition);
    if (byN === undefined) return false;
    const others = byN.get(n);
    return others === undefined || this.#isCompared(partition, n, others);
  }

  /** The nodes with which a partition has yet to be compared. */
  toCompare(partition: number): readonly string[] {
    if (!this.#options.wasCut || this.of(partition) !== "told") return [];
    const done = this.#compared.get(partition);
    return this.#options.othersOf(partition).filter((nodeId) => done?.has(nodeId) !== true);
  }

  #rise(partition: number, others: readonly string[], reached: Standing): Standing {
    if (reached === "asked" && !this.#isAnsweredBy(others, (nodeId) => this.#told.has(nodeId))) {
      return "asked";
    }
    if (!this.#options.wasCut || this.#wasFree.has(partition)) return "whole";
    const byN = this.#options.othersByN?.(partition) ?? new Map([[0, others]]);
    const isCompared = [...byN].every(([n, set]) => this.#isCompared(partition, n, set));
    return isCompared ? "whole" : "told";
  }

  #isCompared(partition: number, n: number, others: readonly string[]): boolean {
    const done = this.#comparedFor.get(partition) ?? new Set();
    if (done.has(n)) return true;
    const compared = this.#compared.get(partition);
    if (!this.#isAnsweredBy(others, (nodeId) => compared?.has(nodeId) === true)) return false;
    this.#comparedFor.set(partition, done.add(n));
    return true;
  }

  /** Every one that is up, and at least one. */
  #isAnsweredBy(nodeIds: readonly string[], has: (nodeId: string) => boolean): boolean {
    const { isDown } = this.#options;
    return nodeIds.some(has) && nodeIds.every((nodeId) => has(nodeId) || isDown(nodeId));
  }
}
