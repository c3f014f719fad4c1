/**
 * Cli progress: a bar on a terminal, nothing elsewhere.
 *
 * Effects: draws on the standard error; reads the clock.
 *
 * @module
 */

import type { Io } from "./cli_io.ts";
import { grouped } from "./figures.ts";

const redrawMs = 100;
const barWidthMax = 30;

/** One line that is drawn again and again. */
export class Progress {
  readonly #io: Io;
  readonly #noun: string;
  readonly #startedMs: number = performance.now();
  #drawnMs = 0;
  #isDrawn = false;

  /** `noun` is what is counted: "keys". */
  constructor(io: Io, noun: string) {
    this.#io = io;
    this.#noun = noun;
  }

  get seconds(): number {
    return (performance.now() - this.#startedMs) / 1000;
  }

  /** `part` is how much is done, 0 to 1; undefined when nobody knows. */
  update(count: number, part: number | undefined): void {
    const { columns } = this.#io;
    const nowMs = performance.now();
    if (columns === undefined || nowMs - this.#drawnMs < redrawMs) return;
    this.#drawnMs = nowMs;
    this.#isDrawn = true;
    const line = `${barText(part, Math.min(barWidthMax, columns - 50))}${this.rateText(count)}`;
    this.#io.draw(`\r\u001b[K${line.slice(0, columns - 1)}`);
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#isDrawn) this.#io.draw("\r\u001b[K");
    this.#isDrawn = false;
  }

  /** `12,345 keys in 3.2 s (3,858 a second)`. */
  rateText(count: number): string {
    const { seconds } = this;
    const rate = seconds > 0 ? Math.round(count / seconds) : 0;
    return `${grouped(count)} ${this.#noun} in ${seconds.toFixed(1)} s (${grouped(rate)} a second)`;
  }
}

function barText(part: number | undefined, width: number): string {
  if (part === undefined || width < 5) return "";
  const whole = Math.max(0, Math.min(1, part));
  const done = Math.round(whole * width);
  const percent = String(Math.floor(whole * 100)).padStart(3);
  return `${"█".repeat(done)}${"░".repeat(width - done)} ${percent} %  `;
}
