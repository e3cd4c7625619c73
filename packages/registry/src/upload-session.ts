import { type Abortable, type Descriptor, type Digest, digestAlgorithm, formatDescriptor } from "@stowage/layout";
import { checkDeclaredDigest, type Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { appendQuery } from "./http/url.js";
import { checkStep } from "./registry.js";
import { RegistryError } from "./registry-error.js";
import type { RequestBody } from "./transport.js";

/** How long a registry has to acknowledge that an upload was given up, in ms. */
const CANCEL_TIMEOUT = 3000;

/** An upload that has begun. Each answer tells where to go on. distribution-spec v1.1.1, "Pushing blobs". */
export class UploadSession {
  readonly #endpoint: Endpoint;
  readonly #descriptor: Descriptor;
  /** Where to go on; opaque. */
  #location: URL;
  /** What the registry wants to see again, so that all requests reach the same one of its machines. */
  #cookie: string | undefined;
  /** The least that a chunk other than the last may have, in bytes, where the registry says so (OCI-Chunk-Min-Length). */
  readonly minimumChunk: number;

  private constructor(endpoint: Endpoint, descriptor: Descriptor, location: URL, answer: Answer) {
    this.#endpoint = endpoint;
    this.#descriptor = descriptor;
    this.#location = location;
    this.#takeCookie(answer);
    const minimum = answer.header("oci-chunk-min-length")?.trim() ?? "";
    this.minimumChunk = /^\d{1,12}$/.test(minimum) ? Number(minimum) : 0;
  }

  /** Asks for a session. Fails as a request does, and with `REGISTRY` where the answer names no place to go on. */
  static async begin(endpoint: Endpoint, descriptor: Descriptor, options: Abortable): Promise<UploadSession> {
    const action = `cannot begin to push ${formatDescriptor(descriptor)} to ${endpoint.name}`;
    const algorithm = digestAlgorithm(descriptor.digest);
    const answer = await endpoint.send({
      action,
      method: "POST",
      // A registry that hashes while the bytes arrive has to know with what; others do not look at it.
      at: `blobs/uploads/${algorithm === "sha256" ? "" : `?digest-algorithm=${algorithm}`}`,
      needs: "push",
      accept: [202],
      once: true,
      signal: options.signal,
    });
    await answer.discard();
    return UploadSession.of(endpoint, descriptor, answer, action);
  }

  /** The session that an answer 202 has opened. */
  static async of(endpoint: Endpoint, descriptor: Descriptor, answer: Answer, action: string): Promise<UploadSession> {
    const location = await locationIn(answer, action, endpoint);
    if (location !== undefined) return new UploadSession(endpoint, descriptor, location, answer);
    throw new RegistryError("REGISTRY", `${action}: ${answer.url.host} does not say where to go on (Location)`, {
      method: answer.method,
      url: answer.url,
      status: answer.status,
    });
  }

  /**
   * Sends the bytes from `from` on, with `alone` over a connection that nothing follows on, and returns how many the registry has
   * then, by its own word.
   */
  async patch(
    from: number,
    body: Exclude<RequestBody, Uint8Array>,
    options: Abortable & { readonly alone: boolean },
  ): Promise<number> {
    const action = `cannot push bytes ${from} to ${from + body.size - 1} of ${this.#descriptor.digest} to ${this.#endpoint.name}`;
    const answer = await this.#send(action, "PATCH", this.#location, [200, 201, 202, 204], options, {
      headers: {
        "content-type": "application/octet-stream",
        "content-range": `${from}-${from + body.size - 1}`,
        ...(options.alone ? { connection: "close" } : {}),
      },
      body,
    });
    return receivedBytes(answer) ?? from + body.size;
  }

  /** Ends the upload, with the rest of the bytes or without any. Fails with `MISMATCH` where the registry then names another digest. */
  async put(digest: Digest, body: RequestBody, options: Abortable): Promise<void> {
    const action = `cannot push ${formatDescriptor(this.#descriptor)} to ${this.#endpoint.name}`;
    const at = appendQuery(this.#location, "digest", digest);
    const answer = await this.#send(action, "PUT", at, [200, 201, 204], options, {
      headers: { "content-type": "application/octet-stream" },
      body,
    });
    checkDeclaredDigest(answer, digest, action);
  }

  /**
   * How many bytes the registry has; undefined where it does not tell, or does not know the session any more. `0-0` says one byte
   * where there is none, so it counts as not told.
   */
  async status(options: Abortable): Promise<number | undefined> {
    const action = `cannot ask how much of ${this.#descriptor.digest} has arrived in ${this.#endpoint.name}`;
    try {
      const answer = await this.#send(action, "GET", this.#location, [200, 202, 204], options);
      const received = receivedBytes(answer);
      return received === undefined || received <= 1 ? undefined : received;
    } catch (error) {
      if (error instanceof RegistryError && error.status !== undefined) return undefined;
      throw error;
    }
  }

  /** Best effort: a registry that cannot do it drops the upload in its own time. */
  async cancel(): Promise<void> {
    const action = `cannot cancel the upload of ${this.#descriptor.digest}`;
    try {
      // Not the caller's signal: that one may be why the upload is given up.
      const signal = AbortSignal.timeout(CANCEL_TIMEOUT);
      await this.#send(action, "DELETE", this.#location, [200, 202, 204], { signal });
    } catch {
      // The failure that led here is the one to report.
    }
  }

  async #send(
    action: string,
    method: "GET" | "PATCH" | "PUT" | "DELETE",
    at: URL,
    accept: readonly number[],
    { signal }: Abortable,
    more: { readonly headers?: Record<string, string>; readonly body?: RequestBody } = {},
  ): Promise<Answer> {
    const cookie: Record<string, string> = this.#cookie === undefined ? {} : { cookie: this.#cookie };
    const headers = { ...more.headers, ...cookie };
    const answer = await this.#endpoint.send({
      ...more,
      action,
      method,
      at,
      needs: "push",
      accept,
      headers,
      once: method !== "GET",
      signal,
    });
    await answer.discard();
    if (method === "PATCH" || method === "GET") {
      this.#location = (await locationIn(answer, action, this.#endpoint)) ?? this.#location;
      this.#takeCookie(answer);
    }
    return answer;
  }

  #takeCookie(answer: Answer): void {
    const cookies = answer.headers("set-cookie").map((cookie) => cookie.split(";")[0]?.trim() ?? "");
    const cookie = cookies.filter((pair) => /^[^=\s]+=[\x21-\x7e]*$/.test(pair)).join("; ");
    if (cookie !== "") this.#cookie = cookie;
  }
}

/** Where an answer says to go on, if it does. Fails with `DENIED` where that is nearer than the registry is itself. */
async function locationIn(answer: Answer, action: string, endpoint: Endpoint): Promise<URL | undefined> {
  const text = answer.header("location");
  if (text === undefined || !URL.canParse(text, answer.url.href)) return undefined;
  const location = new URL(text, answer.url);
  await checkStep(action, endpoint.registry.url, location);
  return location;
}

/** What a Range header says has arrived: `0-1023`, without a unit and with both ends included. */
function receivedBytes(answer: Answer): number | undefined {
  const end = /^(?:bytes[ =])?0-(\d{1,15})$/.exec(answer.header("range")?.trim() ?? "")?.[1];
  return end === undefined ? undefined : Number(end) + 1;
}
