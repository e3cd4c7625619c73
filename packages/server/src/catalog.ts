import { type Answer, jsonAnswer } from "./answer.js";
import type { Exchange } from "./exchange.js";
import { pageOf } from "./page.js";
import type { Registry } from "./registry.js";

/** The repositories, sorted and paged. Not part of the specification; registries and clients agree on it all the same. */
export async function listRepositories(exchange: Exchange, registry: Registry): Promise<Answer> {
  const repositories = registry.store.repositories({ signal: exchange.signal });
  const { items, headers } = await pageOf(exchange, repositories, registry.limits.listLength);
  return jsonAnswer(200, { repositories: items }, headers);
}
