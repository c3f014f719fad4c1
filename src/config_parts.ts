/**
 * Config parts: what parts of a node are told, out of its settings.
 *
 * Effects: none.
 *
 * @module
 */

import type { AdmissionLimits } from "./admission.ts";
import { isEveryAddress } from "./config_rules.ts";
import type { Config } from "./config_shape.ts";

/** What a node is to others: all but the secret, which may lie in a file, and where clients find it. */
export function peerSettingsOf(config: Config) {
  const address = peerAddressOf(config);
  return {
    peers: config.peers,
    addresses: address === undefined ? [] : [address],
    zone: config.zone,
    weight: config.weight,
    autoJoin: config.autoJoin,
    queueBytesMax: config.linkQueueBytesMax,
    gossip: {
      periodMs: config.gossipPeriodMs,
      phiSuspect: config.phiSuspect,
      phiDown: config.phiDown,
    },
    ...(config.bootstrapExpect === undefined ? {} : { expect: config.bootstrapExpect }),
    ...(config.clusterId === undefined ? {} : { clusterId: config.clusterId }),
    ...(config.hostId === undefined ? {} : { host: config.hostId }),
  };
}

/** The names that requests to this node may carry: those for clients, and that for other nodes. */
export function namesOf({ advertisedAddresses, advertisedPeerAddress }: Config): readonly string[] {
  return [
    ...advertisedAddresses,
    ...(advertisedPeerAddress === undefined ? [] : [advertisedPeerAddress]),
  ];
}

/** Where others reach this node; undefined where the port is any free one. */
function peerAddressOf(config: Config): string | undefined {
  if (config.advertisedPeerAddress !== undefined) return config.advertisedPeerAddress;
  const port = config.gossipPort ?? config.port;
  if (port === 0) return undefined;
  return authorityOf(hostOf(config), port);
}

/** Where clients reach this node. */
export function clientUrlOf(config: Config): string {
  const { host, advertisedAddresses, advertisedPeerAddress: told, gossipPort, port } = config;
  // Whoever listens on every address is known elsewhere by what it tells the other nodes.
  if (told !== undefined && advertisedAddresses.length === 0 && isEveryAddress(host)) {
    return gossipPort === undefined ? `http://${told}` : urlOf(told.replace(/:\d+$/, ""), port);
  }
  return urlOf(hostOf(config), config.port);
}

/** The name or address under which this machine is known, without a port. */
function hostOf({ advertisedAddresses, host }: Config): string {
  const advertised = advertisedAddresses[0];
  if (advertised === undefined) return usableHost(host);
  // A bare address of IPv6 has no port, and ends like one.
  return /:.*:/.test(advertised.replace(/^\[.*\]/, ""))
    ? advertised
    : advertised.replace(/:\d+$/, "");
}

/** `http://127.0.0.1:8080`; an address that means "all" is shown as one that can be used. */
export function urlOf(host: string, port: number): string {
  return `http://${authorityOf(usableHost(host), port)}`;
}

/** An address that means "all" is none to connect to. */
function usableHost(host: string): string {
  return isEveryAddress(host) ? "127.0.0.1" : host;
}

/** A host and a port; an address of IPv6 stands in brackets. */
function authorityOf(host: string, port: number): string {
  const bare = host.replace(/^\[|\]$/g, "");
  return `${bare.includes(":") ? `[${bare}]` : bare}:${port}`;
}

export function admissionLimitsOf(config: Config): AdmissionLimits {
  return {
    client: { requestsMax: config.requestsMax, bytesMax: config.requestBytesMax },
    replication: {
      requestsMax: config.replicationRequestsMax,
      bytesMax: config.replicationBytesMax,
    },
    hint: { requestsMax: config.hintRequestsMax, bytesMax: config.replicationBytesMax },
    lagMsMax: config.loopLagMsMax,
  };
}
