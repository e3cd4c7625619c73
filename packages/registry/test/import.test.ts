import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ArchiveSource,
  copy,
  type Descriptor,
  exportImages,
  imagesIn,
  Layout,
  MemoryStore,
  type OciError,
} from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import {
  type ImportOptions,
  type ImportReport,
  importImages,
  parseImportPlace,
  RegistryClient,
  renameRules,
} from "../src/index.js";
import { blobOf, emptyBlob, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, serve } from "./support/server.js";
import { type SmallRegistry, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];
const directories: string[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
});

function client(): RegistryClient {
  const made = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, tries: 2 });
  clients.push(made);
  return made;
}

async function scratch(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "stowage-import-"));
  directories.push(path);
  return path;
}

/** An archive of the same artifact, with a referrer, under each of the names. */
async function archiveOf(...names: string[]): Promise<{ path: string; root: Descriptor; referrer: Descriptor }> {
  const source = new MemoryStore();
  const layer = blobOf("a layer that can be found again");
  const root = manifestOf([layer]);
  const referrer = referrerOf(root.descriptor, "note");
  for (const content of [emptyBlob, layer, root, referrer]) await source.push(content);
  const path = join(await scratch(), "x.tar");
  await exportImages([{ source, descriptor: root.descriptor, names }], path);
  return { path, root: root.descriptor, referrer: referrer.descriptor };
}

async function imported(
  path: string,
  target: string | undefined,
  options: Partial<ImportOptions> = {},
): Promise<ImportReport> {
  const source = await ArchiveSource.open(path);
  try {
    const place = target === undefined ? undefined : parseImportPlace(target);
    return await importImages(source, place, { client: client(), ...options });
  } finally {
    await source.close();
  }
}

const targets = (report: ImportReport): string[] => report.images.map(({ target }) => target);
const fails = async (work: Promise<unknown>): Promise<OciError> =>
  work.then(
    () => expect.fail("it did not fail"),
    (error) => error,
  );

async function referrersAt(registry: SmallRegistry, repository: string, subject: Descriptor): Promise<string[]> {
  const found: string[] = [];
  for await (const { digest } of client().repository(`${registry.host}/${repository}`).referrers(subject))
    found.push(digest);
  return found;
}

