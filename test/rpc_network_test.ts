/**
 * The way between two nodes over real sockets: a whole server at one end, `dial` at the other.
 *
 * Both ends are hands here: they say what a test gives them, and keep what they hear. Where the other
 * end must misbehave it is a bare server of node:net or node:http2.
 */

import * as http2 from "node:http2";
import * as net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Admission } from "../src/admission.ts";
import type { AcceptedStream, FrameSink, FrameSource, PeerStream } from "../src/capability.ts";
import { frameBytesMax, messageOf } from "../src/rpc_frames.ts";
import { networkOver, routed } from "../src/rpc_network.ts";
import { pingPeriodMs, strangerMessageBytesMax } from "../src/rpc_peer.ts";
import type { ServerOptions } from "../src/server.ts";
import { peerSilenceMsMax, strangerMsMax, strangersMax } from "../src/server_limits.ts";
import { eventually, HandClock } from "./http_harness.ts";
import { type Harness, withServer } from "./server_harness.ts";

const network = suite("rpc network");

/** How long a dialed node may take to answer; `rpc_network.ts` says so as well. */
const answerMsMax = 5000;

/** One end of a stream: says what it is given, keeps what it hears. */
class Hand implements FrameSource, FrameSink {
  readonly heard: Uint8Array[] = [];
  readonly ends: (Error | undefined)[] = [];
  /** What the network has asked of it. */
  asked = 0;
  framesAfterEnd = 0;
  readonly #frames: Iterator<Uint8Array>;
  #tell: ((frame: Uint8Array | undefined) => void) | undefined;
  stream: PeerStream | undefined;

  constructor(frames: Iterable<Uint8Array> = []) {
    this.#frames = frames[Symbol.iterator]();
  }

  next(): Promise<Uint8Array | undefined> {
    this.asked += 1;
    const { done, value } = this.#frames.next();
    if (done !== true) return Promise.resolve(value);
    return new Promise((resolve) => {
      this.#tell = resolve;
    });
  }

  /** Says one more. */
  send(frame: Uint8Array): void {
    this.#tell?.(frame);
  }

  /** Has no more to say. */
  finish(): void {
    this.#tell?.(undefined);
  }

  onFrame(frame: Uint8Array): void {
    if (this.ends.length > 0) this.framesAfterEnd += 1;
    this.heard.push(frame);
  }

  onEnd(reason: Error | undefined): void {
    this.ends.push(reason);
  }
}

const hello = Uint8Array.of(1, 2, 3);

/** What a stream of a node begins with. */
const linkRequest = {
  ":method": "POST",
  ":path": "/quorate.peer.v1.PeerService/Link",
  "content-type": "application/grpc",
  te: "trailers",
};

/** Where a bare server in place of a node listens. */
async function listening(bare: net.Server): Promise<number> {
  bare.listen(0, "127.0.0.1");
  await eventually(() => bare.listening);
  return (bare.address() as net.AddressInfo).port;
}

/** Streams that a server has taken. */
class Taken {
  readonly hands: Hand[] = [];
  /** Whether whoever opens one is taken for a node. */
  isProving = true;
  readonly #frames: () => Iterable<Uint8Array>;

  constructor(frames: () => Iterable<Uint8Array> = () => []) {
    this.#frames = frames;
  }

  get only(): Hand {
    assert.is(this.hands.length, 1);
    return this.hands[0] as Hand;
  }

