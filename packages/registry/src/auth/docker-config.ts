import { open } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  isJsonObject,
  type JsonObject,
  OciError,
  parseJsonObject,
  systemError,
  systemErrorCode,
} from "@stowage/layout";
import { askCredentialHelper } from "./credential-helper.js";
import { type CredentialLookup, type Credentials, credentialKeys, helperServer } from "./credentials.js";

/** Where Docker's configuration is looked for. */
export interface DockerConfigOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const MAXIMUM_SIZE = 4 * 1024 * 1024;

/**
 * Looks credentials up as Docker does: `config.json` in the directory DOCKER_CONFIG, or in `.docker` of the home directory;
 * there `auths`, `credHelpers` and `credsStore`. Like Podman it takes keys with a path and prefers the longest that fits. The file
 * is read once, at the first look-up. The look-up fails with `INVALID` where the file is damaged, and as {@link askCredentialHelper} does.
 */
export function dockerCredentials(options: DockerConfigOptions): CredentialLookup {
  const { environment } = options;
  const path = join(
    environment.DOCKER_CONFIG || join(environment.HOME || environment.USERPROFILE || homedir(), ".docker"),
    "config.json",
  );
  let config: Promise<JsonObject> | undefined;
  return async (host, repository) => {
    config ??= readConfig(path);
    const { auths, credHelpers, credsStore } = await config;
    const entries = isJsonObject(auths) ? auths : {};
    const helpers = isJsonObject(credHelpers) ? credHelpers : {};
    const { paths, hosts } = credentialKeys(host, repository);
    const exact = findEntry(entries, paths, path);
    if (exact !== undefined) return exact;
    const helper =
      hosts.map((key) => own(helpers, key)).find((name) => name !== undefined && name !== "") ?? credsStore;
    if (typeof helper === "string" && helper !== "") {
      const found = await askCredentialHelper(helper, helperServer(host), { environment });
      if (found !== undefined) return found;
    }
    return findEntry(entries, hosts, path);
  };
}

async function readConfig(path: string): Promise<JsonObject> {
  let bytes: Uint8Array;
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      if (size > MAXIMUM_SIZE) throw new OciError("LIMIT", `${path} is larger than ${MAXIMUM_SIZE} bytes`);
      bytes = await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    const systemCode = systemErrorCode(error);
    if (systemCode === "ENOENT" || systemCode === "ENOTDIR") return {};
    throw systemError(error, `cannot read ${path}`);
  }
  return bytes.byteLength === 0 ? {} : parseJsonObject(bytes, path);
}

/** The credentials of the first key that has any. An empty entry only says that a helper has them. */
function findEntry(entries: JsonObject, keys: readonly string[], path: string): Credentials | undefined {
  for (const key of keys) {
    const entry = own(entries, key);
    const found = isJsonObject(entry) ? credentialsOf(entry, `auths[${JSON.stringify(key)}] in ${path}`) : undefined;
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
