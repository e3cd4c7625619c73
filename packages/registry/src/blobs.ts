import {
  type Abortable,
  type Descriptor,
  type FetchOptions,
  formatDescriptor,
  OciError,
  verified,
} from "@stowage/layout";
import { checkDeclaredDigest, type Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { rememberBlob } from "./mount.js";
import { hasStatus, RegistryError } from "./registry-error.js";
import { waitAfter } from "./wait-after.js";

/** True if the repository has the blob with the declared size. distribution-spec v1.1.1, "Checking if content exists in the registry". */
export async function hasBlob(
  endpoint: Endpoint,
  descriptor: Descriptor,
  needs: "pull" | "push",
  options: Abortable = {},
): Promise<boolean> {
  const answer = await endpoint.send({
    action: `cannot look for the blob ${descriptor.digest} in ${endpoint.name}`,
    method: "HEAD",
    at: `blobs/${descriptor.digest}`,
    needs,
    accept: [200, 404],
    signal: options.signal,
  });
  await answer.discard();
  const found = answer.status === 200 && (answer.length === undefined || answer.length === descriptor.size);
  if (found) rememberBlob(endpoint, descriptor.digest);
  return found;
}

/**
 * The bytes of a blob from `options.from` on, verified where that is the beginning and the caller does not do so, otherwise checked
 * for size. A connection that is lost on the way is taken up where it broke off. distribution-spec v1.1.1, "Pulling blobs".
 */
export async function* fetchBlob(
  endpoint: Endpoint,
  descriptor: Descriptor,
  options: FetchOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const from = options.from ?? 0;
  if (!Number.isSafeInteger(from) || from < 0 || from > descriptor.size) {
    throw new TypeError(`cannot start at byte ${from} of ${descriptor.size}`);
  }
  const { to } = options;
  if (to !== undefined && (!Number.isSafeInteger(to) || to < from || to > descriptor.size))
    throw new TypeError(`cannot end at byte ${to} of ${descriptor.size}`);
  const bytes = read(endpoint, descriptor, { from, to }, options.signal);
  if (from === 0 && to === undefined && options.unchecked !== true)
    yield* verified(bytes, descriptor, `${formatDescriptor(descriptor)} from ${endpoint.name}`);
  else yield* sized(bytes, descriptor, { from, to }, endpoint);
}

/** A part of a blob: up to its end where `to` is missing. */
interface Part {
  readonly from: number;
  readonly to: number | undefined;
}

async function* sized(
  bytes: AsyncIterable<Uint8Array>,
  descriptor: Descriptor,
  { from, to }: Part,
  endpoint: Endpoint,
): AsyncGenerator<Uint8Array> {
  let at = from;
  for await (const chunk of bytes) {
    at += chunk.byteLength;
    if (at > descriptor.size) break;
    yield chunk;
  }
  if (at !== (to ?? descriptor.size)) {
    const size =
      at > descriptor.size
        ? `is larger than the ${descriptor.size} bytes`
        : `ended after ${at} bytes; ${descriptor.size} were`;
    throw new OciError("MISMATCH", `${formatDescriptor(descriptor)} from ${endpoint.name} ${size} declared`);
  }
}

/** A connection that brought fewer bytes than this before it was lost was no use. */
const WORTH_IT = 16 * 1024;

/** Whatever the registry has from there on; goes on from where it was when the connection is lost, as long as that leads anywhere. */
async function* read(
  endpoint: Endpoint,
  descriptor: Descriptor,
  { from, to }: Part,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let at = from;
  for (let fruitless = 0; ; ) {
    if (at === to || (at === descriptor.size && at > 0)) return;
    const before = at;
    try {
      for await (const chunk of request(endpoint, descriptor, { from: at, to }, signal)) {
        // A registry that knows no ranges goes on.
        const wanted = to === undefined ? chunk : chunk.subarray(0, to - at);
        at += wanted.byteLength;
        yield wanted;
        if (at === to) return;
      }
      return;
    } catch (error) {
      const lost = error instanceof RegistryError && error.temporary && error.status === undefined;
      fruitless = at - before >= WORTH_IT ? 0 : fruitless + 1;
      if (!lost) throw error;
      await waitAfter(error, fruitless, endpoint.registry.retry, signal);
    }
  }
}

async function* request(
  endpoint: Endpoint,
  descriptor: Descriptor,
  { from, to }: Part,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const isPart = from > 0 || to !== undefined;
  const action = `cannot fetch ${formatDescriptor(descriptor)} from ${endpoint.name}`;
  let answer: Answer;
  try {
    answer = await endpoint.send({
      action,
      method: "GET",
      at: `blobs/${descriptor.digest}`,
      needs: "pull",
      accept: isPart ? [200, 206] : [200],
      headers: { accept: "*/*", ...(isPart ? { range: `bytes=${from}-${to === undefined ? "" : to - 1}` } : {}) },
      signal,
    });
  } catch (error) {
    if (!hasStatus(error, 416)) throw error;
    throw new OciError("MISMATCH", `${action}: it ends before byte ${from}; ${descriptor.size} bytes were declared`, {
      cause: error,
    });
  }
  if (from === 0) checkDeclaredDigest(answer, descriptor.digest, action);
  if (answer.status === 206 && !startsAt(answer, from)) {
    await answer.discard();
    throw new RegistryError(
      "REGISTRY",
      `${action}: asked for the bytes from ${from} on, ${answer.url.host} sent others`,
      {
        method: answer.method,
        url: answer.url,
        status: answer.status,
      },
    );
  }
  yield* skip(answer.stream(), answer.status === 206 ? 0 : from);
}

function startsAt(answer: Answer, from: number): boolean {
  const start = /^bytes (\d+)-/i.exec(answer.header("content-range") ?? "")?.[1];
  return start !== undefined && Number(start) === from;
}

/** A server that knows no ranges sends everything. */
async function* skip(bytes: AsyncIterable<Uint8Array>, count: number): AsyncGenerator<Uint8Array> {
  let left = count;
  for await (const chunk of bytes) {
    if (chunk.byteLength > left) yield left === 0 ? chunk : chunk.subarray(left);
    left = Math.max(0, left - chunk.byteLength);
  }
}
