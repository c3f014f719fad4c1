import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type ConfigInputs,
  hiddenText,
  isLoopback,
  nearestName,
  resolveConfig,
  sourceText,
  validate,
  valueText,
} from "../src/config.ts";
import * as kinds from "../src/config_kinds.ts";
import { clientUrlOf, peerSettingsOf } from "../src/config_parts.ts";
import { type Config, settingNames, settings, variableOf } from "../src/config_table.ts";
import { QuorateError } from "../src/errors.ts";
import { configurationFile, configurationText } from "./reference.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

const nothing: ConfigInputs = { flags: {}, environment: {} };

function refusalOf(run: () => unknown): QuorateError {
  try {
    run();
  } catch (error) {
    assert.instance(error, QuorateError);
    const refusal = error as QuorateError;
    assert.is(refusal.slug, "invalid-config");
    assert.ok(refusal.detail.length > 0);
    assert.ok((refusal.hint ?? "").length > 0, "an error says what to do");
    return refusal;
  }
  throw new Error("It was accepted.");
}

function configWith(changes: Partial<Config>): Config {
  return { ...resolveConfig(nothing, "all").config, ...changes };
}

const routeTo = (advertised: string): kinds.PeerRoute => ({ advertised, used: "127.0.0.1:9" });

const test = suite("config");

test("a value comes from the flag, else the variable, else the file, else the default", () => {
  const file = { path: "q.toml", values: { port: 1, name: "of-file", "log-level": "warn" } };
  const environment = { QUORATE_PORT: "2", QUORATE_NAME: "of-variable", HOME: "/root" };
  const { config, sources } = resolveConfig({ flags: { port: "3" }, environment, file }, "serve");
  assert.is(config.port, 3);
  assert.is(sourceText(sources.port), "--port");
  assert.is(config.name, "of-variable");
  assert.is(sourceText(sources.name), "QUORATE_NAME");
  assert.is(config.logLevel, "warn");
  assert.is(sourceText(sources.logLevel), "log-level in q.toml");
  assert.is(config.host, "127.0.0.1");
  assert.is(sourceText(sources.host), "default");
});

test("a consistency that was given nearer than a number of replicas stands above it", () => {
  const environment = { QUORATE_R: "1", QUORATE_W: "3" };
  const { config, sources } = resolveConfig({ flags: { consistency: "all" }, environment }, "data");
  assert.equal([config.consistency, config.r, config.w], ["all", undefined, undefined]);
  assert.is(sourceText(sources.r), "default");
  const equal = resolveConfig({ flags: { consistency: "all", w: "2" }, environment }, "data");
  assert.equal([equal.config.consistency, equal.config.r, equal.config.w], ["all", undefined, 2]);
  const file = { path: "q.toml", values: { consistency: "one" } };
  const far = resolveConfig({ flags: {}, environment, file }, "data");
  assert.equal([far.config.consistency, far.config.r, far.config.w], ["one", 1, 3]);
});

test("every setting can be given as a flag, as a variable and in the file", () => {
  const texts: Readonly<Record<string, string>> = {
    host: "abc",
    "advertise-ip": "abc",
    "hint-age": "7min",
    "max-request-bytes": "17MiB",
    "<number>": "2",
    "<port>": "4711",
    "<size>": "2MiB",
    "<size/s>": "3MiB/s",
    "<time>": "7s",
    "<count>": "2",
    "": "true",
    "<url>": "http://127.0.0.1:1/x",
    "<origin,...>": "http://a.example,https://b.example:1",
    "<id>": "ab-12",
    "<address>": "127.0.0.1:4711",
    "<address,...>": "127.0.0.1:1,[::1]:2",
    "<address=address,...>": "n2:8080=127.0.0.1:1,[::1]:2=n3:3",
    "<secret>": "0123456789abcdef",
  };
  for (const name of settingNames) {
    const { flag, kind, secret, outsideFile } = settings[name];
    const word = /^<([a-z]+)\|/.exec(kind.placeholder)?.[1];
    const given = texts[flag] ?? texts[kind.placeholder] ?? word ?? "abc";
    const text = secret === true ? hiddenText : given;
    const shown = (inputs: Partial<ConfigInputs>) =>
      valueText(name, resolveConfig({ ...nothing, ...inputs }, "all").config[name]);
    assert.is(shown({ flags: { [flag]: given } }), text, flag);
    assert.is(shown({ environment: { [variableOf(flag)]: given } }), text, flag);
    if (outsideFile === true) continue;
    assert.is(shown({ file: { path: "q.toml", values: { [flag]: given } } }), text, flag);
  }
});

