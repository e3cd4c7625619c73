import { descriptorOf, digestOf, emptyBytes, encodeJson, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { memoryStore } from "../src/index.js";
import { faulty } from "../src/testing.js";
import { artifact, content, pushArtifact, type Registry, startRegistry } from "./registry.js";

const image = artifact("image");
const blob = content("blob", 1000);
const megabytes = content("m", 5 * 1024 * 1024);
const config = descriptorOf(emptyBytes, mediaTypes.empty);
const artifactType = "application/example";

/** A server that is this registry, with an image and a blob, and asks nobody for a login. */
async function startProfile(name: string): Promise<Registry> {
  const store = memoryStore();
  const sound = await startRegistry({ store });
  await pushArtifact(sound, "image", { tag: "v1" });
  await sound.pushBlob(blob);
  const registry = await startRegistry({ store, sparse: true, layers: faulty([name], { account: false }) });
  // The first of twenty requests is one too many for some.
  await registry.request("/v2/");
  return registry;
}

type Probe = (registry: Registry) => Promise<number>;
const status = async (response: Promise<Response>): Promise<number> => (await response).status;
const referrers: Probe = ({ request }) => status(request(`referrers/${digestOf(image)}`));
const mount =
  (query: string): Probe =>
  ({ request }) =>
    status(request(`/v2/team/new/blobs/uploads/?mount=${digestOf(blob)}${query}`, { method: "POST" }));
const remove =
  (reference: string): Probe =>
  ({ request }) =>
    status(request(`manifests/${reference}`, { method: "DELETE" }));
const chunk =
  (bytes: Uint8Array): Probe =>
  async (registry) => {
    const headers = { "Content-Range": `0-${bytes.byteLength - 1}` };
    const location = new URL(await registry.startUpload(), registry.server.url);
    return status(fetch(location, { method: "PATCH", body: bytes, headers }));
  };
const single: Probe = async (registry) => {
  const location = new URL(await registry.startUpload(), registry.server.url);
  location.searchParams.set("digest", digestOf(megabytes));
  return status(fetch(location, { method: "PUT", body: megabytes }));
};
const put =
  (manifest: object, mediaType: string = mediaTypes.manifest): Probe =>
  (registry) => {
    const bytes = encodeJson({ schemaVersion: 2, mediaType, artifactType, config, layers: [], ...manifest });
    return status(registry.putManifest("v2", bytes, mediaType));
  };
const get =
  (path: string): Probe =>
  ({ request }) =>
    status(request(path));
const subject = { mediaType: mediaTypes.manifest, digest: digestOf("missing"), size: 7 };
const platform = { os: "linux", architecture: "amd64", extra: "x" };
const index = { manifests: [{ ...config, mediaType: mediaTypes.manifest, platform }] };
const pad = { annotations: { pad: "x".repeat(5_000_000) } };

/** What is known of each registry, as what it answers. */
const facts: Readonly<Record<string, readonly (readonly [string, Probe, number])[]>> = {
  ghcr: [
    ["has no referrers API", referrers, 404],
    ["takes a chunk of 4 MiB at most", chunk(megabytes), 416],
    ["takes a blob in one piece", single, 201],
    ["deletes nothing", remove(digestOf(image)), 405],
  ],
  hub: [
    ["mounts by its own names", mount("&from=team/app"), 201],
    ["mounts by no other names", mount("&from=ghcr.io/team/app"), 400],
    ["deletes nothing", remove("v1"), 405],
  ],
  ecr: [
    ["mounts nothing, and the repository must be there", mount("&from=team/app"), 404],
    ["refuses a platform it does not know", put(index, mediaTypes.index), 400],
    ["refuses too many layers", put({ layers: Array(4300).fill(config) }), 405],
    ["has the referrers API", referrers, 200],
  ],
  gar: [
    ["takes no chunks", chunk(blob), 416],
    ["takes a blob in one piece", single, 201],
    ["keeps a manifest that has a tag", remove(digestOf(image)), 400],
    ["deletes a tag", remove("v1"), 202],
  ],
  acr: [
    ["has the referrers API", referrers, 200],
    ["mounts", mount("&from=team/app"), 201],
  ],
  quay: [
    ["mounts from somewhere", mount("&from=team/app"), 201],
    ["mounts from nowhere not", mount(""), 400],
  ],
  gitlab: [
    ["has no short names", get("/v2/short/tags/list"), 401],
    ["takes no artifact", put({}), 400],
    [
      "takes no manifest before its subject",
      put({ config: { ...config, mediaType: mediaTypes.config }, subject }),
      400,
    ],
  ],
  harbor: [["opens an upload instead of a mount", mount("&from=team/app"), 202]],
  artifactory: [
    ["takes no bytes with PUT", single, 404],
    ["takes them with PATCH", chunk(blob), 202],
    ["mounts nothing", mount("&from=team/app"), 202],
  ],
  zot: [
    ["takes no Docker media types", put({}, mediaTypes.dockerManifest), 415],
    ["takes no manifest over 4 MiB", put(pad), 413],
  ],
  distribution: [
    ["has no referrers API", referrers, 404],
    ["deletes nothing unless told to", remove("v1"), 405],
    ["takes no manifest over 4 MiB", put(pad), 413],
  ],
};

describe.each(Object.entries(facts))("a server that is %s", (name, all) => {
  it.each(all)("%s", async (_fact, probe, expected) => {
    expect(await probe(await startProfile(name))).toBe(expected);
  });

  it("can be pulled from", async () => {
    const registry = await startProfile(name);
    expect(digestOf(Buffer.from(await (await registry.request("manifests/v1")).arrayBuffer()))).toBe(digestOf(image));
  });
});
