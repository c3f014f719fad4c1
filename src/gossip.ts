/**
 * Gossip: who is alive, where each node is reached, and which epoch is the newest.
 *
 * About once a second a node sends its heartbeat to a few others (to all while the cluster is
 * small), and each answers with its own. Some of these carry a digest of what was heard of others, so
 * that news of a node reaches also those that it did not speak to itself: a higher heartbeat is a sign of
 * life, a higher boot number brings a new address. `detector` turns arrivals into suspicion.
 *
 *     n3 starts again on another port; it finds n2 alone
 *     n3 (boot 8, :9003) -> n2            n2 -> n1: "n3: boot 8, beat 1, :9003" -> n1 reaches n3
 *
 * Before a node is called down it is asked once more, and a few others are asked whether they reach
 * it (SWIM). Being down changes who is asked first, never who owns what (P6).
 *
 * Invariants
 * 1. For each node (boot, beat) only grows; a lower boot is refused (I2).
 * 2. Time in which our own event loop was late accuses nobody.
 * 3. What is kept is bounded by the members of the document.
 * 4. One document is fetched at a time, and one probe of a node.
 *
 * Effects: Clock, Random; nodes are asked through a port. Source: Das, Gupta and Motivala, "SWIM"
 * (2002), section 3.1 (indirect probes); Dadgar and others, "Lifeguard" (2018), for being aware of
 * one's own lateness; rules T2, I2.
 *
 * @module
 */

import type { AgreedDocument, AskNode } from "./agreed.ts";
import { assert } from "./assert.ts";
import type { Clock, Random, Report } from "./capability.ts";
import { Detector, type DetectorSettings, detectorDefault, type Liveness } from "./detector.ts";
import {
  type Heartbeat,
  type HeartbeatReply,
  type ProbeReply,
  parseHeartbeat,
  parseHeartbeatReply,
  parseProbe,
  parseProbeReply,
  type Rumour,
  rumoursMax,
} from "./gossip_message.ts";

export type { Heartbeat, HeartbeatReply, Rumour } from "./gossip_message.ts";

/** What nodes ask each other for here. */
export const gossipTopics = ["heartbeat", "ping", "probe"] as const;

export interface GossipPorts {
  /** The durable document; undefined while this node is in no cluster. */
  present(): AgreedDocument | undefined;
  readonly ask: AskNode;
  /** A node is reached at other addresses now: the links have to follow. */
  reach(nodeId: string, addresses: readonly string[], boot: number): void;
  /** A node tells a newer epoch: its document has to be fetched. */
  catchUp(nodeId: string): Promise<void>;
  load(): Readonly<Record<string, number>>;
  /** Another process serves a copy of this folder, or a later start of it: this one must end (I2). */
  outdated(boot: number): void;
}

export interface GossipSettings {
  readonly detector: DetectorSettings;
  /** Up to so many others get every heartbeat; in a larger cluster so many, chosen by chance. */
  readonly peersMax: number;
  /** So many of these get what was heard of others as well: it is most of the bytes. */
  readonly digestsMax: number;
  /** So many others are asked to probe an accused node. More: fewer false accusations. */
  readonly probesMax: number;
  /** How long a probe, or a direct question, may take. */
  readonly probeMs: number;
  /** A tick that is late by less than this is in order. */
  readonly lateMs: number;
}

export const gossipDefault: GossipSettings = {
  detector: detectorDefault,
  peersMax: 16,
  digestsMax: 4,
  probesMax: 3,
  probeMs: 1000,
  lateMs: 100,
};

/** What is chosen of all that. */
export interface GossipChoices {
  /** How often a node sends; by how much a peer may be late follows from it. */
  readonly periodMs: number;
  readonly phiSuspect: number;
  readonly phiDown: number;
}

