import {
  type Abortable,
  type Content,
  type Descriptor,
  formatDescriptor,
  type Presence,
  type PushOptions,
  verified,
} from "@stowage/layout";
import { hasBlob } from "./blobs.js";
import { checkDeclaredDigest, type Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { appendQuery } from "./http/url.js";
import { checkStep } from "./registry.js";
import { RegistryError } from "./registry-error.js";

/** An upload that has begun. distribution-spec v1.1.1, "Pushing blobs". */
interface Session {
  /** Where to go on; opaque. */
  readonly location: URL;
  /** What the registry wants to see again, so that all requests reach the same one of its machines. */
  readonly cookie: string | undefined;
}

/**
 * Makes a blob present: it is there already, is mounted from `mountFrom` on the same registry, or is sent in one request. Fails
 * with `MISMATCH` where the bytes are not what the descriptor says; the last of them are not sent then. An upload that is
 * given up is cancelled.
 */
export async function pushBlob(
  endpoint: Endpoint,
  content: Content,
  mountFrom: string | undefined,
  options: PushOptions = {},
): Promise<Presence> {
  const { descriptor } = content;
  if (await hasBlob(endpoint, descriptor, "push", options)) return "present";
  const mounted = mountFrom === undefined ? undefined : await mount(endpoint, descriptor, mountFrom, options);
  if (mounted === "mounted") return mounted;
  let session = mounted;
  const progress = new Progress(options.onBytes);
  let lost = false;
  return endpoint.registry.retry.run<Presence>(async () => {
    // The answer to the last try may be all that was lost.
    if (lost && (await hasBlob(endpoint, descriptor, "push", options))) return "written";
    const current: Session = session ?? (await begin(endpoint, descriptor, options));
    // A session that failed is not used again: how much of it the registry kept is not known.
    session = undefined;
    try {
      await send(endpoint, current, content, progress, options);
      return "written";
    } catch (error) {
      lost = true;
      await cancel(endpoint, current, descriptor);
      throw error;
    }
  }, options.signal);
}

/** Mounts the blob, or returns the session the registry opened instead, or undefined where it refused. */
async function mount(
  endpoint: Endpoint,
  descriptor: Descriptor,
  from: string,
  options: Abortable,
): Promise<Session | "mounted" | undefined> {
  const action = `cannot mount the blob ${descriptor.digest} in ${endpoint.name}`;
  let answer: Answer;
  try {
    answer = await endpoint.send({
      action,
      method: "POST",
      at: `blobs/uploads/?mount=${descriptor.digest}&from=${encodeURIComponent(from)}`,
      needs: "push",
      from,
      accept: [201, 202],
      signal: options.signal,
    });
  } catch (error) {
    // Mounting is a shortcut. Whatever stands in its way (no access to the other repository, not implemented) does not stand in ours.
    if (error instanceof RegistryError && error.status !== undefined && error.status < 500) return undefined;
    throw error;
  }
  await answer.discard();
  if (answer.status === 202) return sessionOf(answer, action, endpoint);
  checkDeclaredDigest(answer, descriptor.digest, action);
  return "mounted";
}

async function begin(endpoint: Endpoint, descriptor: Descriptor, options: Abortable): Promise<Session> {
  const action = `cannot begin to push ${formatDescriptor(descriptor)} to ${endpoint.name}`;
  const answer = await endpoint.send({
    action,
    method: "POST",
    at: "blobs/uploads/",
    needs: "push",
    accept: [202],
    once: true,
    signal: options.signal,
  });
  await answer.discard();
  return sessionOf(answer, action, endpoint);
}

async function sessionOf(answer: Answer, action: string, endpoint: Endpoint): Promise<Session> {
  const text = answer.header("location");
  if (text === undefined || !URL.canParse(text, answer.url.href)) {
    throw new RegistryError("REGISTRY", `${action}: ${answer.url.host} does not say where to go on (Location)`, {
      method: answer.method,
      url: answer.url,
      status: answer.status,
    });
  }
  const location = new URL(text, answer.url);
  await checkStep(action, endpoint.registry.url, location);
  const cookies = answer.headers("set-cookie").map((cookie) => cookie.split(";")[0]?.trim() ?? "");
  const cookie = cookies.filter((pair) => /^[^=\s]+=[\x21-\x7e]*$/.test(pair)).join("; ");
  return { location, cookie: cookie === "" ? undefined : cookie };
}

/** One PUT with everything. What is sent is verified: content that is wrong ends before its last bytes, and the request with it. */
async function send(
  endpoint: Endpoint,
  session: Session,
  content: Content,
  progress: Progress,
  options: Abortable,
): Promise<void> {
  const { descriptor } = content;
  const action = `cannot push ${formatDescriptor(descriptor)} to ${endpoint.name}`;
  const open = (): AsyncGenerator<Uint8Array> => progress.count(verified(content.open(), descriptor));
  if (descriptor.size === 0) for await (const _ of open());
  const answer = await endpoint.send({
    action,
    method: "PUT",
    at: appendQuery(session.location, "digest", descriptor.digest),
    needs: "push",
    accept: [200, 201, 204],
    headers: { "content-type": "application/octet-stream", ...cookieHeader(session) },
    body: descriptor.size === 0 ? new Uint8Array() : { size: descriptor.size, open },
    once: true,
    signal: options.signal,
  });
  await answer.discard();
  checkDeclaredDigest(answer, descriptor.digest, action);
}

/** How long a registry has to acknowledge that an upload was given up, in ms. */
const CANCEL_TIMEOUT = 3000;

/** Best effort: a registry that cannot do it drops the upload in its own time. */
async function cancel(endpoint: Endpoint, session: Session, descriptor: Descriptor): Promise<void> {
  try {
    const answer = await endpoint.send({
      action: `cannot cancel the upload of ${descriptor.digest}`,
      method: "DELETE",
      at: session.location,
      needs: "push",
      accept: [200, 202, 204],
      headers: cookieHeader(session),
      once: true,
      // Not the caller's signal: that one may be why the upload is given up.
      signal: AbortSignal.timeout(CANCEL_TIMEOUT),
    });
    await answer.discard();
  } catch {
    // The failure that led here is the one to report.
  }
}

function cookieHeader(session: Session): Record<string, string> {
  return session.cookie === undefined ? {} : { cookie: session.cookie };
}

/** Tells how much was sent; what is sent again counts once. */
class Progress {
  readonly #onBytes: PushOptions["onBytes"];
  #told = 0;

  constructor(onBytes: PushOptions["onBytes"]) {
    this.#onBytes = onBytes;
  }

  async *count(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let sent = 0;
    for await (const chunk of bytes) {
      yield chunk;
      sent += chunk.byteLength;
      if (sent <= this.#told) continue;
      this.#onBytes?.(sent - this.#told);
      this.#told = sent;
    }
  }
}
