/**
 * Cluster: three nodes that replicate, of Quorate and of etcd, side by side.
 *
 * Every cluster holds the same keys, each on all of its nodes, and is asked at all of its nodes: by
 * default a write needs two of the three disks, a read the newest version. etcd is there as Debian
 * delivers it and as its newest module has it. One cluster of the main runtime has lost a node. Three bare
 * servers of each kind (`bare`) say what of a figure the runtime and the disks take.
 *
 * Effects: processes, files of the folder.
 *
 * @module
 */

import { join } from "node:path";
import { Bare } from "./bare.ts";
import { Etcd } from "./etcd.ts";
import { buildEtcd } from "./etcd_module.ts";
import { lacks, type Runtime, type Runtimes } from "./machine.ts";
import { Quorate } from "./quorate.ts";
import { nodeCount, QuorateCluster } from "./quorate_cluster.ts";
import type { Peer, Plan } from "./sample.ts";
import { Cast, type Throughput } from "./throughput.ts";

export interface ClusterThroughput {
  readonly put: Throughput;
  readonly get: Throughput;
  /** GETs with `consistency=one`, and those of a node that is alone. */
  readonly one: Throughput;
  readonly grpc: Throughput;
}

const debian = "etcd of Debian, three nodes";
const newest = "newest etcd, three nodes";
export const etcdNames: readonly string[] = [debian, newest];

/** The node that is alone, beside the clusters. */
export function aloneOn(runtime: Runtime): string {
  return `${Quorate.nameOn(runtime)}, alone`;
}

export async function measureCluster(
  runtimes: Runtimes,
  plan: Plan,
  folder: string,
  note: (line: string) => void,
): Promise<ClusterThroughput> {
  const { main } = runtimes;
  const { keys } = plan;
  const cast = new Cast("cluster", note);
  const failures: string[] = [];
  const down = QuorateCluster.nameOn(main, true);
  const alone = aloneOn(main);
  const clusters = runtimes.all.map((runtime) => QuorateCluster.nameOn(runtime));
  const bareSockets = Bare.nameOn(main, "socket", nodeCount);
  const bareLogs = Bare.nameOn(main, "log", nodeCount);
  const bareHttp2 = Bare.nameOn(main, "http2", nodeCount);
  const isOf =
    (...names: readonly string[]) =>
    ({ name }: Peer): boolean =>
      names.includes(name);
  try {
    for (const runtime of runtimes.all) {
      const own = { runtime, folder: join(folder, runtime.name), keys };
      await cast.add(QuorateCluster.nameOn(runtime), undefined, () => QuorateCluster.start(own));
    }
    await cast.add(down, undefined, () =>
      QuorateCluster.start({ runtime: main, folder: join(folder, "down"), keys, isOneDown: true }),
    );
    await cast.add(alone, undefined, async () => {
      const node = await Quorate.start({
        runtime: main,
        folder: join(folder, "alone"),
        label: alone,
      });
      await node.fill(keys);
      return node;
    });
    await addEtcds(cast, plan, folder);
    for (const [kind, name] of [
      ["socket", bareSockets],
      ["log", bareLogs],
      ["http2", bareHttp2],
    ] as const) {
      const bare = { runtime: main, kind, count: nodeCount, folder };
      await cast.add(name, undefined, () => Bare.start(bare));
    }
    const put = await cast.measure(
      "put",
      plan,
      isOf(...clusters, down, ...etcdNames, bareLogs, bareSockets),
    );
    failures.push(...put.failures);
    const get = await cast.measure("get", plan, isOf(...clusters, ...etcdNames, bareSockets));
    const one = await cast.measure("get one", plan, isOf(...clusters, alone));
    const grpc = await cast.measure(
      "put over gRPC",
      plan,
      isOf(...clusters, ...etcdNames, bareHttp2),
    );
    return { put: { ...put, failures }, get, one, grpc };
  } finally {
    failures.push(...(await cast.stop()));
  }
}

async function addEtcds(cast: Cast, { keys }: Plan, folder: string): Promise<void> {
  const lack = lacks("etcd", "h2load");
  const members = { keys, members: 3 };
  await cast.add(debian, lack, () =>
    Etcd.start({ ...members, folder: join(folder, "etcd-debian"), name: debian }),
  );
  const built = lack === undefined ? await buildEtcd() : { lack };
  const command = "command" in built ? built.command : "";
  await cast.add(newest, "lack" in built ? built.lack : undefined, () =>
    Etcd.start({ ...members, folder: join(folder, "etcd-newest"), name: newest, command }),
  );
}
