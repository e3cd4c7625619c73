import { type Answer, jsonAnswer } from "./answer.js";
import { getBlob } from "./blobs.js";
import { listRepositories } from "./catalog.js";
import { Refusal } from "./errors.js";
import type { Exchange } from "./exchange.js";
import { deleteManifest, getManifest, putManifest } from "./manifests.js";
import { listReferrers } from "./referrers.js";
import type { Registry } from "./registry.js";
import { listTags } from "./tags.js";
import { appendToUpload, cancelUpload, finishUpload, startUpload, uploadStatus } from "./uploads.js";

/** Answers one kind of request. `first` and `second` are the variable parts of the path. */
type Handler = (exchange: Exchange, registry: Registry, first: string, second: string) => Promise<Answer> | Answer;

interface Route {
  readonly path: RegExp;
  readonly methods: Readonly<Record<string, Handler>>;
}

/**
 * distribution-spec v1.1.1, "Endpoints". A repository name may itself hold `blobs` or `tags`, so each pattern is anchored
 * at the end and the more special one comes first.
 */
const ROUTES: readonly Route[] = [
  { path: /^\/v2\/?$/, methods: { GET: ping, HEAD: ping } },
  { path: /^\/v2\/_catalog$/, methods: { GET: listRepositories, HEAD: listRepositories } },
  { path: /^\/v2\/(.+)\/tags\/list$/, methods: { GET: listTags, HEAD: listTags } },
  { path: /^\/v2\/(.+)\/referrers\/([^/]+)$/, methods: { GET: listReferrers, HEAD: listReferrers } },
  {
    path: /^\/v2\/(.+)\/manifests\/([^/]+)$/,
    methods: { GET: getManifest, HEAD: getManifest, PUT: putManifest, DELETE: deleteManifest },
  },
  { path: /^\/v2\/(.+)\/blobs\/uploads\/?$/, methods: { POST: startUpload } },
  {
    path: /^\/v2\/(.+)\/blobs\/uploads\/([^/]+)$/,
    methods: { GET: uploadStatus, PATCH: appendToUpload, PUT: finishUpload, DELETE: cancelUpload },
  },
  { path: /^\/v2\/(.+)\/blobs\/([^/]+)$/, methods: { GET: getBlob, HEAD: getBlob } },
];

const READING: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** Answers a request, or fails with what it is to be refused with. */
export async function answer(exchange: Exchange, registry: Registry): Promise<Answer> {
  for (const { path, methods } of ROUTES) {
    const match = path.exec(exchange.path);
    if (match === null) continue;
    const allowed = Object.keys(methods).filter((method) => !registry.readonly || READING.has(method));
    const handler = allowed.includes(exchange.method) ? methods[exchange.method] : undefined;
    if (handler === undefined) {
      throw new Refusal(405, "UNSUPPORTED", `${exchange.method} is not possible here`, { Allow: allowed.join(", ") });
    }
    return handler(exchange, registry, decode(match[1]), decode(match[2]));
  }
  throw new Refusal(404, "UNSUPPORTED", "there is nothing at this path");
}

/** Whatever comes out is checked by the handler before it becomes part of anything. */
function decode(part = ""): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Refusal(400, "NAME_INVALID", "the path is not encoded as a URL");
  }
}

/** distribution-spec v1.1.1, "Determining Support". */
function ping(): Answer {
  return jsonAnswer(200, {});
}
