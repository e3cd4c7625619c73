import { isTag } from "@stowage/layout";
import { Refusal, refusalAnswer } from "../errors.js";
import type { Exchange } from "../exchange.js";
import type { Repository } from "../store.js";
import { bytesOf, jsonIn } from "./body.js";
import { type Fault, type Faults, isAbout, placeIn } from "./fault.js";

/** A push of a manifest, for a fault that looks into it. */
export interface ManifestPush {
  readonly mediaType: string;
  readonly size: number;
  /** A tag or digest. */
  readonly reference: string;
  /** The repository, where it is there already. */
  readonly repository: Repository | undefined;
}

/** A fault that refuses some manifests for what they hold. */
export function refusedManifest(
  does: string,
  refusal: (manifest: Record<string, unknown>, push: ManifestPush) => Promise<Refusal | undefined>,
): Fault {
  return {
    does,
    layer:
      () =>
      ({ store }) =>
      async (exchange, next) => {
        if (exchange.method !== "PUT" || !isAbout(exchange, "manifest")) return next();
        const bytes = Buffer.concat(await all(exchange));
        exchange.changeBody(() => bytesOf(bytes));
        const { repository: name = "", reference = "" } = placeIn(exchange) ?? {};
        const mediaType = exchange.header("content-type") ?? "";
        const repository = await store.repository(name).catch(() => undefined);
        const refused = await refusal(jsonIn(bytes) ?? {}, {
          mediaType,
          size: bytes.byteLength,
          reference,
          repository,
        });
        return refused === undefined ? next() : refusalAnswer(refused);
      },
  };
}

async function all(exchange: Exchange): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of exchange.body()) {
    size += chunk.byteLength;
    // The registry refuses what is larger still; it is told by what is here already.
    if (size > 64 * 1024 * 1024) break;
    chunks.push(chunk);
  }
  return chunks;
}

const PLATFORM_FIELDS: ReadonlySet<string> = new Set([
  "architecture",
  "os",
  "os.version",
  "os.features",
  "variant",
  "features",
]);
const IMAGE_CONFIGS: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
]);

/** Manifests that registries refuse although the specification has nothing against them. */
export const manifestFaults: Faults = {
  "manifest-limit": {
    does: "refuses a manifest of more than NUMBER bytes with 413",
    amount: 4 * 1024 * 1024,
    layer: (limit, options) =>
      refusedManifest("", async (_manifest, { size }) =>
        size > limit ? new Refusal(413, "SIZE_INVALID", `payload is larger than ${limit} bytes`) : undefined,
      ).layer(0, options),
  },
  "layer-limit": {
    does: "refuses an image with more than NUMBER layers with 405",
    amount: 4200,
    layer: (limit, options) =>
      refusedManifest("", async ({ layers }) =>
        Array.isArray(layers) && layers.length > limit ? new Refusal(405, "UNSUPPORTED", "too many layers") : undefined,
      ).layer(0, options),
  },
  "no-docker-types": refusedManifest(
    "refuses manifests of Docker's media types with 415",
    async (_manifest, { mediaType }) =>
      mediaType.startsWith("application/vnd.docker.")
        ? new Refusal(415, "MANIFEST_INVALID", "manifest media type is not supported")
        : undefined,
  ),
  "images-only": refusedManifest(
    "refuses what is no container image, by the type of the config",
    async ({ config, manifests }) => {
      const { mediaType } = (config ?? {}) as { mediaType?: unknown };
      return manifests !== undefined || IMAGE_CONFIGS.has(mediaType as string)
        ? undefined
        : new Refusal(400, "MANIFEST_INVALID", `unknown media type: ${JSON.stringify(mediaType)}`);
    },
  ),
  "strict-platform": refusedManifest(
    "refuses an index with a field in a platform that it does not know",
    async ({ manifests }) => {
      const platforms = Array.isArray(manifests) ? manifests.map((one) => Object.keys(one?.platform ?? {})) : [];
      const strange = platforms.flat().find((field) => !PLATFORM_FIELDS.has(field));
      return strange === undefined ? undefined : new Refusal(400, "MANIFEST_INVALID", `unknown field ${strange}`);
    },
  ),
  "immutable-tags": refusedManifest(
    "refuses to push a tag twice, also with the same manifest",
    async (_manifest, push) => {
      if (!isTag(push.reference) || push.repository === undefined) return undefined;
      const known = await push.repository.resolve(push.reference).then(
        () => true,
        () => false,
      );
      return known ? new Refusal(400, "DENIED", `the tag ${push.reference} is there and immutable`) : undefined;
    },
  ),
  "fixed-tag-type": refusedManifest(
    "refuses to move a tag to a manifest of another media type",
    async (_manifest, push) => {
      if (!isTag(push.reference) || push.repository === undefined) return undefined;
      const known = await push.repository.resolve(push.reference).catch(() => undefined);
      return known === undefined || known.mediaType === push.mediaType
        ? undefined
        : new Refusal(400, "MANIFEST_INVALID", "the tag stands for a manifest of another media type");
    },
  ),
};
