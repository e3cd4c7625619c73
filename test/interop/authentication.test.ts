import { existsSync } from "node:fs";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type Run, stowage } from "../cli/stowage.js";
import { attachAll, type Graph, type SmallImage, smallImage, stowageGraph } from "./images.js";
import { needs, run } from "./peers.js";
import { type PeerRegistry, startDockerRegistry } from "./registries.js";

const account = { name: "alice", password: "s3cret" };
const mistaken = "wr0ng-passw0rd";

let image: SmallImage;
let graph: Graph;
let started: Promise<PeerRegistry> | undefined;
const registry = (): Promise<PeerRegistry> => (started ??= startDockerRegistry(account));

beforeAll(async () => {
  image = await smallImage();
  graph = await attachAll(image.directory, "oci:out", image.digest);
});

/** A Docker configuration directory that holds this password for the registry, or none. */
async function configured(host: string, password: string | undefined): Promise<string> {
  const directory = join(image.directory, `config-${password ?? "empty"}`);
  await mkdir(directory, { recursive: true });
  const auth = Buffer.from(`${account.name}:${password}`).toString("base64");
  const config = password === undefined ? {} : { auths: { [host]: { auth } } };
  await writeFile(join(directory, "config.json"), JSON.stringify(config));
  return directory;
}

async function withPassword(host: string, password: string | undefined, arguments_: readonly string[]): Promise<Run> {
  const env = { DOCKER_CONFIG: await configured(host, password) };
  return stowage(arguments_, { cwd: image.directory, env });
}

