import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { OciError, systemError, systemErrorCode } from "@stowage/layout";
import type { Environment } from "./proxy.js";

/** It takes longer to load than a command that reaches no registry takes to run. */
const tls = (): typeof import("node:tls") => process.getBuiltinModule("node:tls");

/** A certificate that a client shows, with its key; both PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** What the `certs.d` directories hold for one host. */
export interface HostCertificates {
  /** Authorities, PEM. */
  readonly authorities: readonly string[];
  readonly client: ClientCertificate | undefined;
}

/**
 * The directories in which Docker and Podman look for certificates by host, the user's own first:
 * `~/.config/containers/certs.d`, `/etc/containers/certs.d`, `/etc/docker/certs.d`.
 */
export function certificateDirectories(environment: Environment): readonly string[] {
  const home = environment.HOME || environment.USERPROFILE || homedir();
  const own = join(environment.XDG_CONFIG_HOME || join(home, ".config"), "containers", "certs.d");
  return [own, "/etc/containers/certs.d", "/etc/docker/certs.d"];
}

/**
 * What the directories named for a host hold: `*.crt` are authorities, all of them count; `*.cert` with the `*.key` of the same
 * name is a client certificate, the first directory that has one counts. A host at the port 443 goes by its name with and
 * without the port. Fails with `INVALID` where one of a pair is missing or a file is no PEM, and as reading a file does.
 */
export function readCertificates(url: URL, directories: readonly string[]): HostCertificates {
  const authorities: string[] = [];
  let client: ClientCertificate | undefined;
  for (const directory of directoriesFor(url, directories)) {
    const files = filesIn(directory);
    for (const file of files.filter((name) => name.endsWith(".crt")))
      authorities.push(readAuthority(join(directory, file)));
    client ??= clientCertificateIn(directory, files);
  }
  return { authorities, client };
}

/** True if one of the directories has a place for a host, whatever is in it: somebody expects TLS there. */
export function hasCertificates(url: URL, directories: readonly string[]): boolean {
  return directoriesFor(url, directories).some((directory) => existsSync(directory));
}

function directoriesFor(url: URL, directories: readonly string[]): string[] {
  const names = url.port === "" ? [url.host, `${url.host}:443`] : [url.host];
  return directories.flatMap((parent) => names.map((name) => join(parent, directoryName(name))));
}

/** Reads a client certificate and its key. Fails with `INVALID` where they do not belong together, naming the files. */
export function readClientCertificate(certFile: string, keyFile: string): ClientCertificate {
  const pair = { cert: readText(certFile), key: readText(keyFile) };
  try {
    tls().createSecureContext(pair);
  } catch (cause) {
    throw new OciError("INVALID", `${certFile} and ${keyFile} are no client certificate with its key`, {
      hint: "Both are PEM files; the key has no passphrase.",
      cause,
    });
  }
  return pair;
}

/** Reads a file with certificates of authorities. Fails with `INVALID` where it holds none. */
export function readAuthority(path: string): string {
  const text = readText(path);
  try {
    if (!/-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/.test(text))
      throw new TypeError("there is no BEGIN CERTIFICATE in it");
    tls().createSecureContext({ ca: text });
  } catch (cause) {
    throw new OciError("INVALID", `${path} holds no certificates in PEM form`, { cause });
  }
  return text;
}

/** The authorities that Node trusts where it is not told otherwise, `NODE_EXTRA_CA_CERTS` among them. */
export function usualAuthorities(environment: Environment): readonly string[] {
  // Node 20 has no such function, and forgets the extra ones as soon as others are named.
  const { getCACertificates } = tls() as { getCACertificates?: (kind: "default") => string[] };
  if (getCACertificates !== undefined) return getCACertificates("default");
  const extra = environment.NODE_EXTRA_CA_CERTS;
  return extra && existsSync(extra) ? [...tls().rootCertificates, readAuthority(extra)] : tls().rootCertificates;
}

function clientCertificateIn(directory: string, files: readonly string[]): ClientCertificate | undefined {
  const name = files.find((file) => file.endsWith(".cert"))?.slice(0, -".cert".length);
  const orphan = files.find((file) => file.endsWith(".key") && !files.includes(file.replace(/key$/, "cert")));
  if (orphan !== undefined) throw unpaired(join(directory, orphan), orphan.replace(/key$/, "cert"));
  if (name === undefined) return undefined;
  if (!files.includes(`${name}.key`)) throw unpaired(join(directory, `${name}.cert`), `${name}.key`);
  return readClientCertificate(join(directory, `${name}.cert`), join(directory, `${name}.key`));
}

function unpaired(path: string, other: string): OciError {
  return new OciError("INVALID", `${path} has no ${other} beside it`);
}

/** The file systems of Windows take no colon; Docker leaves it out there. */
function directoryName(host: string): string {
  return process.platform === "win32" ? host.replaceAll(":", "") : host;
}

function filesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return [];
    throw systemError(error, `cannot read the certificates in ${directory}`);
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw systemError(error, `cannot read the certificates in ${path}`);
  }
}