describe("the images of an archive", () => {
  it("go below a place in a registry, each into its repository and with its referrers", async () => {
    const registry = await serveRegistry();
    const { path, root, referrer } = await archiveOf("docker.io/library/alpine:3", "ghcr.io/acme/app:v1");
    expect(targets(await imported(path, `${registry.host}/hub/`))).toEqual([
      `${registry.host}/hub/library/alpine:3`,
      `${registry.host}/hub/acme/app:v1`,
    ]);
    expect(targets(await imported(path, registry.host)).length).toBe(2);
    for (const [repository, tag] of [
      ["hub/library/alpine", "3"],
      ["hub/acme/app", "v1"],
      ["acme/app", "v1"],
    ] as const) {
      const resolved = await client().repository(`${registry.host}/${repository}`).resolve(tag);
      expect(resolved.digest).toBe(root.digest);
      expect(await referrersAt(registry, repository, root)).toEqual([referrer.digest]);
    }
  });

  it("go where the first rule that is about their name says, and nowhere where there is none", async () => {
    const registry = await serveRegistry();
    const { path, root } = await archiveOf("docker.io/library/alpine:3", "ghcr.io/acme/app:v1");
    const rename = await renameRules([
      ["docker\\.io/library/(.*)", `${registry.host}/hub/$1`],
      ["(.*)/acme/.*", `${registry.host}/$1`],
    ]);
    expect(targets(await imported(path, undefined, { rename }))).toEqual([
      `${registry.host}/hub/alpine:3`,
      `${registry.host}/ghcr.io:v1`,
    ]);
    expect((await client().repository(`${registry.host}/ghcr.io`).resolve("v1")).digest).toBe(root.digest);
    registry.received.splice(0);
    const error = await fails(imported(path, undefined, { rename: rename.slice(0, 1) }));
    expect([error.code, error.message]).toEqual(["NOT_FOUND", expect.stringContaining("ghcr.io/acme/app")]);
    expect(registry.received).toEqual([]);
  });

  it("go into a layout under their full names, those that a rule is about under the new ones", async () => {
    const { path, root, referrer } = await archiveOf("docker.io/library/alpine:3", "ghcr.io/acme/app:v1", "v9");
    const directory = await scratch();
    const rename = await renameRules([["ghcr.io/(.*)", "mirror.local/$1"]]);
    await imported(path, `oci:${directory}`, { rename });
    const layout = await Layout.open(directory);
    const tags: string[] = [];
    for await (const tag of layout.tags()) tags.push(tag);
    expect(tags).toEqual(["docker.io/library/alpine:3", "mirror.local/acme/app:v1", "v9"]);
    const found: string[] = [];
    for await (const { digest } of layout.referrers(root)) found.push(digest);
    expect(found).toEqual([referrer.digest]);
  });

  it("without a tag keep their repository and their digest, in a layout and in a registry", async () => {
    const registry = await serveRegistry();
    const { root } = await archiveOf();
    const { path } = await archiveOf(`ghcr.io/acme/app@${root.digest}`);
    expect(targets(await imported(path, `${registry.host}/`))).toEqual([`${registry.host}/acme/app`]);
    expect((await client().repository(`${registry.host}/acme/app`).resolve(root.digest)).digest).toBe(root.digest);
    const directory = await scratch();
    const rename = await renameRules([["ghcr.io/(.*)", "mirror.local/$1"]]);
    await imported(path, `oci:${directory}`, { rename });
    expect((await (await Layout.open(directory)).resolve(`mirror.local/acme/app@${root.digest}`)).digest).toBe(
      root.digest,
    );
  });

  it("of several repositories do not fit into one, nor two images under one name, nor one without a name below a registry", async () => {
    const registry = await serveRegistry();
    const { path } = await archiveOf("docker.io/library/alpine:3", "ghcr.io/acme/app:v1");
    expect(await fails(imported(path, `${registry.host}/only/one`))).toMatchObject({ code: "CONFLICT" });
    const nameless = await archiveOf();
    expect(await fails(imported(nameless.path, `${registry.host}/`))).toMatchObject({ code: "INVALID" });
    const tag = await archiveOf("v1");
    expect(await fails(imported(tag.path, `${registry.host}/`))).toMatchObject({ code: "INVALID" });
    expect(registry.received).toEqual([]);
    const source = new MemoryStore();
    const images = [blobOf("one"), blobOf("two")].map((layer) => [layer, manifestOf([layer])] as const);
    for (const content of [emptyBlob, ...images.flat()]) await source.push(content);
    const two = join(await scratch(), "two.tar");
    await exportImages(
      images.map(([, { descriptor }], at) => ({ source, descriptor, names: [`${at}.example/a:1`] })),
      two,
    );
    const rename = await renameRules([[".*", `${registry.host}/same`]]);
    expect(await fails(imported(two, undefined, { rename }))).toMatchObject({ code: "CONFLICT" });
    expect(registry.received).toEqual([]);
  });

  it("are planned without a change anywhere", async () => {
    const registry = await serveRegistry();
    const { path } = await archiveOf("ghcr.io/acme/app:v1");
    const report = await imported(path, `${registry.host}/`, { dryRun: true });
    expect(report.images[0]?.report).toMatchObject({ written: 4, tagged: [{ tag: "v1", change: "created" }] });
    expect(registry.received.filter(({ method }) => method !== "GET" && method !== "HEAD")).toEqual([]);
    const directory = join(await scratch(), "none");
    await imported(path, `oci:${directory}`, { dryRun: true });
    await expect(readdir(directory)).rejects.toThrow();
  });

  it("come back as they were: registry, archive, registry", async () => {
    const registry = await serveRegistry();
    const { path, root, referrer } = await archiveOf("ghcr.io/acme/app:v1", "ghcr.io/acme/app:latest");
    await imported(path, `${registry.host}/`);
    const source = client().repository(`${registry.host}/acme/app`);
    const second = join(await scratch(), "second.tar");
    const names = ["v1", "latest"].map((tag) => `ghcr.io/acme/app:${tag}`);
    await exportImages([{ source, descriptor: await source.resolve("v1"), names }], second);
    const archive = await ArchiveSource.open(second);
    expect((await imagesIn(archive)).map((image) => [image.descriptor.digest, image.names])).toEqual([
      [root.digest, ["ghcr.io/acme/app:latest", "ghcr.io/acme/app:v1"]],
    ]);
    const target = new MemoryStore();
    expect((await copy(archive, target, "v1")).referrers).toEqual({ found: 1, copied: 1 });
    expect(await target.has(referrer)).toBe(true);
    await archive.close();
  });
});

