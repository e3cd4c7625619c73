/** What an account is proven with. */
export type Credentials =
  /** A name and a password, or an access token in its place. */
  | { readonly username: string; readonly password: string }
  /** A refresh token that the token server exchanges (OAuth2, `identitytoken` in Docker's configuration). */
  | { readonly identityToken: string }
  /** A token that is sent to the registry as it is (`registrytoken` in Docker's configuration). */
  | { readonly registryToken: string };

/**
 * Finds the credentials for a repository; undefined where there are none. `host` is the registry as the user names it
 * (`docker.io`, `localhost:5000`).
 */
export type CredentialLookup = (host: string, repository: string) => Promise<Credentials | undefined>;

/** The name and password of a Basic Authorization header. */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}

/** What must not be shown of an Authorization header, or of credentials. */
export function secretsOf(shown: string | Credentials | undefined): readonly string[] {
  if (shown === undefined) return [];
  if (typeof shown === "object") {
    if ("identityToken" in shown) return [shown.identityToken];
    return "registryToken" in shown
      ? [shown.registryToken]
      : secretsOf(basicAuthorization(shown.username, shown.password));
  }
  const [scheme, ...rest] = shown.split(" ");
  const value = rest.join(" ");
  if (scheme?.toLowerCase() !== "basic") return [value];
  const account = Buffer.from(value, "base64").toString("utf8");
  return [value, account.slice(account.indexOf(":") + 1)].filter((secret) => secret !== "");
}

/** A foreign text without the secrets, in whatever form it repeats them. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const forms = secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]);
  // The longest first: one may be part of another.
  return forms.sort((a, b) => b.length - a.length).reduce((all, form) => all.replaceAll(form, "***"), text);
}

/** The names Docker Hub goes by in configurations. The first is what credential helpers file it under. */
const DOCKER_HUB_NAMES = [
  "https://index.docker.io/v1/",
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
] as const;

/** The name a credential helper knows the host by. */
export function helperServer(host: string): string {
  return host === "docker.io" ? DOCKER_HUB_NAMES[0] : host;
}

/**
 * The keys under which a configuration may hold credentials for a repository, the most specific first: the host with the
 * whole path, with each shorter path, then the host alone in all its spellings.
 */
export function credentialKeys(
  host: string,
  repository: string,
): { readonly paths: readonly string[]; readonly hosts: readonly string[] } {
  const names = host === "docker.io" ? DOCKER_HUB_NAMES : [host];
  const parts = repository.split("/");
  const paths = parts.flatMap((_, index) =>
    names.map((name) => `${name}/${parts.slice(0, parts.length - index).join("/")}`),
  );
  const hosts = names.flatMap((name) => (name.includes("://") ? [name] : [name, `https://${name}`, `http://${name}`]));
  return { paths, hosts: hosts.flatMap((name) => [name, `${name}/`, `${name}/v1/`, `${name}/v2/`]) };
}
