import { existsSync } from "node:fs";
import * as core from "@actions/core";
import { type Location, type Platform, parseLocation, parsePlatform } from "@stowage/layout";
import { type OpenOptions, type RateLimit, RegistryClient, userAgent } from "@stowage/registry";
import type { Login } from "./credentials.js";
import { hosts, InputError, parsed, text } from "./inputs.js";
import { info, visible } from "./log.js";
import { version } from "./version.js";
import { insidePath } from "./workspace.js";

/** Reads a location that was given as this input; a path in it has to lie in the workspace. */
export function locationOf(input: string, value: string): Location {
  const location = parsed(input, () => parseLocation(value, { exists: existsSync }));
  if (location.kind === "registry") return location;
  if (location.path === "-")
    throw new InputError(input, `${JSON.stringify(value)} is standard input or output, which a step does not have`, {
      hint: "Write the name of a file.",
    });
  insidePath(input, location.path);
  return location;
}

/** Reads a platform. */
export function platform(input: string): Platform | undefined {
  const value = text(input);
  return value === undefined ? undefined : parsed(input, () => parsePlatform(value));
}

/** How registries are reached, as the inputs say that every action has. Close it when done. */
export interface Registries {
  /** For every location of the step. */
  readonly open: OpenOptions & { readonly client: RegistryClient };
  /** Tells in the log what registries said beside their answers, and closes all connections. */
  close(): Promise<void>;
}

/**
 * Reads the inputs `plain-http`, `ca-file`, `insecure` and `trust-realm`. Accounts come from Docker's configuration; the one of the inputs
 * is for its registry, where that has none.
 */
export function registries(signal: AbortSignal, login: Login | undefined): Registries {
  const client = new RegistryClient({
    ...connectionInputs(),
    userAgent: userAgent(version, {}),
    // For registries alone: where one redirects to does not learn of the workflow.
    headers: { "user-agent": userAgent(version, process.env) },
    fallbackCredentials: async (host) => (host === login?.host ? login.credentials : undefined),
  });
  return {
    open: { signal, client },
    async close() {
      for (const { host, text } of client.warnings)
        core.warning(visible(`${host} warns: ${text}`), { title: "Warning of a registry" });
      for (const limit of client.rateLimits) info(limitLine(limit));
      await client.close();
    },
  };
}

/** The inputs `plain-http`, `ca-file`, `insecure` and `trust-realm`. */
export function connectionInputs(): {
  readonly plainHttp: readonly string[];
  readonly caFile: string | undefined;
  readonly insecure: readonly string[];
  readonly trustedRealms: readonly string[];
} {
  const caFile = text("ca-file");
  if (caFile !== undefined && !existsSync(caFile))
    throw new InputError("ca-file", `there is no file ${JSON.stringify(caFile)}`, {
      hint: "Write the path of a PEM file with certificates.",
    });
  return { plainHttp: hosts("plain-http"), caFile, insecure: hosts("insecure"), trustedRealms: hosts("trust-realm") };
}

/** `docker.io: 98 of 100 requests left` */
function limitLine({ host, limit, remaining, reset }: RateLimit): string {
  const of = limit === undefined ? "" : ` of ${limit}`;
  const more = reset === undefined ? "" : `; more in ${Math.ceil(reset / 60_000)} minutes`;
  return `${host}: ${remaining}${of} requests left${more}`;
}
