/**
 * The files of `deploy/`, compared with the program: no engine of containers is at hand here, and a
 * flag, port, path or metric that the program no longer has would only be noticed by who deploys it.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { z } from "zod";
import { Admission } from "../src/admission.ts";
import { resolveConfig, validate } from "../src/config.ts";
import { settingNames, settings, variableOf } from "../src/config_table.ts";
import { routes } from "../src/http_routes.ts";
import { createReport } from "../src/log.ts";
import { Metrics } from "../src/metrics.ts";

const test = suite("deploy");
const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, "utf8");

const composeShape = z.object({
  services: z.record(
    z.string(),
    z.object({
      command: z.array(z.string()).optional(),
      build: z.object({ context: z.string(), dockerfile: z.string() }).optional(),
      environment: z.record(z.string(), z.string()).optional(),
      volumes: z.array(z.string()).optional(),
      ports: z.array(z.string()).optional(),
    }),
  ),
  volumes: z.record(z.string(), z.unknown()),
});

const compose = composeShape.parse(parse(read("deploy/compose.yaml"), { merge: true }));
const nodes = Object.entries(compose.services).filter(([, { command }]) => command !== undefined);
const dockerfile = read("deploy/Dockerfile");

const prometheusShape = z.object({
  scrape_configs: z.array(
    z.object({
      metrics_path: z.string(),
      static_configs: z.array(z.object({ targets: z.array(z.string()) })),
    }),
  ),
});

/** The words behind `serve` as the flags that they give. */
function flagsOf(command: readonly string[]): Record<string, string | boolean> {
  assert.is(command[0], "serve");
  const flags: Record<string, string | boolean> = {};
  for (let index = 1; index < command.length; index += 1) {
    const flag = (command[index] ?? "").replace(/^--/, "");
    const name = settingNames.find((one) => settings[one].flag === flag);
    assert.ok(name !== undefined, `there is a setting --${flag}`);
    if (name === undefined) continue;
    if (settings[name].kind.placeholder === "") flags[flag] = true;
    else {
      index += 1;
      flags[flag] = command[index] ?? "";
    }
  }
  return flags;
}

function configOf(command: readonly string[]) {
  const environment = { QUORATE_CLUSTER_SECRET: "0123456789abcdef" };
  return resolveConfig({ flags: flagsOf(command), environment }, "serve");
}

