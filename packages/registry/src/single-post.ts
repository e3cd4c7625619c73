import { type Content, collect, type PushOptions, verified } from "@stowage/layout";
import type { UploadOptions } from "./blob-upload.js";
import { hasBlob } from "./blobs.js";
import { checkDeclaredDigest, type Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import type { Registry } from "./registry.js";
import { RegistryError } from "./registry-error.js";
import { UploadSession } from "./upload-session.js";

/** The largest blob that is sent with the question for a session, in bytes. Servers read so much on although they do not want it. */
const MAXIMUM_SIZE = 256 * 1024;

/** Which registries take a blob so, for as long as a registry object lives; `undefined` while the first try is under way. */
const takes = new WeakMap<Registry, boolean | undefined>();

/** True where a blob may be sent with {@link postBlob}: it is small, and the registry takes it or has not been tried. */
export function mayPostBlob({ registry }: Endpoint, { descriptor }: Content, { strategy }: UploadOptions): boolean {
  if (strategy === "chunked" || descriptor.size === 0 || descriptor.size > MAXIMUM_SIZE) return false;
  return !takes.has(registry) || takes.get(registry) === true;
}

/**
 * Sends a small blob in one request. A registry need not know that; whether it does is found out with the first blob, of which is
 * looked afterwards whether it is there. Returns the session that was opened instead, or undefined where there is none. Fails with
 * `MISMATCH` where the bytes are not what the descriptor says. distribution-spec v1.1.1, "Pushing a blob monolithically", "Single POST".
 */
export async function postBlob(
  endpoint: Endpoint,
  content: Content,
  options: PushOptions,
): Promise<UploadSession | "written" | undefined> {
  const { registry } = endpoint;
  const { descriptor } = content;
  const isFirst = !takes.has(registry);
  if (isFirst) takes.set(registry, undefined);
  let result: UploadSession | "written" | undefined;
  try {
    const bytes = await collect(verified(content.open(), descriptor), MAXIMUM_SIZE);
    const action = `cannot push ${descriptor.digest} to ${endpoint.name}`;
    const answer = await post(endpoint, descriptor.digest, bytes, action, options);
    if (answer.status === 202) result = await UploadSession.of(endpoint, descriptor, answer, action);
    else {
      checkDeclaredDigest(answer, descriptor.digest, action);
      if (!isFirst || (await hasBlob(endpoint, descriptor, "push", options))) result = "written";
    }
    if (result === "written") options.onBytes?.(bytes.byteLength);
  } catch (error) {
    // What the registry has against it comes up again, or not, on the usual way.
    if (!(error instanceof RegistryError)) throw error;
  } finally {
    if (isFirst) takes.set(registry, result === "written");
  }
  return result;
}

async function post(
  endpoint: Endpoint,
  digest: string,
  body: Uint8Array,
  action: string,
  { signal }: PushOptions,
): Promise<Answer> {
  const answer = await endpoint.send({
    action,
    method: "POST",
    at: `blobs/uploads/?digest=${encodeURIComponent(digest)}`,
    needs: "push",
    accept: [201, 202],
    headers: { "content-type": "application/octet-stream" },
    body,
    once: true,
    signal,
  });
  await answer.discard();
  return answer;
}
