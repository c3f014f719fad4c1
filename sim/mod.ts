/**
 * Mod: what `quorate/sim` gives to who wants to run simulations: `simulate`, a whole cluster from one
 * seed, and `shrink`, the fewest troubles with which it still fails.
 *
 * Effects: those of a run: while one is under way in a process, that process has no real time, no chance
 * and no `fetch`, and it is the only one (`guard`).
 *
 * @module
 */

export type { Promised, Violation } from "./check.ts";
export type { Clocks, History, ListedKey, Operation, OperationKind, Told } from "./history.ts";
export { operationText } from "./history.ts";
export type { DiskKnobs, Knobs, WorkloadKnobs } from "./knobs.ts";
export type { NetworkKnobs } from "./network.ts";
export { rarePaths } from "./rare_paths.ts";
export { shrink } from "./shrink.ts";
export { type Run, type SimulateOptions, simulate } from "./simulate.ts";
export { type Trouble, type TroubleKind, troubleKinds, troubleText } from "./trouble_list.ts";
