import type { CopyReport } from "@stowage/layout";
import type { PublishReport } from "@stowage/registry";
import { beforeAll, describe, expect, it } from "vitest";
import { stowageJson } from "../cli/stowage.js";
import {
  attachAll,
  type Discovered,
  digestsOf,
  type Graph,
  orasGraph,
  type SmallImage,
  smallImage,
  stowageGraph,
} from "./images.js";
import { needs, run, runJson } from "./peers.js";
import { type PeerRegistry, startDockerRegistry, startOlareg, startZot, watch, zot } from "./registries.js";

let image: SmallImage;
let graph: Graph;

beforeAll(async () => {
  image = await smallImage();
  graph = await attachAll(image.directory, "oci:out", image.digest);
});

/** The registries. An old zot answers the referrers API with the media type of the config for every artifactType. */
const kinds = [
  { program: "docker-registry", start: () => startDockerRegistry(), tellsTypes: true, referrersTag: true },
  { program: "olareg", start: startOlareg, tellsTypes: true, referrersTag: false },
  { program: zot, start: startZot, tellsTypes: zot === "zot", referrersTag: false },
];

for (const { program, start, tellsTypes, referrersTag } of kinds) {
  describe(`an image with referrers published to ${program}`, () => {
    let started: Promise<PeerRegistry> | undefined;
    const published = async (): Promise<PeerRegistry> => {
      started ??= start().then(async (registry) => {
        const references = ["v1", "latest"].map((tag) => `${registry.host}/acme/app:${tag}`);
        const report = await publish("oci:out:v1", ...references);
        expect(report.targets.map(({ error }) => error)).toEqual([undefined, undefined]);
        return registry;
      });
      return started;
    };

    it("is shown by oras discover with all of them", async (context) => {
      needs(context, program, "oras");
      const { host } = await published();
      for (const tag of ["v1", "latest"]) {
        const shown = ["discover", "--plain-http", "--format", "json", `${host}/acme/app:${tag}`];
        const discovered = orasGraph(await runJson<Discovered>("oras", shown));
        if (tellsTypes) expect(discovered).toEqual(graph);
        expect(digestsOf(discovered)).toEqual(digestsOf(graph));
      }
    });

    it("is shown by regctl artifact list with those of the image", async (context) => {
      needs(context, program, "regctl");
      const { host } = await published();
      const list = ["artifact", "list", `${host}/acme/app:v1`, "--format", "{{json .Descriptors}}"];
      const plain = ["--host", `reg=${host},tls=disabled`];
      const shown = await runJson<{ digest: string; artifactType: string }[]>("regctl", [...plain, ...list]);
      expect(shown.map(({ digest }) => digest).sort()).toEqual(graph.referrers.map(({ digest }) => digest));
      const types = Object.fromEntries(shown.map(({ digest, artifactType }) => [digest, artifactType]));
      for (const { digest, artifactType } of tellsTypes ? graph.referrers : [])
        expect(types[digest]).toBe(artifactType);
    });

    it("is pulled with all of them, each with the same digest", async (context) => {
      needs(context, program);
      const { host } = await published();
      expect(await stowageGraph(image.directory, `${host}/acme/app:v1`)).toEqual(graph);
      const target = `oci:from-${program}:v1`;
      const report = await stowageJson<CopyReport>(["pull", `${host}/acme/app:v1`, target], { cwd: image.directory });
      expect(report.referrers).toEqual({ found: 3, copied: 3 });
      expect(await stowageGraph(image.directory, target)).toEqual(graph);
      await stowageJson(["verify", target], { cwd: image.directory });
    });

    it("is not sent again when it is published again, and its tag is left alone", async (context) => {
      needs(context, program);
      const { host, requests } = await watch(await published());
      const report = await publish("oci:out:v1", `${host}/acme/app:v1`);
      expect(report.targets[0]?.report).toMatchObject({ written: 0, bytes: 0 });
      expect(requests.length).toBeGreaterThan(0);
      expect(requests.filter((line) => !/^(?:GET|HEAD) /.test(line))).toEqual([]);
    });

    it("shows the tags it was published with to everybody, and a tag for referrers only where the API is missing", async (context) => {
      needs(context, program, "crane");
      const { host } = await published();
      const tags = (await run("crane", ["ls", "--insecure", `${host}/acme/app`])).trim().split("\n");
      const own = tags.filter((tag) => !/^sha256-[0-9a-f]{64}$/.test(tag));
      expect(own.sort()).toEqual(["latest", "v1"]);
      expect(tags.includes(image.digest.replace(":", "-"))).toBe(referrersTag);
      const listed = await stowageJson<{ tag: string }[]>(["list", `${host}/acme/app`]);
      expect(listed.map(({ tag }) => tag)).toEqual(["latest", "v1"]);
    });

    it("gets one more referrer from oras, which the next publishing keeps", async (context) => {
      needs(context, program, "oras");
      const { host } = await published();
      const reference = `${host}/acme/shared:v1`;
      await publish("oci:out:v1", reference);
      const type = "application/vnd.example.later";
      const attach = ["attach", "--plain-http", "--artifact-type", type, reference, "signature.json:application/json"];
      const json = ["--format", "json"];
      const later = await runJson<{ digest: string }>("oras", [...attach, ...json], { cwd: image.directory });
      await publish("oci:out:v1", reference);
      const shown = await stowageGraph(image.directory, reference);
      expect(digestsOf(shown)).toEqual([...digestsOf(graph), later.digest].sort());
    });
  });
}

function publish(...arguments_: string[]): Promise<PublishReport> {
  return stowageJson<PublishReport>(["publish", ...arguments_], { cwd: image.directory });
}
