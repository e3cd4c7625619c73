import {
  attach,
  type Content,
  contentOf,
  copy,
  type Descriptor,
  descriptorOf,
  encodeJson,
  list,
  MemoryStore,
  mediaTypes,
  parseReference,
  verify,
} from "@stowage/layout";
import { publish, RegistryClient } from "@stowage/registry";
import { memoryStore, type RunningServer, type ServeOptions, type Store, serve } from "@stowage/server";
import { faulty } from "@stowage/server/testing";
import { afterEach, describe, expect, it } from "vitest";

/** The registries that people push to, as our server plays them. */
const registries = [
  "ghcr",
  "hub",
  "ecr",
  "gar",
  "acr",
  "quay",
  "gitlab",
  "harbor",
  "artifactory",
  "zot",
  "distribution",
];
const repository = "acme/team/app";

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(options: ServeOptions): Promise<RunningServer> {
  const server = await serve(options);
  closing.push(() => server.close());
  return server;
}

function connect(name: string, trusted: readonly string[] = []): RegistryClient {
  // Azure's registry takes a refresh token for the user of all zeros.
  const credentials = name === "acr" ? { identityToken: "password" } : { username: "user", password: "password" };
  const client = new RegistryClient({ credentials, environment: {}, retryDelay: 1, trustedRealms: trusted });
  closing.push(() => client.close());
  return client;
}

/** The token server of the registry, which Docker Hub has on another host; a user trusts it by name. */
async function realmOf({ url }: RunningServer): Promise<string[]> {
  const challenge = (await fetch(`${url}/v2/`)).headers.get("www-authenticate") ?? "";
  const realm = /realm="([^"]+)"/.exec(challenge)?.[1];
  return realm !== undefined && URL.canParse(realm) ? [new URL(realm).host] : [];
}

async function push(store: MemoryStore, bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
  const content: Content = contentOf(bytes, descriptorOf(bytes, mediaType));
  await store.push(content);
  return content.descriptor;
}

/** An image for two platforms with an SBOM, a referrer that any registry takes. */
async function imageWithSbom(): Promise<{ store: MemoryStore; root: Descriptor; sbom: Descriptor }> {
  const store = new MemoryStore();
  const children: Descriptor[] = [];
  for (const architecture of ["amd64", "arm64"]) {
    const layer = await push(store, Buffer.alloc(100_000, architecture), mediaTypes.layer);
    const rootfs = { type: "layers", diff_ids: [layer.digest] };
    const config = await push(store, encodeJson({ architecture, os: "linux", rootfs }), mediaTypes.config);
    const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] };
    const child = await push(store, encodeJson(manifest), mediaTypes.manifest);
    children.push({ ...child, platform: { os: "linux", architecture } });
  }
  const index = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: children });
  const root = await push(store, index, mediaTypes.index);
  await store.tag("v1", root);
  const options = { artifactType: "application/spdx+json", annotations: { of: "v1" }, config: "image" } as const;
  const sbom = (await attach(store, root, options)).descriptor;
  return { store, root, sbom };
}

/** What was there before: the repository, which some registries want to have been made. */
async function existing(store: Store): Promise<void> {
  const sound = await start({ store });
  const client = connect("sound");
  const config = { architecture: "unknown", os: "unknown", rootfs: { type: "layers", diff_ids: [] } };
  const seed = new MemoryStore();
  const descriptor = await push(seed, encodeJson(config), mediaTypes.config);
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config: descriptor, layers: [] };
  const root = await push(seed, encodeJson(manifest), mediaTypes.manifest);
  await copy(seed, client.repository(`127.0.0.1:${sound.port}/${repository}`), root, { tags: ["first"] });
}

describe("publish, attach, list and pull", () => {
  for (const name of registries) {
    it(`work with what is known of ${name}`, async () => {
      const content = memoryStore();
      await existing(content);
      const server = await start({ store: content, layers: faulty([name]) });
      const host = `127.0.0.1:${server.port}`;
      const client = connect(name, await realmOf(server));
      const { store, root, sbom } = await imageWithSbom();

      const references = ["v1", "latest"].map((tag) => parseReference(`${host}/${repository}:${tag}`));
      const report = await publish(store, root, references, { client, probeCache: false });
      expect(report.targets.map(({ error }) => error)).toEqual([undefined, undefined]);
      expect(report.targets[0]?.report).toMatchObject({ failures: [], referrers: { found: 1, copied: 1 } });

      const remote = client.repository(`${host}/${repository}`);
      const options = { artifactType: "application/vnd.example.signature", config: "image" } as const;
      const signature = (await attach(remote, root, options)).descriptor;
      expect((await list(remote, { namesOnly: true })).map(({ tag }) => tag)).toEqual(["first", "latest", "v1"]);

      // Another client: what this one remembers is not what the registry has.
      const pulled = new MemoryStore();
      const other = connect(name, await realmOf(server)).repository(`${host}/${repository}`);
      const copied = await copy(other, pulled, "latest", { tags: ["v1"] });
      expect(copied).toMatchObject({ descriptor: { digest: root.digest }, referrers: { found: 2, copied: 2 } });
      const referrers: Descriptor[] = [];
      for await (const referrer of pulled.referrers(root)) referrers.push(referrer);
      expect(referrers.map(({ digest, artifactType }) => [digest, artifactType]).sort()).toEqual(
        [
          [sbom.digest, "application/spdx+json"],
          [signature.digest, options.artifactType],
        ].sort(),
      );
      expect((await verify(pulled, [{ name: "v1", descriptor: root }])).findings).toEqual([]);
    });
  }

  it("of an artifact whose config is empty work with all but the registry that takes images only, which is named", async () => {
    for (const name of registries) {
      const content = memoryStore();
      await existing(content);
      const server = await start({ store: content, layers: faulty([name]) });
      const remote = connect(name, await realmOf(server)).repository(`127.0.0.1:${server.port}/${repository}`);
      const root = await remote.resolve("first");
      const attached = attach(remote, root, { artifactType: "application/vnd.example.note" });
      if (name === "gitlab")
        await expect(attached).rejects.toMatchObject({
          code: "INVALID",
          hint: expect.stringContaining("--config image"),
        });
      else await attached;
    }
  });
});
