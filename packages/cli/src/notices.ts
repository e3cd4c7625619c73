import type { RateLimit, RegistryClient, RegistryWarning } from "@stowage/registry";

/** What registries said beside their answers. */
export interface Notices {
  readonly warnings: readonly RegistryWarning[];
  /** Lengths of time in ms. */
  readonly rateLimits: readonly RateLimit[];
}

/** The clients of this run. A process runs one command. */
const heard = new Set<RegistryClient>();

/** Listens to what a client is told, from now on. */
export function listenTo(client: RegistryClient): void {
  heard.add(client);
}

/** What the given clients were told, by default all of this run; each thing once. Undefined where that is nothing. */
export function noticesOf(clients: Iterable<RegistryClient> = heard): Notices | undefined {
  const warnings = unique([...clients].flatMap((client) => client.warnings));
  const rateLimits = unique([...clients].flatMap((client) => client.rateLimits));
  return warnings.length + rateLimits.length === 0 ? undefined : { warnings, rateLimits };
}

function unique<T>(items: readonly T[]): readonly T[] {
  return [...new Map(items.map((item) => [JSON.stringify(item), item])).values()];
}