test("every default is allowed by its own kind, and fits with the others", () => {
  const { config } = resolveConfig(nothing, "all");
  for (const name of settingNames) {
    const text = valueText(name, config[name]);
    // Nobody is who there is without the setting, and not what it may say.
    if (text === undefined || name === "peers") continue;
    const again = resolveConfig({ flags: { [settings[name].flag]: text }, environment: {} }, "all");
    assert.equal(again.config[name], config[name], name);
  }
  validate(config);
});

test("flags are unique, and so are the variables made of them", () => {
  const flags = settingNames.map((name) => settings[name].flag);
  assert.is(new Set(flags).size, flags.length);
  assert.is(variableOf("max-value"), "QUORATE_MAX_VALUE");
});

test("a variable that is set to nothing is not set", () => {
  const { config } = resolveConfig({ flags: {}, environment: { QUORATE_PORT: "" } }, "serve");
  assert.is(config.port, 8080);
});

test("the file takes TOML's own numbers, booleans and arrays", () => {
  const values = {
    port: 4711,
    insecure: true,
    "cors-origin": ["http://a.example", "http://b.example"],
  };
  const { config } = resolveConfig({ ...nothing, file: { path: "q.toml", values } }, "serve");
  assert.is(config.port, 4711);
  assert.is(config.insecure, true);
  assert.equal(config.corsOrigins, ["http://a.example", "http://b.example"]);
});

test("a repeated flag and commas both give a list", () => {
  const flags = { "cors-origin": ["http://a.example", "http://b.example,http://c.example"] };
  const { config } = resolveConfig({ flags, environment: {} }, "serve");
  assert.equal(config.corsOrigins, ["http://a.example", "http://b.example", "http://c.example"]);
});

test("a bad value names where it came from, the value, and what is allowed", () => {
  const cases: readonly (readonly [ConfigInputs, RegExp, RegExp])[] = [
    [{ flags: { port: "70000" }, environment: {} }, /--port: '70000' is above 65,535/, /65,535/],
    [
      { flags: {}, environment: { QUORATE_MAX_VALUE: "much" } },
      /QUORATE_MAX_VALUE: 'much' is not a size/,
      /64MiB/,
    ],
    [
      { ...nothing, file: { path: "q.toml", values: { partitions: 100 } } },
      /partitions in q\.toml: '100' is not a power of two/,
      /power of two/,
    ],
    [
      { ...nothing, file: { path: "q.toml", values: { port: { http: 1 } } } },
      /port in q\.toml: its value is not a single value/,
      /whole number/,
    ],
    [
      { flags: {}, environment: { QUORATE_PORT: "tcp://10.0.0.1:8080" } },
      /QUORATE_PORT/,
      /enableServiceLinks/,
    ],
    [{ flags: { timeout: "250" }, environment: {} }, /'250' has no unit/, /250ms/],
  ];
  for (const [inputs, detail, hint] of cases) {
    const refusal = refusalOf(() => resolveConfig(inputs, "all"));
    assert.match(refusal.detail, detail);
    assert.match(refusal.hint ?? "", hint);
    assert.is(refusal.exitCode, 2);
  }
});

test("an unknown variable or file key is refused, with the nearest known name", () => {
  const variable = refusalOf(() =>
    resolveConfig({ flags: {}, environment: { QUORATE_MAXVALUE: "1" } }, "data"),
  );
  assert.match(variable.hint ?? "", /Did you mean QUORATE_MAX_VALUE\?/);
  const values = { "segement-bytes": "64MiB" };
  const key = refusalOf(() =>
    resolveConfig({ ...nothing, file: { path: "q.toml", values } }, "serve"),
  );
  assert.match(key.detail, /'segement-bytes'.*q\.toml/);
  assert.match(key.hint ?? "", /Did you mean segment-bytes\?/);
});

test("the variables that Kubernetes sets for a service of this name are not settings", () => {
  const environment = {
    QUORATE_SERVICE_HOST: "10.0.0.1",
    QUORATE_SERVICE_PORT_HTTP: "8080",
    QUORATE_PORT_8080_TCP: "tcp://10.0.0.1:8080",
    QUORATE_PORT_8080_TCP_ADDR: "10.0.0.1",
    QUORATE_HEADLESS_SERVICE_HOST: "10.0.0.2",
  };
  assert.is(resolveConfig({ flags: {}, environment }, "serve").config.port, 8080);
});

test("the file cannot name the file", () => {
  const file = { path: "q.toml", values: { config: "other.toml" } };
  refusalOf(() => resolveConfig({ ...nothing, file }, "serve"));
});

test("a data command does not read the settings of serve, but knows their names", () => {
  const environment = { QUORATE_MAX_VALUE: "nonsense", QUORATE_URL: "http://10.0.0.1:1" };
  const { config } = resolveConfig({ flags: {}, environment }, "data");
  assert.is(config.url, "http://10.0.0.1:1");
  assert.is(config.valueBytesMax, MiB);
});

