import type { Abortable } from "@stowage/layout";
import type { Endpoint, RepositoryRequest } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { RegistryError } from "./registry-error.js";

/** What came of a request that a registry may refuse: its answer, or what it said against it. */
export type Attempt =
  | { readonly answer: Answer; readonly refusal?: undefined }
  | { readonly answer?: undefined; readonly refusal: string; readonly error: RegistryError };

/**
 * Sends a request; that the registry refuses it is a result, not a failure. Its body is given up. Fails where no answer arrives,
 * with what may go away by itself, and with the signal's reason.
 */
export async function tryOut(endpoint: Endpoint, request: RepositoryRequest): Promise<Attempt> {
  try {
    const answer = await endpoint.send(request);
    await answer.discard();
    return { answer };
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status === undefined || error.temporary) throw error;
    const [said] = error.diagnostics;
    const words = [said?.code, said?.message].filter(Boolean).join(": ");
    return { refusal: `${error.status}${words === "" ? "" : ` ${words}`}`, error };
  }
}

/** An upload that was opened: where it goes on, and the smallest chunk the registry takes but as the last one, in bytes. */
export interface OpenedUpload {
  readonly location: URL | undefined;
  readonly cookie: string;
  readonly minimum: number | undefined;
}

/** Opens an upload, which only those can who may push, or says why not. distribution-spec v1.1.1, "Pushing blobs". */
export async function openUpload(
  endpoint: Endpoint,
  { signal }: Abortable,
): Promise<Attempt & { readonly upload?: OpenedUpload }> {
  const attempt = await tryOut(endpoint, {
    action: `cannot begin to push to ${endpoint.name}`,
    method: "POST",
    at: "blobs/uploads/",
    needs: "push",
    accept: [202],
    signal,
  });
  return attempt.answer === undefined ? attempt : { ...attempt, upload: uploadOf(attempt.answer) };
}

/** What an answer says of the upload that goes on. A Location of another origin is not followed here. */
export function uploadOf(answer: Answer, before?: OpenedUpload): OpenedUpload {
  const text = answer.header("location");
  const location = text !== undefined && URL.canParse(text, answer.url.href) ? new URL(text, answer.url) : undefined;
  const cookies = answer.headers("set-cookie").map((cookie) => cookie.split(";")[0]?.trim() ?? "");
  const minimum = answer.header("oci-chunk-min-length");
  return {
    location: location?.origin === answer.url.origin ? location : undefined,
    cookie: cookies.filter((pair) => /^[^=\s]+=[\x21-\x7e]*$/.test(pair)).join("; ") || (before?.cookie ?? ""),
    minimum: minimum !== undefined && /^\d{1,12}$/.test(minimum) ? Number(minimum) : before?.minimum,
  };
}

/** Cancels an upload; true where the registry says that it is gone. */
export async function cancelUpload(endpoint: Endpoint, upload: OpenedUpload): Promise<boolean> {
  if (upload.location === undefined) return false;
  try {
    const { answer } = await tryOut(endpoint, {
      action: `cannot cancel an upload to ${endpoint.name}`,
      method: "DELETE",
      at: upload.location,
      needs: "push",
      accept: [200, 202, 204],
      headers: cookieHeader(upload),
      once: true,
      // Also where the caller has given up: what was begun is to be undone.
      signal: AbortSignal.timeout(5_000),
    });
    return answer !== undefined;
  } catch {
    return false;
  }
}

/** What the registry wants to see again with each request of an upload. */
export function cookieHeader({ cookie }: OpenedUpload): Record<string, string> {
  return cookie === "" ? {} : { cookie };
}
