import { isDigest } from "@stowage/layout";
import { type Answer, withHeaders } from "../answer.js";
import { Refusal, refusalAnswer } from "../errors.js";
import type { Exchange } from "../exchange.js";
import { nextLink } from "../page.js";
import { changedJson } from "./body.js";
import { changing, type Faults, isAbout, reads, refusing, simple } from "./fault.js";
import { refusedManifest } from "./manifests.js";

const asksReferrers = (exchange: Exchange): boolean => reads(exchange, "referrers");
const isPush = (exchange: Exchange): boolean => exchange.method === "PUT" && isAbout(exchange, "manifest");
const unknown = (): Answer => refusalAnswer(new Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"));
const page = Buffer.from("<!doctype html><title>Sign in</title><h1>Sign in</h1>");

/** What is wrong with the referrers of a registry. distribution-spec v1.1.1, "Listing Referrers". */
export const referrersFaults: Faults = {
  "no-referrers": simple("has no referrers API, so 404, and sends no OCI-Subject", async (exchange, next) => {
    if (asksReferrers(exchange)) return unknown();
    const answer = await next();
    return isPush(exchange) ? withHeaders(answer, { "OCI-Subject": undefined }) : answer;
  }),
  "lying-subject": refusing("has no referrers API but sends OCI-Subject as if it had", asksReferrers, unknown),
  "referrers-elsewhere": {
    does: "redirects the referrers API to a web page on another host, and sends no OCI-Subject",
    layer: () => async (surroundings) => {
      const headers = { "Content-Type": "text/html" };
      const url = await surroundings.listen(async () => ({ status: 200, headers, body: page }));
      return async (exchange, next) => {
        if (asksReferrers(exchange)) return { status: 303, headers: { Location: `${url}/sign-in` } };
        return withHeaders(await next(), { "OCI-Subject": undefined });
      };
    },
  },
  "no-filter": simple("ignores the artifactType that referrers are to be filtered by", async (exchange, next) => {
    if (asksReferrers(exchange)) exchange.query.delete("artifactType");
    return next();
  }),
  "lying-filter": simple("says that it filtered the referrers by artifactType, but did not", async (exchange, next) => {
    const filtered = asksReferrers(exchange) && exchange.query.has("artifactType");
    if (filtered) exchange.query.delete("artifactType");
    return filtered ? withHeaders(await next(), { "OCI-Filters-Applied": "artifactType" }) : next();
  }),
  "empty-artifact-type": simple("lists referrers with an empty artifactType", async (exchange, next) => {
    const answer = await next();
    if (!asksReferrers(exchange) || answer.status !== 200) return answer;
    return changedJson(answer, (list) => ({
      ...list,
      manifests: manifestsIn(list).map((one) => ({ ...one, artifactType: "" })),
    }));
  }),
  "referrers-page": {
    does: "lists NUMBER referrers at once, and links to the next ones",
    amount: 1,
    layer: (count) => () => async (exchange, next) => {
      const answer = await next();
      return asksReferrers(exchange) && answer.status === 200 ? firstOf(answer, exchange, count) : answer;
    },
  },
  "referrers-type": changing("answers the referrers API with the media type of plain JSON", asksReferrers, (answer) =>
    withHeaders(answer, { "Content-Type": "application/json" }),
  ),
  "subject-first": refusedManifest(
    "refuses a manifest whose subject is not there",
    async (manifest, { repository }) => {
      const { digest } = (manifest.subject ?? {}) as { digest?: unknown };
      const missing = typeof digest === "string" && isDigest(digest) && (await repository?.size(digest)) === undefined;
      return missing ? new Refusal(400, "MANIFEST_BLOB_UNKNOWN", "subject unknown") : undefined;
    },
  ),
  "no-index-subject": refusedManifest("refuses a manifest whose subject is an index, with 405", async (manifest) => {
    const { mediaType } = (manifest.subject ?? {}) as { mediaType?: unknown };
    const isIndex = typeof mediaType === "string" && /\.index\.|manifest\.list/.test(mediaType);
    return isIndex ? new Refusal(405, "UNSUPPORTED", "Invalid parameter at 'ImageManifest'") : undefined;
  }),
};

function manifestsIn(list: Record<string, unknown>): readonly Record<string, unknown>[] {
  return Array.isArray(list.manifests) ? (list.manifests as Record<string, unknown>[]) : [];
}

async function firstOf(answer: Answer, exchange: Exchange, count: number): Promise<Answer> {
  let last: unknown;
  const short = await changedJson(answer, (list) => {
    const all = manifestsIn(list);
    last = all.length > count ? all[count - 1]?.digest : undefined;
    return { ...list, manifests: all.slice(0, count) };
  });
  if (typeof last !== "string") return short;
  const artifactType = exchange.query.get("artifactType");
  const query = { ...(artifactType === null ? {} : { artifactType }), last };
  return withHeaders(short, { Link: nextLink(exchange.path, query) });
}
