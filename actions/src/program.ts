import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import * as core from "@actions/core";
import { OciError, systemErrorCode } from "@stowage/layout";
import { info } from "./log.js";

/** The last lines of what a program says tell why it failed. */
const REMEMBERED = 5;

/**
 * Runs another program to its end, without a shell, and shows what it says in a group of the log. Fails with `NOT_FOUND` where the runner
 * does not have it, and with `REGISTRY` and its last words where it fails.
 */
export async function runProgram(program: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  const last: string[] = [];
  await core.group(`${program} ${args[0]}`, async () => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], signal });
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once("error", reject).once("close", resolve);
    });
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on("line", (line) => {
        info(line);
        last.push(line);
        if (last.length > REMEMBERED) last.shift();
      });
    const code = await ended.catch((error: unknown) => {
      signal.throwIfAborted();
      if (systemErrorCode(error) !== "ENOENT") throw error;
      throw new OciError("NOT_FOUND", `${program} is not on this runner`, {
        hint: `Install ${program} in a step before this one, or write into: archive and archive: image.tar.`,
        cause: error,
      });
    });
    if (code !== 0)
      throw new OciError("REGISTRY", `${program} ${args[0]} ended with ${code}: ${last.join(" ").slice(0, 1000)}`);
  });
}
