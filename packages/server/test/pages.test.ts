import { createHash } from "node:crypto";
import {
  type Descriptor,
  descriptorOf,
  digestOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  mediaTypes,
} from "@stowage/layout";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memoryStore, proxyStore } from "../src/index.js";
import { html, visible } from "../src/pages/html.js";
import { manifestPlace, repositoryPlace } from "../src/pages/places.js";
import { artifact, content, pushArtifact, type Registry, startRegistry, stores } from "./registry.js";
import { tarOf } from "./tar-of.js";

const HTML = { headers: { Accept: "text/html,application/xhtml+xml,*/*;q=0.8" } };

/** What tries to become markup, a script, or another direction of the text. */
const HOSTILE = `"'><script>alert(1)</script><img src=x onerror=alert(2)></pre></title>\u202e&lt;\0\u{e0041}`;

async function page(registry: Registry, path: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(registry.server.url + path, init);
  const text = await response.text();
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
  expectHarmless(text);
  return text;
}

/** Fails where a page has a tag, an attribute or a link that none of ours has. */
function expectHarmless(text: string): void {
  const rest = text.replace(/<style>[^<]*<\/style>/, "");
  const names = new Set<string>();
  for (const [, name = "", attributes = ""] of rest.matchAll(/<\/?([^\s<>/]*)((?:[^"<>]|"[^"]*")*)>/g)) {
    names.add(name);
    for (const [, key, value] of attributes.matchAll(/([^\s="]+)(?:="([^"]*)")?/g)) {
      expect(ATTRIBUTES).toContain(key);
      if (key === "href") expect(value).toMatch(/^(?:\/-\/|\/v2\/|#main$|data:image\/svg\+xml,)/);
    }
  }
  expect(names.has("html")).toBe(true);
  expect([...names].filter((name) => !ELEMENTS.includes(name))).toEqual([]);
  expect(rest.replace(/<\/?[^\s<>/]*(?:[^"<>]|"[^"]*")*>/g, "")).not.toMatch(/[<>]/);
  for (const unseen of ["\u202e", "\0", "\u{e0041}"]) expect(text).not.toContain(unseen);
}

const ELEMENTS =
  "!doctype html head meta title link style body a header nav ol li span main h1 h2 p div table thead tbody tr th td dl dt dd code pre br section ul details summary svg rect".split(
    " ",
  );
const ATTRIBUTES =
  "html lang charset name content rel href class id tabindex title scope aria-label aria-current aria-hidden role viewBox width height preserveAspectRatio x y open /".split(
    " ",
  );

/** An image of these layers whose config and annotations are hostile. */
async function pushImage(registry: Registry, layers: readonly Descriptor[], tag: string): Promise<Descriptor> {
  const config = {
    os: "linux",
    architecture: "amd64",
    created: HOSTILE,
    config: { Env: [HOSTILE], Labels: { [HOSTILE]: HOSTILE }, Entrypoint: [HOSTILE], User: HOSTILE },
    history: layers.map(() => ({ created_by: HOSTILE })),
  };
  const manifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: await registry.pushBlob(encodeJson(config), mediaTypes.config),
    layers: layers.map((layer) => ({ ...layer, annotations: { "org.opencontainers.image.title": HOSTILE } })),
    annotations: { [HOSTILE]: HOSTILE },
  });
  expect((await registry.putManifest(tag, manifest)).status).toBe(201);
  return descriptorOf(manifest, mediaTypes.manifest);
}

describe.each(Object.entries(stores))("the pages of a %s store", (_kind, store) => {
  test("lead from the repositories over the tags to what an image consists of", async () => {
    const registry = await startRegistry({ store: await store() });
    const layer = await registry.pushBlob(content("layer", 5000), mediaTypes.layerGzip);
    const { digest } = await pushImage(registry, [layer], "v1");
    const sbom = await pushArtifact(registry, "sbom", {
      subject: { ...layer, digest, mediaType: mediaTypes.manifest },
    });
    expect(await page(registry, "/", HTML)).toContain(`href="${repositoryPlace("team/app")}"`);
    expect(await page(registry, "/-/")).toContain("team/app");
    const tags = await page(registry, repositoryPlace("team/app"));
    expect(tags).toContain(`href="${manifestPlace("team/app", "v1")}"`);
    expect(tags).toContain("linux/amd64");
    for (const reference of ["v1", digest]) {
      const text = await page(registry, manifestPlace("team/app", reference));
      expect(text).toContain(`href="/-/team/app/-/files/${encodeURIComponent(layer.digest)}"`);
      expect(text).toContain(`href="${manifestPlace("team/app", sbom.digest)}"`);
      expect(text).toContain('aria-label="Sizes of the layers: 5.0 kB"');
    }
    expect(await page(registry, manifestPlace("team/app", sbom.digest))).toContain(manifestPlace("team/app", digest));
    expect(registry.failures).toEqual([]);
  });
});

describe("hostile content", () => {
  test("stays text on every page", async () => {
    const registry = await startRegistry();
    const tar = tarOf([
      { name: `${HOSTILE.replaceAll("\0", "")}/x`, linkname: HOSTILE.replaceAll("\0", ""), type: "symlink" },
      { name: "plain" },
    ]);
    const layer = await registry.pushBlob(tar, mediaTypes.layer);
    const image = await pushImage(registry, [layer], "v1");
    const json = await registry.pushBlob(encodeJson({ [HOSTILE]: HOSTILE }), "text/html");
    await registry.pushBlob(emptyBytes);
    const refers = encodeJson({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: "text/html",
      config: emptyDescriptor,
      layers: [{ ...json, annotations: { "org.opencontainers.image.title": HOSTILE } }],
      subject: image,
      annotations: { "org.opencontainers.image.created": HOSTILE },
    });
    const { digest } = descriptorOf(refers, mediaTypes.manifest);
    expect((await registry.putManifest(digest, refers)).status).toBe(201);
    const paths = [
      "/-/team/app",
      manifestPlace("team/app", "v1"),
      manifestPlace("team/app", digest),
      `/-/team/app/-/blobs/${json.digest}`,
      `/-/team/app/-/files/${layer.digest}`,
    ];
    const texts = [];
    for (const path of paths) texts.push(await page(registry, path));
    for (const text of texts.slice(1)) expect(text).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
    expect(registry.failures).toEqual([]);
  });

  test("in the path, the query and the Host comes back as text, with a page that says what is wrong", async () => {
    const registry = await startRegistry();
    const sent = encodeURIComponent(HOSTILE);
    for (const path of [
      `/-/${sent}`,
      `/-/team/app/-/manifests/${sent}`,
      `/-/${sent}/-/manifests/${sent}`,
      "/-/team/app/-/nothing/x",
      "/-/%zz",
      "/-",
      "/-/team/app/-/blobs/sha256:../../etc/passwd",

      "/-/..%2f..%2fetc/passwd",
    ]) {
      const response = await fetch(registry.server.url + path);
      expect([400, 404]).toContain(response.status);
      expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
      expectHarmless(await response.text());
    }
    await pushArtifact(registry, "image", { tag: "v1" });
    await page(registry, `/-/team/app?last=${sent}`);
    expect(await page(registry, `${manifestPlace("team/app", "v1")}?from=${sent}`)).toContain("v1");
    expect(registry.failures).toEqual([]);
  });

  test("whatever it is, is escaped so that a reader gets back what can be seen of it", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: fc.constantFrom(...HOSTILE) })), (text) => {
        const written = html`<a title="${text}">${text}</a>`.text;
        expectOnly(written, visible(text));
      }),
    );
  });
});

function expectOnly(written: string, text: string): void {
  const match = /^<a title="([^"<>']*)">([^"<>']*)<\/a>$/s.exec(written);
  const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };
  const read = match
    ?.slice(1)
    .map((part) => part.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => entities[name] as string));
  expect(read).toEqual([text, text]);
}

