import type { CopyReport, Inspection } from "@stowage/layout";
import { beforeAll, describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import { type SmallImage, smallImage } from "./images.js";
import { needs, run } from "./peers.js";
import { type PeerRegistry, startDockerRegistry } from "./registries.js";

const platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

let image: SmallImage;
/** The digest of the image for each platform. */
const digests: Record<string, string> = {};
let started: Promise<PeerRegistry> | undefined;
const registry = (): Promise<PeerRegistry> => (started ??= startDockerRegistry());
const here = (): { cwd: string } => ({ cwd: image.directory });

beforeAll(async () => {
  image = await smallImage();
  for (const platform of platforms) {
    const options = ["-t", `oci:out:${tagOf(platform)}`, "--platform", platform];
    const built = await stowageJson<CopyReport>(["build", "hello.txt:/hello.txt", ...options], here());
    digests[platform] = built.descriptor.digest;
  }
});

const tagOf = (platform: string): string => platform.replaceAll("/", "-");

/** How each peer makes an index of the three images, in the layout `out`, under its own name; its digest comes back. */
const makers: Readonly<Record<string, () => Promise<string>>> = {
  regctl: async () => {
    const refs = platforms.flatMap((platform) => ["--ref", `ocidir://out:${tagOf(platform)}`]);
    await run("regctl", ["index", "create", "ocidir://out:regctl", ...refs], here());
    return (await run("regctl", ["manifest", "head", "ocidir://out:regctl"], here())).trim();
  },
  oras: async () => {
    const create = ["manifest", "index", "create", "--oci-layout", "out:oras", ...platforms.map(tagOf)];
    await run("oras", create, here());
    return (await run("oras", ["resolve", "--oci-layout", "out:oras"], here())).trim();
  },
};

for (const [maker, make] of Object.entries(makers)) {
  describe(`an index that ${maker} makes in a layout`, () => {
    it("is pushed and pulled by us with the same digest, all platforms included", async (context) => {
      needs(context, maker, "docker-registry", "crane");
      const digest = await make();
      const { host } = await registry();
      const remote = `${host}/index/${maker}:v1`;
      const pushed = await stowageJson<CopyReport>(["push", `oci:out:${maker}`, remote], here());
      expect(pushed.descriptor.digest).toBe(digest);
      expect((await run("crane", ["digest", "--insecure", remote])).trim()).toBe(digest);
      await run("crane", ["validate", "--insecure", "--remote", remote]);
      const pulled = await stowageJson<CopyReport>(["pull", remote, `oci:from-${maker}:v1`], here());
      expect(pulled.descriptor.digest).toBe(digest);
      const { manifests } = await stowageJson<Inspection>(["inspect", `oci:from-${maker}:v1`], here());
      expect(manifests?.map((child) => child.digest)).toEqual(Object.values(digests));
      expect((await stowage(["verify", `oci:from-${maker}`], here())).code).toBe(0);
    });

    it("has for us the same child for a platform as for crane, oras and regctl", async (context) => {
      needs(context, maker, "docker-registry", "crane", "oras", "regctl");
      await make();
      const { host } = await registry();
      const remote = `${host}/platform/${maker}:v1`;
      await stowageJson(["push", `oci:out:${maker}`, remote], here());
      for (const platform of platforms) {
        const expected = digests[platform];
        const plain = ["--host", `reg=${host},tls=disabled`];
        const peers = await Promise.all([
          run("crane", ["digest", "--insecure", "--platform", platform, remote]),
          run("oras", ["resolve", "--plain-http", "--platform", platform, remote]),
          run("regctl", [...plain, "manifest", "head", "--platform", platform, remote]),
        ]);
        expect(peers.map((text) => text.trim())).toEqual([expected, expected, expected]);
        for (const location of [remote, `oci:out:${maker}`]) {
          const inspection = await stowageJson<Inspection>(["inspect", location, "--platform", platform], here());
          expect(inspection).toMatchObject({ descriptor: { digest: expected }, platform });
        }
      }
      const one = ["pull", remote, `oci:one-of-${maker}:v1`, "--platform", "linux/arm/v7"];
      expect((await stowageJson<CopyReport>(one, here())).descriptor.digest).toBe(digests["linux/arm/v7"]);
      const none = await stowage(["inspect", remote, "--platform", "linux/s390x"], here());
      expect(none).toMatchObject({ code: 1, stdout: "" });
      expect(none.stderr).toContain("linux/arm64");
    });
  });
}

describe("an index in a registry", () => {
  it("that crane makes is pulled by us with the same digest", async (context) => {
    needs(context, "crane", "docker-registry");
    const { host } = await registry();
    const references = platforms.map((platform) => `${host}/index/crane:${tagOf(platform)}`);
    for (const [at, platform] of platforms.entries())
      await stowageJson(["push", `oci:out:${tagOf(platform)}`, references[at] as string], here());
    const index = `${host}/index/crane:v1`;
    const manifests = references.flatMap((reference) => ["-m", reference]);
    await run("crane", ["index", "append", "--insecure", ...manifests, "-t", index]);
    const digest = (await run("crane", ["digest", "--insecure", index])).trim();
    const pulled = await stowageJson<CopyReport>(["pull", index, "oci:from-crane:v1"], here());
    expect(pulled.descriptor.digest).toBe(digest);
    const { manifests: children } = await stowageJson<Inspection>(["inspect", "oci:from-crane:v1"], here());
    expect(children?.map((child) => child.digest)).toEqual(Object.values(digests));
  });

  it("that we pushed is copied by skopeo, whole, into a layout with the same digest", async (context) => {
    needs(context, "skopeo", "docker-registry", "regctl");
    const digest = await (makers.regctl as () => Promise<string>)();
    const { host } = await registry();
    await stowageJson(["push", "oci:out:regctl", `${host}/index/skopeo:v1`], here());
    const all = ["copy", "--all", "--src-tls-verify=false", `docker://${host}/index/skopeo:v1`, "oci:by-skopeo:v1"];
    await run("skopeo", ["--insecure-policy", ...all], here());
    const inspection = await stowageJson<Inspection>(["inspect", "oci:by-skopeo:v1"], here());
    expect(inspection.descriptor.digest).toBe(digest);
    expect((await stowage(["verify", "oci:by-skopeo"], here())).code).toBe(0);
  });
});
