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
import { type OpenedTarget, type OpenOptions, openTarget } from "./open.js";

/**
 * Opens a location for a `plan`: as it is where it is there, and as something empty where a copy would make it; nothing is
 * made. Fails as opening it for writing does.
 */
export async function openPlannedTarget(location: Location, open: OpenOptions): Promise<OpenedTarget> {
  if (location.kind === "registry") return openTarget(location, open);
  const { tag: _tag, digest: _digest, ...place } = location;
  const isNew = location.kind !== "layout" || (await isEmpty(location.path));
  const target = isNew ? new MemoryStore(formatLocation(place)) : await Layout.open(location.path, open.layout);
  return { target, close: nothing, discard: nothing };
}

/** Opens a location as {@link openPlannedTarget} does, hands it to `use`, and closes it whatever happens. */
export async function withPlannedTarget<T>(
  location: Location,
  open: OpenOptions,
  use: (target: Target) => Promise<T>,
): Promise<T> {
  const opened = await openPlannedTarget(location, open);
  try {
    return await use(opened.target);
  } finally {
    await opened.close();
  }
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

async function nothing(): Promise<void> {}
