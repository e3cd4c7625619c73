import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
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
