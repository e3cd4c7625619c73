import { type Answer, jsonAnswer } from "./answer.js";
import type { Exchange } from "./exchange.js";
import { pageOf } from "./page.js";
import { existingRepository, type Registry } from "./registry.js";

/** The tags of a repository, sorted and paged. distribution-spec v1.1.1, "Listing Tags". */
export async function listTags(exchange: Exchange, registry: Registry, name: string): Promise<Answer> {
  const repository = await existingRepository(registry, name);
  const tags = repository.tags({ signal: exchange.signal });
  const { items, headers } = await pageOf(exchange, tags, registry.limits.listLength);
  return jsonAnswer(200, { name, tags: items }, headers);
}
