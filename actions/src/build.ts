import * as core from "@actions/core";
import {
  type ArtifactBuildResult,
  type BaseImage,
  type BuildDestination,
  type BuildEvent,
  type BuildResult,
  type BuiltImage,
  build,
  buildArtifact,
  buildIndex,
  buildInto,
  type IndexBuildResult,
} from "@stowage/image";
import { type Descriptor, formatLocation, formatPlatform, type Location } from "@stowage/layout";
import { type OpenOptions, resolveLocation, withSource, withTarget } from "@stowage/registry";
import { type BuildInputs, readInputs } from "./build-inputs.js";
import { registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { type Bar, sizePicture } from "./picture.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";

type Built = BuildResult | IndexBuildResult | ArtifactBuildResult;

await run("build", async ({ signal }) => {
  const inputs = readInputs();
  const reach = registries(signal, inputs.login);
  try {
    const result = await core.group("Building", () =>
      withBase(inputs.base, reach.open, (base) =>
        buildInto<Built>(
          destinations(inputs, reach.open),
          (target, { tags }) => {
            const { artifact, platforms } = inputs;
            const options = { ...inputs.options, onEvent: logEvent };
            if (artifact !== undefined) return buildArtifact(target, { ...artifact, tags, signal });
            const [platform] = platforms;
            return platform !== undefined && (platforms.length > 1 || inputs.index)
              ? buildIndex(target, { ...options, platforms: [platform, ...platforms.slice(1)], base, tags, signal })
              : build(target, { ...options, platform, base, tags, signal });
          },
          { signal, scratch: process.env.RUNNER_TEMP || undefined },
        ),
      ),
    );
    await report(result, inputs);
  } finally {
    await reach.close();
  }
});

function logEvent(event: BuildEvent): void {
  if (event.type === "base") info(`base ${event.descriptor.digest} ${formatPlatform(event.platform)}`);
  if (event.type === "layer") {
    const { digest, size } = event.result.descriptor;
    info(`layer ${event.layer + 1} ${digest} ${formatSize(size)}`);
  }
}

function withBase<T>(
  location: Location | undefined,
  open: OpenOptions,
  use: (base: BaseImage | undefined) => Promise<T>,
): Promise<T> {
  if (location === undefined) return use(undefined);
  return withSource(location, open, async (source) =>
    use({
      source,
      reference: (await resolveLocation(source, location, open)).descriptor,
      name: location.kind === "registry" ? formatLocation(location) : undefined,
    }),
  );
}

/** The targets as destinations; the tags of the input are for the first. */
function destinations({ targets, tags }: BuildInputs, open: OpenOptions): [BuildDestination, ...BuildDestination[]] {
  const [first, ...others] = targets.map(
    (location): BuildDestination => ({
      tags: location === targets[0] ? [...tagOf(location), ...tags] : tagOf(location),
      isLayout: location.kind === "layout",
      use: (work) => withTarget(location, open, work),
    }),
  );
  return [first as BuildDestination, ...others];
}

function tagOf(location: Location): string[] {
  const { tag } = location.kind === "registry" ? location.reference : location;
  return tag === undefined ? [] : [tag];
}

async function report(result: Built, { targets, tags, summary }: BuildInputs): Promise<void> {
  const { descriptor } = result;
  const images = "images" in result ? result.images : "platform" in result ? [result] : [];
  const system = images.map(({ platform }) => formatPlatform(platform)).join(",");
  const [first] = targets;
  const references = targets.map((target) => pinned(target, descriptor));
  setOutputs({
    digest: descriptor.digest,
    descriptor,
    reference: references[0],
    references,
    layout: first.kind === "layout" ? first.path : "",
    platform: system,
    platforms: Object.fromEntries(images.map((image) => [formatPlatform(image.platform), image.descriptor.digest])),
  });
  const blobs =
    "files" in result ? result.files : images.flatMap(({ layers }) => layers.map((layer) => layer.descriptor));
  const size = blobs.reduce((sum, blob) => sum + blob.size, 0);
  const what = "files" in result ? result.artifactType : system;
  const content = `${count(blobs.length, "files" in result ? "file" : "layer")}, ${formatSize(size)}`;
  for (const target of targets) info(`built ${formatLocation(target)} ${what} ${descriptor.digest} (${content})`);
  if (!summary) return;
  await writeSummary({
    heading: "files" in result ? "Artifact built" : "Image built",
    columns: [
      "Target",
      "Tags",
      "files" in result ? "Type" : "Platform",
      "Digest",
      "Size",
      "files" in result ? "Files" : "Layers",
    ],
    rows: targets.map((target, index) => [
      formatLocation(target),
      [...tagOf(target), ...(index === 0 ? tags : [])].join(", "),
      what,
      descriptor.digest,
      formatSize(size),
      String(blobs.length),
    ]),
    pictures: [sizePicture(images.length > 1 ? images.map(imageBar) : blobs.map(blobBar))],
  });
}

function imageBar({ platform, layers }: BuiltImage): Bar {
  return { label: formatPlatform(platform), bytes: layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0) };
}

function blobBar({ digest, size }: Descriptor, at: number): Bar {
  return { label: `${at + 1} ${digest.slice(0, 19)}`, bytes: size };
}
