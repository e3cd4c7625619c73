import { isDeepStrictEqual } from "node:util";
import { type Abortable, annotationKeys, type Digest, OciError } from "@stowage/layout";
import { type BaseImage, readBase } from "../base.js";
import { type ExecutionConfig, hasAlignedHistory, type ImageConfig, platformOf, sorted } from "../config.js";
import type { Image } from "../image.js";
import { changeConfig } from "./change-config.js";
import { historyByLayer, type MutableImage, type MutableLayer } from "./mutable-image.js";

/** The base that an image has, and the one it is to get. */
export interface Rebase {
  readonly from: BaseImage;
  readonly onto: BaseImage;
}

/** An image on another base, and the base it is on. */
export interface Rebased {
  readonly image: MutableImage;
  readonly base: Image;
}

/**
 * The image with the layers of the new base in the place of those of the old one, for its platform. What its config has from
 * the old base becomes what the new base has; what it has of its own stays. Fails with `CONFLICT` where the layers of the
 * old base are not its lowest, naming the first that differs, and as {@link readBase} does.
 */
export async function rebase(image: MutableImage, { from, onto }: Rebase, options: Abortable): Promise<Rebased> {
  const platform = platformOf(image.config);
  const old = await readBase(from, platform, options);
  const base = await readBase(onto, platform, options);
  checkPrefix(image, old);
  const steps = historyByLayer(base.config);
  const lower = base.layers.map(
    (descriptor, at): MutableLayer => ({
      descriptor,
      diffId: base.config.rootfs.diff_ids[at] as Digest,
      history: steps[at] ?? [],
    }),
  );
  const own = image.layers.slice(old.layers.length);
  // Steps of the old base behind its last layer stand before the first layer of its own.
  const oldLast = historyByLayer(old.config)[old.layers.length] ?? [];
  const between = { drop: oldLast.length, add: steps[base.layers.length] ?? [] };
  const [first, ...rest] = own;
  const rebased =
    first === undefined ? [] : [{ ...first, history: [...between.add, ...first.history.slice(between.drop)] }, ...rest];
  const lastSteps = first === undefined ? [...between.add, ...image.lastSteps.slice(between.drop)] : image.lastSteps;
  const { history: _history, ...config } = image.config;
  const keepsHistory = hasAlignedHistory(image.config) && hasAlignedHistory(base.config);
  return {
    base,
    image: {
      ...image,
      config: changeConfig(
        {
          ...(keepsHistory ? image.config : (config as ImageConfig)),
          ...platformOf(base.config),
          config: mergeConfigs(old.config.config ?? {}, base.config.config ?? {}, image.config.config ?? {}),
        },
        {},
      ),
      layers: [...lower, ...rebased],
      lastSteps,
      annotations: withBase(image, base, onto),
    },
  };
}

function checkPrefix(image: MutableImage, old: Image): void {
  for (const [at, diffId] of old.config.rootfs.diff_ids.entries()) {
    const own = image.layers[at]?.diffId;
    if (own === diffId) continue;
    throw new OciError(
      "CONFLICT",
      `${image.before.digest} is not built on ${old.descriptor.digest}: layer ${at + 1} of the base has the diff_id ${diffId}, that of the image ${own ?? "is not there"}`,
      { hint: "Name the base it was built on; its annotation org.opencontainers.image.base.digest may say which." },
    );
  }
}

function withBase(image: MutableImage, base: Image, onto: BaseImage): MutableImage["annotations"] {
  const { [annotationKeys.baseName]: name, ...others } = image.annotations;
  const known = onto.name ?? name;
  return sorted({
    ...others,
    [annotationKeys.baseDigest]: base.descriptor.digest,
    ...(known === undefined ? {} : { [annotationKeys.baseName]: known }),
  });
}

/** Three-way: a member that is as the old base had it becomes that of the new base. */
function mergeConfigs(old: ExecutionConfig, base: ExecutionConfig, own: ExecutionConfig): ExecutionConfig {
  const merged: Record<string, unknown> = {};
  for (const key of new Set([...Object.keys(base), ...Object.keys(own)]) as Set<keyof ExecutionConfig>) {
    const value = mergeMember(key, old[key], base[key], own[key]);
    if (value !== undefined) merged[key] = value;
  }
  return merged as ExecutionConfig;
}

function mergeMember(key: keyof ExecutionConfig, old: unknown, base: unknown, own: unknown): unknown {
  if (key === "Env") return mergeEnv(asList(old), asList(base), asList(own));
  if (key === "Labels" || key === "ExposedPorts" || key === "Volumes")
    return mergeMaps(asMap(old), asMap(base), asMap(own));
  return isDeepStrictEqual(own, old) ? base : own;
}

function asList(value: unknown): readonly string[] {
  return (value ?? []) as readonly string[];
}

function asMap(value: unknown): Readonly<Record<string, unknown>> {
  return (value ?? {}) as Readonly<Record<string, unknown>>;
}

/** Those of the new base first, as a build on it would have them. */
function mergeEnv(old: readonly string[], base: readonly string[], own: readonly string[]): unknown {
  const name = (text: string): string => text.slice(0, text.indexOf("="));
  const removed = old.filter((text) => !own.some((other) => name(other) === name(text))).map(name);
  const set = own.filter((text) => !old.includes(text));
  const merged = base
    .filter((text) => !removed.includes(name(text)))
    .map((text) => set.find((other) => name(other) === name(text)) ?? text);
  const result = [...merged, ...set.filter((text) => !merged.includes(text))];
  return result.length === 0 ? undefined : result;
}

function mergeMaps(
  old: Readonly<Record<string, unknown>>,
  base: Readonly<Record<string, unknown>>,
  own: Readonly<Record<string, unknown>>,
): unknown {
  const kept = Object.entries(base).filter(([key]) => !(Object.hasOwn(old, key) && !Object.hasOwn(own, key)));
  const set = Object.entries(own).filter(
    ([key, value]) => !(Object.hasOwn(old, key) && isDeepStrictEqual(old[key], value)),
  );
  const result = [...kept, ...set];
  return result.length === 0 ? undefined : sorted(Object.fromEntries(result));
}
