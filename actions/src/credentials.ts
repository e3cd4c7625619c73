import * as core from "@actions/core";
import { isOciError, type Location, parseReference } from "@stowage/layout";
import type { Credentials } from "@stowage/registry";
import { InputError, text } from "./inputs.js";

/** The account that the inputs give, and the one registry it is for. */
export interface Login {
  readonly host: string;
  readonly credentials: Credentials;
}

/** The inputs `registry`, `username` and `password`. */
export interface AccountInputs {
  readonly registry: string | undefined;
  readonly credentials: Credentials | undefined;
}

/** Reads the inputs `registry`, `username` and `password`, and masks the secrets. To be called before anything else, so that nothing is logged before. */
export function readAccount(): AccountInputs {
  const password = text("password");
  const username = text("username");
  const registry = text("registry");
  if (password !== undefined) mask(password);
  if (password === undefined && username === undefined) return { registry, credentials: undefined };
  if (password === undefined) throw new InputError("password", "it is required where username is given");
  if (username === undefined) throw new InputError("username", "it is required where password is given");
  // What the header of a request holds; a registry might repeat it in an error.
  core.setSecret(Buffer.from(`${username}:${password}`).toString("base64"));
  return { registry, credentials: { username, password } };
}

/** The runner masks line by line. */
function mask(secret: string): void {
  core.setSecret(secret);
  const lines = secret.split(/[\r\n]+/).filter((line) => line.trim() !== "");
  if (lines.length > 1) for (const line of lines) core.setSecret(line);
}

/**
 * Whom the account is for: the input `registry`, or else the one registry among the locations that are written to, or else the one among all.
 * Fails with an {@link InputError} where that is in doubt.
 */
export function loginFor(
  { registry, credentials }: AccountInputs,
  written: readonly Location[],
  read: readonly Location[] = [],
): Login | undefined {
  if (credentials === undefined) return undefined;
  if (registry !== undefined) return { host: hostOf(registry), credentials };
  const [host = "", ...others] = hostsOf(written).length > 0 ? hostsOf(written) : hostsOf(read);
  if (others.length > 0)
    throw new InputError(
      "registry",
      `it is required: username and password are for one of ${[host, ...others].join(", ")}`,
      {
        hint: "Write which one, or log in to each with docker/login-action and leave username and password out.",
      },
    );
  return host === "" ? undefined : { host, credentials };
}

function hostsOf(locations: readonly Location[]): string[] {
  return [...new Set(locations.flatMap((one) => (one.kind === "registry" ? [one.reference.host] : [])))];
}

function hostOf(registry: string): string {
  try {
    return parseReference(`${registry}/any/name`).host;
  } catch (error) {
    if (!isOciError(error)) throw error;
    throw new InputError("registry", `${JSON.stringify(registry)} is no HOST[:PORT]`, {
      hint: "For example ghcr.io or docker.io.",
      cause: error,
    });
  }
}