  readonly accept = (stream: AcceptedStream): { source: FrameSource; sink: FrameSink } => {
    const hand = new Hand(this.#frames());
    hand.stream = stream;
    if (this.isProving) stream.proven();
    this.hands.push(hand);
    return { source: hand, sink: hand };
  };
}

/** A server that takes streams, and a node that has dialed it and been heard. */
function withLink(
  run: (harness: Harness, dialing: Hand, accepting: Hand) => Promise<void>,
  options: Partial<ServerOptions> = {},
): () => Promise<void> {
  const taken = new Taken();
  return withServer(
    async (harness) => {
      const dialing = dialHand(harness.port, new Hand([hello]));
      await eventually(() => taken.hands[0]?.heard.length === 1);
      await run(harness, dialing, taken.only);
      dialing.stream?.close();
    },
    { accept: taken.accept, ...options },
  );
}

function dialHand(port: number, hand: Hand, clock = new HandClock()): Hand {
  hand.stream = networkOver(clock).dial(`127.0.0.1:${port}`, hand, hand);
  return hand;
}

/** The same frames for the same seed; few of them large. */
function* framesOf(seed: number, count: number): Generator<Uint8Array> {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  for (let index = 0; index < count; index += 1) {
    const bytesMax = index % 200 === 199 ? 1024 * 1024 : 4096;
    const frame = new Uint8Array(Math.floor(next() * bytesMax));
    frame.fill(index % 251);
    yield frame;
  }
}

function assertSame(heard: readonly Uint8Array[], frames: Iterable<Uint8Array>): void {
  let index = 0;
  for (const frame of frames) {
    assert.ok(Buffer.compare(heard[index] ?? hello, frame) === 0, `frame ${index} is as it was`);
    index += 1;
  }
  assert.is(heard.length, index);
}

{
  const count = 10_000;
  const taken = new Taken(() => framesOf(2, count));
  network(
    "rpc network: 10,000 frames of up to 1 MiB each way arrive whole and in order",
    withServer(
      async ({ port }) => {
        const dialing = dialHand(port, new Hand(framesOf(1, count)));
        await eventually(() => dialing.heard.length >= count);
        await eventually(() => taken.only.heard.length >= count);
        assertSame(taken.only.heard, framesOf(1, count));
        assertSame(dialing.heard, framesOf(2, count));
        assert.equal([dialing.ends, taken.only.ends], [[], []]);
        dialing.stream?.close();
      },
      { accept: taken.accept },
    ),
  );
}

/** Who ends a stream -> how. Both ends must hear of it once, and the connection must go. */
const endings: Readonly<Record<string, (dialing: Hand, accepting: Hand) => void>> = {
  "the dialing end closes": ({ stream }) => stream?.close(),
  "the accepting end closes": (_, { stream }) => stream?.close(),
  "the dialing end has no more to say": (dialing) => dialing.finish(),
  "the accepting end has no more to say": (_, accepting) => accepting.finish(),
};
for (const [name, end] of Object.entries(endings)) {
  network(
    `rpc network: when ${name}, both hear one end, and the connection is gone`,
    withLink(async ({ server }, dialing, accepting) => {
      end(dialing, accepting);
      await eventually(() => dialing.ends.length > 0 && accepting.ends.length > 0);
      await eventually(() => server.connections === 0);
      assert.equal([dialing.ends.length, accepting.ends.length], [1, 1]);
      dialing.stream?.close();
      accepting.stream?.close();
      assert.equal([dialing.ends.length, accepting.ends.length], [1, 1]);
      assert.equal([dialing.framesAfterEnd, accepting.framesAfterEnd], [0, 0]);
    }),
  );
}

network("rpc network: a stream that is closed at once was never there", async () => {
  await withServer(
    async ({ port, server }) => {
      const dialing = dialHand(port, new Hand([hello]));
      dialing.stream?.close();
      assert.equal(dialing.ends, [undefined]);
      await eventually(() => server.connections === 0);
    },
    { accept: new Taken().accept },
  )();
});

network("rpc network: that nobody listens is told with the address", async () => {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await eventually(() => probe.listening);
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const dialing = dialHand(port, new Hand([hello]));
  await eventually(() => dialing.ends.length > 0);
  assert.match(dialing.ends[0]?.message ?? "", `ECONNREFUSED 127.0.0.1:${port}`);
});

for (const address of ["", "no port here:1", "127.0.0.1:99999", "a/b:1", "me@host:1"]) {
  network(`rpc network: '${address}' is refused as an address, and nothing is thrown`, async () => {
    const hand = new Hand();
    networkOver(new HandClock()).dial(address, hand, hand);
    await eventually(() => hand.ends.length > 0);
    assert.is(hand.ends[0]?.message, `'${address}' is not an address of the form host:port`);
  });
}

network("rpc network: --peer-route: an address that is no way is reached by another", async () => {
  const dialed: string[] = [];
  const below = {
    dial: (address: string) => {
      dialed.push(address);
      return { close: () => {} };
    },
  };
  const ways = routed(below, [{ advertised: "n2.example:8080", used: "127.0.0.1:9002" }]);
  const hand = new Hand();
  for (const address of ["n2.example:8080", "n3.example:8080"]) ways.dial(address, hand, hand);
  assert.equal(dialed, ["127.0.0.1:9002", "n3.example:8080"]);
});

/** A bare server in place of a node, and a dialed stream to it. */
async function withBare(
  onSocket: (socket: net.Socket) => void,
  run: (dialing: Hand, clock: HandClock, sockets: Set<net.Socket>) => Promise<void>,
): Promise<void> {
  const sockets = new Set<net.Socket>();
  const bare = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onSocket(socket);
  });
  const port = await listening(bare);
  const clock = new HandClock();
  const dialing = dialHand(port, new Hand([hello]), clock);
  try {
    await run(dialing, clock, sockets);
  } finally {
    dialing.stream?.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => bare.close(resolve));
  }
}

