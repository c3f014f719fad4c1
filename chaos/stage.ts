/**
 * Stage: the cluster of `quorate chaos`: its nodes, the ways between them, their disks and clocks.
 *
 *     folder/chaos.json   says that the folder is a chaos cluster's: only then is it emptied
 *     folder/n1, n2, ..   the nodes' data       folder/n1.log   what they said
 *
 * Invariants
 * 1. A folder with anything in it that no chaos cluster has made is left as it is.
 * 2. `close` leaves no process and no file system behind.
 *
 * Effects: processes, the network, the folder.
 *
 * @module
 */

import * as fs from "node:fs";
import { join } from "node:path";
import type { ChildEnd } from "../src/cli_demo_child.ts";
import { refuseSecond } from "../src/cli_demo_control.ts";
import { Crew, type CrewMember, thisProgram } from "../src/cli_demo_crew.ts";
import { type DemoPlan, demoSecret, planDemo } from "../src/cli_demo_plan.ts";
import { QuorateError } from "../src/errors.ts";
import { FakeClock, SmallDisk } from "./machine.ts";
import { ChaosNetwork } from "./network.ts";
import { nodeOfSmallDisk, type TroubleKind } from "./trouble.ts";

export interface StageOptions {
  readonly nodes: number;
  /** 0: free ones. */
  readonly port: number;
  readonly folder: string;
  /** What is to go wrong: a disk or a clock of its own is only made for that. */
  readonly kinds: readonly TroubleKind[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A node's process has ended. */
  readonly onEnd: (member: CrewMember, end: ChildEnd) => void;
}

const markFile = "chaos.json";
/** Ports that the kernel gives out are taken again while a node is down: these are only taken by name. */
const portMin = 12_000;
const portSpan = 18_000;
const portTriesMax = 50;
/** Small ones: checkpoints and full segments come often, and a small disk has room for them. */
const sizes = ["--segment-bytes", "2MiB", "--max-value", "64KiB", "--memtable-bytes", "1MiB"];
const diskReserve = ["--disk-reserve", "4MiB"];

export class Stage {
  readonly crew: Crew;
  readonly network: ChaosNetwork;
  readonly plan: DemoPlan;
  readonly disk: SmallDisk | undefined;
  readonly clocks: readonly FakeClock[];
  /** Troubles that cannot be made here, each with why. */
  readonly leftOut: ReadonlyMap<TroubleKind, string>;
  readonly #logs: readonly fs.WriteStream[];

  private constructor(parts: {
    readonly options: StageOptions;
    readonly plan: DemoPlan;
    readonly secret: string;
    readonly network: ChaosNetwork;
  }) {
    const { options, plan, secret, network } = parts;
    const { folder, kinds, nodes, environment, onEnd } = options;
    const leftOut = new Map<TroubleKind, string>();
    const names = plan.nodes.map(({ name }) => name);
    const small = kinds.includes("disk full")
      ? SmallDisk.mount(join(folder, names[nodeOfSmallDisk(nodes)] ?? ""))
      : undefined;
    if (typeof small === "string") leftOut.set("disk full", small);
    const clocks = kinds.includes("clock jump")
      ? names.map((name) => FakeClock.at(join(folder, `${name}.clock`)))
      : [];
    const noClock = clocks.find((clock) => typeof clock === "string");
    if (noClock !== undefined) leftOut.set("clock jump", noClock);
    this.disk = typeof small === "string" ? undefined : small;
    this.clocks = clocks.filter((clock) => typeof clock !== "string");
    this.plan = plan;
    this.network = network;
    this.leftOut = leftOut;
    this.#logs = names.map((name) => fs.createWriteStream(join(folder, `${name}.log`)));
    const ports = plan.nodes.map(({ port }) => port);
    this.crew = new Crew({
      nodes: plan.nodes,
      program: thisProgram(),
      secret,
      environment,
      extra: (index) => ({
        words: [...sizes, ...diskReserve, ...routesOf(index, ports, network)],
        environment: this.clocks[index]?.environment ?? {},
      }),
      onLine: ({ index }, line) => void this.#logs[index]?.write(`${line}\n`),
      onEnd: (member, end) => {
        if (this.clocks.length > 0) FakeClock.forget(member.child.pid);
        onEnd(member, end);
      },
    });
  }

  /** Empties the folder and starts every node. @throws `invalid-config` */
  static async start(options: StageOptions): Promise<Stage> {
    const { nodes, port, folder } = options;
    await refuseSecond(folder);
    const plan = await planOf({ count: nodes, port, folder });
    emptied(folder);
    const secret = await demoSecret(folder);
    const network = await ChaosNetwork.between(plan.nodes.map((node) => node.port));
    return new Stage({ options, plan, secret, network });
  }

  /** Ends what is left, at once. */
  async close(): Promise<void> {
    this.crew.killAll();
    await Promise.all(this.crew.members.map(({ child }) => child.ended));
    await this.network.close();
    await Promise.all(
      this.#logs.map((log) => new Promise<void>((settle) => log.end(() => settle()))),
    );
    const why = this.disk?.close();
    if (why !== undefined) throw new Error(`a file system is left mounted: ${why}`);
  }
}

function routesOf(
  index: number,
  ports: readonly number[],
  network: ChaosNetwork,
): readonly string[] {
  return ports.flatMap((port, other) =>
    other === index
      ? []
      : ["--peer-route", `127.0.0.1:${port}=127.0.0.1:${network.portOf(index, other)}`],
  );
}

async function planOf(choices: Parameters<typeof planDemo>[0]): Promise<DemoPlan> {
  if (choices.port !== 0) return planDemo(choices);
  let last: unknown;
  for (let tries = 0; tries < portTriesMax; tries += 1) {
    const [drawn = 0] = crypto.getRandomValues(new Uint32Array(1));
    try {
      return await planDemo({ ...choices, port: portMin + (drawn % portSpan) });
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

/** Makes the folder new; what stands there was a chaos cluster's, or the folder is left alone. */
function emptied(folder: string): void {
  fs.mkdirSync(folder, { recursive: true });
  const mark = join(folder, markFile);
  const names = fs.readdirSync(folder);
  if (names.length > 0 && !fs.existsSync(mark)) {
    throw new QuorateError("invalid-config", `${folder} holds something else already.`, {
      hint: "Every run of 'quorate chaos' begins with an empty folder: choose another --data-dir.",
    });
  }
  const isOurs = (name: string): boolean => /^(?:n\d(?:\.log|\.clock)?|secret|control)$/.test(name);
  for (const name of names.filter(isOurs)) {
    if (/^n\d$/.test(name)) SmallDisk.release(join(folder, name));
    fs.rmSync(join(folder, name), { recursive: true, force: true });
  }
  fs.writeFileSync(mark, `${JSON.stringify({ about: "the cluster of 'quorate chaos'" })}\n`);
}
