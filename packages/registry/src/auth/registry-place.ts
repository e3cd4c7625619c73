import { isRepository, OciError } from "@stowage/layout";

/** What an account is for: a registry, or the repositories of it below a path. */
export interface RegistryPlace {
  /** As the user names it: `docker.io`, `localhost:5000`. */
  readonly host: string;
  /** `acme` or `acme/app`; undefined for the whole registry. */
  readonly path: string | undefined;
}

/**
 * Reads `HOST[:PORT][/PATH]`. A scheme and the endings `/v1/` and `/v2/` that older configurations have are left out; Docker Hub
 * is `docker.io` by all its names. Fails with `INVALID`.
 */
export function parseRegistryPlace(text: string): RegistryPlace {
  const [host = "", ...parts] = text
    .replace(/^https?:\/\//, "")
    .replace(/\/(?:v[12])?\/?$/, "")
    .split("/");
  const path = parts.join("/");
  const name = HUB.has(host) ? "docker.io" : host;
  if (
    !/^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(name) ||
    !URL.canParse(`https://${name}`)
  )
    throw new OciError("INVALID", `${JSON.stringify(text.slice(0, 300))} names no registry`, {
      hint: "Write HOST[:PORT] or HOST[:PORT]/PATH, for example ghcr.io or ghcr.io/acme.",
    });
  if (path !== "" && !isRepository(path))
    throw new OciError("INVALID", `${JSON.stringify(path.slice(0, 300))} is no path of a repository`);
  return { host: name, path: path === "" ? undefined : path };
}

/** `ghcr.io/acme` */
export function formatRegistryPlace({ host, path }: RegistryPlace): string {
  return path === undefined ? host : `${host}/${path}`;
}

const HUB: ReadonlySet<string> = new Set(["docker.io", "index.docker.io", "registry-1.docker.io"]);
