import { join } from "node:path";
import { type CopyReport, encodeJson, Layout, mediaTypes } from "@stowage/layout";
import type { ProbeReport } from "@stowage/registry";
import { describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import { needs, run, scratch } from "./peers.js";
import { type PeerRegistry, startDockerRegistry, startOlareg, startZot, watch, zot } from "./registries.js";

/** What each registry is known to do. An old zot knows sha256 only. */
const kinds: { program: string; start: () => Promise<PeerRegistry>; known: Record<string, string> }[] = [
  {
    program: "docker-registry",
    start: () => startDockerRegistry(),
    known: { referrers: "no", sha512: "no", deleteTags: "no", anonymousMount: "no" },
  },
  {
    program: "olareg",
    start: startOlareg,
    known: { referrers: "yes", sha512: "yes", deleteTags: "yes", anonymousMount: "yes" },
  },
  {
    program: zot,
    start: startZot,
    known: { referrers: "yes", deleteTags: "yes", anonymousMount: "yes", ...(zot === "zot" ? {} : { sha512: "no" }) },
  },
];
const everywhere = {
  push: "yes",
  listTags: "yes",
  subject: "yes",
  artifactType: "yes",
  emptyConfig: "yes",
  mount: "yes",
  chunks: "yes",
  cancel: "yes",
  manifestSize: "yes",
  deleteManifests: "yes",
  deleteBlobs: "yes",
  immutableTags: "no",
};

/** Tags an image with one blob as `v1`. */
async function anImage(layout: Layout): Promise<void> {
  const config = await layout.write([encodeJson({ architecture: "amd64", os: "linux" })], mediaTypes.config);
  const manifest = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [] });
  await layout.tag("v1", await layout.write([manifest], mediaTypes.manifest));
}

const supportsOf = ({ capabilities }: ProbeReport): Record<string, string> =>
  Object.fromEntries(Object.entries(capabilities).map(([name, { support }]) => [name, support]));

for (const { program, start, known } of kinds) {
  describe(`probe of ${program}`, () => {
    it("takes a push to another repository all the same, through the upload that it opens in place of a mount", async (context) => {
      needs(context, program);
      const { host } = await start();
      const env = { XDG_CACHE_HOME: await scratch() };
      const layout = await Layout.create(join(await scratch(), "out"));
      await anImage(layout);
      const push = (name: string): Promise<CopyReport> =>
        stowageJson<CopyReport>(["push", `oci:${layout.path}:v1`, `${host}/${name}:v1`], { env });
      await push("acme/one");
      await stowageJson(["probe", `${host}/acme/one`, "--write"], { env });
      const { mounted, written } = await push("acme/two");
      expect([mounted, written]).toEqual([0, 2]);
    });

    it("tells what it supports and leaves no tag, and no manifest or blob that can be had", async (context) => {
      needs(context, program, "crane");
      const registry = await watch(await start());
      const env = { XDG_CACHE_HOME: await scratch() };
      const reference = `${registry.host}/acme/app`;
      const report = await stowageJson<ProbeReport>(["probe", reference, "--write"], { env });
      expect(supportsOf(report)).toMatchObject({ ...everywhere, ...known });
      expect(report.leftBehind).toEqual([]);
      const stored = registry.requests.filter((line) => line.startsWith("PUT "));
      expect(stored.length).toBeGreaterThan(10);
      for (const line of stored) {
        const [digest] = /sha(?:256|512):[0-9a-f]+/.exec(decodeURIComponent(line)) ?? [];
        if (digest === undefined) continue;
        // olareg has the bytes of a deleted manifest as a blob until it collects its garbage.
        const kind = line.includes("/manifests/") ? "manifests" : "blobs";
        const answer = await fetch(`http://${registry.host}/v2/acme/app/${kind}/${digest}`, { method: "HEAD" });
        expect([kind, digest, answer.status >= 400]).toEqual([kind, digest, true]);
      }
      expect((await run("crane", ["ls", "--insecure", reference]).catch(() => "")).trim()).toBe("");

      // It is remembered: a second time nothing is asked.
      const before = registry.requests.length;
      expect(await stowageJson<ProbeReport>(["probe", reference], { env })).toEqual(report);
      expect(registry.requests.length).toBe(before);
      const text = await stowage(["probe", reference, "--refresh"], { env });
      expect([text.code, text.stdout]).toEqual([0, expect.stringMatching(/^referrers API +(?:yes|no)$/m)]);
    });
  });
}