export function gossipOf({ periodMs, phiSuspect, phiDown }: GossipChoices): GossipSettings {
  const detector = {
    ...detectorDefault,
    intervalMs: periodMs,
    deviationMinMs: (detectorDefault.deviationMinMs * periodMs) / detectorDefault.intervalMs,
    suspectPhi: phiSuspect,
    downPhi: phiDown,
  };
  return { ...gossipDefault, detector };
}

/** What is known of another node. */
export interface PeerView {
  readonly nodeId: string;
  readonly state: Liveness;
  readonly phi: number;
  /** Milliseconds since it was last heard of, through others too. */
  readonly silentMs: number;
  /** Milliseconds since it spoke to this node itself; undefined: not since this one's start. */
  readonly directSilentMs: number | undefined;
  readonly addresses: readonly string[];
  /** 0: not heard of since this node's start. */
  readonly boot: number;
  readonly epoch: number;
  readonly load: Readonly<Record<string, number>>;
}

export interface GossipParts {
  readonly nodeId: string;
  readonly boot: number;
  readonly addresses: readonly string[];
  readonly ports: GossipPorts;
  readonly clock: Clock;
  readonly random: Random;
  readonly report: Report;
  /** The highest boot number that is remembered of a node; 0: none. */
  readonly bootHeard?: (nodeId: string) => number;
  readonly settings?: GossipSettings;
}

interface Peer {
  readonly nodeId: string;
  readonly detector: Detector;
  boot: number;
  beat: number;
  addresses: readonly string[];
  epoch: number;
  load: Readonly<Record<string, number>>;
  /** The start and the beat of which it told that itself: others may have told of the beat before. */
  told: { readonly boot: number; readonly beat: number };
  directMs: number | undefined;
  /** What was last reported. */
  stateTold: Liveness;
  isProbed: boolean;
}

export class Gossip {
  readonly #parts: GossipParts;
  readonly #settings: GossipSettings;
  readonly #peers = new Map<string, Peer>();
  /** The document by which these are the others. */
  #followed: AgreedDocument | undefined;
  #beat = 0;
  #load: { readonly beat: number; readonly told: Readonly<Record<string, number>> } | undefined;
  #cancel: (() => void) | undefined;
  #dueMs = 0;
  /** Where the next digest begins. */
  #rumourFrom = 0;
  #isFetching = false;

  constructor(parts: GossipParts) {
    this.#parts = parts;
    this.#settings = parts.settings ?? gossipDefault;
  }

