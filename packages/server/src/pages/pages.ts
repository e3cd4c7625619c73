import { isOciError } from "@stowage/layout";
import type { Answer } from "../answer.js";
import { Refusal, refusalOf } from "../errors.js";
import type { Exchange } from "../exchange.js";
import { findRepository, type Registry } from "../registry.js";
import { contentPage } from "./content.js";
import { type Document, documentAnswer } from "./document.js";
import { filesPage } from "./files.js";
import { html } from "./html.js";
import { manifestPage } from "./manifest.js";
import { pagePlaceOf } from "./places.js";
import { HOME, repositoriesPage } from "./repositories.js";
import { problemOf, repositoryPage } from "./repository.js";

/** Answers a request for a page: with HTML, also where it is refused. It only reads, and does a bounded amount of work. */
export async function answerPage(
  exchange: Exchange,
  registry: Registry,
  onError: (error: unknown, exchange: Exchange) => void,
): Promise<Answer> {
  try {
    return documentAnswer(await pageFor(exchange, registry));
  } catch (error) {
    const refusal = isOciError(error) ? refusalOfContent(error.code) : refusalOf(error);
    if (refusal.status === 500 && !exchange.gone) onError(error, exchange);
    const { status, headers } = refusal;
    const body = html`<p>${sentence(refusal.message)}</p>`;
    return documentAnswer({
      title: TITLES[status] ?? "Refused",
      steps: [HOME, [String(status), "#main"]],
      body,
      status,
      headers,
    });
  }
}

const TITLES: Readonly<Record<number, string>> = {
  400: "That is not understood",
  404: "Nothing here",
  405: "That is not possible",
  422: "This cannot be shown",
  429: "Busy",
  500: "This server failed",
};

async function pageFor(exchange: Exchange, registry: Registry): Promise<Document> {
  if (exchange.method !== "GET" && exchange.method !== "HEAD")
    throw new Refusal(405, "UNSUPPORTED", "a page can only be read", { Allow: "GET, HEAD" });
  const place = pagePlaceOf(exchange.path);
  if (place === undefined) throw new Refusal(404, "UNSUPPORTED", "there is nothing at this path");
  // What a proxy has not fetched yet is not fetched to be looked at.
  const store = registry.store.kept ?? registry.store;
  const { kind, repository: name, reference } = place;
  if (kind === "repositories") return repositoriesPage(exchange, store);
  const repository = await findRepository({ ...registry, store }, name);
  if (repository === undefined) throw new Refusal(404, "NAME_UNKNOWN", `there is no repository ${name}`);
  if (kind === "repository") return repositoryPage(exchange, name, repository);
  const page = { manifests: manifestPage, blobs: contentPage, files: filesPage }[kind];
  return page(exchange, name, repository, reference);
}

/** A failure that lies in the content, and is no fault of this server. */
function refusalOfContent(code: string): Refusal {
  if (code === "NOT_FOUND") return new Refusal(404, "MANIFEST_UNKNOWN", problemOf(code));
  return new Refusal(422, "MANIFEST_INVALID", problemOf(code));
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;
}
