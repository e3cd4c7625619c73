import type { Exchange } from "../exchange.js";
import type { Store } from "../store.js";
import { type Document, pagesOf, tableOf } from "./document.js";
import { html } from "./html.js";
import { REPOSITORIES, repositoryPlace, withQuery } from "./places.js";

/** How many repositories one page has. */
const COUNT = 200;

/** The first step of the way to every page. */
export const HOME = ["Repositories", REPOSITORIES] as const;

/** The page of all repositories. */
export async function repositoriesPage({ query, signal }: Exchange, store: Store): Promise<Document> {
  const last = query.get("last");
  const { items, more } = await pageAfter(store.repositories({ signal }), last, COUNT);
  const rows = items.map((name) => [html`<a class="name" href="${repositoryPlace(name)}">${name}</a>`]);
  const next = more ? withQuery(REPOSITORIES, { last: items.at(-1) as string }) : undefined;
  const body =
    rows.length === 0
      ? html`<p>There is ${last === null ? "no repository here yet" : "none after that"}.</p>`
      : tableOf(["Repository"], rows);
  return {
    title: "Repositories",
    steps: [HOME],
    body: html`${body}${pagesOf(last === null ? undefined : REPOSITORIES, next)}`,
  };
}

/** At most `count` of the sorted items after `last`, and whether there are more. */
export async function pageAfter(
  sorted: AsyncIterable<string>,
  last: string | null,
  count: number,
): Promise<{ readonly items: readonly string[]; readonly more: boolean }> {
  const items: string[] = [];
  for await (const item of sorted) {
    if (last !== null && item <= last) continue;
    if (items.length === count) return { items, more: true };
    items.push(item);
  }
  return { items, more: false };
}
