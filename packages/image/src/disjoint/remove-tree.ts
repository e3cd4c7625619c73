import { chmodSync, lstatSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { systemErrorCode } from "@stowage/layout";

/** Removes a tree, also one whose directories nobody may write to. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (systemErrorCode(error) !== "EACCES") throw error;
    makeWritable(path);
    await rm(path, { recursive: true, force: true });
  }
}

function makeWritable(path: string | Buffer): void {
  if (!lstatSync(path).isDirectory()) return;
  chmodSync(path, 0o700);
  for (const name of readdirSync(path, { encoding: "buffer" }))
    makeWritable(Buffer.concat([Buffer.from(path), Buffer.from("/"), name]));
}
