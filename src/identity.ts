/**
 * Identity: who a data folder belongs to, and how its last process ended.
 *
 * A folder is given a random **store id** when it is made, and the id of the node that it serves. The
 * **origin** is the number under which the store mints versions; it is apart from the ids because it
 * changes when the clock was set back far. The **boot number** counts starts. Beside these stands
 * what the next start must at least find: the highest sequence that was known when this was
 * written, so that a log or a table that went missing as a whole is noticed; the version of the protocol
 * that every program which opens the folder has to speak, as was promised to the cluster; and whether the end
 * of the log was cut, until what it may have held was compared with the other replicas.
 *
 * Invariants
 * 1. Everything in it is durable before a call that changes it resolves.
 * 2. A folder is never used for a node of another name, and never changed when it is refused.
 * 3. `clean` is true exactly from the end of an orderly close to the next start.
 * 4. Changes run one after another, each upon what the one before has left: the mint, the scrub and
 *    a close may come at the same moment.
 *
 * Effects: Disk, Random. Source: rules I1, I2, V1, D3; docs/upgrading.md, U3.
 *
 * @module
 */

import { fromHex, toHex } from "./bytes.ts";
import type { Disk, Random } from "./capability.ts";
import { QuorateError } from "./errors.ts";
import { formats, isVersion, protocolRange, protocolTooNew } from "./protocol.ts";
import { Slots } from "./slots.ts";
import type { Origin } from "./version.ts";

/**
 * The format of the whole data folder. It is 1 until the node has promised to run no program that speaks
 * version 1 of the protocol alone: such a program has to be able to go on with it, and then must not.
 */
const folderFormat: number = formats.folder;
const folderFormatOfOne = 1;
const slotName = "identity";
const nodeNameDefault = "n1";

interface Facts {
  readonly format: number;
  /** The version of the protocol that every program which opens the folder has to speak; from format 2. */
  readonly protocol?: number;
  /** 32 hex digits each. */
  readonly storeId: string;
  readonly nodeId: string;
  readonly name: string;
  /** 16 hex digits. */
  readonly origin: string;
  readonly boot: number;
  readonly clean: boolean;
  /** The log and the table reach at least this sequence. */
  readonly sequence: number;
  /** Starts, counted before the table is opened, since an orderly end or a look at all of the table. */
  readonly uncleanStarts: number;
  /** The end of the log was cut, by this start or by one before it, and not compared since (D3). */
  readonly isCut?: boolean;
}

/** The identity of one data folder. */
export class Identity {
  readonly #slots: Slots;
  #facts: Facts;
  #last: Promise<void> = Promise.resolve();

  private constructor(slots: Slots, facts: Facts) {
    this.#slots = slots;
    this.#facts = facts;
  }

  /**
   * Reads the identity, or makes one for an empty folder.
   *
   * @throws `wrong-data-folder` when the folder belongs to another node, format or program
   */
  static async open(disk: Disk, random: Random, name: string | undefined): Promise<Identity> {
    const slots = await Slots.open(disk, slotName);
    if (slots.found === undefined) {
      await refuseForeignFiles(disk);
      const facts = newFacts(random, name ?? nodeNameDefault);
      await slots.write(facts);
      return new Identity(slots, facts);
    }
    const facts = parseFacts(slots.found);
    if (name !== undefined && name !== facts.name) {
      throw new QuorateError(
        "wrong-data-folder",
        `The data folder belongs to node '${facts.name}', and this node is to be called '${name}'.`,
        { hint: `Start it with --name ${facts.name}, or with a data folder of its own.` },
      );
    }
    await slots.settle();
    return new Identity(slots, facts);
  }

  get name(): string {
    return this.#facts.name;
  }

  /** 32 hex digits. */
  get nodeId(): string {
    return this.#facts.nodeId;
  }

  /** 32 hex digits. */
  get storeId(): string {
    return this.#facts.storeId;
  }

