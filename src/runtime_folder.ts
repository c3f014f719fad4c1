/**
 * Runtime folder: why the system does not let a data folder be used, in words.
 *
 * Effects: none.
 *
 * @module
 */

import { resolve } from "node:path";
import { systemErrorCode } from "./capability.ts";
import { QuorateError } from "./errors.ts";

const whys: Readonly<Record<string, string>> = {
  EEXIST: "it is not a folder",
  ENOTDIR: "a part of the path is not a folder",
  EACCES: "the system does not allow it",
  EPERM: "the system does not allow it",
  EROFS: "the file system is read-only",
  // A file system that is none, as /proc, says so of what is to be made in it.
  ENOENT: "it cannot be made there",
  ENAMETOOLONG: "the path is too long",
  ENOSPC: "the disk is full",
};

/** What the system said when the folder was opened, as an error of ours; others as they are. */
export function folderError(error: unknown, dataFolder: string): unknown {
  const why = whys[systemErrorCode(error) ?? ""];
  if (why === undefined) return error;
  const detail = `Cannot use the data folder ${resolve(dataFolder)}: ${why}.`;
  return new QuorateError("invalid-config", detail, {
    hint: "Choose another with --data-dir (dataDir of open()), or make this one usable.",
    cause: error,
  });
}
