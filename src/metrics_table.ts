/**
 * Metrics table: the names, units and help texts of what the parts of a node report.
 *
 * An effect counts under a short name and observes under one whose last word is the unit
 * (`wal_sync_ms`). Here it gets the name by which Prometheus knows it, in base units. A report that
 * is not in the table is still counted, as an event; a test finds those that the sources name.
 *
 * Effects: none. Source: Prometheus, "Metric and label naming".
 *
 * @module
 */

import { countBounds, latencyBounds } from "./histogram.ts";

export interface CounterRow {
  readonly metric: string;
  readonly help: string;
}

export interface HistogramRow {
  readonly metric: string;
  readonly help: string;
  readonly bounds: readonly number[];
  /** What an observation is divided by. */
  readonly divisor: number;
}

/** By the name given to `Report.count`. */
export const counterTable: Readonly<Record<string, CounterRow>> = {
  write_acknowledgements: {
    metric: "quorate_write_acknowledgements_total",
    help: "Replicas that acknowledged a write before it was answered.",
  },
  connections_refused: {
    metric: "quorate_connections_refused_total",
    help: "Connections closed at once: too many, or the node was stopping.",
  },
  connections_cut: {
    metric: "quorate_connections_cut_total",
    help: "Connections cut because their client did not send or read in time.",
  },
  connections_flooding: {
    metric: "quorate_connections_flooding_total",
    help: "HTTP/2 connections ended because they had costly things done for nothing.",
  },
  requests_refused: {
    metric: "quorate_requests_refused_total",
    help: "Requests refused as overloaded before anything was done for them.",
  },
  rpc_answers_cut: {
    metric: "quorate_rpc_answers_cut_total",
    help: "RPCs whose client was gone before its answer.",
  },
  scrub_rounds: {
    metric: "quorate_scrub_rounds_total",
    help: "Rounds in which all data was read again and checked.",
  },
  agreement_members_not_told: {
    metric: "quorate_agreement_members_not_told_total",
    help: "Members that could not be told of a new topology document at once; gossip tells them.",
  },
  agreement_voters_silent: {
    metric: "quorate_agreement_voters_silent_total",
    help: "Voters that did not answer in an agreement on the topology.",
  },
  gossip_documents_not_fetched: {
    metric: "quorate_gossip_documents_not_fetched_total",
    help: "Newer topology documents that were heard of and could not be fetched.",
  },
  gossip_heartbeats_foreign: {
    metric: "quorate_gossip_heartbeats_foreign_total",
    help: "Heartbeats of nodes that are no members.",
  },
  gossip_heartbeats_unanswered: {
    metric: "quorate_gossip_heartbeats_unanswered_total",
    help: "Heartbeats that were not answered in time.",
  },
  peer_requests_refused: {
    metric: "quorate_peer_requests_refused_total",
    help: "Requests of other nodes that their budget had no room for.",
  },
  links_cut: {
    metric: "quorate_links_cut_total",
    help: "Links to other nodes that were cut.",
  },
  links_refused: {
    metric: "quorate_links_refused_total",
    help: "Nodes that were refused in the handshake: another secret, cluster or store.",
  },
  link_replies_dropped: {
    metric: "quorate_link_replies_dropped_total",
    help: "Replies to other nodes that found no room.",
  },
  hints_kept: {
    metric: "quorate_hints_kept_total",
    help: "Writes kept for a node that was not reached.",
  },
  hints_delivered: {
    metric: "quorate_hints_delivered_total",
    help: "Kept writes that their node has acknowledged.",
  },
  hints_dropped: {
    metric: "quorate_hints_dropped_total",
    help: "Kept writes given up, by age, for want of room or as damaged: repair has to do them.",
  },
  repair_agreed: {
    metric: "quorate_repair_agreed_total",
    help: "Comparisons of a partition with another replica that found no difference.",
  },
  repair_differed: {
    metric: "quorate_repair_differed_total",
    help: "Comparisons of a partition with another replica that looked at keys.",
  },
  repair_segments: {
    metric: "quorate_repair_segments_total",
    help: "Segments of 1,024 of a partition whose keys comparisons looked at: their sums differed twice.",
  },
  repair_broken: {
    metric: "quorate_repair_broken_total",
    help: "Comparisons that were broken off: the other replica was away, or refused.",
  },
  repair_pushed: {
    metric: "quorate_repair_pushed_records_total",
    help: "Records that comparisons sent to other replicas.",
  },
  repair_pulled: {
    metric: "quorate_repair_pulled_records_total",
    help: "Records that comparisons got from other replicas.",
  },
  partitions_filled: {
    metric: "quorate_partitions_filled_total",
    help: "Partitions without data that were filled from other replicas.",
  },
  tombstones_dropped: {
    metric: "quorate_tombstones_dropped_total",
    help: "Tombstones, and records that were over, removed below a watermark.",
  },
  log_lines_lost: {
    metric: "quorate_log_lines_lost_total",
    help: "Lines of the log that nobody read in time.",
  },
};

/** By the name given to `Report.observe`. */
export const histogramTable: Readonly<Record<string, HistogramRow>> = {
  gossip_late_ms: {
    metric: "quorate_gossip_late_seconds",
    help: "How late the event loop was for a round of gossip.",
    bounds: latencyBounds,
    divisor: 1000,
  },
  wal_sync_ms: {
    metric: "quorate_wal_sync_seconds",
    help: "Writing and syncing one batch of the write-ahead log.",
    bounds: latencyBounds,
    divisor: 1000,
  },
  wal_batch_entries: {
    metric: "quorate_wal_batch_entries",
    help: "Entries in one batch of the write-ahead log.",
    bounds: countBounds.slice(0, 15),
    divisor: 1,
  },
  wal_batch_bytes: {
    metric: "quorate_wal_batch_bytes",
    help: "Bytes of one batch of the write-ahead log.",
    bounds: countBounds.slice(12),
    divisor: 1,
  },
  checkpoint_ms: {
    metric: "quorate_checkpoint_seconds",
    help: "Moving a full memtable into the index.",
    bounds: latencyBounds,
    divisor: 1000,
  },
  checkpoint_entries: {
    metric: "quorate_checkpoint_entries",
    help: "Entries that one checkpoint moved into the index.",
    bounds: countBounds,
    divisor: 1,
  },
};
