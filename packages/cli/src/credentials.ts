import type { CredentialLookup } from "@stowage/registry";
import { UsageError } from "./command.js";

/** The options that take `USER[:PASSWORD]`, and the variables that their passwords may come from. */
export const CREDENTIAL_OPTIONS = {
  creds: "STOWAGE_PASSWORD",
  "src-creds": "STOWAGE_SRC_PASSWORD",
  "dst-creds": "STOWAGE_DST_PASSWORD",
} as const;

export type CredentialOption = keyof typeof CREDENTIAL_OPTIONS;

const MAXIMUM_PASSWORD = 64 * 1024;

/**
 * What finds the credentials of an option `USER[:PASSWORD]`. Without a password in it the variable of the option has it, or else
 * standard input, which is read when a registry asks for credentials and not before.
 */
export function credentialLookup(option: CredentialOption, text: string): CredentialLookup {
  const { username, password } = splitCredentials(option, text);
  const variable = CREDENTIAL_OPTIONS[option];
  let found: Promise<string> | undefined;
  return async () => {
    found ??= password === undefined ? passwordFor(`--${option} ${username}`, variable) : Promise.resolve(password);
    return { username, password: await found };
  };
}

/** True if the password of the option stands on the command line, where others on the machine can see it. */
export function showsPassword(option: CredentialOption, text: string): boolean {
  return splitCredentials(option, text).password !== undefined;
}

/** True if the password of the option has to come from standard input. */
export function readsPassword(option: CredentialOption, text: string): boolean {
  return !showsPassword(option, text) && !process.env[CREDENTIAL_OPTIONS[option]];
}

function splitCredentials(option: string, text: string): { username: string; password: string | undefined } {
  const colon = text.indexOf(":");
  const username = colon < 0 ? text : text.slice(0, colon);
  const password = colon < 0 ? undefined : text.slice(colon + 1);
  if (username === "" || password === "") throw new UsageError(`--${option} is not USER or USER:PASSWORD`);
  return { username, password };
}

/** The password in a variable, or else on standard input. Where that is a terminal it is wrong usage; `what` names what wants it. */
export async function passwordFor(what: string, variable: string): Promise<string> {
  const set = process.env[variable];
  if (set) return set;
  if (process.stdin.isTTY === true)
    throw new UsageError(`${what} has no password`, {
      hint: `Set ${variable}, or give the password on standard input.`,
    });
  return readPassword(what);
}

/** All of standard input without the end of its last line. Fails as wrong usage where it is empty, or no password by its size. */
export async function readPassword(what: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    chunks.push(Buffer.from(chunk as Uint8Array));
    size += (chunk as Uint8Array).byteLength;
    if (size > MAXIMUM_PASSWORD) throw new UsageError(`${what}: what standard input holds is no password`);
  }
  const password = Buffer.concat(chunks)
    .toString("utf8")
    .replace(/\r?\n$/, "");
  if (password === "") throw new UsageError(`${what}: standard input holds no password`);
  return password;
}
