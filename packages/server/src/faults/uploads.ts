import { type Answer, headerOf, withHeaders } from "../answer.js";
import { Refusal, refusalAnswer } from "../errors.js";
import type { Exchange } from "../exchange.js";
import { changing, type Faults, isAbout, placeIn, refusing, simple } from "./fault.js";

const starts = (exchange: Exchange): boolean => exchange.method === "POST" && isAbout(exchange, "uploads");
const isChunk = (exchange: Exchange): boolean => exchange.method === "PATCH" && isAbout(exchange, "upload");
const ends = (exchange: Exchange): boolean => exchange.method === "PUT" && isAbout(exchange, "upload");
const idIn = (exchange: Exchange): string => placeIn(exchange)?.reference ?? "";
const outOfRange = (message: string): Answer => refusalAnswer(new Refusal(416, "BLOB_UPLOAD_INVALID", message));

/** What registries do not take of uploads and mounts. distribution-spec v1.1.1, "Pushing blobs". */
export const uploadFaults: Faults = {
  "no-mount": simple("mounts nothing: answers 202 and opens an upload", async (exchange, next) => {
    if (starts(exchange)) exchange.query.delete("mount");
    return next();
  }),
  "mount-needs-from": refusing(
    "refuses a mount that does not say from where",
    (exchange) => starts(exchange) && exchange.query.has("mount") && !exchange.query.get("from"),
    () => refusalAnswer(new Refusal(400, "NAME_INVALID", "a mount needs the repository it is from")),
  ),
  "mount-within-host": refusing(
    "refuses a mount from a repository whose name starts with a host",
    (exchange) => starts(exchange) && /^[^/]*[.:][^/]*\//.test(exchange.query.get("from") ?? ""),
    () => refusalAnswer(new Refusal(400, "NAME_INVALID", "invalid repository name")),
  ),
  "no-single-post": simple(
    "does not take a blob with the POST that opens an upload: answers 202",
    async (exchange, next) => {
      if (starts(exchange)) exchange.query.delete("digest");
      return next();
    },
  ),
  "no-chunks": refusing(
    "takes a blob in one piece only: refuses a chunk with a Content-Range",
    (exchange) => isChunk(exchange) && exchange.header("content-range") !== undefined,
    () => outOfRange("chunked uploads are not supported"),
  ),
  "chunk-maximum": {
    does: "refuses with 416 a chunk of more than NUMBER bytes, or without a Content-Range",
    amount: 4 * 1024 * 1024,
    layer: (maximum) => () => async (exchange, next) => {
      const refused = exchange.header("content-range") === undefined || (exchange.contentLength ?? 0) > maximum;
      return isChunk(exchange) && refused ? outOfRange(`chunks may have ${maximum} bytes`) : next();
    },
  },
  "chunk-minimum": {
    does: "asks with OCI-Chunk-Min-Length for chunks of NUMBER bytes and refuses one that follows a smaller one",
    amount: 1024 * 1024,
    layer: (minimum) => () => {
      const ended = new Set<string>();
      return async (exchange, next) => {
        if (!isChunk(exchange)) {
          const answer = await next();
          return starts(exchange) ? withHeaders(answer, { "OCI-Chunk-Min-Length": minimum }) : answer;
        }
        if (ended.has(idIn(exchange))) return outOfRange(`the chunk before has fewer than ${minimum} bytes`);
        if ((exchange.contentLength ?? minimum) < minimum) ended.add(idIn(exchange));
        return next();
      };
    },
  },
  "no-put-body": refusing(
    "takes the bytes of a blob with PATCH only: answers a PUT that brings some with 404",
    (exchange) => ends(exchange) && exchange.contentLength !== 0,
    () => refusalAnswer(new Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")),
  ),
  "no-empty-put": {
    does: "fails with 500 where an upload in chunks ends with a PUT that brings nothing",
    layer: () => () => {
      const chunked = new Set<string>();
      return async (exchange, next) => {
        if (isChunk(exchange) && exchange.header("content-range") !== undefined) chunked.add(idIn(exchange));
        const fails = ends(exchange) && exchange.contentLength === 0 && chunked.has(idIn(exchange));
        return fails ? refusalAnswer(new Refusal(500, "UNKNOWN", "internal error")) : next();
      };
    },
  },
  "absolute-location": changing(
    "gives the locations of uploads with scheme and host",
    (exchange) => isAbout(exchange, "upload", "uploads"),
    (answer, exchange) => relocated(answer, (location) => exchange.origin + location),
  ),
  "location-state": {
    does: "changes the location of an upload with each answer and knows the last one only",
    layer: () => () => {
      const states = new Map<string, string>();
      let count = 0;
      return async (exchange, next) => {
        const known = states.get(idIn(exchange));
        if (isAbout(exchange, "upload") && known !== undefined && exchange.query.get("_state") !== known) {
          return refusalAnswer(new Refusal(400, "BLOB_UPLOAD_INVALID", "this is not the last location of the upload"));
        }
        const answer = await next();
        if (!isAbout(exchange, "upload", "uploads")) return answer;
        return relocated(answer, (location) => {
          const id = location.slice(location.lastIndexOf("/") + 1);
          states.set(id, `${++count}`);
          return `${location}?_state=${count}`;
        });
      };
    },
  },
  "upload-elsewhere": {
    does: "has uploads go on at another host, which takes them from anybody",
    layer: () => async (surroundings) => {
      const elsewhere = (answer: Answer): Answer => relocated(answer, (location) => url + location);
      const url = await surroundings.listen(async (exchange) => elsewhere(await surroundings.registry(exchange)));
      return async (exchange, next) => (starts(exchange) ? elsewhere(await next()) : next());
    },
  },
};

/** What registries do not take of deletes. distribution-spec v1.1.1, "Content Management". */
export const deleteFaults: Faults = {
  "no-delete": refusing(
    "refuses every DELETE of a manifest, a tag or a blob with 405",
    (exchange) => exchange.method === "DELETE" && isAbout(exchange, "manifest", "blob"),
    () => refusalAnswer(new Refusal(405, "UNSUPPORTED", "The operation is unsupported.")),
  ),
  "untag-first": {
    does: "refuses to delete a manifest that a tag stands for",
    layer:
      () =>
      ({ store }) =>
      async (exchange, next) => {
        const { repository: name = "", reference = "" } = placeIn(exchange) ?? {};
        if (exchange.method !== "DELETE" || !isAbout(exchange, "manifest") || !reference.includes(":")) return next();
        const repository = await store.repository(name);
        for await (const tag of repository?.tags() ?? []) {
          if ((await repository?.resolve(tag))?.digest !== reference) continue;
          return refusalAnswer(new Refusal(400, "DENIED", `Manifest is still referenced by tag: ${tag}`));
        }
        return next();
      },
  },
  "existing-only": {
    does: "takes pushes only into repositories that are there already",
    layer:
      () =>
      ({ store }) =>
      async (exchange, next) => {
        const name = placeIn(exchange)?.repository;
        const pushes = starts(exchange) || (exchange.method === "PUT" && isAbout(exchange, "manifest"));
        if (!pushes || name === undefined || (await store.repository(name).catch(() => undefined)) !== undefined)
          return next();
        return refusalAnswer(new Refusal(404, "NAME_UNKNOWN", `The repository with name '${name}' does not exist`));
      },
  },
};

/** The answer with another location for the upload that goes on. */
function relocated(answer: Answer, change: (location: string) => string): Answer {
  const location = headerOf(answer, "location");
  if (location === undefined || (answer.status !== 202 && answer.status !== 204)) return answer;
  return withHeaders(answer, { Location: change(location) });
}
