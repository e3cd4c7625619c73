import { existsSync } from "node:fs";
import { type Location, type Platform, parseLocation, parsePlatform } from "@stowage/layout";
import { type Credentials, type OpenOptions, RegistryClient } from "@stowage/registry";
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
