import { type Answer, withHeaders } from "../answer.js";
import type { Exchange } from "../exchange.js";
import { nextLink } from "../page.js";
import { changedJson } from "./body.js";
import { changing, type Faults, reads, simple } from "./fault.js";

const LISTS = ["tags", "catalog", "referrers"] as const;
const isList = (exchange: Exchange, answer: Answer): boolean => reads(exchange, ...LISTS) && answer.status === 200;

/** Lists that come in pages which lead nowhere good. distribution-spec v1.1.1, "Listing Tags". */
export const listFaults: Faults = {
  "endless-pages": simple("has every page of a list link to one more, without end", async (exchange, next) => {
    const last = exchange.query.get("last") ?? "";
    const page = Number(/^endless-([0-9]+)$/.exec(last)?.[1] ?? 0);
    const isOurs = page > 0 && reads(exchange, ...LISTS);
    if (isOurs) exchange.query.delete("last");
    const answer = await next();
    if (!isList(exchange, answer)) return answer;
    const link = { Link: nextLink(exchange.path, { last: `endless-${page + 1}` }) };
    if (!isOurs || !reads(exchange, "tags")) return withHeaders(answer, link);
    return withHeaders(await changedJson(answer, (list) => ({ ...list, tags: [last] })), link);
  }),
  "same-page": changing("has every page of a list link to itself", isList, (answer, exchange) =>
    withHeaders(answer, { Link: `<${exchange.request.url}>; rel="next"` }),
  ),
  "foreign-pages": {
    does: "has lists go on at another host",
    layer: (_amount, options) => async (surroundings) => {
      const url = await surroundings.listen(async (exchange) => {
        if (exchange.header("authorization") !== undefined)
          options.onLeak?.("Authorization with the next page of a list");
        return surroundings.registry(exchange);
      });
      return async (exchange, next) => {
        const answer = await next();
        return isList(exchange, answer)
          ? withHeaders(answer, { Link: `<${url}${exchange.path}?last=0>; rel="next"` })
          : answer;
      };
    },
  },
  "tags-page": {
    does: "lists NUMBER tags at once, and links to the next ones",
    amount: 1,
    layer: (count) => () => async (exchange, next) => {
      const asked = exchange.query.get("n");
      if (reads(exchange, "tags", "catalog"))
        exchange.query.set("n", String(Math.min(Number(asked ?? count) || count, count)));
      return next();
    },
  },
  "null-tags": simple("lists null for tags where there are none", async (exchange, next) => {
    const answer = await next();
    if (!reads(exchange, "tags") || answer.status !== 200) return answer;
    return changedJson(answer, (list) =>
      Array.isArray(list.tags) && list.tags.length === 0 ? { ...list, tags: null } : list,
    );
  }),
};
