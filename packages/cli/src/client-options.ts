import { parseLocation } from "@stowage/layout";
import { type ClientOptions, type CredentialLookup, type RegistryClient, userAgent } from "@stowage/registry";
import type { Argv } from "yargs";
import { adviseAtEnd, openClient } from "./clients.js";
import { parsed, UsageError } from "./command.js";
import { type CredentialOption, credentialLookup, readsPassword, showsPassword } from "./credentials.js";
import { version } from "./version.js";

/** The options of every command that speaks to registries: how, and with which credentials. */
export interface ClientArguments {
  readonly "plain-http": string[] | undefined;
  readonly "ca-file": string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly insecure: string[] | undefined;
  readonly "trust-realm": string[] | undefined;
  readonly "allow-internal": string[] | undefined;
  readonly mirror: string[] | undefined;
  readonly attribution: boolean | undefined;
  readonly creds?: string | undefined;
  readonly "src-creds"?: string | undefined;
  readonly "dst-creds"?: string | undefined;
  readonly "referrers-from"?: string | undefined;
  readonly "referrers-to"?: string | undefined;
  readonly location?: string | undefined;
  readonly source?: string | undefined;
  readonly target?: string | readonly string[] | undefined;
  readonly references?: readonly string[] | undefined;
  readonly parts?: readonly string[] | undefined;
  /** The last one is a file. */
  readonly places?: readonly string[] | undefined;
  readonly quiet?: boolean;
}

/** Which credentials a command takes. */
export type CredentialChoice = "none" | "one" | "both";

/** Adds the options of {@link ClientArguments}. */
export function withClientOptions<T>(yargs: Argv<T>, credentials: CredentialChoice): Argv<T & ClientArguments> {
  const text = { type: "string", requiresArg: true, group: "Registries:" } as const;
  const hosts = { ...text, array: true } as const;
  const options = yargs
    .option("plain-http", {
      ...hosts,
      describe: "Speak HTTP, not HTTPS, to this HOST[:PORT]; loopback addresses get it anyway",
    })
    .option("ca-file", { ...text, describe: "Trust the certificate authorities in this PEM file as well" })
    .option("cert", {
      ...text,
      implies: "key",
      describe: "Show registries the client certificate in this PEM file; certs.d directories are read in any case",
    })
    .option("key", { ...text, implies: "cert", describe: "The PEM file with the key of --cert" })
    .option("insecure", { ...hosts, describe: "Do not check the certificate of this HOST[:PORT]" })
    .option("trust-realm", {
      ...hosts,
      describe: "Send credentials to the token server at this HOST[:PORT] also where it is another site",
    })
    .option("allow-internal", {
      ...hosts,
      describe: "Let a registry lead to this HOST[:PORT] though it is on a private or loopback address",
    })
    .option("mirror", {
      ...hosts,
      describe: "HOST=MIRROR[:PORT]: fetch content of HOST through this pull-through cache where it has it",
    })
    .option("attribution", {
      type: "boolean",
      group: "Registries:",
      describe: "In GitHub Actions, name repository and workflow in the User-Agent that registries see",
    });
  return withCredentialOptions(options, credentials) as Argv<T & ClientArguments>;
}

function withCredentialOptions<T>(yargs: Argv<T>, credentials: CredentialChoice): Argv<T> {
  const text = { type: "string", requiresArg: true, group: "Registries:" } as const;
  if (credentials === "one")
    return yargs.option("creds", {
      ...text,
      describe: "USER[:PASSWORD] for the registry; the password may be in STOWAGE_PASSWORD or on standard input",
    });
  if (credentials === "none") return yargs;
  return yargs
    .option("src-creds", {
      ...text,
      describe: "USER[:PASSWORD] for the source; the password may be in STOWAGE_SRC_PASSWORD or on standard input",
    })
    .option("dst-creds", {
      ...text,
      describe: "USER[:PASSWORD] for the target; the password may be in STOWAGE_DST_PASSWORD or on standard input",
    });
}

/** Wrong usage where both passwords would have to come from standard input. */
export function checkOneReadsPassword(args: ClientArguments): void {
  const [source, target] = [args["src-creds"], args["dst-creds"]];
  if (source === undefined || target === undefined) return;
  if (readsPassword("src-creds", source) && readsPassword("dst-creds", target))
    throw new UsageError("--src-creds and --dst-creds cannot both read their password from standard input", {
      hint: "Set STOWAGE_SRC_PASSWORD or STOWAGE_DST_PASSWORD.",
    });
}

/** The client these options ask for, and `more`, with the credentials of the named option where it is given; closed at the end of the run. */
export function clientFor(args: ClientArguments, option: CredentialOption, more: ClientOptions): RegistryClient {
  const text = args[option];
  if (text !== undefined && showsPassword(option, text))
    adviseAtEnd(
      `--${option} shows a password to everybody on this machine; stowage login, a variable or standard input does not`,
    );
  return openClient(
    {
      ...connectionOptions(args),
      ...more,
      ...(text === undefined ? {} : { credentials: lookupFor(args, option, text) }),
    },
    args.quiet === true,
  );
}

/** The credentials of an option; a mirror, and a registry that only has referrers, are others, and do not get them. */
function lookupFor(args: ClientArguments, option: CredentialOption, text: string): CredentialLookup {
  const others = new Set(hostsOf([args["referrers-from"], args["referrers-to"]]));
  const own = new Set(
    hostsOf([args.location, args.source, args.target, args.references, args.parts, args.places?.slice(0, -1)].flat()),
  );
  if (option === "creds" && own.size > 1)
    throw new UsageError(`--creds is for one registry, not for ${[...own].join(" and ")}`, {
      hint: "Log in to them with stowage login.",
    });
  for (const host of own) others.delete(host);
  for (const mirror of Object.values(mirrorsArgument(args.mirror) ?? {})) others.add(mirror);
  const lookup = credentialLookup(option, text);
  return async (host, repository) => (others.has(host) ? undefined : lookup(host, repository));
}

function hostsOf(texts: readonly (string | undefined)[]): string[] {
  return texts.flatMap((text) => {
    const location = text === undefined ? undefined : parsed(() => parseLocation(text));
    return location?.kind === "registry" ? [location.reference.host] : [];
  });
}

/** How registries are reached, without credentials. */
export function connectionOptions(args: ClientArguments): Omit<ClientOptions, "credentials"> {
  const name = userAgent(version(), {});
  return {
    userAgent: name,
    plainHttp: args["plain-http"],
    caFile: args["ca-file"],
    certFile: args.cert,
    keyFile: args.key,
    insecure: args.insecure,
    trustedRealms: args["trust-realm"],
    internalHosts: args["allow-internal"],
    mirrors: mirrorsArgument(args.mirror),
    ...(args.attribution === true ? { headers: { "user-agent": userAgent(version(), process.env) } } : {}),
  };
}

function mirrorsArgument(texts: readonly string[] | undefined): Readonly<Record<string, string>> | undefined {
  if (texts === undefined) return undefined;
  const pairs = texts.map((text): [string, string] => {
    const [, host, mirror] = /^([^=/\s]+)=([^=/\s]+)$/.exec(text) ?? [];
    if (host === undefined || mirror === undefined || !URL.canParse(`https://${mirror}`))
      throw new UsageError(`--mirror ${JSON.stringify(text)} is not HOST=MIRROR[:PORT]`);
    return [host, mirror];
  });
  return Object.fromEntries(pairs);
}