describe("a page", () => {
  test("may run and load nothing, be framed by nobody, and names its style by its hash", async () => {
    const registry = await startRegistry();
    const response = await fetch(`${registry.server.url}/-/`);
    const policy = response.headers.get("content-security-policy") ?? "";
    const style = /<style>([^<]*)<\/style>/.exec(await response.text())?.[1] ?? "";
    const hash = createHash("sha256").update(style).digest("base64");
    expect(policy.split("; ").sort()).toEqual([
      "base-uri 'none'",
      "default-src 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "img-src data:",
      `style-src 'sha256-${hash}'`,
    ]);
    for (const [name, value] of [
      ["x-content-type-options", "nosniff"],
      ["referrer-policy", "no-referrer"],
      ["cache-control", "no-store"],
    ])
      expect(response.headers.get(name as string)).toBe(value);
  });

  test("is at / for who asks for HTML, and the API is as it was for everybody else", async () => {
    const registry = await startRegistry();
    await pushArtifact(registry, "image", { tag: "v1" });
    for (const accept of ["*/*", "application/json", "text/html;q=0, */*"]) {
      const response = await fetch(`${registry.server.url}/`, { headers: { Accept: accept } });
      expect([response.status, response.headers.get("content-type")]).toEqual([404, "application/json"]);
    }
    for (const path of ["/v2/", "/v2/_catalog", "/v2/team/app/tags/list", "/v2/team/app/manifests/v1", "/healthz"])
      expect((await fetch(registry.server.url + path, HTML)).headers.get("content-type")).toMatch(/json/);
    expect((await registry.request("/v2/-/tags/list", HTML)).headers.get("content-type")).toBe("application/json");
  });

  test("is the same for HEAD, and cannot be written to", async () => {
    const registry = await startRegistry();
    await pushArtifact(registry, "image", { tag: "v1" });
    const url = registry.server.url + manifestPlace("team/app", "v1");
    const [got, head] = [await fetch(url), await fetch(url, { method: "HEAD" })];
    expect(head.headers.get("content-length")).toBe(String((await got.arrayBuffer()).byteLength));
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      const response = await fetch(url, { method });
      expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    }
  });

  test("is for who has an account, whose browser is asked for it, also where others get tokens", async () => {
    const accounts = async (name: string, password: string) => name === "alice" && password === "right";
    for (const tokens of [false, true]) {
      const registry = await startRegistry({ accounts, tokens });
      for (const path of ["/", "/-/", "/-/team/app", "/-/team/app/-/manifests/v1"]) {
        const refused = await fetch(registry.server.url + path, HTML);
        expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([
          401,
          'Basic realm="stowage", charset="UTF-8"',
        ]);
      }
      const headers = { ...HTML.headers, Authorization: `Basic ${Buffer.from("alice:right").toString("base64")}` };
      expect((await fetch(`${registry.server.url}/`, { headers })).status).toBe(200);
    }
  });

  test("of a read-only server is there", async () => {
    const store = memoryStore();
    await pushArtifact(await startRegistry({ store }), "image", { tag: "v1" });
    const reader = await startRegistry({ store, readonly: true });
    expect(await page(reader, manifestPlace("team/app", "v1"))).toContain("team/app");
  });

  test("of a server in front of another one shows what is here, and fetches nothing", async () => {
    const store = memoryStore();
    await pushArtifact(await startRegistry({ store }), "image", { tag: "v1" });
    const upstream = async (): Promise<never> => {
      throw new Error("the upstream was asked");
    };
    const registry = await startRegistry({ store: proxyStore(store, upstream), readonly: true });
    for (const path of ["/-/", "/-/team/app", manifestPlace("team/app", "v1")]) await page(registry, path);
    expect((await fetch(`${registry.server.url}/-/team/other`)).status).toBe(404);
    expect(registry.failures).toEqual([]);
  });

  test("names nothing of this machine where the store fails", async () => {
    const failing = { ...memoryStore(), repository: () => Promise.reject(new Error("cannot read /secret/path")) };
    const registry = await startRegistry({ store: failing });
    const response = await fetch(`${registry.server.url}/-/team/app`);
    const text = await response.text();
    expect(response.status).toBe(500);
    expectHarmless(text);
    expect(text).not.toContain("secret");
    expect(String(registry.failures[0])).toContain("/secret/path");
  });
});

