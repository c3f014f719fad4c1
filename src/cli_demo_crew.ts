/**
 * Cli demo crew: the nodes of a cluster on this machine, each a process that can be paused, killed
 * and started again.
 *
 *     pause    SIGSTOP: it is there, and does nothing          resume   SIGCONT
 *     kill     SIGKILL: gone, as by a crash                    restart  stopped in order if it runs,
 *                                                                       then started
 *
 * Invariants
 * 1. A node has one process at most: the next one is started when the one before has ended.
 * 2. Once the crew is told to stop, nothing is started any more.
 *
 * Effects: starts processes, sends them signals.
 *
 * @module
 */

import { type ChildEnd, DemoChild } from "./cli_demo_child.ts";
import type { DemoNode } from "./cli_demo_plan.ts";
import { printable } from "./cli_io.ts";
import { exitCode } from "./errors.ts";

/** What is run for each node: a command, and the words before those of the node. */
export interface DemoProgram {
  readonly command: string;
  readonly words: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

export interface CrewParts {
  readonly nodes: readonly DemoNode[];
  readonly program: DemoProgram;
  /** Of the cluster; undefined for one node. */
  readonly secret: string | undefined;
  readonly environment: Environment;
  /** What a node is given beside that. */
  readonly extra?: (index: number) => {
    readonly words: readonly string[];
    readonly environment: Environment;
  };
  /** A line of a node's log. */
  readonly onLine: (member: CrewMember, line: string) => void;
  /** A node's process has ended; not told of one that is stopped to be started again. */
  readonly onEnd: (member: CrewMember, end: ChildEnd) => void;
}

/** Settings of the program that would be the same for all nodes, and must not be. */
const ownVariables = ["QUORATE_CLUSTER_SECRET", "QUORATE_CLUSTER_SECRET_FILE"];

/** This program, as it was started. */
export function thisProgram(): DemoProgram {
  // A debugger's port is taken by this process.
  const flags = process.execArgv.filter((flag) => !flag.startsWith("--inspect"));
  return { command: process.execPath, words: [...flags, process.argv[1] ?? ""] };
}

/** Ended because it was told to: by itself, or before it could listen to signals. */
export function isInOrder({ code, signal }: ChildEnd): boolean {
  return code === exitCode.done || signal === "SIGTERM";
}

/** How a process ended, for a person. */
export function howOf({ code, signal, why }: ChildEnd): string {
  const how =
    signal !== null
      ? `by ${signal}`
      : code === null
        ? "it could not be started"
        : `exit code ${code}`;
  return why === undefined ? how : `${how}, ${printable(why).replace(/\.$/, "")}`;
}

/** One node, whichever process it is at the moment. */
export class CrewMember {
  readonly node: DemoNode;
  readonly index: number;
  readonly #crew: Crew;
  #child: DemoChild;
  #isPaused = false;
  #isRestarting = false;

  constructor(crew: Crew, node: DemoNode, index: number) {
    this.#crew = crew;
    this.node = node;
    this.index = index;
    this.#child = this.#begin();
  }

  get child(): DemoChild {
    return this.#child;
  }

  get isRunning(): boolean {
    return !this.#child.hasEnded;
  }

  get isPaused(): boolean {
    return this.#isPaused && this.isRunning;
  }

  /** Between its end and its start, when it is stopped only to be started. */
  get isRestarting(): boolean {
    return this.#isRestarting;
  }

  /** False when there is nothing to do: it does not run, or is paused already. */
  pause(): boolean {
    if (!this.isRunning || this.#isPaused) return false;
    this.#isPaused = true;
    this.#child.pause();
    return true;
  }

  resume(): boolean {
    if (!this.isPaused) return false;
    this.#isPaused = false;
    this.#child.resume();
    return true;
  }

  kill(): boolean {
    if (!this.isRunning) return false;
    this.#child.kill();
    return true;
  }

  stop(): void {
    this.#child.stop();
    // One that does nothing hears nothing.
    this.resume();
  }

  /** False when it runs, or is about to, or the crew is told to stop. */
  start(): boolean {
    if (this.isRunning || this.#isRestarting || this.#crew.isOver) return false;
    this.#child = this.#begin();
    return true;
  }

  /** Stopped in order if it runs, and started when it has ended; false when that is under way. */
  async restart(): Promise<boolean> {
    if (this.#isRestarting) return false;
    this.#isRestarting = true;
    this.stop();
    await this.#child.ended;
    this.#isRestarting = false;
    return this.start();
  }

  #begin(): DemoChild {
    this.#isPaused = false;
    const child = this.#crew.begin(this);
    void child.ended.then((end) => this.#crew.ended(this, end));
    return child;
  }
}

export class Crew {
  readonly members: readonly CrewMember[];
  /** Settles when none runs and none is about to be started. */
  readonly allEnded: Promise<void>;
  readonly #parts: CrewParts;
  #tellAllEnded: () => void = () => {};
  #isOver = false;

  /** Starts every node. */
  constructor(parts: CrewParts) {
    this.#parts = parts;
    this.allEnded = new Promise((settle) => {
      this.#tellAllEnded = settle;
    });
    this.members = parts.nodes.map((node, index) => new CrewMember(this, node, index));
  }

  get running(): readonly CrewMember[] {
    return this.members.filter(({ isRunning }) => isRunning);
  }

  /** Whether it was told to stop. */
  get isOver(): boolean {
    return this.#isOver;
  }

  named(name: string): CrewMember | undefined {
    return this.members.find(({ node }) => node.name === name);
  }

  /** Tells every node to stop; answers how those ended that ran. */
  async stop(): Promise<readonly ChildEnd[]> {
    this.#isOver = true;
    const left = this.running;
    for (const member of left) member.stop();
    const ends = await Promise.all(left.map(({ child }) => child.ended));
    this.#look();
    await this.allEnded;
    return ends;
  }

  /** Ends every node at once. */
  killAll(): void {
    this.#isOver = true;
    for (const { child } of this.members) child.kill();
  }

  /** For its members alone: the process of one. */
  begin({ node, index }: CrewMember): DemoChild {
    const { program, secret, environment, extra, onLine } = this.#parts;
    const more = extra?.(index) ?? { words: [], environment: {} };
    const own: Record<string, string | undefined> = { ...environment, ...more.environment };
    for (const variable of ownVariables) delete own[variable];
    if (secret !== undefined) own["QUORATE_CLUSTER_SECRET"] = secret;
    return new DemoChild({
      command: program.command,
      words: [...program.words, ...node.words, ...more.words, "--log-format", "text"],
      environment: own,
      onLine: (line) => onLine(this.members[index] as CrewMember, line),
    });
  }

  /** For its members alone: the process of one has ended. */
  ended(member: CrewMember, end: ChildEnd): void {
    if (!member.isRestarting || this.#isOver) this.#parts.onEnd(member, end);
    this.#look();
  }

  #look(): void {
    const isThere = ({ isRunning, isRestarting }: CrewMember): boolean =>
      isRunning || (isRestarting && !this.#isOver);
    if (!this.members.some(isThere)) this.#tellAllEnded();
  }
}
