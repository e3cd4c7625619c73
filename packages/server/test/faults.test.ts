import { type Descriptor, digestOf, mediaTypes } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { memoryStore } from "../src/index.js";
import { faultNames, faulty } from "../src/testing.js";
import {
  at,
  blob,
  both,
  chunk,
  config,
  del,
  digest,
  each,
  end,
  fill,
  head,
  header,
  image,
  index,
  json,
  large,
  manifest,
  many,
  megabytes,
  mount,
  one,
  platform,
  push,
  put,
  putIndex,
  referrers,
  size,
  statusAndCode,
  stream,
  subject,
  to,
  twenty,
  two,
  upload,
  withSubject,
} from "./probes.js";
import { type Registry, startRegistry } from "./registry.js";

/** What is asked of a registry with the fault, and what it shows then; one without the fault shows something else. */
const table: Readonly<Record<string, readonly [(registry: Registry) => Promise<unknown>, unknown]>> = {
  "no-referrers": [each(at(referrers), put("v3", withSubject(subject), header("oci-subject"))), [404, null]],
  "lying-subject": [
    each(at(referrers, statusAndCode), put("v3", withSubject(subject), header("oci-subject"))),
    [[404, "MANIFEST_UNKNOWN"], subject.digest],
  ],
  "referrers-elsewhere": [at(referrers, header("content-type"), { redirect: "follow" }), "text/html"],
  "no-filter": [
    at(`${referrers}?artifactType=a/b`, async (response) => [
      response.headers.get("oci-filters-applied"),
      await json(({ manifests }) => manifests?.length)(response),
    ]),
    [null, 2],
  ],
  "lying-filter": [
    at(`${referrers}?artifactType=a/b`, async (response) => [
      response.headers.get("oci-filters-applied"),
      await json(({ manifests }) => manifests?.length)(response),
    ]),
    ["artifactType", 2],
  ],
  "empty-artifact-type": [
    at(
      referrers,
      json(({ manifests }) => manifests?.map((found) => (found as Descriptor).artifactType)),
    ),
    ["", ""],
  ],
  "referrers-page": [
    at(referrers, async (response) => [
      response.headers.get("link"),
      await json(({ manifests }) => manifests?.length)(response),
    ]),
    [expect.stringMatching(/last=.* rel="next"/), 1],
  ],
  "referrers-type": [at(referrers, header("content-type")), "application/json"],
  "subject-first": [
    put("v3", withSubject({ ...subject, digest: digestOf("missing") }), statusAndCode),
    [400, "MANIFEST_BLOB_UNKNOWN"],
  ],
  "no-index-subject": [put("v3", withSubject({ ...subject, mediaType: mediaTypes.index })), 405],
  "no-digest-header": [
    each(head("manifests/v1", header("docker-content-digest")), head(blob, header("docker-content-digest"))),
    [null, null],
  ],
  "wrong-digest-header": [at("manifests/v1", header("docker-content-digest")), digestOf("something else")],
  corrupt: [
    each(
      at("manifests/v1", async (response) => (await digest(response)) === subject.digest),
      at(blob, async (response) => [
        (await digest(response)) === digestOf(large),
        response.headers.get("content-length"),
      ]),
    ),
    [false, [false, "200000"]],
  ],
  "short-body": [
    at(blob, async (response) => [response.headers.get("content-length"), await size(response)]),
    ["199999", 199_999],
  ],
  "long-body": [
    at("manifests/v1", async (response) => [response.headers.get("content-length"), await size(response)]),
    [String(image.byteLength + 1), image.byteLength + 1],
  ],
  "wrong-length": [
    each(head(blob, header("content-length")), at(blob, header("content-length"))),
    ["200001", "200000"],
  ],
  "no-length": [
    each(at(blob, header("content-length")), head("manifests/v1", header("content-length")), at(blob, digest)),
    [null, null, digestOf(large)],
  ],
  "no-type": [at("manifests/v1", header("content-type")), null],
  "wrong-type": [at("manifests/v1", header("content-type")), "text/plain; charset=utf-8"],
  "endless-manifest": [
    at("manifests/v1", async ({ body }) => {
      let read = 0;
      for await (const bytes of body ?? []) {
        read += bytes.byteLength;
        if (read > 50_000_000) break;
      }
      return read > 50_000_000;
    }),
    true,
  ],
  html: [
    at("manifests/v1", async (response) => [response.status, response.headers.get("content-type")]),
    [200, "text/html; charset=utf-8"],
  ],
  "no-range": [at(blob, undefined, { headers: { Range: "bytes=1-2" } }), 200],
  "refused-range": [at(blob, undefined, { headers: { Range: "bytes=1-2" } }), 416],
  drop: [
    at(blob, async ({ body }) => {
      let read = 0;
      try {
        for await (const bytes of body ?? []) read += bytes.byteLength;
      } catch {
        return read;
      }
      return "whole";
    }),
    65_536,
  ],
  "drop-upload": [each(push(megabytes), push(megabytes)), ["no answer", 201]],
  reset: [each(at("/v2/"), at("/v2/"), at("/v2/")), [200, 200, "no answer"]],
  slow: [
    at(`${blob}`, async ({ body }) => {
      for await (const bytes of body ?? []) return bytes.byteLength;
      return 0;
    }),
    5000,
  ],
  stall: [at(blob, async (response) => (await response.arrayBuffer()).byteLength), "no answer"],
  busy: [each(at("/v2/", header("retry-after")), twenty), ["1", [429, 429, ...Array(17).fill(200), 429]]],
  "busy-date": [at("/v2/", (response) => Date.parse(response.headers.get("retry-after") ?? "") > Date.now()), true],
  "busy-bare": [
    at("/v2/", async (response) => [response.status, response.headers.get("retry-after"), await response.text()]),
    [429, null, "Too Many Requests\n"],
  ],
  unavailable: [twenty, [503, 503, 503, ...Array(17).fill(200)]],
  broken: [twenty, [500, 500, 500, ...Array(17).fill(200)]],
  "always-busy": [twenty, Array(20).fill(429)],
  "pull-limit": [
    each(head("manifests/v1"), ...Array.from({ length: 100 }, () => at("manifests/v1")), at("manifests/v1")),
    [...Array(101).fill(200), 429],
  ],
  "no-mount": [mount("&from=team/app"), 202],
  "mount-needs-from": [mount(""), 400],
  "mount-within-host": [mount("&from=ghcr.io/team/app"), 400],
  "no-single-post": [push(one), 202],
  "no-chunks": [each(upload(chunk(0, one)), upload(stream(one), end(one))), [[416], [202, 201]]],
  "chunk-maximum": [
    each(upload(chunk(0, megabytes)), upload(stream(one)), upload(chunk(0, one), end(one))),
    [[416], [416], [202, 201]],
  ],
  "chunk-minimum": [
    each(
      upload(chunk(0, one), chunk(100, two)),
      upload(chunk(0, megabytes), end(Buffer.concat([megabytes, one]), one)),
      at("blobs/uploads/", header("oci-chunk-min-length"), { method: "POST" }),
    ),
    [[202, 416], [202, 201], "1048576"],
  ],
  "no-put-body": [each(upload(end(one, one)), upload(stream(one), end(one))), [[404], [202, 201]]],
  "no-empty-put": [
    each(upload(chunk(0, one), end(one)), upload(chunk(0, one), end(both, two))),
    [
      [202, 500],
      [202, 201],
    ],
  ],
  "absolute-location": [
    at("blobs/uploads/", (response) => response.headers.get("location")?.slice(0, 7), { method: "POST" }),
    "http://",
  ],
  "location-state": [
    async (registry) => {
      const first = await registry.startUpload();
      const again = (location: string) => to(location, registry, { method: "PATCH", body: one });
      return [await upload(stream(one), end(one))(registry), (await again(first)).status, (await again(first)).status];
    },
    [[202, 201], 202, 400],
  ],
  "upload-elsewhere": [
    each(
      at("blobs/uploads/", (response) => response.headers.get("location")?.slice(0, 17), { method: "POST" }),
      upload(stream(one), end(one)),
    ),
    ["http://localhost:", [202, 201]],
  ],
  "no-delete": [
    each(del("manifests/v1"), del(`manifests/${subject.digest}`)),
    [
      [405, "UNSUPPORTED"],
      [405, "UNSUPPORTED"],
    ],
  ],
  "untag-first": [del(`manifests/${subject.digest}`), [400, "DENIED"]],
  "existing-only": [each(mount("&from=team/app"), push(one)), [404, 201]],
  "manifest-limit": [put("v3", { ...manifest, annotations: { large: "x".repeat(5_000_000) } }), 413],
  "layer-limit": [put("v3", { ...manifest, layers: many }), 405],
  "no-docker-types": [
    put("v3", { ...manifest, mediaType: mediaTypes.dockerManifest }, undefined, mediaTypes.dockerManifest),
    415,
  ],
  "images-only": [
    each(
      put("v3", manifest),
      putIndex("v4", index),
      put("v5", { ...manifest, config: { ...config, mediaType: mediaTypes.config } }),
    ),
    [400, 201, 201],
  ],
  "strict-platform": [putIndex("v3", { ...index, manifests: [{ ...subject, platform }] }), 400],
  "immutable-tags": [each(put("v3", manifest), put("v3", manifest)), [201, 400]],
  "fixed-tag-type": [each(put("v1", manifest), putIndex("v1", index)), [201, 400]],
  "endless-pages": [
    each(
      at("tags/list", header("link")),
      at(
        "tags/list?last=endless-7",
        json(({ tags }) => tags),
      ),
      at("tags/list?last=endless-7", header("link")),
      at(`${referrers}?last=endless-7`, header("link")),
    ),
    [
      '</v2/team/app/tags/list?last=endless-1>; rel="next"',
      ["endless-7"],
      '</v2/team/app/tags/list?last=endless-8>; rel="next"',
      expect.stringContaining("last=endless-8"),
    ],
  ],
  "same-page": [at("tags/list?n=9", header("link")), '</v2/team/app/tags/list?n=9>; rel="next"'],
  "foreign-pages": [at("tags/list", header("link")), expect.stringMatching(/^<http:\/\/localhost:/)],
  "tags-page": [
    at(
      "tags/list",
      json(({ tags }) => tags),
    ),
    ["v1"],
  ],
  "null-tags": [
    at(
      "/v2/team/empty/tags/list",
      json(({ tags }) => tags),
    ),
    null,
  ],
  redirect: [each(at(blob), at(blob, digest, { redirect: "follow" })), [307, digestOf(large)]],
  "redirect-login": [at(blob, undefined, { redirect: "follow" }), 401],
  "redirect-loop": [at(blob, header("location")), `/v2/team/app/${blob}`],
  "long-token": [at("/v2/", undefined, { headers: { Authorization: `Bearer ${"x".repeat(6100)}` } }), 400],
  "no-push": [
    each(at("blobs/uploads/", statusAndCode, { method: "POST" }), at("manifests/v1")),
    [[403, "DENIED"], 200],
  ],
  "path-depth": [at("/v2/short/tags/list"), 401],
};

