import { readdir } from "node:fs/promises";
import {
  formatLocation,
  Layout,
  type Location,
  MemoryStore,
  systemError,
  systemErrorCode,
  type Target,
} from "@stowage/layout";
import type { OpenOptions } from "./open.js";
import { withTarget } from "./with-location.js";

/**
 * Opens a location for a `plan`: as it is where it is there, and as something empty where a copy would make it; nothing is
 * made. Fails as opening it for writing does.
 */
export async function withPlannedTarget<T>(
  location: Location,
  open: OpenOptions,
  use: (target: Target) => Promise<T>,
): Promise<T> {
  if (location.kind === "registry") return withTarget(location, open, use);
  const { tag: _tag, digest: _digest, ...place } = location;
  if (location.kind !== "layout" || (await isEmpty(location.path))) return use(new MemoryStore(formatLocation(place)));
  return use(await Layout.open(location.path, open.layout));
}

/** True for a directory that is not there, or has nothing in it. */
async function isEmpty(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).length === 0;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return true;
    throw systemError(error, `cannot read ${path}`);
  }
}
