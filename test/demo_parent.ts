/** `quorate demo` with `demo_child.ts` in place of `quorate serve`: a folder, a number of nodes. */
import { fileURLToPath } from "node:url";
import { runDemo } from "../src/cli_demo.ts";
import { printError, processIo } from "../src/cli_io.ts";

const [folder = "", nodes = "3", port = "0", program = ""] = process.argv.slice(2);
const child = program === "" ? fileURLToPath(new URL("demo_child.ts", import.meta.url)) : program;
const io = processIo();
const options = { nodes: Number(nodes), port: Number(port), "data-dir": folder };
const words = ["--import", "tsx", child];
process.exit(
  await runDemo({ options }, io, { command: process.execPath, words }).catch((error: unknown) =>
    printError(io, error),
  ),
);
