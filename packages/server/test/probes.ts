import { type Descriptor, descriptorOf, digestOf, emptyBytes, encodeJson, mediaTypes } from "@stowage/layout";
import { artifact, content, errorCode, type Registry } from "./registry.js";

export const large = content("large", 200_000);
export const blob = `blobs/${digestOf(large)}`;
export const image = artifact("image");
export const subject = descriptorOf(image, mediaTypes.manifest);
export const referrers = `referrers/${subject.digest}`;
export const config = descriptorOf(emptyBytes, mediaTypes.empty);
export const artifactType = "application/example";
export const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, artifactType, config, layers: [] };
export const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] as unknown[] };

/** Fills a registry with an image under two tags, two referrers and a blob. */
export async function fill(registry: Registry): Promise<void> {
  await registry.pushBlob(large);
  for (const reference of ["v1", "v2"]) await registry.putManifest(reference, image);
  for (const text of ["one", "two"]) {
    const bytes = artifact(text, { subject });
    await registry.putManifest(digestOf(bytes), bytes);
  }
}

/** What a request shows: its status or the way it ended, or what `look` finds in the answer. */
export type Look = (response: Response) => unknown;

export const at =
  (path: string, look: Look = ({ status }) => status, init: RequestInit = {}) =>
  async (registry: Registry): Promise<unknown> => {
    try {
      const signal = AbortSignal.timeout(2000);
      return await look(await registry.request(path, { redirect: "manual", signal, ...init }));
    } catch {
      return "no answer";
    }
  };
export const head = (path: string, look?: Look) => at(path, look, { method: "HEAD" });
export const header =
  (name: string): Look =>
  ({ headers }) =>
    headers.get(name);
export const size: Look = async (response) => (await response.arrayBuffer()).byteLength;
export const digest: Look = async (response) => digestOf(Buffer.from(await response.arrayBuffer()));
export const json =
  (pick: (value: Record<string, unknown[]>) => unknown): Look =>
  async (response) =>
    pick((await response.json()) as Record<string, unknown[]>);
export const statusAndCode: Look = async (response) => [response.status, await errorCode(response)];

export const put = (reference: string, value: unknown, look?: Look, mediaType: string = mediaTypes.manifest) =>
  at(`manifests/${reference}`, look, {
    method: "PUT",
    body: encodeJson(value),
    headers: { "Content-Type": mediaType },
  });
export const putIndex = (reference: string, value: unknown, look?: Look) =>
  put(reference, value, look, mediaTypes.index);

/** The statuses of several requests in a row. */
export const each =
  (...probes: ((registry: Registry) => Promise<unknown>)[]) =>
  async (registry: Registry): Promise<unknown> => {
    const seen: unknown[] = [];
    for (const probe of probes) seen.push(await probe(registry));
    return seen;
  };
export const twenty = each(...Array.from({ length: 20 }, () => at("/v2/")));
export const mount = (query: string) =>
  at(`/v2/new/one/blobs/uploads/?mount=${digestOf(large)}${query}`, undefined, { method: "POST" });

/** An upload: its requests after the first one, with the location as the registry gave it. */
export const upload =
  (...steps: ((location: string, registry: Registry) => Promise<Response>)[]) =>
  async (registry: Registry): Promise<unknown> => {
    let location = await registry.startUpload();
    const statuses: number[] = [];
    for (const step of steps) {
      const response = await step(location, registry);
      statuses.push(response.status);
      location = response.headers.get("location") ?? location;
    }
    return statuses;
  };
export const to = (location: string, registry: Registry, init: RequestInit): Promise<Response> =>
  fetch(new URL(location, registry.server.url), init);
export const chunk = (start: number, bytes: Uint8Array) => (location: string, registry: Registry) =>
  to(location, registry, {
    method: "PATCH",
    body: bytes,
    headers: { "Content-Range": `${start}-${start + bytes.byteLength - 1}` },
  });
export const stream = (bytes: Uint8Array) => (location: string, registry: Registry) =>
  to(location, registry, { method: "PATCH", body: bytes });
export const end = (whole: Uint8Array, last?: Uint8Array) => (location: string, registry: Registry) =>
  to(`${location}${location.includes("?") ? "&" : "?"}digest=${digestOf(whole)}`, registry, {
    method: "PUT",
    ...(last === undefined ? {} : { body: last }),
  });
export const [one, two] = [content("one", 100), content("two", 100)];
export const both = Buffer.concat([one, two]);
export const megabytes = content("m", 5 * 1024 * 1024);

export const withSubject = (of: Descriptor): unknown => ({ ...manifest, subject: of });
export const platform = { os: "linux", architecture: "amd64", "example.extra": "x" };
export const many = Array.from({ length: 4201 }, () => config);
export const del = (path: string) => at(path, statusAndCode, { method: "DELETE" });
export const push = (bytes: Uint8Array) =>
  at(`blobs/uploads/?digest=${digestOf(bytes)}`, undefined, { method: "POST", body: bytes });