network("rpc network: a node that stands still ends its stream, not the process", () =>
  withBare(
    (socket) => socket.resume(),
    async (dialing, clock, sockets) => {
      let isClosed = false;
      await eventually(() => sockets.size === 1 && [...sockets][0]?.bytesRead !== 0);
      [...sockets][0]?.on("close", () => {
        isClosed = true;
      });
      // First the timer of connecting must have been replaced by that of the first ping.
      await eventually(() => clock.timers === 1);
      clock.advance(pingPeriodMs);
      assert.equal(dialing.ends, []);
      clock.advance(answerMsMax);
      assert.match(dialing.ends[0]?.message ?? "", "answered no ping for 5000 ms");
      await eventually(() => isClosed);
      assert.is(dialing.ends.length, 1);
      assert.is(clock.timers, 0);
    },
  ),
);

network("rpc network: a connection that is reset ends its stream, not the process", () =>
  withBare(
    (socket) => socket.once("data", () => socket.resetAndDestroy()),
    async (dialing) => {
      await eventually(() => dialing.ends.length > 0);
      assert.match(dialing.ends[0]?.message ?? "", /ECONNRESET|closed/);
    },
  ),
);

/** How a node goes without a word, of which its end of a stream alone tells. */
const silentEnds: Readonly<
  Record<string, (stream: http2.ServerHttp2Stream, socket: net.Socket | undefined) => void>
> = {
  "is killed": (_, socket) => socket?.destroy(),
  "is cut": (stream) => stream.session?.destroy(),
  "gives a stream up": (stream) => stream.close(http2.constants.NGHTTP2_CANCEL),
  "ends a stream without a status": (stream) => stream.end(),
};
for (const [name, goes] of Object.entries(silentEnds)) {
  network(
    `rpc network: of a node that ${name} is told that the connection was closed`,
    async () => {
      const bare = http2.createServer();
      let socket: net.Socket | undefined;
      bare.on("connection", (accepted: net.Socket) => {
        socket = accepted;
      });
      bare.on("sessionError", () => {});
      bare.on("stream", (stream) => {
        stream.on("error", () => {});
        stream.respond({ ":status": 200, "content-type": "application/grpc+proto" });
        stream.write(messageOf(hello));
        stream.once("data", () => goes(stream, socket));
      });
      const dialing = dialHand(await listening(bare), new Hand([hello]));
      await eventually(() => dialing.ends.length > 0);
      assert.is(dialing.ends[0]?.message, "the connection was closed");
      await new Promise((resolve) => bare.close(resolve));
      assert.is(dialing.ends.length, 1);
    },
  );
}

