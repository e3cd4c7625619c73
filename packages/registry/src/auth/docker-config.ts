import { open } from "node:fs/promises";
import {
  isJsonObject,
  isOciError,
  type JsonObject,
  OciError,
  parseJsonObject,
  systemError,
  systemErrorCode,
} from "@stowage/layout";
import type { Environment } from "../http/proxy.js";
import { credentialFiles } from "./credential-files.js";
import { askCredentialHelper } from "./credential-helper.js";
import { type CredentialLookup, type Credentials, credentialKeys, helperServer } from "./credentials.js";
import { customHeaders } from "./custom-headers.js";

/** Where Docker's configuration is looked for. */
export interface DockerConfigOptions {
  readonly environment: Environment;
}

/** What the configurations of Docker and Podman say about registries. */
export interface DockerConfiguration {
  /** Finds credentials. Fails with `INVALID` where a file is damaged, naming it, and as {@link askCredentialHelper} does. */
  readonly lookup: CredentialLookup;
  /** `HttpHeaders`: more headers for each request to a registry, names in lower case. Fails with `INVALID` as `lookup` does. */
  headers(): Promise<Readonly<Record<string, string>>>;
}

/** What one file, or a variable with the text of one, says. */
export interface ConfigFile {
  /** For messages: its path, or the name of the variable. */
  readonly where: string;
  readonly auths: JsonObject;
  readonly credHelpers: JsonObject;
  readonly credsStore: string | undefined;
  readonly value: JsonObject;
}

const MAXIMUM_SIZE = 4 * 1024 * 1024;

/**
 * Reads the configurations of Docker and Podman: the text in the variable `DOCKER_AUTH_CONFIG`, then the files that
 * {@link credentialFiles} names. In each, an entry with a path counts where the repository is below it, the longest first; then the helper of
 * the host, or the one for all (`credsStore`); then an entry for the host, in whatever spelling. The first that has something counts.
 * They are read once, at the first look-up.
 */
export function dockerConfiguration(options: DockerConfigOptions): DockerConfiguration {
  const { environment } = options;
  let read: Promise<readonly ConfigFile[]> | undefined;
  const configurations = (): Promise<readonly ConfigFile[]> => (read ??= readAll(environment));
  return {
    async lookup(host, repository) {
      for (const config of await configurations()) {
        const found = await credentialsIn(config, host, repository, environment);
        if (found !== undefined) return found;
      }
      return undefined;
    },
    async headers() {
      const all = await configurations();
      return Object.assign({}, ...all.map(({ value, where }) => customHeaders(value.HttpHeaders, where)).reverse());
    },
  };
}

/** The look-up of {@link dockerConfiguration}. */
export function dockerCredentials(options: DockerConfigOptions): CredentialLookup {
  return dockerConfiguration(options).lookup;
}

/** The name of the helper that keeps credentials for the host; undefined where the file itself does. */
export function helperFor(config: ConfigFile, host: string): string | undefined {
  const { hosts } = credentialKeys(host, "");
  const helper = hosts.map((key) => own(config.credHelpers, key)).find((name) => name !== undefined && name !== "");
  const name = helper ?? config.credsStore;
  if (name === undefined || name === "") return undefined;
  if (typeof name !== "string")
    throw new OciError("INVALID", `credHelpers in ${config.where} names no helper for ${host}`);
  return name;
}

/** Takes the text of a configuration apart. Fails with `INVALID` where it is none, naming `where` it stands. */
export function parseConfig(bytes: Uint8Array, where: string): ConfigFile {
  const value = bytes.byteLength === 0 ? {} : parseSecret(bytes, where);
  const { credsStore } = value;
  if (credsStore !== undefined && credsStore !== null && typeof credsStore !== "string")
    throw new OciError("INVALID", `credsStore in ${where} is not the name of a helper`);
  return {
    where,
    value,
    auths: objectAt(value, "auths", where),
    credHelpers: objectAt(value, "credHelpers", where),
    credsStore: credsStore || undefined,
  };
}

function parseSecret(bytes: Uint8Array, where: string): JsonObject {
  try {
    return parseJsonObject(bytes, where);
  } catch (error) {
    // Whether and where it broke may be told. The parser quotes what stands there, and that may be a password.
    const place = /at position \d+|line \d+ column \d+/.exec((error as Error).message)?.[0];
    const problem = isOciError(error) && !error.message.includes("is not valid JSON") ? error.message : undefined;
    throw new OciError("INVALID", problem ?? `${where} is not valid JSON${place === undefined ? "" : ` (${place})`}`, {
      hint: "Mend it, or move it away and log in again with: stowage login",
    });
  }
}

/** The bytes of a configuration; none where there is no such file. Fails with `LIMIT` where it is too large. */
export async function readConfig(path: string): Promise<Uint8Array> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      if (size > MAXIMUM_SIZE) throw new OciError("LIMIT", `${path} is larger than ${MAXIMUM_SIZE} bytes`);
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    const systemCode = systemErrorCode(error);
    if (systemCode === "ENOENT" || systemCode === "ENOTDIR") return new Uint8Array();
    throw systemError(error, `cannot read ${path}`);
  }
}

async function readAll(environment: Environment): Promise<readonly ConfigFile[]> {
  const text = environment.DOCKER_AUTH_CONFIG?.trim();
  const files: ConfigFile[] = [];
  if (text) files.push(parseConfig(Buffer.from(text), "the variable DOCKER_AUTH_CONFIG"));
  for (const path of credentialFiles(environment)) files.push(parseConfig(await readConfig(path), path));
  return files;
}

async function credentialsIn(
  config: ConfigFile,
  host: string,
  repository: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  const { paths, hosts } = credentialKeys(host, repository);
  const exact = findEntry(config, paths);
  if (exact !== undefined) return exact;
  const helper = helperFor(config, host);
  if (helper !== undefined) {
    const found = await askCredentialHelper(helper, helperServer(host), { environment });
    if (found !== undefined) return found;
  }
  return findEntry(config, hosts);
}

function objectAt(value: JsonObject, key: string, where: string): JsonObject {
  const found = value[key];
  if (found === undefined || found === null) return {};
  if (!isJsonObject(found)) throw new OciError("INVALID", `${key} in ${where} is not an object`);
  return found;
}

/** The credentials of the first key that has any. An empty entry only says that a helper has them. */
function findEntry({ auths, where }: ConfigFile, keys: readonly string[]): Credentials | undefined {
  for (const key of keys) {
    const entry = own(auths, key);
    const found = isJsonObject(entry) ? credentialsOf(entry, `auths[${JSON.stringify(key)}] in ${where}`) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

function own(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function credentialsOf(entry: JsonObject, where: string): Credentials | undefined {
  const text = (name: string): string => (typeof entry[name] === "string" ? (entry[name] as string) : "");
  if (text("registrytoken") !== "") return { registryToken: text("registrytoken") };
  if (text("identitytoken") !== "") return { identityToken: text("identitytoken") };
  if (text("auth") !== "") {
    const decoded = Buffer.from(text("auth"), "base64").toString("utf8").replace(/\0+$/, "");
    const colon = decoded.indexOf(":");
    if (colon < 1) throw new OciError("INVALID", `${where} has an auth that is not base64 of NAME:PASSWORD`);
    return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
  }
  if (text("username") === "") return undefined;
  return { username: text("username"), password: text("password") };
}
