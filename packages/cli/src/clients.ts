import { type ClientOptions, type RateLimit, RegistryClient } from "@stowage/registry";
import type { Context } from "./command.js";
import { listenTo, noticesOf } from "./notices.js";
import { note } from "./output.js";
import { formatDuration } from "./quantities.js";

/** A client that this run opened, and whether it may speak up. */
interface Opened {
  readonly client: RegistryClient;
  readonly quiet: boolean;
}

/** A process runs one command; what it opens is closed at its end. */
const opened: Opened[] = [];
const advice = new Set<string>();

/** A client for this run: {@link closeClients} closes it, and tells what registries said to it. */
export function openClient(options: ClientOptions, quiet: boolean): RegistryClient {
  const client = new RegistryClient(options);
  opened.push({ client, quiet });
  listenTo(client);
  return client;
}

/** Something to tell at the end of the run, once. */
export function adviseAtEnd(text: string): void {
  advice.add(text);
}

/** Tells on stderr what registries said beside their answers, each thing once, and closes the clients of this run. */
export async function closeClients(err: Context["err"]): Promise<void> {
  const clients = opened.splice(0);
  const notices = noticesOf(clients.filter(({ quiet }) => !quiet).map(({ client }) => client));
  const warnings = notices?.warnings.map(({ host, text }) => `${host} warns: ${text}`) ?? [];
  const limits = notices?.rateLimits.map(limitLine) ?? [];
  for (const line of new Set([...advice, ...warnings, ...limits])) note({ err }, line);
  advice.clear();
  await Promise.all(clients.map(({ client }) => client.close()));
}

/** `docker.io: 98 of 100 requests left in 6 hours` */
function limitLine({ host, limit, remaining, window, reset }: RateLimit): string {
  const of = limit === undefined ? "" : ` of ${limit}`;
  const per = window === undefined ? "" : ` in ${formatDuration(window)}`;
  const more = reset === undefined ? "" : `; more in ${formatDuration(reset)}`;
  return `${host}: ${remaining}${of} requests left${per}${more}`;
}