{
  const taken = new Taken();
  network(
    "rpc network: a stream whose dialing end ends it within a message has failed, at both ends",
    withServer(
      async ({ url }) => {
        const session = http2.connect(url);
        const stream = session.request(linkRequest);
        let status: unknown;
        stream.on("trailers", (found) => {
          status = found["grpc-status"];
        });
        stream.resume().end(messageOf(hello).subarray(0, 8));
        await new Promise((resolve) => stream.on("close", resolve));
        assert.match(taken.only.ends[0]?.message ?? "", "It is cut short.");
        assert.equal(taken.only.heard, []);
        assert.is(status, "3", "INVALID_ARGUMENT");
        session.destroy();
      },
      { accept: taken.accept },
    ),
  );
}

network(
  "rpc network: a stream whose accepting end ends it within a message has failed",
  async () => {
    const bare = http2.createServer();
    bare.on("stream", (stream) => {
      stream.on("error", () => {});
      stream.respond(
        { ":status": 200, "content-type": "application/grpc+proto" },
        { waitForTrailers: true },
      );
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(messageOf(hello).subarray(0, 8));
    });
    const dialing = dialHand(await listening(bare), new Hand([hello]));
    await eventually(() => dialing.ends.length > 0);
    assert.match(dialing.ends[0]?.message ?? "", "It is cut short.");
    assert.equal(dialing.heard, []);
    await new Promise((resolve) => bare.close(resolve));
  },
);

{
  const taken = new Taken();
  network(
    "rpc network: pings keep a still stream for as long as both are there",
    withServer(
      async (harness) => {
        const clock = new HandClock();
        const dialing = dialHand(harness.port, new Hand([hello]), clock);
        await eventually(() => taken.hands[0]?.heard.length === 1);
        for (let passed = 0; passed < 3 * peerSilenceMsMax; passed += pingPeriodMs) {
          clock.advance(pingPeriodMs);
          // The other connections of a settling go there and back: so has the ping.
          await harness.settle();
          await harness.pass(pingPeriodMs);
        }
        assert.equal([dialing.ends, taken.only.ends], [[], []]);
        dialing.stream?.close();
      },
      { accept: taken.accept },
    ),
  );
}

network(
  "rpc network: a node that vanished without a word is let go by the one it dialed",
  withLink(async (harness, _, accepting) => {
    // The clock of the dialing end stands still, so no ping is sent.
    await harness.pass(peerSilenceMsMax - 1000);
    assert.equal(accepting.ends, []);
    await harness.pass(3000);
    await eventually(() => accepting.ends.length === 1);
    await eventually(() => harness.server.connections === 0);
    assert.is(harness.counts.get("connections_cut"), 1);
  }),
);

function* endlessFrames(): Generator<Uint8Array> {
  for (;;) yield new Uint8Array(16 * 1024);
}

/** Whoever is not read asks for no more than windows and buffers hold, which here is below 1 MiB. */
const askedMax = 64;

network("rpc network: a dialing end that is not read stops asking for frames", async () => {
  const unread = http2.createServer();
  // Nobody reads the stream, so its window is never given back.
  unread.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
  });
  const port = await listening(unread);
  const sessions: http2.ServerHttp2Session[] = [];
  unread.on("session", (session) => {
    session.on("error", () => {});
    sessions.push(session);
  });
  const dialing = new Hand(endlessFrames());
  dialHand(port, dialing);
  await eventually(() => dialing.asked > 1);
  for (let turn = 0; turn < 500; turn += 1) await new Promise((go) => setImmediate(go));
  const { asked } = dialing;
  assert.ok(asked <= askedMax, `${asked} frames were asked for`);
  for (let turn = 0; turn < 500; turn += 1) await new Promise((go) => setImmediate(go));
  assert.is(dialing.asked, asked);
  dialing.stream?.close();
  for (const session of sessions) session.destroy();
  await new Promise((resolve) => unread.close(resolve));
});

