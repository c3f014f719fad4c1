/** How the runtime that runs a test starts another script of the tests. */
export function scriptCommand(script: string, args: readonly string[]): [string, ...string[]] {
  const { bun, deno } = process.versions as Record<string, string | undefined>;
  if (bun !== undefined) return [process.execPath, script, ...args];
  if (deno !== undefined) return [process.execPath, "run", "-A", script, ...args];
  return [process.execPath, "--import", "tsx", script, ...args];
}
