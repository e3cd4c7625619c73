import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson } from "../cli/stowage.js";
import {
  type ArtifactTree,
  attachAll,
  type Discovered,
  digestsOf,
  type Graph,
  orasGraph,
  regctlGraph,
  type SmallImage,
  smallImage,
  sorted,
  stowageGraph,
} from "./images.js";
import { attempt, needs, run, runJson } from "./peers.js";

let image: SmallImage;
let graph: Graph;
let served: Served;

beforeAll(async () => {
  image = await smallImage();
  await stowageJson(["copy", "oci:out:v1", "oci:single:v1"], { cwd: image.directory });
  graph = await attachAll(image.directory, "oci:out", image.digest);
  served = await startServe(["served"], { cwd: image.directory });
});
afterAll(() => served.stop());

const here = (): { cwd: string } => ({ cwd: image.directory });

describe("a directory of layouts that we serve", () => {
  it("takes an image from skopeo and gives it back to skopeo", async (context) => {
    needs(context, "skopeo");
    const remote = `docker://${served.host}/by/skopeo:v1`;
    await run("skopeo", ["--insecure-policy", "copy", "--dest-tls-verify=false", "oci:out:v1", remote], here());
    await run("skopeo", ["--insecure-policy", "copy", "--src-tls-verify=false", remote, "oci:skopeo:v1"], here());
    for (const location of ["oci:served/by/skopeo:v1", "oci:skopeo:v1"])
      expect((await stowageGraph(image.directory, location)).digest).toBe(image.digest);
  });

  it("takes an image from crane, which finds it valid", async (context) => {
    needs(context, "crane");
    const remote = `${served.host}/by/crane:v1`;
    await run("crane", ["push", "--insecure", "single", remote], here());
    await run("crane", ["validate", "--insecure", "--remote", remote]);
    expect((await run("crane", ["digest", "--insecure", remote])).trim()).toBe(image.digest);
    expect((await run("crane", ["catalog", "--insecure", served.host])).split("\n")).toContain("by/crane");
  });

  it("takes an image from buildah and gives buildah the same one back", async (context) => {
    needs(context, "buildah");
    const cwd = image.directory;
    const remote = `docker://${served.host}/by/buildah:v1`;
    const everything = { default: [{ type: "insecureAcceptAnything" }] };
    await writeFile(join(cwd, "policy.json"), JSON.stringify(everything));
    await writeFile(join(cwd, "auth.json"), "{}");
    const env = { DOCKER_CONFIG: undefined, REGISTRY_AUTH_FILE: join(cwd, "auth.json") };
    const buildah = async (store: string, verb: string, ...rest: string[]): Promise<string> => {
      const places = ["--root", join(cwd, store), "--runroot", join(cwd, `${store}-run`)];
      const options = ["--storage-driver", "vfs", ...places, verb, "--signature-policy", "policy.json"];
      const printed = await run("buildah", [...options, ...rest], { cwd, env });
      return printed.trim().split("\n").at(-1) as string;
    };
    const id = await buildah("first", "pull", "oci:out:v1");
    await buildah("first", "push", "--tls-verify=false", "--digestfile", "pushed", id, remote);
    const { digest } = await stowageGraph(cwd, "oci:served/by/buildah:v1");
    expect(digest).toBe((await readFile(join(cwd, "pushed"), "utf8")).trim());
    expect(await buildah("second", "pull", "--tls-verify=false", remote)).toBe(id);
  });

  it("takes an image with referrers from oras, and shows them to oras, regctl and us", async (context) => {
    needs(context, "oras", "regctl");
    const remote = `${served.host}/by/oras:v1`;
    await run("oras", ["copy", "-r", "--from-oci-layout", "out:v1", "--to-plain-http", remote], here());
    await sameForEverybody(remote, graph);
  });

  it("takes an image with referrers from regctl, and shows them to oras, regctl and us", async (context) => {
    needs(context, "oras", "regctl");
    const remote = `${served.host}/by/regctl:v1`;
    const copy = ["image", "copy", "--referrers", "ocidir://out:v1", remote];
    await run("regctl", [...plain(), ...copy], here());
    await sameForEverybody(remote, graph);
  });

  it("has what a peer attached over HTTP in the layout, where the peers' own readers find it", async (context) => {
    needs(context, "oras", "regctl");
    const remote = `${served.host}/attached/by-oras:v1`;
    await stowageJson(["push", "oci:out:v1", remote], here());
    const artifactType = "application/vnd.example.later";
    const attach = ["attach", "--plain-http", "--artifact-type", artifactType, remote, "--format", "json"];
    const { digest } = await runJson<{ digest: string }>("oras", [...attach, "hello.txt:text/plain"], here());
    const all = sorted({ ...graph, referrers: [...graph.referrers, { digest, artifactType, referrers: [] }] });
    await sameForEverybody(remote, all);
    const layout = "served/attached/by-oras";
    const discover = ["discover", "--oci-layout", `${layout}:v1`, "--format", "json"];
    expect(orasGraph(await runJson<Discovered>("oras", discover, here()))).toEqual(all);
    const tree = ["artifact", "tree", `ocidir://${layout}:v1`, "--format", "{{json .}}"];
    expect(regctlGraph(await runJson<ArtifactTree>("regctl", tree, here()), image.digest)).toEqual(all);
    const verified = await stowageJson<{ referrers: number }>(["verify", `oci:${layout}`], here());
    expect(verified.referrers).toBe(digestsOf(all).length - 1);
  });
});