{
  const taken = new Taken(endlessFrames);
  network(
    "rpc network: an accepting end that is not read stops asking for frames",
    withServer(
      async ({ url }) => {
        const session = http2.connect(url);
        const stream = session.request(linkRequest);
        stream.on("error", () => {});
        await eventually(() => (taken.hands[0]?.asked ?? 0) > 1);
        for (let turn = 0; turn < 500; turn += 1) await new Promise((go) => setImmediate(go));
        const { asked } = taken.only;
        assert.ok(asked <= askedMax, `${asked} frames were asked for`);
        session.on("error", () => {});
        session.destroy(new Error("cut"));
        await eventually(() => taken.only.ends.length === 1);
      },
      { accept: taken.accept },
    ),
  );
}

{
  const taken = new Taken();
  network(
    "rpc network: a frame over the limit ends the stream at both ends, unheard",
    withServer(
      async ({ port }) => {
        const dialing = dialHand(port, new Hand([new Uint8Array(frameBytesMax + 1)]));
        await eventually(() => dialing.ends.length === 1 && taken.hands[0]?.ends.length === 1);
        assert.match(taken.only.ends[0]?.message ?? "", "A message may have 2097152 bytes");
        assert.equal(taken.only.heard, []);
      },
      { accept: taken.accept },
    ),
  );
}

{
  const taken = new Taken(() => [new Uint8Array(frameBytesMax + 1)]);
  network(
    "rpc network: a frame over the limit that was dialed for ends the stream as well",
    withServer(
      async ({ port }) => {
        const dialing = dialHand(port, new Hand([hello]));
        await eventually(() => dialing.ends.length === 1 && taken.hands[0]?.ends.length === 1);
        assert.match(dialing.ends[0]?.message ?? "", "A message may have 2097152 bytes");
        assert.equal(dialing.heard, []);
      },
      { accept: taken.accept },
    ),
  );
}

/** Opens a stream as a node does, on a session of its own, and proves nothing. */
function openStranger(url: string, streams = 1): { closed: () => number; cut: () => void } {
  const session = http2.connect(url);
  session.on("error", () => {});
  let closed = 0;
  for (let index = 0; index < streams; index += 1) {
    const stream = session.request(linkRequest);
    stream.on("error", () => {});
    stream.on("close", () => {
      closed += 1;
    });
  }
  return { closed: () => closed, cut: () => session.destroy(new Error("cut")) };
}

for (const [name, frames] of [
  ["says nothing", () => []],
  ["leaves unread what it is sent", endlessFrames],
] as const) {
  const taken = new Taken(frames);
  taken.isProving = false;
  network(
    `rpc network: a stream of somebody who proves nothing and ${name} is closed in time`,
    withServer(
      async (harness) => {
        const stranger = openStranger(harness.url);
        await eventually(() => taken.hands.length === 1);
        await harness.pass(strangerMsMax - 1000);
        assert.is(taken.only.ends.length, 0);
        await harness.pass(2000);
        await eventually(() => taken.only.ends.length === 1);
        // One that has something to read left is not told of its end before.
        if (name === "says nothing") await eventually(() => stranger.closed() === 1);
        stranger.cut();
      },
      { accept: taken.accept },
    ),
  );
}

{
  const taken = new Taken();
  taken.isProving = false;
  network(
    "rpc network: a stream that was refused is closed soon, also where the other half stays open",
    withServer(
      async (harness) => {
        const stranger = openStranger(harness.url);
        await eventually(() => taken.hands.length === 1);
        taken.only.stream?.close();
        await harness.settle();
        await harness.pass(2000);
        await eventually(() => stranger.closed() === 1);
        stranger.cut();
      },
      { accept: taken.accept },
    ),
  );
}

