/**
 * Cli demo: a cluster on this machine, for a first look: some nodes, one log.
 *
 *     ports free? -> secret -> nodes started -> all ready -> what to type
 *     Ctrl-C -> SIGTERM to each -> all have ended -> exit 0, or 1 when one did not end in order
 *        Ctrl-C again -> SIGKILL to each -> exit 1
 *     a node ends by itself -> how, and how to start it again; the others go on
 *
 * Invariants
 * 1. Nothing is started when a port is taken.
 * 2. No node outlives the demo: it is told to stop, or notices that its channel is closed.
 *
 * Effects: processes, the network, the folder of the demo.
 *
 * @module
 */

import { relative } from "node:path";
import { shellText } from "./cli_again.ts";
import type { Invocation } from "./cli_commands.ts";
import type { ChildEnd } from "./cli_demo_child.ts";
import { type Control, handCrew, openControl } from "./cli_demo_control.ts";
import {
  Crew,
  type CrewMember,
  type DemoProgram,
  howOf,
  isInOrder,
  thisProgram,
} from "./cli_demo_crew.ts";
import { type DemoNode, type DemoPlan, demoSecret, planDemo, secretPath } from "./cli_demo_plan.ts";
import { askReady } from "./cli_demo_ready.ts";
import { type Io, printable, type Style } from "./cli_io.ts";
import { StopSignals } from "./cli_signals.ts";
import { exitCode } from "./errors.ts";

const nodesDefault = 3;
const portDefault = 8080;
const folderDefault = ".quorate/demo";
const readyPollMs = 100;
/** A node that is not ready says what it waits for, no sooner and no more often than this. */
const waitingNoteMs = 3000;
const colours: readonly Style[] = ["cyan", "magenta", "yellow", "green", "blue"];

/** `quorate demo`. */
export function demo(invocation: Invocation, io: Io): Promise<number> {
  return runDemo(invocation, io, thisProgram());
}

/** The same with any program for the nodes. */
export async function runDemo(
  { options }: Pick<Invocation, "options">,
  io: Io,
  program: DemoProgram,
): Promise<number> {
  const plan = await planDemo({
    count: Number(options["nodes"] ?? nodesDefault),
    port: Number(options["port"] ?? portDefault),
    folder: String(options["data-dir"] ?? folderDefault),
  });
  const secret = plan.nodes.length === 1 ? undefined : await demoSecret(plan.folder);
  // Listened to until the process ends: a key that is pressed once more must not change its exit code.
  const isOfNpm = io.environment["npm_lifecycle_event"] === "start";
  const signals = new StopSignals((_, line) => io.note(io.paint("dim", line)), isOfNpm);
  return new Demo({ plan, io, program, secret }).run(signals);
}

interface DemoParts {
  readonly plan: DemoPlan;
  readonly io: Io;
  readonly program: DemoProgram;
  readonly secret: string | undefined;
}

class Demo {
  readonly #parts: DemoParts;
  readonly #crew: Crew;

