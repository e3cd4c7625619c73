import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Descriptor,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  Layout,
  mediaTypes,
  plainDescriptor,
} from "@stowage/layout";
import { onTestFinished } from "vitest";
import { directoryStore, layoutStore, memoryStore, type ServeOptions, type Store, serve } from "../src/index.js";

/** A directory that is removed when the test has finished. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "stowage-server-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** The kinds of store, each empty. */
export const stores: Readonly<Record<string, () => Promise<Store>>> = {
  memory: async () => memoryStore(),
  layout: async () =>
    layoutStore(await Layout.create(join(await temporaryDirectory(), "layout")), { repository: "team/app" }),
  directory: async () => directoryStore(await temporaryDirectory()),
};

/** A server that is closed when the test has finished, and the API of one repository on it. */
export async function startRegistry(options: Partial<ServeOptions> = {}, repository = "team/app") {
  const failures: unknown[] = [];
  const server = await serve({
    store: memoryStore(),
    onError: (error) => failures.push(error),
    ...options,
  });
  onTestFinished(() => server.close());
  const base = `${server.url}/v2/${repository}`;
  const request = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(path.startsWith("/v2/") ? server.url + path : `${base}/${path}`, init);
  return {
    server,
    failures,
    request,
    /** Pushes a blob in one POST and says what it is. */
    async pushBlob(bytes: Uint8Array, mediaType: string = mediaTypes.octetStream): Promise<Descriptor> {
      const descriptor = descriptorOf(bytes, mediaType);
      const response = await request(`blobs/uploads/?digest=${descriptor.digest}`, { method: "POST", body: bytes });
      if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
      return descriptor;
    },
    putManifest(reference: string, bytes: Uint8Array, mediaType: string = mediaTypes.manifest): Promise<Response> {
      return request(`manifests/${reference}`, {
        method: "PUT",
        body: bytes,
        headers: { "Content-Type": mediaType },
      });
    },
    /** Opens an upload and returns its location. */
    async startUpload(): Promise<string> {
      const response = await request("blobs/uploads/", { method: "POST" });
      return response.headers.get("location") as string;
    },
  };
}

export type Registry = Awaited<ReturnType<typeof startRegistry>>;

/** Some bytes that are no other content: `text` repeated up to `size`. */
export function content(text: string, size = text.length): Uint8Array {
  return Buffer.alloc(size, text);
}

/** An artifact without config and blobs, told from others by its annotation. Its bytes. */
export function artifact(text: string, extra: { subject?: Descriptor; artifactType?: string } = {}): Uint8Array {
  return encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: extra.artifactType ?? "application/example",
    config: emptyDescriptor,
    layers: [emptyDescriptor],
    ...(extra.subject === undefined ? {} : { subject: plainDescriptor(extra.subject) }),
    annotations: { text },
  });
}

/** Pushes an {@link artifact} under a tag or, without one, its digest. */
export async function pushArtifact(
  registry: Registry,
  text: string,
  extra: { tag?: string; subject?: Descriptor; artifactType?: string } = {},
): Promise<Descriptor> {
  await registry.pushBlob(emptyBytes);
  const bytes = artifact(text, extra);
  const descriptor = descriptorOf(bytes, mediaTypes.manifest);
  const response = await registry.putManifest(extra.tag ?? descriptor.digest, bytes);
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  return descriptor;
}

/** The code of the error in a response. */
export async function errorCode(response: Response): Promise<string | undefined> {
  const body = (await response.json()) as { errors?: { code?: string; message?: string }[] };
  return body.errors?.[0]?.code;
}