/** Asking for a login is tested in fault-logins.test.ts, whole registries in fault-registries.test.ts. */
const elsewhere = /^(basic|bearer.*|hidden|ghcr|hub|ecr|gar|acr|quay|gitlab|harbor|artifactory|zot|distribution)$/;

describe("a fault", () => {
  it("has a test, whichever it is", () => {
    const tested = faultNames.map(({ name }) => name).filter((name) => !elsewhere.test(name));
    expect(Object.keys(table).sort()).toEqual(tested.sort());
  });

  it.each(Object.entries(table))(
    "%s shows to a client, and only where it is asked for",
    async (name, [probe, expected]) => {
      const sound = await startRegistry({ store: memoryStore(), sparse: true });
      const store = memoryStore();
      const filler = await startRegistry({ store, sparse: true });
      for (const registry of [sound, filler]) {
        await fill(registry);
        await registry.request("/v2/team/empty/blobs/uploads/", { method: "POST" });
      }
      const faults = await startRegistry({ store, sparse: true, layers: faulty([name]) });
      const seen = await probe(faults);
      expect(seen).toEqual(expected);
      expect(await probe(sound)).not.toEqual(seen);
      expect(faults.failures).toEqual([]);
    },
  );

  it("that is none fails with the names of those there are", () => {
    expect(() => faulty(["nonsense"])).toThrow(
      expect.objectContaining({ code: "INVALID", hint: expect.stringContaining("ghcr") }),
    );
    for (const text of ["drop=0", "drop=x", "drop=1=2", "html=1", "__proto__"]) {
      expect(() => faulty([text])).toThrow(expect.objectContaining({ code: "INVALID" }));
    }
  });

  it("takes its number, and acts together with others", async () => {
    const registry = await startRegistry({ sparse: true, layers: faulty(["busy=1", "no-digest-header"]) });
    expect(await each(at("/v2/"), at("/v2/"))(registry)).toEqual([429, 200]);
    expect(await put("v1", manifest, header("docker-content-digest"))(registry)).toBe(null);
  });

  it("does not keep a server from closing", async () => {
    const store = memoryStore();
    await fill(await startRegistry({ store, sparse: true }));
    for (const name of ["stall", "slow=1000", "redirect", "foreign-pages"]) {
      const registry = await startRegistry({ store, layers: faulty([name]) });
      const response = await registry.request(blob);
      const [left] = await Promise.all([response.arrayBuffer().catch(() => "broken off"), registry.server.close()]);
      expect([left === "broken off", name]).toEqual([name === "stall" || name === "slow=1000", name]);
    }
  });
});