  constructor(parts: DemoParts) {
    const { plan, io, program, secret } = parts;
    this.#parts = parts;
    this.#crew = new Crew({
      nodes: plan.nodes,
      program,
      secret,
      environment: io.environment,
      onLine: ({ node, index }, line) => {
        const colour = colours[index % colours.length] ?? "bold";
        io.note(`${io.paint(colour, node.name)} ${printable(line)}`);
      },
      onEnd: (member, end) => this.#onEnd(member, end),
    });
  }

  async run(signals: StopSignals): Promise<number> {
    const { io, plan } = this.#parts;
    const crew = this.#crew;
    void signals.second.then(() => crew.killAll());
    void this.#whenReady();
    const control = await this.#control(plan.folder);
    try {
      const stopped = signals.first.then(() => true);
      if (!(await Promise.race([stopped, crew.allEnded.then(() => false)]))) {
        io.note(io.paint("red", "All nodes have ended, and so does the demo."));
        return exitCode.failed;
      }
      if (!(await crew.stop()).every(isInOrder)) return exitCode.failed;
      io.note("All nodes have stopped; everything acknowledged is kept.");
      return exitCode.done;
    } finally {
      await control?.close();
    }
  }

  /** What `quorate chaos kill n3` reaches; a demo does without it where it cannot be. */
  async #control(folder: string): Promise<Control | undefined> {
    const { io } = this.#parts;
    try {
      return await openControl(folder, (words) => handCrew(this.#crew, words));
    } catch (error) {
      io.note(io.paint("dim", `'quorate chaos' cannot reach this demo: ${String(error)}`));
      return undefined;
    }
  }

  /** Tells how a node ended that nobody told to. */
  #onEnd({ node }: CrewMember, end: ChildEnd): void {
    const { io } = this.#parts;
    if (this.#crew.isOver) {
      if (!isInOrder(end))
        io.note(io.paint("red", `${node.name} did not stop in order: ${howOf(end)}.`));
      return;
    }
    io.note(io.paint("red", `${node.name} has ended: ${howOf(end)}.`));
    if (this.#crew.running.length === 0) return;
    io.note(
      `The others go on. To start it again, in another terminal:\n  ${this.#commandOf(node)}`,
    );
  }

  /** When all are ready that have not ended, says what to type. */
  async #whenReady(): Promise<void> {
    const ready = await Promise.all(this.#crew.members.map((one) => this.#isReady(one)));
    if (this.#crew.isOver || !ready.includes(true)) return;
    await this.#parts.io.write(this.#whatToType());
  }

  /** Resolves with true when the node is ready; with false when it has ended, or is to stop. */
  async #isReady({ node, child }: CrewMember): Promise<boolean> {
    const { io } = this.#parts;
    await Promise.race([child.listening, child.ended]);
    let notedMs = performance.now();
    let noted = "";
    while (!child.hasEnded && !this.#crew.isOver) {
      const waitsFor = await askReady(node.url);
      if (waitsFor === undefined) return true;
      if (performance.now() - notedMs >= waitingNoteMs && waitsFor !== noted) {
        io.note(io.paint("dim", `${node.name} is not ready: ${printable(waitsFor)}`));
        notedMs = performance.now();
        noted = waitsFor;
      }
      await pause(readyPollMs);
    }
    return false;
  }

  #whatToType(): string {
    const { plan, program } = this.#parts;
    const running = this.#crew.running;
    const [first, ...others] = running;
    if (first === undefined) return "";
    const quorate = shellText([baseName(program.command), ...program.words.map(nearPath)]);
    const put = (url: string, key: string, name: string) =>
      `curl -X PUT ${url}/v1/kv/default/${key} -d '{"name":"${name}"}'`;
    const lines = [
      "",
      `${running.length === 1 ? "1 node is" : `${running.length} nodes are`} ready, with data in ${plan.folder}:`,
      ...running.map(({ node, child }) => `  ${node.name}  ${node.url}  process ${child.pid}`),
      "",
      "Try, in another terminal:",
      `  ${put(first.node.url, "users/1", "Ada")}`,
      ...running.map(({ node }) => `  curl ${node.url}/v1/kv/default/users/1`),
      `  ${quorate} status --url ${first.node.url}`,
    ];
    const victim = running.at(-1);
    // Of fewer, none can be missed.
    if (running.length >= 3 && others[0] !== undefined && victim !== undefined) {
      lines.push(
        "",
        "Kill one, and go on with the others:",
        `  kill -9 ${victim.child.pid}`,
        `  ${put(others[0].node.url, "users/2", "Grace")}`,
        `  curl ${first.node.url}/v1/kv/default/users/2`,
        `  ${quorate} hints --url ${others[0].node.url}`,
      );
    }
    lines.push("", "Ctrl-C stops all; everything acknowledged is kept.", "");
    return `${lines.join("\n")}\n`;
  }

  /** The command line that serves a node. */
  #commandOf({ words }: DemoNode): string {
    const { program, plan, secret } = this.#parts;
    const knows = secret === undefined ? [] : ["--cluster-secret-file", secretPath(plan.folder)];
    const before = [baseName(program.command), ...program.words.map(nearPath)];
    return shellText([...before, ...words, ...knows]);
  }
}

function baseName(path: string): string {
  return path.replace(/^.*[/\\]/, "");
}

/** A path as it is shortest to type from here. */
function nearPath(word: string): string {
  if (!word.startsWith("/")) return word;
  const near = relative(process.cwd(), word);
  return near.length < word.length ? near : word;
}

function pause(ms: number): Promise<void> {
  return new Promise((settle) => {
    setTimeout(settle, ms);
  });
}
