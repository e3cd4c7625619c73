import { existsSync } from "node:fs";
import {
  type Abortable,
  type Descriptor,
  formatLocation,
  IndexedSource,
  isNamed,
  type Location,
  OciError,
  type Platform,
  parseLocation,
  parsePlatform,
  type Source,
  type Target,
} from "@stowage/layout";
import { type Credentials, type OpenOptions, openSource, openTarget, RegistryClient } from "@stowage/registry";
import { lines, parsed, text } from "./inputs.js";

/** Reads a location that was given as this input. */
export function locationOf(input: string, value: string): Location {
  return parsed(input, () => parseLocation(value, { exists: existsSync }));
}

/** Reads a platform. */
export function platform(input: string): Platform | undefined {
  const value = text(input);
  return value === undefined ? undefined : parsed(input, () => parsePlatform(value));
}

/** How registries are reached, as the inputs say that every action has. Close it when done. */
export interface Registries {
  /** For what needs no credentials but those of Docker's configuration. */
  readonly open: OpenOptions;
  /** The same with other credentials. */
  withCredentials(credentials: Credentials): RegistryClient;
  close(): Promise<void>;
}

/** Reads the inputs `plain-http`, `ca-file`, `insecure` and `trust-realm`. */
export function registries(signal: AbortSignal): Registries {
  const options = {
    plainHttp: lines("plain-http"),
    caFile: text("ca-file"),
    insecure: lines("insecure"),
    trustedRealms: lines("trust-realm"),
  };
  const clients: RegistryClient[] = [];
  const make = (credentials?: Credentials): RegistryClient => {
    const client = new RegistryClient({ ...options, credentials });
    clients.push(client);
    return client;
  };
  return {
    open: { signal, client: make() },
    withCredentials: make,
    async close() {
      await Promise.all(clients.map((client) => client.close()));
    },
  };
}

/** Opens a location to read from, hands it to `use`, and closes it whatever happens. */
export async function withSource<T>(
  location: Location,
  open: OpenOptions,
  use: (source: Source) => Promise<T>,
): Promise<T> {
  const { source, close } = await openSource(location, open);
  try {
    return await use(source);
  } finally {
    await close();
  }
}

/** Opens a location to write to. An archive is complete when `use` is done, and given up when that fails. */
export async function withTarget<T>(
  location: Location,
  open: OpenOptions,
  use: (target: Target) => Promise<T>,
): Promise<T> {
  const { target, close, discard } = await openTarget(location, open);
  let result: T;
  try {
    result = await use(target);
  } catch (error) {
    await discard();
    throw error;
  }
  await close();
  return result;
}

/** What a location names; where it names nothing, the one image that is there. */
export async function resolveLocation(source: Source, location: Location, options: Abortable): Promise<Descriptor> {
  const { tag, digest } = location.kind === "registry" ? location.reference : location;
  const reference = digest ?? tag;
  if (reference !== undefined) return source.resolve(reference, options);
  const tags: string[] = [];
  for await (const one of source.tags(options)) tags.push(one);
  const [only] = tags;
  if (tags.length === 0) return onlyEntry(source, location, options);
  if (tags.length === 1) return source.resolve(only as string, options);
  throw new OciError("INVALID", `${formatLocation(location)} holds ${tags.length} tags; say which one`, {
    hint: `For example ${formatLocation(location)}:${only}.`,
  });
}

async function onlyEntry(source: Source, location: Location, options: Abortable): Promise<Descriptor> {
  const all = source instanceof IndexedSource ? (await source.index(options)).manifests : [];
  const entries = all.filter((entry) => isNamed(entry) || entry.annotations === undefined);
  const [only] = entries;
  if (only !== undefined && entries.length === 1) return only;
  throw new OciError("NOT_FOUND", `${formatLocation(location)} holds no tag`, {
    hint:
      only === undefined ? "It is empty." : `Name one of its ${entries.length} manifests by its digest: @sha256:...`,
  });
}