describe("what is too much for one page", () => {
  test("is cut into pages: tags, layers and the manifests of an index", async () => {
    const registry = await startRegistry({ sparse: true });
    for (let at = 0; at < 60; at++) await pushArtifact(registry, "image", { tag: `t${100 + at}` });
    const first = await page(registry, "/-/team/app");
    const next = /<a href="([^"]+)" rel="next">/.exec(first)?.[1] as string;
    const second = await page(registry, next.replaceAll("&amp;", "&"));
    const tags = [first, second].flatMap((text) => [...text.matchAll(/manifests\/(t\d+)"/g)].map(([, tag]) => tag));
    expect(tags).toEqual(Array.from({ length: 60 }, (_, at) => `t${100 + at}`));
    expect(second).not.toContain('rel="next"');

    const blob = { mediaType: mediaTypes.layer, digest: digestOf("x"), size: 1 };
    await pushImage(registry, Array(130).fill(blob), "layers");
    const layers = await page(registry, manifestPlace("team/app", "layers"));
    expect([...layers.matchAll(/\/-\/files\//g)]).toHaveLength(100);
    const rest = await page(registry, `${manifestPlace("team/app", "layers")}?from=100`);
    expect([...rest.matchAll(/\/-\/files\//g)]).toHaveLength(30);

    const manifests = Array(130).fill({ ...blob, mediaType: mediaTypes.manifest });
    await registry.putManifest(
      "index",
      encodeJson({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }),
      mediaTypes.index,
    );
    const index = await page(registry, manifestPlace("team/app", "index"));
    expect([...index.matchAll(/>unknown</g)]).toHaveLength(100);
    expect(index).toContain('rel="next"');

    await pushArtifact(registry, "x".repeat(1_100_000), { tag: "a-large-manifest" });
    expect(await page(registry, "/-/team/app")).toContain("It is too large to be shown.");
    expect(await page(registry, manifestPlace("team/app", "a-large-manifest"))).toContain("xxx…");
  });

  test("is cut off in the tree of referrers, however deep or wide it is", async () => {
    const registry = await startRegistry();
    const image = await pushArtifact(registry, "image", { tag: "v1" });
    let subject = image;
    for (let depth = 0; depth < 9; depth++) subject = await pushArtifact(registry, `deep ${depth}`, { subject });
    const deep = await page(registry, manifestPlace("team/app", "v1"));
    expect([...deep.matchAll(/<li><a href="\/-\/team\/app\/-\/manifests/g)]).toHaveLength(6);
    expect(deep).toContain("There are more than are shown here.");
    for (let at = 0; at < 210; at++) await pushArtifact(registry, `wide ${at}`, { subject: image });
    const wide = await page(registry, manifestPlace("team/app", "v1"));
    expect([...wide.matchAll(/<li><a href="\/-\/team\/app\/-\/manifests/g)]).toHaveLength(200);
    expect(wide).toContain("There are more than are shown here.");
  });

  test("of a blob is not shown, and what is no text is not shown as text", async () => {
    const registry = await startRegistry();
    const large = await registry.pushBlob(content("ä".repeat(10), 5_000_000));
    const text = await page(registry, `/-/team/app/-/blobs/${large.digest}`);
    expect(text.length).toBeLessThan(400_000);
    expect(text).toContain("These are the first 262.1 kB of 5.0 MB");
    const binary = await registry.pushBlob(Buffer.from([0, 159, 146, 150]));
    expect(await page(registry, `/-/team/app/-/blobs/${binary.digest}`)).toContain("It is not text.");
  });

  test("of a layer comes in pages of a thousand files, and ends where it is no tar", async () => {
    const registry = await startRegistry();
    const entries = Array.from({ length: 1200 }, (_, at) => ({ name: `file-${String(at).padStart(4, "0")}` }));
    const layer = await registry.pushBlob(tarOf(entries), mediaTypes.layer);
    const path = `/-/team/app/-/files/${layer.digest}`;
    const [first, second] = [await page(registry, path), await page(registry, `${path}?from=1000`)];
    expect([...first.matchAll(/file-\d{4}/g)].map(String).slice(-1)).toEqual(["file-0999"]);
    expect([...second.matchAll(/file-\d{4}/g)].map(String)).toHaveLength(200);
    expect(second).not.toContain('rel="next"');
    const cut = await registry.pushBlob(
      Buffer.concat([tarOf([{ name: "whole" }]).subarray(0, 1536), content("x", 600)]),
    );
    const problem = await page(registry, `/-/team/app/-/files/${cut.digest}`);
    expect(problem).toContain("whole");
    expect(problem).toContain("From here on it is no tar that can be read.");
    const none = await registry.pushBlob(content("no tar", 2000));
    expect(await page(registry, `/-/team/app/-/files/${none.digest}`)).toContain("It is no tar that can be read.");
  });

  test("of a bomb is not unpacked: a size that only a header claims is not read", async () => {
    const registry = await startRegistry();
    const bomb = await registry.pushBlob(tarOf([{ name: "bomb", size: 2 ** 32 }]), mediaTypes.layer);
    const text = await page(registry, `/-/team/app/-/files/${bomb.digest}`);
    expect(text).toContain("No more than 2.1 GB of a layer are looked through.");
  });
});

describe("what is damaged or missing", () => {
  test("is said so, and the page is there all the same", async () => {
    const registry = await startRegistry({ sparse: true });
    const missing = { mediaType: mediaTypes.layer, digest: digestOf("missing"), size: 7 };
    await pushImage(registry, [missing], "sparse");
    await page(registry, manifestPlace("team/app", "sparse"));
    for (const place of ["blobs", "files", "manifests"]) {
      const response = await fetch(`${registry.server.url}/-/team/app/-/${place}/${missing.digest}`);
      expect(response.status).toBe(404);
      expectHarmless(await response.text());
    }
    const artifactOfMissing = encodeJson({
      ...JSON.parse(Buffer.from(artifact("x")).toString()),
      layers: [{ ...missing, mediaType: "text/plain" }],
    });
    await registry.putManifest("artifact", artifactOfMissing);
    expect(await page(registry, manifestPlace("team/app", "artifact"))).toContain("It is not here.");
  });
});