{
  const taken = new Taken();
  taken.isProving = false;
  network(
    "rpc network: streams of those who prove nothing take no node's place, however many they are",
    withServer(
      async (harness) => {
        const node = dialHand(harness.port, new Hand([hello]));
        await eventually(() => taken.hands[0]?.heard.length === 1);
        const strangers = Array.from({ length: 3 }, () => openStranger(harness.url, 256));
        await eventually(() => taken.hands.length === 3 * 256 + 1);
        const isOpen = ({ ends }: Hand) => ends.length === 0;
        await eventually(() => taken.hands.filter(isOpen).length === strangersMax);
        assert.equal(node.ends, [], "it has one stream, and those on the others have many");
        taken.hands[0]?.stream?.close();
        const later = dialHand(harness.port, new Hand([hello]));
        await eventually(() => taken.hands.at(-1)?.heard.length === 1);
        assert.equal(later.ends, []);
        for (const { cut } of strangers) cut();
        for (const hand of [node, later]) hand.stream?.close();
        await eventually(() => taken.hands.every((hand) => !isOpen(hand)));
      },
      { accept: taken.accept },
    ),
  );
}

{
  const taken = new Taken();
  taken.isProving = false;
  network(
    "rpc network: no more is held of who proves nothing than a message of a handshake",
    withServer(
      async (harness) => {
        const session = http2.connect(harness.url);
        session.on("error", () => {});
        /** Sends the head of a message, and a part of it. */
        const begin = (bytes: number) => {
          const stream = session.request(linkRequest);
          stream.on("error", () => {});
          const head = Buffer.alloc(5 + 100);
          head.writeUInt32BE(bytes, 1);
          stream.write(head);
        };
        begin(strangerMessageBytesMax);
        await eventually(() => taken.hands.length === 1);
        begin(strangerMessageBytesMax + 1);
        await eventually(() => taken.hands.length === 2);
        await harness.settle();
        const ends = taken.hands.map((hand) => hand.ends.length);
        assert.equal(ends, [0, 1], "the first may go on");
        assert.match(taken.hands[1]?.ends[0]?.message ?? "", "A message may have 65584 bytes");
        session.destroy();
      },
      { accept: taken.accept },
    ),
  );
}

network(
  "rpc network: a still stream outlasts every deadline that a request has",
  withLink(
    async (harness, dialing, accepting) => {
      await harness.pass(5000);
      assert.equal([dialing.ends, accepting.ends], [[], []]);
      assert.is(harness.server.connections, 1);
    },
    { bodyTimeoutMs: 1000, idleTimeoutMs: 1000, stallTimeoutMs: 1000, headersTimeoutMs: 1000 },
  ),
);

network(
  "rpc network: a drain waits for no stream of another node, and leaves them open; a close ends them",
  withLink(async ({ server }, dialing, accepting) => {
    const nothing = Uint8Array.of(0);
    await server.drain();
    dialing.send(nothing);
    accepting.send(nothing);
    await eventually(() => dialing.heard.length === 1 && accepting.heard.length === 2);
    assert.equal([dialing.ends, accepting.ends], [[], []]);
    await server.close();
    await eventually(() => dialing.ends.length === 1 && accepting.ends.length === 1);
  }),
);

network(
  "rpc network: a node that does not take the end of its stream does not hold a close up",
  withServer(
    async (harness) => {
      const socket = net.connect(harness.port, "127.0.0.1");
      socket.on("error", () => {});
      const session = http2.connect(harness.url, { createConnection: () => socket });
      session.on("error", () => {});
      const stream = session.request(linkRequest);
      stream.on("error", () => {});
      await eventually(() => stuck.hands.length === 1);
      socket.pause();
      let isClosed = false;
      const closed = harness.server.close().then(() => {
        isClosed = true;
      });
      await harness.pass(500);
      assert.is(isClosed, false);
      await harness.pass(1500);
      await closed;
      session.destroy();
    },
    { accept: (stream) => stuck.accept(stream), closeTimeoutMs: 1000 },
  ),
);
const stuck = new Taken();

network("rpc network: nodes are taken while clients are refused for the load", async () => {
  const none = { requestsMax: 0, bytesMax: 0 };
  const admission = new Admission({ client: none, replication: none, hint: none, lagMsMax: 0 });
  await withLink(
    async ({ url }, dialing) => {
      assert.is((await fetch(`${url}/v1/kv/default/a`)).status, 503);
      assert.equal(dialing.ends, []);
      assert.is(admission.client.requests, 0);
    },
    { admission },
  )();
});

