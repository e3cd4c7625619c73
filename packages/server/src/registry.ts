import { isOciError, isRepository } from "@stowage/layout";
import { Refusal } from "./errors.js";
import type { Limits } from "./limits.js";
import type { Repository, Store } from "./store.js";
import type { Turns } from "./turns.js";
import type { Uploads } from "./upload.js";

/** What every request works on. */
export interface Registry {
  readonly store: Store;
  readonly limits: Limits;
  readonly uploads: Uploads;
  readonly readonly: boolean;
  readonly sparse: boolean;
  readonly deleteBlobs: boolean;
  /** The largest referrer, in bytes, that is embedded in the list of referrers. */
  readonly embedReferrers: number;
  readonly turns: Turns;
}

/** The repository to read from, or a refusal with 404. */
export async function existingRepository(registry: Registry, name: string): Promise<Repository> {
  const repository = await findRepository(registry, name);
  if (repository === undefined) throw new Refusal(404, "NAME_UNKNOWN", `there is no repository ${name}`);
  return repository;
}

/** The repository to read from, if it is there. Refuses with 400 what is no repository name. */
export async function findRepository(registry: Registry, name: string): Promise<Repository | undefined> {
  checkName(name);
  try {
    return await registry.store.repository(name);
  } catch (error) {
    if (isOciError(error, "INVALID")) return undefined;
    throw error;
  }
}

/** The repository to write to; it is made where it does not exist. */
export async function writableRepository(registry: Registry, name: string): Promise<Repository> {
  checkName(name);
  let repository: Repository | undefined;
  try {
    repository = await registry.store.repository(name, { create: true });
  } catch (error) {
    if (isOciError(error, "INVALID"))
      throw new Refusal(400, "NAME_INVALID", `this server cannot hold a repository ${name}`);
    if (isOciError(error, "CONFLICT"))
      throw new Refusal(409, "NAME_INVALID", `other repositories are in the way of ${name}`);
    throw error;
  }
  if (repository === undefined) throw new Refusal(404, "NAME_UNKNOWN", `there is no repository ${name}`);
  return repository;
}

function checkName(name: string): void {
  if (!isRepository(name)) throw new Refusal(400, "NAME_INVALID", "not a repository name");
}