test("validate() refuses limits that do not fit together, and says what would", () => {
  const cases: readonly (readonly [Partial<Config>, RegExp])[] = [
    [{ host: "0.0.0.0" }, /--insecure/],
    [{ valueBytesMax: 32 * MiB, segmentBytes: 32 * MiB }, /--segment-bytes 64MiB/],
    [{ valueBytesMax: 2 * MiB, memtableBytesMax: MiB }, /--memtable-bytes 2MiB/],
    [{ diskReserveBytes: 64 * MiB }, /--disk-reserve 96MiB/],
    [{ requestBytesMax: 2 * MiB }, /--max-request-bytes 17MiB/],
    [{ linkQueueBytesMax: MiB }, /--link-queue-bytes 2MiB/],
    [{ replicationBytesMax: MiB }, /--max-replication-bytes 2MiB/],
    [{ hintBytesMax: MiB }, /--hint-bytes 2MiB/],
    [{ phiSuspect: 8, phiDown: 8 }, /--phi-down 9/],
    [{ bootstrapExpect: 3 }, /--bootstrap-expect 1/],
    [{ peers: ["n2:8080"] }, /QUORATE_CLUSTER_SECRET/],
    [{ clusterSecret: "0123456789abcdef", clusterSecretFile: "s" }, /one of them/],
    [{ gossipPort: 8080 }, /--gossip-port/],
    [{ peerRoutes: [routeTo("n2:1"), routeTo("n3:1"), routeTo("n2:1")] }, /one of them/],
  ];
  for (const [changes, hint] of cases) {
    assert.match(refusalOf(() => validate(configWith(changes))).hint ?? "", hint);
  }
  validate(configWith({ host: "0.0.0.0", insecure: true }));
  const small = { segmentBytes: 256 * KiB, memtableBytesMax: 128 * KiB, valueBytesMax: 128 * KiB };
  validate(configWith({ ...small, diskReserveBytes: 512 * KiB }));
});

test("peers that name nobody are refused: the node would be a cluster of its own", () => {
  for (const peers of ["", " ", ","]) {
    const refusal = refusalOf(() => resolveConfig({ ...nothing, flags: { peers } }, "serve"));
    assert.is(refusal.detail, `--peers: '${peers}' names nobody.`);
  }
  const environment = { QUORATE_PEERS: "" };
  const { config } = resolveConfig({ ...nothing, environment }, "serve");
  assert.equal(config.peers, [], "a variable that is set to nothing is not set");
});

test("a secret is never shown: not as a value, not in the error about it", () => {
  const secret = "too short!";
  const flags = { "cluster-secret": secret };
  const refusal = refusalOf(() => resolveConfig({ ...nothing, flags }, "all"));
  assert.not.ok(refusal.message.includes(secret), refusal.message);
  assert.is(valueText("clusterSecret", "0123456789abcdef"), hiddenText);
});

test("an address of a peer has a port from 1 to 65,535", () => {
  for (const [text, isRight] of [
    ["n1:8080", true],
    ["[::1]:1", true],
    ["n1", false],
    ["n1:0", false],
    ["n1:65536", false],
    ["a b:1", false],
  ] as const) {
    assert.is("value" in kinds.address.parse(text), isRight, text);
  }
});

test("isLoopback() knows the names under which only this machine is reached", () => {
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"]) {
    assert.is(isLoopback(host), true, host);
  }
  for (const host of ["0.0.0.0", "::", "10.0.0.1", "127.example.com", "localhost.example"]) {
    assert.is(isLoopback(host), false, host);
  }
});

test("nearestName() finds a slip, a missing letter and a swap, and nothing far away", () => {
  const names = ["port", "peers", "partitions", "data-dir"];
  assert.is(nearestName("prot", names), "port");
  assert.is(nearestName("peer", names), "peers");
  assert.is(nearestName("datadir", names), "data-dir");
  assert.is(nearestName("PARTITION", names), "partitions");
  assert.is(nearestName("volume", names), undefined);
});

test("sizes carry units, and show themselves in the largest whole one", () => {
  const size = kinds.size(0, 1024 * MiB);
  for (const [text, bytes] of [
    ["64MiB", 64 * MiB],
    ["64mib", 64 * MiB],
    ["1.5KiB", 1536],
    ["500KB", 500_000],
    ["12", 12],
    ["0B", 0],
    ["1 GiB", 1024 * MiB],
  ] as const) {
    assert.equal(size.parse(text), { value: bytes }, text);
  }
  for (const text of ["", "64M", "x", "-1", "1.5B", "1e3", "64MiB ", "0x10", "99999999GiB"]) {
    assert.ok("error" in size.parse(text), text);
  }
  assert.is(size.show(64 * MiB), "64MiB");
  assert.is(size.show(1500), "1500B");
});

