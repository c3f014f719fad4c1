/**
 * NetworkHarness: a network in memory, between nodes of one test.
 *
 * Frames arrive in order, each in a turn of its own. A test can cut a pair of addresses, one way or
 * both, or hold frames back.
 *
 * @module
 */

import type {
  AcceptedStream,
  Clock,
  FrameSink,
  FrameSource,
  Network,
  PeerStream,
} from "../src/capability.ts";

interface Acceptor {
  accept(stream: AcceptedStream): { readonly source: FrameSource; readonly sink: FrameSink };
}

interface Pipe {
  readonly source: string;
  readonly target: string;
  /** Nothing comes through any more, and neither end is told. */
  isSilent: boolean;
  end(reason?: Error): void;
}

export class MemoryNetwork {
  readonly #clock: Clock;
  readonly #acceptors = new Map<string, Acceptor>();
  readonly #cuts = new Set<string>();
  readonly #pipes = new Set<Pipe>();
  /** Every frame that was delivered. */
  frames = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  listen(address: string, acceptor: Acceptor): void {
    this.#acceptors.set(address, acceptor);
  }

  /** Nobody listens there any more, and what was open there ends. */
  unlisten(address: string): void {
    this.#acceptors.delete(address);
    this.#endPipes((pipe) => pipe.source === address || pipe.target === address);
  }

  /** The machine loses its power: nobody listens there any more, and the other ends are not told. */
  vanish(address: string): void {
    this.#acceptors.delete(address);
    for (const pipe of [...this.#pipes]) {
      if (pipe.source !== address && pipe.target !== address) continue;
      pipe.isSilent = true;
      this.#pipes.delete(pipe);
    }
  }

  /** No frame goes from `source` to `target` any more, and their streams end. */
  cut(source: string, target: string): void {
    this.#cuts.add(`${source} ${target}`);
    this.#endPipes(
      (pipe) =>
        (pipe.source === source && pipe.target === target) ||
        (pipe.source === target && pipe.target === source),
    );
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** The network as the node at `address` has it. */
  from(address: string): Network {
    return { dial: (target, source, sink) => this.#dial(address, target, { source, sink }) };
  }

  #dial(
    address: string,
    target: string,
    own: { readonly source: FrameSource; readonly sink: FrameSink },
  ): PeerStream {
    let other: { readonly source: FrameSource; readonly sink: FrameSink } | undefined;
    let isEnded = false;
    const pipe: Pipe = {
      source: address,
      target,
      isSilent: false,
      end: (reason) => {
        if (isEnded) return;
        isEnded = true;
        this.#pipes.delete(pipe);
        own.sink.onEnd(reason);
        if (!pipe.isSilent) other?.sink.onEnd(reason);
      },
    };
    const stream = { close: () => pipe.end() };
    this.#clock.soon(() => {
      if (isEnded) return;
      const acceptor = this.#acceptors.get(target);
      if (acceptor === undefined || this.#isCut(address, target) || this.#isCut(target, address)) {
        pipe.end(new Error("nobody listens there"));
        return;
      }
      this.#pipes.add(pipe);
      const accepted = acceptor.accept({ ...stream, proven: () => {} });
      other = accepted;
      void this.#pump(own.source, accepted.sink, pipe, () => isEnded);
      void this.#pump(accepted.source, own.sink, pipe, () => isEnded);
    });
    return stream;
  }

  async #pump(
    source: FrameSource,
    sink: FrameSink,
    pipe: Pipe,
    isEnded: () => boolean,
  ): Promise<void> {
    for (;;) {
      const frame = await source.next();
      if (isEnded()) return;
      if (frame === undefined) {
        pipe.end();
        return;
      }
      await new Promise<void>((resolve) => this.#clock.soon(resolve));
      if (isEnded()) return;
      if (pipe.isSilent) continue;
      this.frames += 1;
      // As over a wire: the other end has bytes of its own.
      sink.onFrame(frame.slice());
    }
  }

  #isCut(source: string, target: string): boolean {
    return this.#cuts.has(`${source} ${target}`);
  }

  #endPipes(isMeant: (pipe: Pipe) => boolean): void {
    for (const pipe of [...this.#pipes]) if (isMeant(pipe)) pipe.end(new Error("the wire was cut"));
  }
}
