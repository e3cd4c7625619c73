import { type Digest, isDigest, parseDigest } from "./digest.js";
import { OciError } from "./errors.js";

/** A repository on a registry, and what in it is meant. */
export interface Reference {
  /** The registry as the user names it, with its port: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly host: string;
  readonly repository: string;
  readonly tag?: string;
  /** Wins over the tag where both are given. */
  readonly digest?: Digest;
}

const HOST =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** True if `text` is a tag. distribution-spec v1.1.1, "Pulling manifests". */
export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** True if `text` is a repository name of at most 255 characters. distribution-spec v1.1.1, "Pulling manifests". */
export function isRepository(text: string): boolean {
  return text.length <= 255 && REPOSITORY.test(text);
}

/**
 * Reads `HOST/REPO[:TAG][@DIGEST]`, normalised as Docker does: a first part without dot, colon or `localhost` is no host,
 * then the host is `docker.io`; one-part names there live in `library/`; without tag and digest the tag is `latest`.
 * Fails with `INVALID`.
 */
export function parseReference(text: string): Reference {
  const { name, tag, digest } = splitReference(text);
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const hasHost = slash >= 0 && (/[.:\]]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const host = hasHost
    ? first === "index.docker.io" || first === "registry-1.docker.io"
      ? "docker.io"
      : first
    : "docker.io";
  let repository = hasHost ? name.slice(slash + 1) : name;
  if (host === "docker.io" && !repository.includes("/")) repository = `library/${repository}`;
  if (!HOST.test(host)) throw refuse(text, `${JSON.stringify(host)} is no registry host`);
  if (!isRepository(repository)) {
    const hint = repository === repository.toLowerCase() ? undefined : "Repository names are lower case.";
    throw refuse(text, `${JSON.stringify(repository)} is no repository name`, hint);
  }
  if (tag !== undefined && !isTag(tag)) throw refuse(text, `${JSON.stringify(tag)} is no tag`);
  return {
    host,
    repository,
    ...(tag !== undefined ? { tag } : digest === undefined ? { tag: "latest" } : {}),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Splits `NAME[:TAG][@DIGEST]` without judging the name. Fails with `INVALID` where what follows the `@` is no digest. */
export function splitReference(text: string): { name: string; tag?: string; digest?: Digest } {
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) {
    throw refuse(
      text,
      `what follows the @ is no digest: ${JSON.stringify(digest.slice(0, 200))}`,
      "A digest looks like sha256: and 64 lower-case hexadecimal digits.",
    );
  }
  const rest = at < 0 ? text : text.slice(0, at);
  const colon = rest.lastIndexOf(":");
  const tag = colon > rest.lastIndexOf("/") ? rest.slice(colon + 1) : undefined;
  return {
    name: tag === undefined ? rest : rest.slice(0, colon),
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest: parseDigest(digest) }),
  };
}

/** The whole text of a reference, host included. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${reference.host}/${reference.repository}${tag}${digest}`;
}

/** The tag a registry without the referrers API keeps the list of `digest` under. distribution-spec v1.1.1, "Referrers Tag Schema". */
export function referrersTag(digest: Digest): string {
  const colon = digest.indexOf(":");
  const clean = (part: string, length: number): string => part.slice(0, length).replace(/[^a-zA-Z0-9._-]/g, "-");
  return `${clean(digest.slice(0, colon), 32)}-${clean(digest.slice(colon + 1), 64)}`;
}

/** True for a tag that only carries the referrers list of a sha256 or sha512 digest, the latter also as oras writes it: not cut off. */
export function isReferrersTag(tag: string): boolean {
  return /^sha(?:256|512)-[0-9a-f]{64}$|^sha512-[0-9a-f]{128}$/.test(tag);
}

function refuse(text: string, problem: string, hint?: string): OciError {
  return new OciError("INVALID", `cannot read the reference ${JSON.stringify(text.slice(0, 300))}: ${problem}`, {
    hint,
  });
}