network("rpc network: where nodes have a port of their own, this one says which", async () => {
  await withServer(
    async ({ port }) => {
      const dialing = dialHand(port, new Hand([hello]));
      await eventually(() => dialing.ends.length > 0);
      assert.match(dialing.ends[0]?.message ?? "", /^\[forbidden\] .*--gossip-port 7071/);
    },
    { peersPort: 7071 },
  )();
});

network("rpc network: a port for nodes takes nodes and refuses clients", async () => {
  await withLink(
    async ({ url }, dialing) => {
      const answer = await fetch(`${url}/v1/kv/default/a`);
      assert.is(answer.status, 404);
      assert.match(await answer.text(), "for the nodes of the cluster alone");
      assert.equal(dialing.ends, []);
    },
    { isForPeers: true },
  )();
});

network(
  "rpc network: a node that closes a stream as it takes it is heard, and goes on",
  async () => {
    const hand = new Hand();
    await withServer(
      async ({ port, url }) => {
        const dialing = dialHand(port, new Hand([hello]));
        await eventually(() => dialing.ends.length === 1);
        assert.equal(hand.ends, [undefined]);
        assert.is((await fetch(`${url}/livez`)).status, 200);
      },
      {
        accept: (stream) => {
          stream.close();
          return { source: hand, sink: hand };
        },
      },
    )();
  },
);

/** Forms of a stream that no node uses -> the HTTP status of the refusal, or `grpc` for its status alone. */
const otherForms: Readonly<Record<string, readonly [Record<string, string>, number | string]>> = {
  "JSON over gRPC": [{ "content-type": "application/grpc+json" }, "grpc"],
  "compressed gRPC": [{ "content-type": "application/grpc", "grpc-encoding": "gzip" }, "grpc"],
  "gRPC-Web": [{ "content-type": "application/grpc-web+proto" }, 200],
  Connect: [{ "content-type": "application/connect+proto" }, 200],
  "no RPC at all": [{ "content-type": "text/plain" }, 415],
};
for (const [name, [headers, status]] of Object.entries(otherForms)) {
  const taken = new Taken();
  network(
    `rpc network: a stream as ${name} is refused with words, in its own form`,
    withServer(
      async ({ url }) => {
        const session = http2.connect(url);
        const stream = session.request({
          ...linkRequest,
          ...headers,
        });
        let answered: http2.IncomingHttpHeaders = {};
        let body = "";
        stream.on("response", (found) => {
          answered = { ...found };
        });
        stream.on("trailers", (found) => Object.assign(answered, found));
        stream.setEncoding("utf8").on("data", (text: string) => {
          body += text;
        });
        stream.end();
        await new Promise((resolve) => stream.on("close", resolve));
        assert.is(answered[":status"], status === "grpc" ? 200 : status);
        const words = decodeURIComponent(`${answered["grpc-message"] ?? ""} ${body}`);
        assert.match(words, "unsupported-media-type");
        assert.match(words, "does not take HTTP/2");
        assert.equal(taken.hands, []);
        session.destroy();
      },
      { accept: taken.accept },
    ),
  );
}

network(
  "rpc network: over HTTP/1.1, or by GET, there is no stream of nodes",
  withServer(
    async ({ url }) => {
      const path = `${url}/quorate.peer.v1.PeerService/Link`;
      const headers = { "content-type": "application/grpc" };
      const post = await fetch(path, { method: "POST", headers, body: "" });
      assert.match(decodeURIComponent(post.headers.get("grpc-message") ?? ""), "HTTP/1");
      const get = await fetch(path);
      assert.is(get.status, 501, "unimplemented, as Connect says it");
      assert.match(await get.text(), "does not take GET");
    },
    { accept: new Taken().accept },
  ),
);

network.run();
