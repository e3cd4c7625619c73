import type { Abortable, Content, Presence, PushOptions } from "@stowage/layout";
import { mountFromAnywhere } from "./anonymous-mount.js";
import { BlobUpload, type UploadOptions } from "./blob-upload.js";
import { hasBlob } from "./blobs.js";
import type { Endpoint } from "./endpoint.js";
import { inTurn } from "./in-turn.js";
import { foreseeBlob, knownRepository, mount, rememberBlob } from "./mount.js";
import { mayPostBlob, postBlob } from "./single-post.js";
import { sliceable } from "./stored-content.js";

/**
 * Makes a blob present: it is there already, is mounted from another repository of the same registry (`mountFrom`, one where
 * it was seen before, or whichever has it where the registry is known to look), or is sent. Fails with `MISMATCH` where the bytes are not what the descriptor says; the last of
 * them are not sent then. An upload that is given up is cancelled.
 */
export async function pushBlob(
  endpoint: Endpoint,
  content: Content,
  mountFrom: string | undefined,
  upload: UploadOptions,
  options: PushOptions = {},
): Promise<Presence> {
  const { digest } = content.descriptor;
  // What two repositories of one registry need is sent to one of them and mounted in the other.
  return inTurn(`blob ${endpoint.registry.url.href} ${digest}`, async () => {
    const presence = await makePresent(endpoint, content, mountFrom, upload, options);
    rememberBlob(endpoint, digest);
    return presence;
  });
}

async function makePresent(
  endpoint: Endpoint,
  content: Content,
  mountFrom: string | undefined,
  upload: UploadOptions,
  options: PushOptions,
): Promise<Presence> {
  const { descriptor } = content;
  options.signal?.throwIfAborted();
  if (options.found ?? (await hasBlob(endpoint, descriptor, "push", options))) return "present";
  const from = mountFrom ?? knownRepository(endpoint, descriptor.digest);
  const mounted =
    from === undefined
      ? await mountFromAnywhere(endpoint, descriptor, upload, options)
      : await mount(endpoint, descriptor, from, options);
  if (mounted === "mounted") return mounted;
  const posted =
    mounted === undefined && mayPostBlob(endpoint, content, upload)
      ? await postBlob(endpoint, content, options)
      : mounted;
  if (posted === "written") return posted;
  const sent = await sliceable(content, options.signal);
  await new BlobUpload(endpoint, sent, posted, upload, options).run();
  return "written";
}

/** How {@link pushBlob} would make a blob present, if the registry mounts what it can. */
export async function foreseeBlobPush(
  endpoint: Endpoint,
  content: Content,
  mountFrom: string | undefined,
  options: Abortable = {},
): Promise<Presence> {
  const { descriptor } = content;
  if (await hasBlob(endpoint, descriptor, "push", options)) {
    foreseeBlob(endpoint, descriptor.digest);
    return "present";
  }
  const from = mountFrom ?? knownRepository(endpoint, descriptor.digest);
  const before = foreseeBlob(endpoint, descriptor.digest);
  return (from ?? before) === undefined ? "written" : "mounted";
}