describe("a server with accounts, tokens and a certificate", () => {
  const account = { name: "alice", password: "s3cret" };
  let guarded: Served;
  let trust: { SSL_CERT_FILE: string; DOCKER_CONFIG: string };

  beforeAll(async () => {
    const { directory: cwd } = image;
    const make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    await run("openssl", [...make, ...names, "-keyout", "key.pem", "-out", "cert.pem"], { cwd });
    await writeFile(join(cwd, "htpasswd"), "alice:$2b$05$UxXN4k1Jb2ynKymkXDcTQ.tW/6YQ6eos3ltBgy3Dth.1T4vjuE6FS\n");
    const tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    guarded = await startServe(["guarded", "--auth", "htpasswd", "htpasswd", "--tokens", ...tls], { cwd });
    const auth = Buffer.from(`${account.name}:${account.password}`).toString("base64");
    await mkdir(join(cwd, "docker"));
    await writeFile(join(cwd, "docker", "config.json"), JSON.stringify({ auths: { [guarded.host]: { auth } } }));
    trust = { SSL_CERT_FILE: join(cwd, "cert.pem"), DOCKER_CONFIG: join(cwd, "docker") };
  });
  afterAll(() => guarded?.stop());

  it("lets skopeo, crane, oras and regctl push and pull, and nobody without the password", async (context) => {
    needs(context, "skopeo", "crane", "oras", "regctl");
    const options = { ...here(), env: trust };
    const skopeo = `${guarded.host}/by/skopeo:v1`;
    const creds = ["--insecure-policy", "copy", "--dest-creds", `${account.name}:${account.password}`];
    await run("skopeo", [...creds, "oci:out:v1", `docker://${skopeo}`], options);
    await run("crane", ["push", "single", `${guarded.host}/by/crane:v1`], options);
    await run("crane", ["validate", "--remote", `${guarded.host}/by/crane:v1`], options);
    await run("oras", ["copy", "-r", "--from-oci-layout", "out:v1", `${guarded.host}/by/oras:v1`], options);
    await run("regctl", ["image", "copy", "--referrers", "ocidir://out:v1", `${guarded.host}/by/regctl:v1`], options);
    for (const name of ["skopeo", "crane", "oras", "regctl"]) {
      const remote = `${guarded.host}/by/${name}:v1`;
      expect((await run("crane", ["digest", remote], options)).trim()).toBe(image.digest);
    }
    const anonymous = await attempt("crane", ["digest", skopeo], {
      ...here(),
      env: { SSL_CERT_FILE: trust.SSL_CERT_FILE },
    });
    expect([anonymous.code, anonymous.stderr]).toEqual([1, expect.stringContaining("UNAUTHORIZED")]);
  });
});