describe("an archive that is damaged", () => {
  it("is refused before anything is written: a blob, a referrer, or a part that is missing", async () => {
    const registry = await serveRegistry();
    const { path } = await archiveOf("ghcr.io/acme/app:v1");
    const good = await readFile(path);
    const before = await scratch();
    await imported(path, `oci:${before}:before`);
    for (const [text, other] of [
      ["a layer that can", "A layer that can"],
      ['"subject"', '"subjecT"'],
      ["application/vnd.example.note", "application/vnd.example.nota"],
    ] as const) {
      const damaged = join(await scratch(), "damaged.tar");
      await writeFile(damaged, Buffer.from(good.toString("latin1").replaceAll(text, other), "latin1"));
      const after = await scratch();
      await cp(before, after, { recursive: true });
      for (const target of [`oci:${after}`, `${registry.host}/`]) {
        const error = await fails(imported(damaged, target));
        expect(["MISMATCH", "INVALID", "NOT_FOUND"]).toContain(error.code);
      }
      expect((await readdir(after, { recursive: true })).sort()).toEqual(
        (await readdir(before, { recursive: true })).sort(),
      );
      expect(await readFile(join(after, "index.json"))).toEqual(await readFile(join(before, "index.json")));
    }
    expect(registry.received).toEqual([]);
  });
});

describe("an import that is offline", () => {
  it("speaks to the host that images go to and to no other, whoever names one: a redirect, a challenge, a layer", async () => {
    const other = await serve((_request, response) => response.writeHead(200).end("{}"));
    const { path } = await archiveOf("ghcr.io/acme/app:v1");
    const leading = [
      (response: ServerResponse) =>
        response.writeHead(401, { "www-authenticate": `Bearer realm="${other.url}/token",service="x"` }).end(),
      (response: ServerResponse) => response.writeHead(202, { location: `${other.url}/upload` }).end(),
      (response: ServerResponse) => response.writeHead(307, { location: `${other.url}/there` }).end(),
    ];
    for (const answer of leading) {
      const registry = await serve((request, response) => {
        if (request.method === "HEAD") response.writeHead(404).end();
        else answer(response);
      });
      const offline = new RegistryClient({
        credentials: { username: "a", password: "b" },
        trustedRealms: [other.host],
        internalHosts: [other.host],
        environment: {},
        tries: 1,
        onlyHosts: [registry.host],
      });
      clients.push(offline);
      const error = await fails(imported(path, `${registry.host}/`, { client: offline }));
      expect([error.code, error.message]).toEqual(["DENIED", expect.stringContaining(`${other.host} is not asked`)]);
      expect(registry.received.length).toBeGreaterThan(0);
      expect(other.received).toEqual([]);
    }
  });

  it("asks nobody at all where images go into a layout", async () => {
    const registry = await serveRegistry();
    const { path } = await archiveOf("ghcr.io/acme/app:v1");
    const offline = new RegistryClient({ credentials: false, environment: {}, onlyHosts: [] });
    clients.push(offline);
    await imported(path, `oci:${await scratch()}`, { client: offline });
    const error = await fails(imported(path, `${registry.host}/`, { client: offline }));
    expect([error.code, error.hint]).toEqual(["DENIED", expect.stringContaining(`--allow-host ${registry.host}`)]);
    expect(registry.received).toEqual([]);
  });
});

describe("the place of an import", () => {
  it.each([
    ["reg.local/", { kind: "registry-prefix", host: "reg.local", prefix: "" }],
    ["localhost:5000", { kind: "registry-prefix", host: "localhost:5000", prefix: "" }],
    ["[::1]:5000", { kind: "registry-prefix", host: "[::1]:5000", prefix: "" }],
    ["docker://reg.local:5000/a/b/", { kind: "registry-prefix", host: "reg.local:5000", prefix: "a/b" }],
    ["reg.local/a", { kind: "registry", reference: { host: "reg.local", repository: "a" } }],
    ["reg.local/a:v1", { kind: "registry", reference: { host: "reg.local", repository: "a", tag: "v1" } }],
    ["alpine", { kind: "registry", reference: { host: "docker.io", repository: "library/alpine" } }],
    ["oci:dir", { kind: "layout", path: "dir" }],
    ["oci:dir:v1", { kind: "layout", path: "dir", tag: "v1" }],
  ])("%s", (text, place) => {
    expect(parseImportPlace(text)).toEqual(place);
  });

  it.each(["acme/", "reg.local/UPPER/", `reg.local/a@sha256:${"0".repeat(64)}`, "./dir"])("%s is INVALID", (text) => {
    expect(() => parseImportPlace(text)).toThrow(expect.objectContaining({ code: "INVALID" }));
  });
});