  get storeIdBytes(): Uint8Array {
    return fromHex(this.#facts.storeId) as Uint8Array;
  }

  get origin(): Origin {
    return BigInt(`0x${this.#facts.origin}`);
  }

  /** The number of this start, from 1; before `begin` the number of the last one. */
  get boot(): number {
    return this.#facts.boot;
  }

  /** Whether the last process closed the folder in order. */
  get clean(): boolean {
    return this.#facts.clean;
  }

  /** The version of the protocol that its programs have to speak, as was promised. */
  get protocol(): number {
    return this.#facts.protocol ?? 1;
  }

  get sequence(): number {
    return this.#facts.sequence;
  }

  /** This start, and those before it that ended without order: more than a few are a crash loop. */
  get uncleanStarts(): number {
    return this.#facts.uncleanStarts;
  }

  /** Whether the end of the log was cut, and what it may have held was not compared since (D3). */
  get isCut(): boolean {
    return this.#facts.isCut === true;
  }

  /** Counts an attempt, before what may end the process: opening the table is a part of that. */
  attempt(): Promise<void> {
    return this.#change(({ uncleanStarts }) => ({ uncleanStarts: uncleanStarts + 1 }));
  }

  /** Counts this start. `sequence` is the highest that the log or the table holds. */
  begin(sequence: number): Promise<void> {
    return this.#change(({ boot }) => ({ boot: boot + 1, clean: false, sequence }));
  }

  /** All of the table was read, and is as it should be. */
  trusted(): Promise<void> {
    return this.#change((facts) => (facts.uncleanStarts > 0 ? { uncleanStarts: 0 } : undefined));
  }

  /** The end of the log is cut now: the next starts find none of it (D3). */
  cut(): Promise<void> {
    return this.#change(({ isCut }) => (isCut === true ? undefined : { isCut: true }));
  }

  /** What a cut end may have held was compared with the others'. */
  compared(): Promise<void> {
    return this.#change(({ isCut }) => (isCut === true ? { isCut: false } : undefined));
  }

  /** The folder is closed in order. A table in which damage was met stays counted: the next starts look. */
  end(sequence: number, isTableTrusted = true): Promise<void> {
    return this.#change(({ uncleanStarts }) => ({
      ...{ clean: true, sequence },
      uncleanStarts: isTableTrusted ? 0 : uncleanStarts,
    }));
  }

  /** Promises that no program will open the folder that does not speak this version. */
  pledge(protocol: number): Promise<void> {
    return this.#change((facts) =>
      protocol <= (facts.protocol ?? 1) ? undefined : { format: folderFormat, protocol },
    );
  }

  /** Takes a new origin, durably (V1). */
  async renewOrigin(random: Random): Promise<Origin> {
    await this.#change(() => ({ origin: toHex(random.bytes(8)) }));
    return this.origin;
  }

  /** `change` gets what then stands, and answers undefined when nothing has to change. */
  #change(change: (facts: Facts) => Partial<Facts> | undefined): Promise<void> {
    const turn = this.#last.then(async () => {
      const changed = change(this.#facts);
      if (changed === undefined) return;
      const facts = { ...this.#facts, ...changed };
      await this.#slots.write(facts);
      this.#facts = facts;
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}

function newFacts(random: Random, name: string): Facts {
  return {
    format: folderFormatOfOne,
    storeId: toHex(random.bytes(16)),
    nodeId: toHex(random.bytes(16)),
    name,
    origin: toHex(random.bytes(8)),
    boot: 0,
    clean: false,
    sequence: 0,
    uncleanStarts: 0,
  };
}

/** A folder without an identity has to be empty of data: it may be someone else's. */
async function refuseForeignFiles(disk: Disk): Promise<void> {
  const known = /^(LOCK.*|identity\.[ab])$/;
  const foreign = (await disk.list("")).filter((name) => !known.test(name));
  if (foreign.length === 0) return;
  throw new QuorateError(
    "wrong-data-folder",
    `The data folder has no identity, but holds '${foreign[0]}'${foreign.length > 1 ? ` and ${foreign.length - 1} more` : ""}.`,
    {
      hint: "Choose an empty folder. Where this one was a node's, its files identity.a and identity.b are missing: put them back.",
    },
  );
}

function parseFacts(found: unknown): Facts {
  const raw = found as Partial<Record<keyof Facts, unknown>>;
  if (raw.format !== folderFormatOfOne && raw.format !== folderFormat) {
    throw new QuorateError(
      "wrong-data-folder",
      `The data folder has format ${String(raw.format)}, and this version of the program reads formats ${folderFormatOfOne} to ${folderFormat}.`,
      { hint: "Use the version of Quorate that wrote it, or a newer one." },
    );
  }
  const { protocol = 1 } = raw;
  if (isVersion(protocol) && protocol > protocolRange.highest) throw protocolTooNew(protocol);
  const isId = (value: unknown): boolean =>
    typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
  const isWhole = (value: unknown): boolean => Number.isSafeInteger(value);
  const fits =
    isVersion(protocol) &&
    (protocol === 1) === (raw.format === folderFormatOfOne) &&
    isId(raw.storeId) &&
    isId(raw.nodeId) &&
    typeof raw.name === "string" &&
    typeof raw.origin === "string" &&
    /^[0-9a-f]{16}$/.test(raw.origin) &&
    typeof raw.clean === "boolean" &&
    isWhole(raw.boot) &&
    isWhole(raw.sequence) &&
    isWhole(raw.uncleanStarts) &&
    (raw.isCut === undefined || typeof raw.isCut === "boolean");
  if (fits) return raw as Facts;
  throw new QuorateError("corruption", "The data folder's identity lacks parts of its own.", {
    hint: "Restore identity.a and identity.b from a copy; they were not changed.",
  });
}
