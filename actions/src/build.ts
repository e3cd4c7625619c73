import { readFileSync } from "node:fs";
import {
  type ArtifactBuildResult,
  type BaseImage,
  type BuildArtifactOptions,
  type BuildDestination,
  type BuildOptions,
  type BuildResult,
  build,
  buildArtifact,
  buildIndex,
  buildInto,
  compressions,
  type IndexBuildResult,
  parseFileList,
  parseHealthcheck,
  parseMapping,
} from "@stowage/image";
import {
  createdAt,
  formatLocation,
  formatPlatform,
  type Location,
  type Platform,
  parseAttachedFile,
  parsePlatform,
  systemError,
} from "@stowage/layout";
import { type OpenOptions, resolveLocation, withSource, withTarget } from "@stowage/registry";
import {
  argv,
  atLeastOne,
  choice,
  flag,
  InputError,
  leveledAnnotations,
  lines,
  names,
  pairs,
  parsed,
  text,
  whole,
} from "./inputs.js";
import { locationOf, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";

type Built = BuildResult | IndexBuildResult | ArtifactBuildResult;

await run("build", async ({ signal }) => {
  const inputs = readInputs();
  const reach = registries(signal);
  try {
    const result = await withBase(inputs.base, reach.open, (base) =>
      buildInto<Built>(
        destinations(inputs, reach.open),
        (target, { tags }) => {
          const { artifact, platforms, options } = inputs;
          if (artifact !== undefined) return buildArtifact(target, { ...artifact, tags, signal });
          const [platform] = platforms;
          return platform !== undefined && (platforms.length > 1 || inputs.index)
            ? buildIndex(target, { ...options, platforms: [platform, ...platforms.slice(1)], base, tags, signal })
            : build(target, { ...options, platform, base, tags, signal });
        },
        { signal, scratch: process.env.RUNNER_TEMP || undefined },
      ),
    );
    await report(result, inputs);
  } finally {
    await reach.close();
  }
});

interface BuildInputs {
  readonly targets: readonly [Location, ...Location[]];
  readonly tags: readonly string[];
  readonly base: Location | undefined;
  readonly platforms: readonly Platform[];
  readonly index: boolean;
  readonly options: BuildOptions;
  /** Where an artifact is to be made. */
  readonly artifact: BuildArtifactOptions | undefined;
  readonly summary: boolean;
}

function readInputs(): BuildInputs {
  const base = text("base");
  const [first, ...others] = atLeastOne("target", lines("target"));
  const targets = [locationOf("target", first), ...others.map((value) => locationOf("target", value))] as const;
  const tags = names("tags");
  if (tags.length > 0 && targets[0].kind !== "layout") {
    throw new InputError("tags", `${formatLocation(targets[0])} is no layout, and only a layout gets more tags`, {
      hint: "Name a layout first in target, or a target for each tag.",
    });
  }
  const platforms = names("platform").map((value) => parsed("platform", () => parsePlatform(value)));
  const index = flag("index", false);
  if (index && platforms.length === 0) throw new InputError("platform", "an index needs to know what its image is for");
  const files = [...lines("files"), ...listed("files-from")];
  const artifactType = text("artifact-type");
  const config = text("config");
  const isArtifact = (artifactType ?? config) !== undefined;
  const isIndex = index || platforms.length > 1;
  // docker/metadata-action writes levels for whatever may be built.
  const annotations = leveledAnnotations("annotations").filter(({ level }) => isIndex || !level.startsWith("index"));
  const dataMax = whole("data-max");
  const options = imageInputs(isArtifact ? [] : files);
  return {
    targets,
    tags,
    base: base === undefined ? undefined : locationOf("base", base),
    platforms,
    index,
    options: { ...options, annotations, dataMax },
    artifact: isArtifact
      ? {
          files: files.map(parseAttachedFile),
          artifactType,
          config: config === undefined ? undefined : parseAttachedFile(config),
          annotations,
          dataMax,
        }
      : undefined,
    summary: flag("summary", true),
  };
}

/** What the image is made of. */
function imageInputs(files: readonly string[]): BuildOptions {
  const created = parsed("created", () => createdAt(text("created")));
  const [createdBy, comment, author] = [text("created-by"), text("comment"), text("author")];
  return {
    files: files.map((value) => parsed("files", () => parseMapping(value))),
    layers: lines("layer"),
    split: flag("split-layers", false),
    cwd: text("directory"),
    ignore: [...listed("ignore-file"), ...lines("ignore")],
    created: created === undefined ? undefined : new Date(created),
    history: {
      ...(createdBy === undefined ? {} : { created_by: createdBy }),
      ...(author === undefined ? {} : { author }),
      ...(comment === undefined ? {} : { comment }),
    },
    compression: choice("compression", compressions),
    level: whole("compression-level"),
    modes: flag("keep-modes", false) ? "exact" : "normal",
    xattrs: flag("keep-xattrs", false),
    ...ownerInput(),
    author,
    ...configInputs(),
  };
}

function ownerInput(): Pick<BuildOptions, "uid" | "gid"> {
  const owner = text("owner");
  if (owner === undefined) return {};
  const match = /^([0-9]{1,10}):([0-9]{1,10})$/.exec(owner);
  if (match === null) throw new InputError("owner", `${JSON.stringify(owner)} is not UID:GID`);
  return { uid: Number(match[1]), gid: Number(match[2]) };
}

/** The lines of the file that an input names. */
function listed(input: string): readonly string[] {
  const path = text(input);
  if (path === undefined) return [];
  try {
    return parseFileList(readFileSync(path, "utf8"));
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}

/** What the image runs, and how. */
function configInputs(): Partial<BuildOptions> {
  return {
    entrypoint: argv("entrypoint"),
    cmd: argv("cmd"),
    env: lines("env"),
    workdir: text("workdir"),
    user: text("user"),
    labels: pairs("labels"),
    exposedPorts: lines("expose"),
    volumes: lines("volume"),
    stopSignal: text("stop-signal"),
    healthcheck: parsed("healthcheck", () =>
      parseHealthcheck({
        test: text("healthcheck")?.startsWith("[") === true ? [text("healthcheck") ?? ""] : lines("healthcheck"),
        interval: text("health-interval"),
        timeout: text("health-timeout"),
        startPeriod: text("health-start-period"),
        retries: text("health-retries"),
      }),
    ),
  };
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
  });
}