describe("docker-registry with htpasswd", () => {
  it("takes and gives an image with its referrers with the password in a Docker configuration", async (context) => {
    needs(context, "docker-registry", "htpasswd");
    const { host } = await registry();
    const reference = `${host}/private/app:v1`;
    const published = await withPassword(host, account.password, ["publish", "oci:out:v1", reference]);
    expect(published).toMatchObject({ code: 0, stderr: "" });
    const pulled = await withPassword(host, account.password, ["pull", reference, "oci:private:v1"]);
    expect(pulled).toMatchObject({ code: 0, stderr: "" });
    expect(await stowageGraph(image.directory, "oci:private:v1")).toEqual(graph);
    for (const { stdout, stderr } of [published, pulled]) expect(stdout + stderr).not.toContain(account.password);
  });

  it("takes the credentials that skopeo's login wrote", async (context) => {
    needs(context, "docker-registry", "htpasswd", "skopeo");
    const { host } = await registry();
    const directory = join(image.directory, "config-by-skopeo");
    const file = ["--authfile", join(directory, "config.json")];
    const login = ["login", "--tls-verify=false", ...file, "--username", account.name, "--password-stdin", host];
    await run("skopeo", login, { input: account.password });
    const env = { DOCKER_CONFIG: directory };
    const pushed = await stowage(["push", "oci:out:v1", `${host}/private/skopeo:v1`], { cwd: image.directory, env });
    expect(pushed).toMatchObject({ code: 0, stderr: "" });
  });

  it("is logged in to and out of, and the other tools find what that keeps", async (context) => {
    needs(context, "docker-registry", "htpasswd", "skopeo", "crane", "oras");
    const { host } = await registry();
    const directory = join(image.directory, "config-by-stowage");
    const options = { cwd: image.directory, env: { DOCKER_CONFIG: directory }, input: `${account.password}\n` };
    const login = await stowage(["login", host, "-u", account.name, "--password-stdin"], options);
    expect(login).toMatchObject({ code: 0, stdout: `logged in to ${host} as ${account.name}\n` });
    expect(login.stderr).not.toContain(account.password);
    expect((await stat(join(directory, "config.json"))).mode & 0o777).toBe(0o600);
    expect(await stowage(["push", "oci:out:v1", `${host}/private/login:v1`], options)).toMatchObject({ code: 0 });
    const file = join(directory, "config.json");
    const reference = `${host}/private/login:v1`;
    const env = { DOCKER_CONFIG: directory };
    expect((await run("crane", ["digest", reference], { env })).trim()).toBe(image.digest);
    expect(await run("oras", ["manifest", "fetch", "--plain-http", "--descriptor", reference], { env })).toContain(
      image.digest,
    );
    const inspect = ["inspect", "--tls-verify=false", "--authfile", file, `docker://${reference}`];
    expect(await run("skopeo", inspect)).toContain(image.digest);
    const logout = await stowage(["logout", host, "--json"], options);
    expect(JSON.parse(logout.stdout)).toEqual({ registry: host, removed: true });
    expect(await stowage(["list", `${host}/private/login`], options)).toMatchObject({ code: 1 });
  });

  it("keeps no account that it refuses", async (context) => {
    needs(context, "docker-registry", "htpasswd");
    const { host } = await registry();
    const directory = join(image.directory, "config-refused");
    const env = { DOCKER_CONFIG: directory, STOWAGE_PASSWORD: mistaken };
    const login = await stowage(["login", host, "-u", account.name], { env });
    expect(login).toMatchObject({ code: 1, stdout: "" });
    expect(login.stderr).not.toContain(mistaken);
    expect(existsSync(join(directory, "config.json"))).toBe(false);
  });

  it("takes the account that skopeo's login left where Podman keeps it", async (context) => {
    needs(context, "docker-registry", "htpasswd", "skopeo");
    const { host } = await registry();
    const runtime = join(image.directory, "runtime");
    await mkdir(join(runtime, "containers"), { recursive: true });
    const env = { XDG_RUNTIME_DIR: runtime, DOCKER_CONFIG: undefined, HOME: join(image.directory, "nobody") };
    const arguments_ = ["login", "--tls-verify=false", "--username", account.name, "--password-stdin", host];
    await run("skopeo", arguments_, { input: account.password, env });
    expect(existsSync(join(runtime, "containers", "auth.json"))).toBe(true);
    const pushed = await stowage(["push", "oci:out:v1", `${host}/private/podman:v1`], { cwd: image.directory, env });
    expect(pushed).toMatchObject({ code: 0, stderr: "" });
  });

  it("is the source with one account and another one the target with another", async (context) => {
    needs(context, "docker-registry", "htpasswd");
    const [one, other] = [await registry(), await startDockerRegistry({ name: "bob", password: "s3cond" })];
    const env = { STOWAGE_DST_PASSWORD: account.password };
    const first = ["push", "oci:out:v1", `${one.host}/private/two:v1`, "--dst-creds", account.name];
    expect(await stowage(first, { cwd: image.directory, env })).toMatchObject({ code: 0, stderr: "" });
    const creds = ["--src-creds", account.name, "--dst-creds", "bob"];
    const copied = await stowage(["copy", `${one.host}/private/two:v1`, `${other.host}/private/two:v1`, ...creds], {
      env: { STOWAGE_SRC_PASSWORD: account.password },
      input: "s3cond\n",
    });
    expect(copied).toMatchObject({ code: 0, stderr: "" });
    const shown = await stowage(["list", `${other.host}/private/two`, "--creds", "bob:s3cond", "-q"]);
    expect(shown).toMatchObject({ code: 0, stdout: "v1\n" });
    expect(shown.stderr).toMatch(/--creds shows a password/);
    const swapped = { STOWAGE_SRC_PASSWORD: "s3cond", STOWAGE_DST_PASSWORD: account.password };
    const wrong = await stowage(["copy", `${one.host}/private/two:v1`, `${other.host}/private/x:v1`, ...creds], {
      env: swapped,
    });
    expect(wrong).toMatchObject({ code: 1 });
  });

  for (const [what, password, advice] of [
    ["a wrong password", mistaken, /credentials .* refused/],
    ["no password", undefined, /log in/i],
  ] as const) {
    for (const verb of ["publish", "push", "pull"]) {
      it(`refuses ${verb} with ${what}: exit code 1, and a message without any password`, async (context) => {
        needs(context, "docker-registry", "htpasswd");
        const { host } = await registry();
        const remote = `${host}/private/refused:v1`;
        const places = verb === "pull" ? [remote, "oci:refused:v1"] : ["oci:out:v1", remote];
        const refused = await withPassword(host, password, [verb, ...places]);
        expect(refused).toMatchObject({ code: 1, stdout: "" });
        expect(refused.stderr).toContain(host);
        expect(refused.stderr).toContain("401");
        expect(refused.stderr).toMatch(advice);
        // An error that was foreseen is told in words, not with a stack.
        expect(refused.stderr).not.toMatch(/^\s+at /m);
        const encoded = Buffer.from(`${account.name}:${mistaken}`).toString("base64");
        for (const secret of [mistaken, account.password, encoded]) expect(refused.stderr).not.toContain(secret);
        if (verb === "pull") expect(existsSync(join(image.directory, "refused", "index.json"))).toBe(false);
      });
    }
  }
});