  start(): void {
    assert(this.#cancel === undefined, "gossip: it is started once");
    this.#schedule(0);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Every other member, as it is seen now. */
  view(): readonly PeerView[] {
    return this.#present().map((peer) => this.#seen(peer));
  }

  /** One other member, as it is seen now. */
  viewOf(nodeId: string): PeerView | undefined {
    this.#follow();
    const peer = this.#peers.get(nodeId);
    return peer === undefined ? undefined : this.#seen(peer);
  }

  /** Whether a node may be asked first; of nodes that are no members nothing is known. */
  stateOf(nodeId: string): Liveness | undefined {
    const peer = this.#peers.get(nodeId);
    return peer?.detector.judge(this.#judgeMs()).state;
  }

  /** Whether a request of a node that names its boot may be answered (I2). */
  takesBoot(nodeId: string, boot: number): boolean {
    return boot >= this.#bootOf(nodeId);
  }

  /** Answers another node on one of `gossipTopics`. */
  async handle(topic: string, body: unknown): Promise<unknown> {
    if (topic === "heartbeat") return this.#answer(parseHeartbeat(body));
    if (topic === "ping") return this.#selfRumour();
    return this.#probeFor(parseProbe(body).target);
  }

  #seen({ nodeId, boot, epoch, addresses, load, directMs, detector }: Peer): PeerView {
    const nowMs = this.#parts.clock.monotonicMs();
    const { phi, state } = detector.judge(this.#judgeMs());
    const silentMs = nowMs - detector.lastMs;
    const directSilentMs = directMs === undefined ? undefined : nowMs - directMs;
    return { nodeId, state, phi, silentMs, directSilentMs, addresses, boot, epoch, load };
  }

  #schedule(delayMs: number): void {
    this.#dueMs = this.#parts.clock.monotonicMs() + delayMs;
    this.#cancel = this.#parts.clock.after(delayMs, () => {
      this.#tick();
      // Nodes that were started together do not speak in step: 0.9 to 1.1 intervals.
      const share = 0.9 + (0.2 * this.#parts.random.u32()) / 2 ** 32;
      if (this.#cancel !== undefined) this.#schedule(this.#settings.detector.intervalMs * share);
    });
  }

  #tick(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const peers = this.#present();
    const lateMs = nowMs - this.#dueMs;
    if (lateMs >= this.#settings.lateMs) {
      this.#parts.report.observe("gossip_late_ms", lateMs);
      this.#parts.report.sometimes("gossip ticked late");
      for (const peer of peers) peer.detector.forgive(lateMs);
    }
    this.#beat += 1;
    const heartbeat = this.#heartbeat();
    if (heartbeat === undefined) return;
    const withDigest = { ...heartbeat, rumours: this.#rumours() };
    const { peersMax, digestsMax } = this.#settings;
    for (const [at, peer] of this.#chosen(peers, peersMax).entries())
      void this.#send(peer, at < digestsMax ? withDigest : heartbeat);
    for (const peer of peers) this.#judge(peer, nowMs);
  }

  async #send(peer: Peer, heartbeat: Heartbeat): Promise<void> {
    try {
      const raw = await this.#parts.ports.ask(peer.nodeId, "heartbeat", heartbeat);
      this.#hearReply(parseHeartbeatReply(raw));
    } catch {
      // Silence is what the detector is there for.
      this.#parts.report.count("gossip_heartbeats_unanswered");
    }
  }

  #answer(heartbeat: Heartbeat): HeartbeatReply {
    const own = this.#heartbeat();
    const clusterId = own?.clusterId ?? "0".repeat(32);
    if (own === undefined || heartbeat.clusterId !== clusterId)
      return { kind: "foreign", clusterId };
    const boot = this.#bootOf(heartbeat.nodeId);
    if (heartbeat.boot < boot) {
      this.#parts.report.sometimes("gossip refused a lower boot");
      return { kind: "outdated", boot };
    }
    // One that has just started knows nothing, and has nothing to tell of others.
    const isNew = heartbeat.boot > (this.#peers.get(heartbeat.nodeId)?.boot ?? 0);
    this.#hear(heartbeat);
    return isNew || heartbeat.rumours.length > 0 ? { ...own, rumours: this.#rumours() } : own;
  }

  #hearReply(reply: HeartbeatReply): void {
    if (reply.kind === "outdated") {
      if (reply.boot > this.#parts.boot) this.#parts.ports.outdated(reply.boot);
    } else if (reply.kind === "foreign") {
      this.#parts.report.count("gossip_heartbeats_foreign");
    } else if (reply.clusterId === this.#parts.ports.present()?.clusterId) this.#hear(reply);
  }

  /** A node has spoken to us itself. */
  #hear(heartbeat: Heartbeat): void {
    this.#fetchIfNewer(heartbeat);
    this.#follow();
    const peer = this.#peers.get(heartbeat.nodeId);
    // Digests of a start that is over are as old as it.
    if (heartbeat.boot < this.#bootOf(heartbeat.nodeId)) return;
    if (peer !== undefined) {
      peer.directMs = this.#parts.clock.monotonicMs();
      this.#learn(heartbeat);
      const { boot, beat } = heartbeat;
      if (boot > peer.told.boot || (boot === peer.told.boot && beat > peer.told.beat)) {
        peer.told = { boot, beat };
        peer.load = heartbeat.load;
        peer.epoch = Math.max(peer.epoch, heartbeat.epoch);
      }
    }
    for (const rumour of heartbeat.rumours) this.#learn(rumour);
  }

  /** Takes what is newer. */
  #learn({ nodeId, boot, beat, addresses }: Rumour): void {
    if (nodeId === this.#parts.nodeId) {
      if (boot > this.#parts.boot) this.#parts.ports.outdated(boot);
      return;
    }
    const peer = this.#peers.get(nodeId);
    if (peer === undefined || boot < this.#bootOf(nodeId)) return;
    if (boot === peer.boot && beat <= peer.beat) return;
    const nowMs = this.#parts.clock.monotonicMs();
    if (boot > peer.boot && peer.boot > 0) peer.detector.restarted(nowMs);
    else peer.detector.arrived(nowMs);
    if (boot > peer.boot) this.#move(peer, boot, addresses);
    peer.boot = boot;
    peer.beat = beat;
  }

  #move(peer: Peer, boot: number, addresses: readonly string[]): void {
    const isOther = addresses.length > 0 && addresses.join() !== peer.addresses.join();
    if (!isOther) return;
    peer.addresses = addresses;
    this.#parts.report.sometimes("gossip heard of a new address");
    this.#parts.ports.reach(peer.nodeId, addresses, boot);
  }

  #fetchIfNewer({ nodeId, epoch }: Heartbeat): void {
    const own = this.#parts.ports.present()?.epoch ?? 0;
    if (epoch <= own || this.#isFetching) return;
    this.#isFetching = true;
    this.#parts.ports
      .catchUp(nodeId)
      .catch(() => this.#parts.report.count("gossip_documents_not_fetched"))
      .finally(() => {
        this.#isFetching = false;
      });
  }

  #judge(peer: Peer, nowMs: number): void {
    const { state, isAccused, phi } = peer.detector.judge(nowMs);
    if (state !== peer.stateTold) {
      peer.stateTold = state;
      const level = state === "down" ? "warn" : "info";
      this.#parts.report.log(level, `A node is ${state} as seen from here.`, {
        peer: peer.nodeId,
        phi: Math.round(phi * 100) / 100,
        addresses: peer.addresses,
      });
    }
    if (isAccused && !peer.isProbed) void this.#accuse(peer);
  }

  /** Asks the node itself, and a few others, before it is called down. */
  async #accuse(peer: Peer): Promise<void> {
    peer.isProbed = true;
    const others = this.#present().filter(
      (other) => other !== peer && this.stateOf(other.nodeId) === "alive",
    );
    const helpers = this.#chosen(others, this.#settings.probesMax);
    const answers = await Promise.all([
      this.#ping(peer.nodeId),
      ...helpers.map((helper) => this.#askProbe(helper.nodeId, peer.nodeId)),
    ]);
    peer.isProbed = false;
    const reached = answers.filter((answer) => answer.kind === "reached");
    if (answers[0]?.kind === "reached") peer.directMs = this.#parts.clock.monotonicMs();
    for (const { rumour } of reached) if (rumour.nodeId === peer.nodeId) this.#learn(rumour);
    const nowMs = this.#parts.clock.monotonicMs();
    if (reached.length > 0) {
      this.#parts.report.sometimes("gossip kept a node that others reach");
      peer.detector.vouched(nowMs);
      return;
    }
    peer.detector.confirm(nowMs);
    this.#judge(peer, nowMs);
  }

  async #ping(nodeId: string): Promise<ProbeReply> {
    const raw = await this.#askInTime(nodeId, "ping", {}, this.#settings.probeMs);
    if (raw === undefined) return { kind: "silent" };
    return readReply({ kind: "reached", rumour: raw });
  }

