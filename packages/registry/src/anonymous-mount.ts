import type { Abortable, Descriptor } from "@stowage/layout";
import type { UploadOptions } from "./blob-upload.js";
import { hasBlob } from "./blobs.js";
import type { Endpoint } from "./endpoint.js";
import { mount } from "./mount.js";
import { mountsAnonymously } from "./probe-cache.js";
import type { Registry } from "./registry.js";
import { RegistryError } from "./registry-error.js";
import type { UploadSession } from "./upload-session.js";

/** Whether a registry is asked; not any more once it has refused. */
const asked = new WeakMap<Registry, Promise<boolean>>();

/**
 * Mounts the blob from whichever repository has it, where the registry is known to answer that as it should; what it says is looked
 * at all the same. Returns the session the registry opened instead, or undefined where the blob has to be sent in another way.
 */
export async function mountFromAnywhere(
  endpoint: Endpoint,
  descriptor: Descriptor,
  { anonymousMount, probeCache }: UploadOptions,
  options: Abortable,
): Promise<UploadSession | "mounted" | undefined> {
  const { registry } = endpoint;
  const known = asked.get(registry) ?? isKnown(registry.host, anonymousMount, probeCache);
  asked.set(registry, known);
  if (!(await known)) return undefined;
  let mounted: Awaited<ReturnType<typeof mount>>;
  try {
    mounted = await mount(endpoint, descriptor, undefined, options);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
  }
  const isThere = mounted !== "mounted" || (await hasBlob(endpoint, descriptor, "push", options));
  if (mounted !== undefined && isThere) return mounted;
  asked.set(registry, Promise.resolve(false));
  return undefined;
}

async function isKnown(
  host: string,
  hosts: readonly string[] | undefined,
  cache: string | false | undefined,
): Promise<boolean> {
  return hosts === undefined ? mountsAnonymously(host, cache) : hosts.includes(host);
}