test("the nodes of compose.yaml are three, with settings that the program takes", () => {
  assert.equal(
    nodes.map(([name]) => name),
    ["n1", "n2", "n3"],
  );
  for (const [name, { command = [], environment = {} }] of nodes) {
    const { config } = configOf(command);
    validate(config);
    assert.is(config.name, name);
    assert.is(config.bootstrapExpect, nodes.length);
    assert.equal(
      config.peers,
      nodes.map(([peer]) => `${peer}:${config.port}`),
    );
    assert.is(config.advertisedPeerAddress, `${name}:${config.port}`);
    for (const variable of Object.keys(environment)) {
      assert.ok(
        settingNames.some((one) => variableOf(settings[one].flag) === variable),
        variable,
      );
    }
    assert.match(environment["QUORATE_CLUSTER_SECRET"] ?? "", /^\$\{QUORATE_CLUSTER_SECRET:\?/);
  }
});

test("ports, volumes and files of compose.yaml are those that the nodes and the image have", () => {
  for (const [name, { command = [], volumes = [], ports = [], build }] of nodes) {
    const { config } = configOf(command);
    assert.equal(volumes, [`${name}:${config.dataFolder}`]);
    assert.ok(name in compose.volumes);
    assert.match(ports[0] ?? "", new RegExp(`^127\\.0\\.0\\.1:\\d+:${config.port}$`));
    assert.match(dockerfile, `VOLUME ${config.dataFolder}\n`);
    assert.match(dockerfile, `EXPOSE ${config.port}\n`);
    assert.is(build?.dockerfile, "deploy/Dockerfile");
  }
  for (const { volumes = [] } of Object.values(compose.services)) {
    for (const path of volumes.map((volume) => volume.split(":")[0] ?? "")) {
      if (path.startsWith(".")) assert.ok(existsSync(`${root}/deploy/${path}`), path);
      else assert.ok(path in compose.volumes, path);
    }
  }
});

test("the image runs as a user without rights, and starts what the package has", () => {
  const stages = dockerfile.split(/^FROM /m).slice(1);
  assert.is(stages.length, 2);
  const final = stages[1] ?? "";
  assert.match(final, "\nUSER node\n");
  const { bin } = z
    .object({ bin: z.record(z.string(), z.string()) })
    .parse(JSON.parse(read("package.json")));
  assert.match(final, `/app/${bin["quorate"]}`);
  const command = /^CMD (\[.*\])$/m.exec(final)?.[1] ?? "";
  validate(configOf(z.array(z.string()).parse(JSON.parse(command))).config);
  resolveConfig({ flags: flagsOf(JSON.parse(command)), environment: {} }, "serve");
  const kept = read("deploy/Dockerfile.dockerignore").split("\n");
  for (const [, copied = ""] of dockerfile.matchAll(/^COPY (?!--)(.*) \S+$/gm)) {
    for (const path of copied.split(" ")) {
      assert.ok(existsSync(`${root}/${path}`), path);
      assert.ok(kept.includes(`!${path}`), `${path} is sent to the build`);
    }
  }
});

/** Everything that is compiled where these are: them, and what they import, also when a command runs. */
function compiledWith(files: readonly string[]): readonly string[] {
  const seen = new Set(files);
  for (const file of seen) {
    for (const [, from = ""] of read(file).matchAll(/(?:from|import\() ?"(\.[^"]+\.ts)"/g)) {
      seen.add(posix.join(posix.dirname(file), from));
    }
  }
  return [...seen];
}

test("what the image is built from is sent to the build whole", () => {
  const { include } = z
    .object({ include: z.array(z.string()) })
    .parse(JSON.parse(read("tsconfig.build.json")));
  const begun = include.flatMap((path) =>
    path.endsWith(".ts")
      ? [path]
      : readdirSync(`${root}/${path}`, { recursive: true, encoding: "utf8" })
          .filter((name) => name.endsWith(".ts"))
          .map((name) => `${path}/${name}`),
  );
  const copied = [...dockerfile.matchAll(/^COPY (?!--)(.*) \S+$/gm)].flatMap(([, paths = ""]) =>
    paths.split(" "),
  );
  const isCopied = (file: string) =>
    copied.some((path) => file === path || file.startsWith(`${path}/`));
  assert.equal(
    compiledWith(begun).filter((file) => !isCopied(file)),
    [],
  );
  // A folder is copied to where its imports look for it.
  for (const [, path, to] of dockerfile.matchAll(/^COPY (?!--)(\w+) (\S+)$/gm)) {
    assert.is(to, `./${path}`);
  }
});

test("the health check and the scrape ask for routes that there are", () => {
  const paths = routes.map(({ path }) => path);
  const asked = /fetch\('http:\/\/127\.0\.0\.1:(\d+)(\/\w+)'\)/.exec(dockerfile);
  assert.is(asked?.[1], "8080");
  assert.ok(paths.includes(asked?.[2] ?? ""), "the health check");
  const { scrape_configs } = prometheusShape.parse(parse(read("deploy/prometheus.yml")));
  assert.is(scrape_configs.length, 1);
  for (const { metrics_path, static_configs } of scrape_configs) {
    assert.ok(paths.includes(metrics_path), metrics_path);
    assert.equal(
      static_configs.flatMap(({ targets }) => targets),
      nodes.map(([name]) => `${name}:8080`),
    );
  }
});

test("what Grafana is provisioned with is YAML, and names the data source of the dashboard", () => {
  const folder = `${root}/deploy/grafana/provisioning`;
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const read = files.filter((file) => file.endsWith(".yaml"));
  assert.is(read.length, 2);
  for (const file of read) assert.ok(parse(readFileSync(`${folder}/${file}`, "utf8")));
  const source = parse(readFileSync(`${folder}/datasources/prometheus.yaml`, "utf8"));
  const dashboard = readFileSync(`${root}/deploy/grafana/dashboards/quorate.json`, "utf8");
  assert.match(dashboard, `"uid": "${source.datasources[0].uid}"`);
});

const dashboardShape = z.object({
  panels: z.array(
    z.object({
      id: z.int(),
      title: z.string(),
      targets: z.array(z.object({ expr: z.string(), legendFormat: z.string() })).optional(),
    }),
  ),
  templating: z.object({ list: z.array(z.object({ query: z.string() })) }),
});

test("every metric that the dashboard asks for is in /metrics, with the labels that it uses", async () => {
  const budget = { requestsMax: 1, bytesMax: 1 };
  const admission = new Admission({
    client: budget,
    replication: budget,
    hint: budget,
    lagMsMax: 0,
  });
  const log = createReport({ level: "error", format: "json", colour: false });
  const text = await new Metrics({ log, admission }).text();
  const known = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1]));
  const dashboard = read("deploy/grafana/dashboards/quorate.json");
  const { panels, templating } = dashboardShape.parse(JSON.parse(dashboard));
  assert.is(new Set(panels.map(({ id }) => id)).size, panels.length);
  const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  assert.ok(queries.length > 30, "the panels were found");
  for (const query of [...queries, ...templating.list.map(({ query }) => query)]) {
    const names = query.match(/\b(?:quorate|process|nodejs)_[a-z_]+/g) ?? [];
    assert.ok(names.length > 0, query);
    for (const name of names) {
      const family = name.replace(/_(?:bucket|sum|count)$/, "");
      assert.ok(known.has(name) || known.has(family), name);
    }
  }
});

test.run();