  /** A helper needs its own time to find the node silent. */
  async #askProbe(helper: string, target: string): Promise<ProbeReply> {
    const waitMs = 2 * this.#settings.probeMs;
    const raw = await this.#askInTime(helper, "probe", { target }, waitMs);
    return readReply(raw);
  }

  #probeFor(target: string): Promise<ProbeReply> {
    this.#parts.report.sometimes("gossip probed for another");
    // Only members are reached for others: a probe is no way to make this node call anyone.
    if (!this.#peers.has(target)) return Promise.resolve({ kind: "silent" });
    return this.#ping(target);
  }

  #askInTime(nodeId: string, topic: string, body: unknown, waitMs: number): Promise<unknown> {
    return new Promise((resolve) => {
      const cancel = this.#parts.clock.after(waitMs, () => resolve(undefined));
      this.#parts.ports
        .ask(nodeId, topic, body)
        .then(resolve, () => resolve(undefined))
        .finally(cancel);
    });
  }

  /** The other members. */
  #present(): readonly Peer[] {
    this.#follow();
    return [...this.#peers.values()];
  }

  /** Those that left the document are forgotten, new ones begin alive. */
  #follow(): void {
    const present = this.#parts.ports.present();
    if (present !== undefined && present === this.#followed) return;
    this.#followed = present;
    const members = present?.members ?? [];
    const ids = new Set(members.map(({ nodeId }) => nodeId));
    for (const nodeId of this.#peers.keys()) if (!ids.has(nodeId)) this.#peers.delete(nodeId);
    for (const { nodeId, addresses } of members) {
      if (nodeId === this.#parts.nodeId || this.#peers.has(nodeId)) continue;
      const nowMs = this.#parts.clock.monotonicMs();
      this.#peers.set(nodeId, {
        nodeId,
        detector: new Detector(this.#settings.detector, nowMs),
        boot: 0,
        beat: 0,
        addresses,
        epoch: 0,
        load: {},
        told: { boot: 0, beat: 0 },
        directMs: undefined,
        stateTold: "alive",
        isProbed: false,
      });
    }
  }

  /** Without what was heard of others. */
  #heartbeat(): Heartbeat | undefined {
    const present = this.#parts.ports.present();
    if (present === undefined) return undefined;
    const { clusterId, epoch } = present;
    const load = this.#loadNow();
    return { ...this.#selfRumour(), kind: "heartbeat", clusterId, epoch, load, rumours: [] };
  }

  /** Counted once a beat: answers tell the same. */
  #loadNow(): Readonly<Record<string, number>> {
    if (this.#load?.beat !== this.#beat)
      this.#load = { beat: this.#beat, told: this.#parts.ports.load() };
    return this.#load.told;
  }

  #selfRumour(): Rumour {
    const { nodeId, boot, addresses } = this.#parts;
    return { nodeId, boot, beat: this.#beat, addresses };
  }

  /** What was heard of others; in a large cluster the next ones in turn. */
  #rumours(): readonly Rumour[] {
    const heard = this.#present().filter(({ boot }) => boot > 0);
    const from = heard.length > rumoursMax ? this.#rumourFrom % heard.length : 0;
    this.#rumourFrom = from + rumoursMax;
    return [...heard.slice(from), ...heard.slice(0, from)]
      .slice(0, rumoursMax)
      .map(({ nodeId, boot, beat, addresses }) => ({ nodeId, boot, beat, addresses }));
  }

  /** Up to `most` of them, by chance. */
  #chosen(peers: readonly Peer[], most: number): readonly Peer[] {
    const rest = [...peers];
    const chosen: Peer[] = [];
    while (chosen.length < most && rest.length > 0) {
      const at = Math.floor((this.#parts.random.u32() / 2 ** 32) * rest.length);
      chosen.push(...rest.splice(at, 1));
    }
    return chosen;
  }

  /** Now; or when the tick was due, as long as a late one has not come: what came is not read yet. */
  #judgeMs(): number {
    const nowMs = this.#parts.clock.monotonicMs();
    return this.#cancel === undefined ? nowMs : Math.min(nowMs, this.#dueMs);
  }

  #bootOf(nodeId: string): number {
    return Math.max(this.#peers.get(nodeId)?.boot ?? 0, this.#parts.bootHeard?.(nodeId) ?? 0);
  }
}

/** Nonsense for an answer is none. */
function readReply(raw: unknown): ProbeReply {
  try {
    return parseProbeReply(raw);
  } catch {
    return { kind: "silent" };
  }
}
