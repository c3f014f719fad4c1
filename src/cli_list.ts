/**
 * Cli list: `list` and `count`.
 *
 * A list is printed while it arrives: `--all` on ten million keys takes no more memory than on ten.
 *
 * Effects: the network through the client.
 *
 * @module
 */

import { utf8OrUndefined } from "./bytes.ts";
import type { Invocation } from "./cli_commands.ts";
import { clientOf, keyArgument } from "./cli_data.ts";
import type { Io } from "./cli_io.ts";
import {
  entryFields,
  formatOf,
  hasControls,
  keyText,
  printFields,
  sizeText,
  tableText,
  yamlText,
} from "./cli_output.ts";
import type { ListChoices, ListEntry, QuorateClient } from "./client.ts";
import type { OutputFormat } from "./config_table.ts";
import { exitCode } from "./errors.ts";
import { grouped } from "./figures.ts";

const limitDefault = 100;
const pageMax = 1000;

/** `quorate list [PREFIX]`. */
export async function list(invocation: Invocation, io: Io): Promise<number> {
  const { config, options } = invocation;
  const limit = options["all"] === true ? undefined : Number(options["limit"] ?? limitDefault);
  const choices: ListChoices = {
    ...rangeOf(invocation),
    reverse: options["reverse"] === true ? true : undefined,
    values: options["values"] === true ? true : undefined,
    cursor: options["cursor"] as string | undefined,
  };
  const printer = printerOf(formatOf(config, io, "table", "raw"), io);
  await printer.begin();
  let next: string | undefined;
  for await (const page of pagesOf(clientOf(config), choices, limit)) {
    await printer.page(page.entries);
    next = page.next;
  }
  await printer.end(next);
  if (next !== undefined) {
    io.note(io.paint("dim", `There are more: --all prints all, --cursor ${next} goes on here.`));
  }
  return exitCode.done;
}

/** `quorate count [PREFIX]`. */
export async function count(invocation: Invocation, io: Io): Promise<number> {
  const { config } = invocation;
  const { prefix } = rangeOf(invocation);
  const { keys, bytes, exact } = await clientOf(config).count({ prefix });
  const format = formatOf(config, io, "table", "raw");
  if (format === "table") {
    const row = [grouped(keys), sizeText(bytes), exact ? "yes" : "no, from counters"];
    await io.write(await tableText(["keys", "values", "exact"], [row]));
  } else await printFields(io, format, { keys, bytes, exact }, `${keys}\n`);
  return exitCode.done;
}

/** Prefix, start and end, as text or with --key64. */
export function rangeOf({ arguments: words, options }: Invocation): ListChoices {
  const bound = (given: unknown) =>
    typeof given === "string" && given !== "" ? keyArgument(given, options) : undefined;
  return {
    prefix: bound(words[0]),
    start: bound(options["start"]),
    end: bound(options["end"]),
  };
}

interface Page {
  readonly entries: readonly ListEntry[];
  readonly next: string | undefined;
}

async function* pagesOf(
  client: QuorateClient,
  choices: ListChoices,
  limit: number | undefined,
): AsyncGenerator<Page, void, void> {
  let left = limit ?? Number.POSITIVE_INFINITY;
  let cursor = choices.cursor;
  do {
    const page = await client.listPage({ ...choices, cursor, pageSize: Math.min(left, pageMax) });
    left -= page.entries.length;
    cursor = page.next;
    yield page;
  } while (cursor !== undefined && left > 0);
}

/** Prints pages as they come. */
interface Printer {
  begin(): Promise<void>;
  page(entries: readonly ListEntry[]): Promise<void>;
  end(next: string | undefined): Promise<void>;
}

function printerOf(format: OutputFormat, io: Io): Printer {
  if (format === "json") return jsonPrinter(io);
  if (format === "yaml") return yamlPrinter(io);
  return format === "raw" ? rawPrinter(io) : tablePrinter(io);
}

/** `{"items":[…],"next":…}`, an item a line. */
function jsonPrinter(io: Io): Printer {
  let isFirst = true;
  return {
    begin: () => io.write('{"items":['),
    async page(entries) {
      let text = "";
      for (const entry of entries) {
        text += `${isFirst ? "\n" : ",\n"}${JSON.stringify(entryFields(entry))}`;
        isFirst = false;
      }
      await io.write(text);
    },
    end: (next) =>
      io.write(next === undefined ? "\n]}\n" : `\n],"next":${JSON.stringify(next)}}\n`),
  };
}

function yamlPrinter(io: Io): Printer {
  let isEmpty = true;
  return {
    begin: async () => {},
    async page(entries) {
      if (entries.length === 0) return;
      await io.write(`${isEmpty ? "items:\n" : ""}${yamlText(entries.map(entryFields), "  ")}`);
      isEmpty = false;
    },
    end: (next) =>
      io.write(`${isEmpty ? "items: []\n" : ""}${next === undefined ? "" : yamlText({ next })}`),
  };
}

/** A key a line. A key that cannot stand on a line is printed as base64url, and a note says so. */
function rawPrinter(io: Io): Printer {
  let odd = 0;
  return {
    begin: async () => {},
    async page(entries) {
      let lines = "";
      for (const { key } of entries) {
        const text = utf8OrUndefined(key);
        const isPlain = text !== undefined && !hasControls(text);
        if (!isPlain) odd += 1;
        lines += `${isPlain ? text : keyText(key)}\n`;
      }
      await io.write(lines);
    },
    async end() {
      if (odd === 0) return;
      io.note(`${odd} of these keys are not plain text: -o json prints them exactly.`);
    },
  };
}

function tablePrinter(io: Io): Printer {
  let isFirst = true;
  return {
    begin: async () => {},
    async page(entries) {
      if (entries.length === 0) {
        if (isFirst) io.note(io.paint("dim", "No keys."));
        return;
      }
      const rows = entries.map(({ key, bytes, contentType, expiresAtMs }) => [
        keyText(key),
        sizeText(bytes),
        contentType,
        expiresAtMs === undefined ? "" : new Date(expiresAtMs).toISOString(),
      ]);
      const head = isFirst ? ["key", "value", "type", "expires"] : [];
      isFirst = false;
      await io.write(await tableText(head, rows));
    },
    end: async () => {},
  };
}
