import { execFileSync, spawn } from "node:child_process";
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dockerCredentials } from "../src/auth/docker-config.js";
import { login, logout, parseRegistryPlace } from "../src/index.js";
import { closeServers, sendJson, serve, type TestServer } from "./support/server.js";

let folder: string;
let environment: Record<string, string>;
let registry: TestServer;
const account = { username: "alice", password: "s3cret: with colon" };
const auth = Buffer.from(`${account.username}:${account.password}`).toString("base64");

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "stowage-login-"));
  environment = { DOCKER_CONFIG: join(folder, "docker"), PATH: `${folder}${delimiter}${process.env.PATH}` };
  registry = await serve((request, response) => {
    if (request.headers.authorization === `Basic ${auth}`) response.writeHead(200).end("{}");
    else response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
  });
});
afterEach(async () => {
  await closeServers();
  await rm(folder, { recursive: true, force: true });
});

const file = () => join(folder, "docker", "config.json");
const place = (path?: string) => ({ host: registry.host, path });
const stored = async () => JSON.parse(await readFile(file(), "utf8"));
const store = async (value: unknown) => {
  await mkdir(join(folder, "docker"), { recursive: true });
  await writeFile(file(), JSON.stringify(value));
};

/** A credential helper that keeps what it is given in one file. */
async function helper(name: string): Promise<string> {
  const kept = join(folder, `${name}.json`);
  const script = `#!/bin/sh
case "$1" in
  store) cat > "${kept}";;
  get) if [ -f "${kept}" ]; then cat "${kept}"; else echo "credentials not found in native keychain"; exit 1; fi;;
  erase) if [ -f "${kept}" ]; then rm "${kept}"; else echo "credentials not found in native keychain"; exit 1; fi;;
esac
`;
  await writeFile(join(folder, `docker-credential-${name}`), script);
  await chmod(join(folder, `docker-credential-${name}`), 0o755);
  return kept;
}

