import { type Abortable, isJsonObject, type JsonObject, OciError } from "@stowage/layout";
import { loginFile } from "./auth/credential-files.js";
import { eraseWithHelper, storeWithHelper } from "./auth/credential-helper.js";
import { credentialKeys, helperServer } from "./auth/credentials.js";
import { type ConfigFile, helperFor, parseConfig, readConfig } from "./auth/docker-config.js";
import { updateConfig } from "./auth/login-file.js";
import { formatRegistryPlace, type RegistryPlace } from "./auth/registry-place.js";
import { type ClientOptions, RegistryClient } from "./client.js";

/** A name and a password, or an access token in its place. */
export interface Account {
  readonly username: string;
  readonly password: string;
}

/** The options of {@link login} and {@link logout}. */
export interface LoginOptions extends Omit<ClientOptions, "credentials">, Abortable {}

/** What a {@link login} did. */
export interface LoginResult {
  /** `ghcr.io` or `ghcr.io/acme` */
  readonly registry: string;
  readonly username: string;
  /** False where the registry asks nobody for credentials, so that these could not be checked. */
  readonly checked: boolean;
  /** The file the credentials are in, readable by its owner alone; undefined where a helper keeps them. */
  readonly file: string | undefined;
  /** The helper that keeps them, as Docker's configuration names it. */
  readonly helper: string | undefined;
}

/**
 * Checks an account with the registry, then keeps it where Docker's own login would: with the helper that the configuration names, or
 * in the configuration itself ({@link loginFile} says which). What else stands there is kept. An account for a path is for the
 * repositories below it. Nothing is stored where the registry refuses: that fails with `UNAUTHORIZED`, and with `UNSUPPORTED` where a
 * path is to be kept by a helper, which knows hosts only.
 */
export async function login(place: RegistryPlace, account: Account, options: LoginOptions = {}): Promise<LoginResult> {
  const environment = options.environment ?? process.env;
  const path = loginFile(environment);
  const registry = formatRegistryPlace(place);
  if (account.username === "" || account.username.includes(":") || account.password === "")
    throw new OciError(
      "INVALID",
      `cannot log in to ${registry}: an account has a name without a colon, and a password`,
    );
  const helper = helperFor(parseConfig(await readConfig(path), path), place.host);
  if (helper !== undefined && place.path !== undefined)
    throw new OciError(
      "UNSUPPORTED",
      `cannot log in to ${registry}: docker-credential-${helper} keeps accounts by host, not by path`,
      {
        hint: `Log in to ${place.host}, or let REGISTRY_AUTH_FILE name a file without a helper.`,
      },
    );
  const checked = await check(place, account, options);
  if (helper !== undefined) await storeWithHelper(helper, helperServer(place.host), account, { environment });
  const auth = Buffer.from(`${account.username}:${account.password}`).toString("base64");
  // Beside a helper stands an empty entry, as Docker leaves it: it says that there is an account.
  await updateConfig(path, (config) => withEntry(config, place, helper === undefined ? { auth } : {}));
  return { registry, username: account.username, checked, file: helper === undefined ? path : undefined, helper };
}

/** What a {@link logout} did. */
export interface LogoutResult {
  readonly registry: string;
  /** False where there was no account to forget. */
  readonly removed: boolean;
}

/** Forgets the account of a registry, or of a path on it, where {@link login} keeps it. Fails as reading and writing the file and running the helper do. */
export async function logout(
  place: RegistryPlace,
  options: Pick<LoginOptions, "environment"> = {},
): Promise<LogoutResult> {
  const environment = options.environment ?? process.env;
  const path = loginFile(environment);
  const config = parseConfig(await readConfig(path), path);
  const helper = place.path === undefined ? helperFor(config, place.host) : undefined;
  if (helper !== undefined) await eraseWithHelper(helper, helperServer(place.host), { environment });
  const keys = keysOf(place);
  const removed = keys.some((key) => Object.hasOwn(config.auths, key));
  if (removed) await updateConfig(path, ({ value, auths }) => ({ ...value, auths: without(auths, keys) }));
  return { registry: formatRegistryPlace(place), removed: removed || helper !== undefined };
}

/** True if the registry wanted the account and took it, false if it wants none. */
async function check({ host, path }: RegistryPlace, account: Account, options: LoginOptions): Promise<boolean> {
  const client = new RegistryClient({ ...options, credentials: account });
  try {
    return await client.authenticate(host, path, options);
  } finally {
    await client.close();
  }
}

/** The configuration with one entry for the place instead of all that stand for it. */
function withEntry({ value, auths }: ConfigFile, place: RegistryPlace, entry: JsonObject): JsonObject {
  const key = place.path === undefined ? helperServer(place.host) : formatRegistryPlace(place);
  const kept = Object.hasOwn(auths, key) && isJsonObject(auths[key]) ? auths[key] : {};
  const unknown = without(kept, ["auth", "username", "password", "identitytoken", "registrytoken"]);
  return { ...value, auths: { ...without(auths, keysOf(place)), [key]: { ...unknown, ...entry } } };
}

function keysOf(place: RegistryPlace): readonly string[] {
  const { paths, hosts } = credentialKeys(place.host, place.path ?? "");
  if (place.path === undefined) return hosts;
  return paths.filter((key) => key.endsWith(`/${place.path}`));
}

function without(object: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}