describe("a server that stands in front of another one", () => {
  it("gives crane and skopeo what the other one has, also when that is gone", async (context) => {
    needs(context, "crane", "skopeo");
    const upstream = await startServe(["upstream"], here());
    await stowageJson(["push", "oci:out:v1", `${upstream.host}/team/app:v1`], here());
    const proxy = await startServe(["cached", "--proxy", upstream.host], here());
    try {
      const remote = `${proxy.host}/team/app:v1`;
      await run("crane", ["validate", "--insecure", "--remote", remote]);
      await upstream.stop();
      expect((await run("crane", ["digest", "--insecure", remote])).trim()).toBe(image.digest);
      const copy = ["--insecure-policy", "copy", "--src-tls-verify=false", `docker://${remote}`, "oci:offline:v1"];
      await run("skopeo", copy, here());
      expect((await stowageGraph(image.directory, "oci:offline:v1")).digest).toBe(image.digest);
      const push = await attempt("crane", ["push", "--insecure", "single", `${proxy.host}/team/other:v1`], here());
      expect(push.code).toBe(1);
    } finally {
      await upstream.stop();
      await proxy.stop();
    }
  });
});

describe("a server with a fault", () => {
  it.each(["ghcr", "gar", "quay", "harbor", "zot", "distribution", "drop", "busy", "redirect", "location-state"])(
    "%s takes an image from us and gives it back whole",
    async (fault) => {
      const faulty = await startServe(["--memory", "--fault", fault], here());
      try {
        const remote = `${faulty.host}/team/app:v1`;
        await stowageJson(["push", "oci:out:v1", remote], here());
        await stowageJson(["pull", remote, `oci:from-${fault}:v1`], here());
        expect((await stowageGraph(image.directory, `oci:from-${fault}:v1`)).digest).toBe(image.digest);
      } finally {
        await faulty.stop();
      }
    },
  );

  it.each(["corrupt", "short-body", "long-body", "endless-manifest", "html"])(
    "%s gives us nothing that we take for an image",
    async (fault) => {
      const directory = `served-${fault}`;
      await stowageJson(["copy", "oci:out:v1", `oci:${directory}/team/app:v1`], here());
      const faulty = await startServe([directory, "--fault", fault], here());
      try {
        const pulled = await stowage(["pull", `${faulty.host}/team/app:v1`, `oci:not-${fault}:v1`], here());
        expect(pulled.code).toBe(1);
        expect((await stowage(["list", `oci:not-${fault}`], here())).stdout).not.toContain("v1");
      } finally {
        await faulty.stop();
      }
    },
  );

  it("that is none, and options that do not go together, are wrong usage", async () => {
    const wrong = [["--fault", "nonsense"], ["--tokens"], ["--tls-cert", "cert.pem"], ["--auth", "basic", "x"]];
    for (const options of wrong) expect((await stowage(["serve", "--memory", ...options], here())).code).toBe(2);
  });
});

const plain = (): string[] => ["--host", `reg=${served.host},tls=disabled`];

async function sameForEverybody(remote: string, expected: Graph): Promise<void> {
  const discover = ["discover", "--plain-http", "--format", "json", remote];
  expect(orasGraph(await runJson<Discovered>("oras", discover))).toEqual(expected);
  const tree = [...plain(), "artifact", "tree", remote, "--format", "{{json .}}"];
  expect(regctlGraph(await runJson<ArtifactTree>("regctl", tree), image.digest)).toEqual(expected);
  expect(await stowageGraph(image.directory, remote)).toEqual(expected);
}
