import { resolve } from "node:path";
import * as core from "@actions/core";
import {
  type BaseImage,
  type BuildDestination,
  type BuildEvent,
  type BuildOptions,
  type BuildResult,
  buildInto,
  compressions,
  type FileMapping,
  parseMapping,
} from "@stowage/image";
import { createdAt, formatLocation, formatPlatform, type Location, parseReference } from "@stowage/layout";
import { type OpenOptions, resolveLocation, withSource, withTarget } from "@stowage/registry";
import { type Login, loginFor, readAccount } from "./credentials.js";
import {
  annotations,
  argv,
  atLeastOne,
  choice,
  flag,
  InputError,
  lines,
  names,
  pairs,
  parsed,
  tagName,
  text,
} from "./inputs.js";
import { locationOf, platform, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { type Bar, sizePicture } from "./picture.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";
import { insidePath } from "./workspace.js";

await run("build", async ({ signal }) => {
  const inputs = readInputs();
  const reach = registries(signal, inputs.login);
  try {
    const result = await core.group("Building", () =>
      withBase(inputs.base, reach.open, (base) =>
        buildInto(destinations(inputs, reach.open), {
          ...inputs.options,
          base,
          signal,
          scratch: process.env.RUNNER_TEMP || undefined,
          onEvent: logEvent,
        }),
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
  readonly options: BuildOptions;
  readonly login: Login | undefined;
  readonly summary: boolean;
}

function readInputs(): BuildInputs {
  const account = readAccount();
  const created = parsed("created", () => createdAt(text("created")));
  const base = text("base");
  const [first, ...others] = atLeastOne("target", lines("target"));
  const targets = [locationOf("target", first), ...others.map((value) => locationOf("target", value))] as const;
  const tags = names("tags").map(checkedTag);
  if (tags.length > 0 && targets[0].kind !== "layout") {
    throw new InputError("tags", `${formatLocation(targets[0])} is no layout, and only a layout gets more tags`, {
      hint: "Name a layout first in target, or a target for each tag.",
    });
  }
  const directory = text("directory");
  const cwd = directory === undefined ? undefined : insidePath("directory", directory);
  const below = (input: string, path: string): string => {
    insidePath(input, resolve(cwd ?? ".", path));
    return path;
  };
  const options: BuildOptions = {
    files: lines("files").map((value) => fileOf(value, below)),
    layers: lines("layer").map((tar) => ({ tar: below("layer", tar) })),
    cwd,
    ignore: lines("ignore"),
    platform: platform("platform"),
    annotations: annotations("annotations"),
    created: created === undefined ? undefined : new Date(created),
    compression: choice("compression", compressions),
    modes: flag("keep-modes", false) ? "exact" : "normal",
    ...configInputs(),
  };
  const baseLocation = base === undefined ? undefined : locationOf("base", base);
  return {
    targets,
    tags,
    base: baseLocation,
    options,
    login: loginFor(account, targets, baseLocation === undefined ? [] : [baseLocation]),
    summary: flag("summary", true),
  };
}

/** A tag, or the whole name of an image, as docker/metadata-action writes them. */
function checkedTag(value: string): string {
  if (/[/:]/.test(value)) parsed("tags", () => parseReference(value));
  else tagName("tags", value);
  return value;
}

function fileOf(value: string, below: (input: string, path: string) => string): FileMapping {
  const mapping = parsed("files", () => parseMapping(value));
  below("files", mapping.source);
  return mapping;
}

function logEvent(event: BuildEvent): void {
  if (event.type === "base") info(`base ${event.descriptor.digest} ${formatPlatform(event.platform)}`);
  if (event.type === "layer") {
    const { digest, size } = event.result.descriptor;
    info(`layer ${event.layer + 1} ${digest} ${formatSize(size)}`);
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

async function report(result: BuildResult, { targets, tags, summary }: BuildInputs): Promise<void> {
  const { descriptor } = result;
  const system = formatPlatform(result.platform);
  const [first] = targets;
  const references = targets.map((target) => pinned(target, descriptor));
  setOutputs({
    digest: descriptor.digest,
    descriptor,
    reference: references[0],
    references,
    layout: first.kind === "layout" ? first.path : "",
    platform: system,
    platforms: { [system]: descriptor.digest },
  });
  const size = result.layers.reduce((sum, layer) => sum + layer.descriptor.size, 0);
  const layers = `${count(result.layers.length, "layer")}, ${formatSize(size)}`;
  for (const target of targets) info(`built ${formatLocation(target)} ${system} ${descriptor.digest} (${layers})`);
  if (!summary) return;
  await writeSummary({
    heading: "Image built",
    columns: ["Target", "Tags", "Platform", "Digest", "Size", "Layers"],
    rows: targets.map((target, index) => [
      formatLocation(target),
      [...tagOf(target), ...(index === 0 ? tags : [])].join(", "),
      system,
      descriptor.digest,
      formatSize(size),
      String(result.layers.length),
    ]),
    pictures: [sizePicture(result.layers.map(layerBar))],
  });
}

function layerBar({ descriptor }: BuildResult["layers"][number], at: number): Bar {
  return { label: `${at + 1} ${descriptor.digest.slice(0, 19)}`, bytes: descriptor.size };
}
