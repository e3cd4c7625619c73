import {
  type Content,
  contentOf,
  type Descriptor,
  descriptorOf,
  emptyBytes,
  emptyDescriptor,
  mediaTypes,
} from "@stowage/layout";

/** Text as a blob. */
export function blobOf(text: string | Uint8Array, mediaType: string = mediaTypes.layer): Content {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  return contentOf(bytes, descriptorOf(bytes, mediaType));
}

/** The empty blob that artifacts have as their config. */
export const emptyBlob: Content = contentOf(emptyBytes, {
  mediaType: mediaTypes.empty,
  digest: emptyDescriptor.digest,
  size: 2,
});

/** A manifest, with the given layers. */
export function manifestOf(layers: readonly Content[], extra: Record<string, unknown> = {}): Content {
  return jsonOf(
    {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: "application/vnd.example.thing",
      config: emptyBlob.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
      ...extra,
    },
    mediaTypes.manifest,
  );
}

/** A manifest without layers that refers to another. */
export function referrerOf(subject: Descriptor, name: string, artifactType = "application/vnd.example.note"): Content {
  return manifestOf([emptyBlob], { artifactType, subject, annotations: { "com.example.name": name } });
}

/** JSON as content. */
export function jsonOf(value: unknown, mediaType: string): Content {
  return blobOf(JSON.stringify(value), mediaType);
}

/** All of an async iterable. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = [];
  for await (const item of items) result.push(item);
  return result;
}

/** All bytes of a stream as text. */
export async function text(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  return Buffer.concat(await all(bytes)).toString();
}

/** The error a promise is rejected with. */
export async function failure(promise: Promise<unknown>): Promise<Error & { code?: string; hint?: string }> {
  return promise.then(
    () => {
      throw new Error("it did not fail");
    },
    (error) => error,
  );
}