test("times carry units, and show themselves in the largest whole one", () => {
  const time = kinds.duration(1, 3_600_000);
  for (const [text, ms] of [
    ["250ms", 250],
    ["2s", 2000],
    ["1.5s", 1500],
    ["10min", 600_000],
    ["10m", 600_000],
    ["1h", 3_600_000],
  ] as const) {
    assert.equal(time.parse(text), { value: ms }, text);
  }
  for (const text of ["", "250", "1d", "-1s", "0ms", "2h", "0.5ms"]) {
    assert.ok("error" in time.parse(text), text);
  }
  assert.is(time.show(90_000), "90s");
});

test("what a kind shows, it reads again", () => {
  const cases: readonly (readonly [kinds.Kind<unknown>, unknown])[] = [
    [kinds.size(0, 1e12) as kinds.Kind<unknown>, 123_456_789],
    [kinds.rate(0, 1e12) as kinds.Kind<unknown>, 8 * MiB],
    [kinds.duration(0, 1e9) as kinds.Kind<unknown>, 61_001],
    [kinds.replicas as kinds.Kind<unknown>, "quorum"],
    [kinds.replicas as kinds.Kind<unknown>, 3],
    [kinds.toggle as kinds.Kind<unknown>, true],
    [kinds.whole(0, 1e6) as kinds.Kind<unknown>, 65_535],
  ];
  for (const [kind, value] of cases) assert.equal(kind.parse(kind.show(value)), { value });
});

test("a way to a peer is two addresses", () => {
  for (const text of ["n2:8080", "n2:8080=", "n2=127.0.0.1:1", "n2:1=n3:1=n4:1", "=n2:1"]) {
    assert.ok("error" in kinds.route.parse(text), text);
  }
});

test("where others reach a node: an address of IPv6 keeps its end, whatever stands beside it", () => {
  for (const [name, authority] of [
    ["n1.example", "n1.example:8080"],
    ["n1.example:9000", "n1.example:8080"],
    ["10.0.0.1", "10.0.0.1:8080"],
    ["fd00::1", "[fd00::1]:8080"],
    ["::1", "[::1]:8080"],
    ["2001:db8:0:0:0:0:0:1", "[2001:db8:0:0:0:0:0:1]:8080"],
    ["[fd00::1]", "[fd00::1]:8080"],
    ["[fd00::1]:9000", "[fd00::1]:8080"],
  ] as const) {
    const config = configWith({ advertisedAddresses: [name] });
    assert.is(clientUrlOf(config), `http://${authority}`);
    assert.equal(peerSettingsOf(config).addresses, [authority]);
  }
});

test("clients find a node that listens on every address where it tells other nodes that it is", () => {
  const told = { advertisedPeerAddress: "n1.example:9000" };
  const every = { host: "0.0.0.0", ...told };
  assert.is(clientUrlOf(configWith(every)), "http://n1.example:9000");
  const ports = { ...every, gossipPort: 7000 };
  assert.is(clientUrlOf(configWith(ports)), "http://n1.example:8080");
  const both = { ...every, advertisedAddresses: ["db.example"] };
  assert.is(clientUrlOf(configWith(both)), "http://db.example:8080");
  const v6 = { host: "::", advertisedPeerAddress: "[fd00::1]:8080" };
  assert.is(clientUrlOf(configWith(v6)), "http://[fd00::1]:8080");
  assert.is(clientUrlOf(configWith({ host: "10.0.0.1", ...told })), "http://10.0.0.1:8080");
});

test("a node with peers elsewhere that would say that it is reached on loopback is refused", () => {
  const peers = ["n1.example:8080", "127.0.0.1:8080"];
  const given = { insecure: true, clusterSecret: "0123456789abcdef", peers };
  for (const host of ["0.0.0.0", "::", "[::]"]) {
    const { hint = "" } = refusalOf(() => validate(configWith({ ...given, host })));
    assert.match(hint, /--advertise-address/);
    validate(configWith({ ...given, host, advertisedPeerAddress: "n1.example:8080" }));
    validate(configWith({ ...given, host, advertisedAddresses: ["10.0.0.1"] }));
    validate(configWith({ ...given, host, peers: ["127.0.0.1:8080", "[::1]:1", "localhost:2"] }));
    validate(configWith({ host, insecure: true }));
  }
  validate(configWith({ ...given, host: "10.0.0.1" }));
});

test("an address that means all is none to be reached at, in whichever form it is given", () => {
  for (const host of ["0.0.0.0", "::", "[::]"]) {
    assert.is(clientUrlOf(configWith({ host })), "http://127.0.0.1:8080");
  }
});

test("docs/configuration.md says what the table says", () => {
  const same = configurationFile() === configurationText();
  assert.ok(same, "run 'node --import tsx test/reference.ts'");
});

test.run();
