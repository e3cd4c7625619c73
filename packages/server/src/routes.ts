import { type Answer, jsonAnswer } from "./answer.js";
import { deleteBlob, getBlob } from "./blobs.js";
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

/** The kinds of thing that a path of the API names. */
export type RouteKind =
  | "ping"
  | "extensions"
  | "catalog"
  | "tags"
  | "referrers"
  | "manifest"
  | "uploads"
  | "upload"
  | "blob";

interface Route {
  readonly kind: RouteKind;
  readonly path: RegExp;
  readonly methods: Readonly<Record<string, Handler>>;
}

/** What a path of the API names. */
export interface Place {
  readonly kind: RouteKind;
  /** The repository; empty where the path names none. */
  readonly repository: string;
  /** The tag, the digest, or the id of the upload; empty where the path names none. */
  readonly reference: string;
}

/**
 * distribution-spec v1.1.1, "Endpoints". A repository name may itself hold `blobs` or `tags`, so each pattern is anchored
 * at the end and the more special one comes first.
 */
const ROUTES: readonly Route[] = [
  { kind: "ping", path: /^\/v2\/?$/, methods: { GET: ping, HEAD: ping } },
  {
    kind: "extensions",
    path: /^\/v2\/(?:(.+)\/)?_oci\/ext\/discover$/,
    methods: { GET: extensions, HEAD: extensions },
  },
  { kind: "catalog", path: /^\/v2\/_catalog$/, methods: { GET: listRepositories, HEAD: listRepositories } },
  { kind: "tags", path: /^\/v2\/(.+)\/tags\/list$/, methods: { GET: listTags, HEAD: listTags } },
  { kind: "referrers", path: /^\/v2\/(.+)\/referrers\/([^/]+)$/, methods: { GET: listReferrers, HEAD: listReferrers } },
  {
    kind: "manifest",
    path: /^\/v2\/(.+)\/manifests\/([^/]+)$/,
    methods: { GET: getManifest, HEAD: getManifest, PUT: putManifest, DELETE: deleteManifest },
  },
  { kind: "uploads", path: /^\/v2\/(.+)\/blobs\/uploads\/?$/, methods: { POST: startUpload } },
  {
    kind: "upload",
    path: /^\/v2\/(.+)\/blobs\/uploads\/([^/]+)$/,
    methods: { GET: uploadStatus, PATCH: appendToUpload, PUT: finishUpload, DELETE: cancelUpload },
  },
  { kind: "blob", path: /^\/v2\/(.+)\/blobs\/([^/]+)$/, methods: { GET: getBlob, HEAD: getBlob, DELETE: deleteBlob } },
];

/** What a path names, or undefined where there is nothing at it. Refuses with 400 what is not encoded as a URL. */
export function placeOf(path: string): Place | undefined {
  return routeOf(path)?.place;
}

function routeOf(path: string): { readonly route: Route; readonly place: Place } | undefined {
  for (const route of ROUTES) {
    const match = route.path.exec(path);
    if (match !== null)
      return { route, place: { kind: route.kind, repository: decode(match[1]), reference: decode(match[2]) } };
  }
  return undefined;
}

const READING: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** Answers a request, or fails with what it is to be refused with. */
export function answer(exchange: Exchange, registry: Registry): Promise<Answer> | Answer {
  const found = routeOf(exchange.path);
  if (found === undefined) throw new Refusal(404, "UNSUPPORTED", "there is nothing at this path");
  const { methods } = found.route;
  const { repository, reference } = found.place;
  const isAllowed = (method: string): boolean => !registry.readonly || READING.has(method);
  const handler = Object.hasOwn(methods, exchange.method) && isAllowed(exchange.method) && methods[exchange.method];
  if (!handler) {
    const allowed = Object.keys(methods).filter(isAllowed);
    throw new Refusal(405, "UNSUPPORTED", `${exchange.method} is not possible here`, { Allow: allowed.join(", ") });
  }
  return handler(exchange, registry, repository, reference);
}

/** Whatever comes out is checked by the handler before it becomes part of anything. */
function decode(part = ""): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Refusal(400, "NAME_INVALID", "the path is not encoded as a URL");
  }
}

/** What there is beside the specification: only this list. distribution-spec v1.1.1, extensions/_oci.md. */
function extensions(): Answer {
  const url = "https://github.com/opencontainers/distribution-spec/blob/v1.1.1/extensions/_oci.md";
  const description = "The extensions that this registry has";
  const discover = { name: "_oci", url, description, endpoints: ["_oci/ext/discover"] };
  return jsonAnswer(200, { extensions: [discover] });
}

/** distribution-spec v1.1.1, "Determining Support". */
function ping(): Answer {
  return jsonAnswer(200, {});
}