describe("login", () => {
  it("checks the account, then keeps it where the next look-up finds it, for its owner alone", async () => {
    expect(await login(place(), account, { environment })).toEqual({
      registry: registry.host,
      username: "alice",
      checked: true,
      file: file(),
      helper: undefined,
    });
    expect(await stored()).toEqual({ auths: { [registry.host]: { auth } } });
    expect((await stat(file())).mode & 0o777).toBe(0o600);
    expect(await dockerCredentials({ environment })(registry.host, "a/b")).toEqual(account);
  });

  it("keeps nothing where the registry refuses, and quotes no password", async () => {
    const failed = login(place(), { ...account, password: "wr0ng" }, { environment });
    await expect(failed).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    await expect(failed).rejects.toThrow(/^(?!.*wr0ng)/);
    await expect(stat(file())).rejects.toThrow();
  });

  it("says where a registry asks for nothing, so that nothing was checked", async () => {
    const open = await serve((_, response) => response.writeHead(200).end("{}"));
    expect(await login({ host: open.host, path: undefined }, account, { environment })).toMatchObject({
      checked: false,
    });
    expect(open.received.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it("checks with the token server where the registry has one", async () => {
    const tokens = await serve((request, response) => {
      if (request.url?.startsWith("/token")) {
        if (request.headers.authorization !== `Basic ${auth}`) response.writeHead(403).end();
        else sendJson(response, 200, { token: "good" });
      } else if (request.headers.authorization === "Bearer good") response.writeHead(200).end("{}");
      else response.writeHead(401, { "www-authenticate": `Bearer realm="http://${request.headers.host}/token"` }).end();
    });
    const host = tokens.host;
    expect(await login({ host, path: "acme" }, account, { environment })).toMatchObject({ checked: true });
    expect(tokens.received.find(({ path }) => path.startsWith("/token"))?.path).toContain(
      "scope=repository%3Aacme%3Apull",
    );
    await expect(
      login({ host, path: undefined }, { ...account, password: "x" }, { environment }),
    ).rejects.toMatchObject({
      code: "UNAUTHORIZED",
    });
  });

  it("leaves all else in the file as it is, and replaces the account in all its spellings", async () => {
    const other = { "other.example": { auth: "eDp5", email: "x@y" } };
    await store({
      zebra: [1],
      auths: {
        ...other,
        [`https://${registry.host}/v2/`]: { auth: "old" },
        [registry.host]: { auth: "old", email: "a@b" },
      },
      HttpHeaders: { "X-A": "b" },
    });
    await login(place(), account, { environment });
    const value = await stored();
    expect(value).toEqual({
      zebra: [1],
      auths: { ...other, [registry.host]: { auth, email: "a@b" } },
      HttpHeaders: { "X-A": "b" },
    });
    expect(Object.keys(value)).toEqual(["zebra", "auths", "HttpHeaders"]);
  });

  it("follows a link to the file, which stays a link", async () => {
    await store({ auths: {} });
    await mkdir(join(folder, "linked"));
    await symlink(file(), join(folder, "linked", "config.json"));
    await login(place(), account, { environment: { ...environment, DOCKER_CONFIG: join(folder, "linked") } });
    expect((await lstat(join(folder, "linked", "config.json"))).isSymbolicLink()).toBe(true);
    expect(await stored()).toEqual({ auths: { [registry.host]: { auth } } });
  });

  it("keeps accounts for paths beside that of the host", async () => {
    await login(place(), account, { environment });
    await login(place("team"), account, { environment });
    expect(Object.keys((await stored()).auths)).toEqual([registry.host, `${registry.host}/team`]);
    await logout(place("team"), { environment });
    expect(Object.keys((await stored()).auths)).toEqual([registry.host]);
  });

  it("hands the account to the helper that is configured, and no file has it", async () => {
    const kept = await helper("one");
    await store({ credHelpers: { [registry.host]: "one" }, auths: { [registry.host]: { auth: "old" } } });
    expect(await login(place(), account, { environment })).toMatchObject({ helper: "one", file: undefined });
    expect(JSON.parse(await readFile(kept, "utf8"))).toEqual({
      ServerURL: registry.host,
      Username: "alice",
      Secret: account.password,
    });
    expect(await stored()).toEqual({ credHelpers: { [registry.host]: "one" }, auths: { [registry.host]: {} } });
    expect(await dockerCredentials({ environment })(registry.host, "a/b")).toEqual(account);
    expect(await logout(place(), { environment })).toEqual({ registry: registry.host, removed: true });
    await expect(stat(kept)).rejects.toThrow();
    expect((await stored()).auths).toEqual({});
    // A helper that has nothing any more is no failure.
    await logout(place(), { environment });
  });

  it("does not let a helper keep what is for a path, nor put it into a file behind the helper's back", async () => {
    await helper("all");
    await store({ credsStore: "all" });
    await expect(login(place("team"), account, { environment })).rejects.toMatchObject({ code: "UNSUPPORTED" });
    expect(await stored()).toEqual({ credsStore: "all" });
  });

  it("leaves a damaged file alone", async () => {
    await store({});
    await writeFile(file(), "{ damaged");
    await expect(login(place(), account, { environment })).rejects.toThrow(file());
    expect(await readFile(file(), "utf8")).toBe("{ damaged");
  });

  it("writes to the file that REGISTRY_AUTH_FILE names", async () => {
    const named = join(folder, "auth.json");
    await login(place(), account, { environment: { ...environment, REGISTRY_AUTH_FILE: named } });
    expect(JSON.parse(await readFile(named, "utf8")).auths).toHaveProperty([registry.host]);
  });

  it("refuses an account that cannot be written down", async () => {
    for (const wrong of [{ username: "a:b" }, { username: "" }, { password: "" }])
      await expect(login(place(), { ...account, ...wrong }, { environment })).rejects.toMatchObject({
        code: "INVALID",
      });
  });

  it("loses no account where many processes log in at once", async () => {
    execFileSync("npx", ["tsc", "-b", fileURLToPath(new URL("..", import.meta.url))]);
    const source = fileURLToPath(new URL("../dist/index.js", import.meta.url));
    const script = `
      import { login } from ${JSON.stringify(source)};
      const [, host, name] = process.argv;
      for (const n of [1, 2, 3]) await login({ host, path: name + n }, ${JSON.stringify(account)}, {});`;
    const names = ["a", "b", "c", "d", "e", "f"];
    const children = names.map((name) =>
      spawn(process.execPath, ["--input-type=module", "-e", script, registry.host, name], {
        env: { ...process.env, ...environment },
        stdio: ["ignore", "ignore", "inherit"],
        timeout: 60_000,
      }),
    );
    const codes = await Promise.all(children.map((child) => new Promise((resolve) => child.once("close", resolve))));
    expect(codes).toEqual(names.map(() => 0));
    const expected = names.flatMap((name) => [1, 2, 3].map((n) => `${registry.host}/${name}${n}`));
    expect(Object.keys((await stored()).auths).sort()).toEqual(expected.sort());
    // Neither a lock nor a half-written file is left.
    expect(await readdir(join(folder, "docker"))).toEqual(["config.json"]);
  }, 120_000);
});

describe("logout", () => {
  it("says where there was nothing to forget", async () => {
    expect(await logout(place(), { environment })).toEqual({ registry: registry.host, removed: false });
    await expect(stat(file())).rejects.toThrow();
  });

  it("forgets Docker Hub by all its names", async () => {
    await store({ auths: { "https://index.docker.io/v1/": { auth: "eDp5" }, "docker.io": {}, "h.example": {} } });
    expect(await logout(parseRegistryPlace("docker.io"), { environment })).toMatchObject({ removed: true });
    expect(await stored()).toEqual({ auths: { "h.example": {} } });
  });
});

describe("parseRegistryPlace", () => {
  it("takes a host with or without a port and a path, in older spellings too", () => {
    const cases: [string, string, string | undefined][] = [
      ["ghcr.io", "ghcr.io", undefined],
      ["ghcr.io/acme", "ghcr.io", "acme"],
      ["localhost:5000/a/b", "localhost:5000", "a/b"],
      ["https://index.docker.io/v1/", "docker.io", undefined],
      ["registry-1.docker.io", "docker.io", undefined],
      ["https://ghcr.io/", "ghcr.io", undefined],
      ["[::1]:5000", "[::1]:5000", undefined],
    ];
    for (const [text, host, path] of cases) expect([text, parseRegistryPlace(text)]).toEqual([text, { host, path }]);
  });

  it("refuses what is none", () => {
    for (const text of ["", "/", "a b", "ghcr.io/Acme", "user@host", "ghcr.io/../x", "h:port", "-x"])
      expect(() => parseRegistryPlace(text)).toThrow(/names no registry|no path/);
  });
});
