import {
  type BaseImage,
  type BuildDestination,
  type BuildOptions,
  type BuildResult,
  buildInto,
  compressions,
  parseMapping,
} from "@stowage/image";
import { createdAt, formatLocation, formatPlatform, type Location } from "@stowage/layout";
import { type OpenOptions, resolveLocation, withSource, withTarget } from "@stowage/registry";
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
  text,
} from "./inputs.js";
import { locationOf, platform, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";

await run("build", async ({ signal }) => {
  const inputs = readInputs();
  const reach = registries(signal);
  try {
    const result = await withBase(inputs.base, reach.open, (base) =>
      buildInto(destinations(inputs, reach.open), {
        ...inputs.options,
        base,
        signal,
        scratch: process.env.RUNNER_TEMP || undefined,
      }),
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
  readonly summary: boolean;
}

function readInputs(): BuildInputs {
  const created = parsed("created", () => createdAt(text("created")));
  const base = text("base");
  const [first, ...others] = atLeastOne("target", lines("target"));
  const targets = [locationOf("target", first), ...others.map((value) => locationOf("target", value))] as const;
  const tags = names("tags");
  if (tags.length > 0 && targets[0].kind !== "layout") {
    throw new InputError("tags", `${formatLocation(targets[0])} is no layout, and only a layout gets more tags`, {
      hint: "Name a layout first in target, or a target for each tag.",
    });
  }
  const options: BuildOptions = {
    files: lines("files").map((value) => parsed("files", () => parseMapping(value))),
    layers: lines("layer").map((tar) => ({ tar })),
    cwd: text("directory"),
    ignore: lines("ignore"),
    platform: platform("platform"),
    annotations: annotations("annotations"),
    created: created === undefined ? undefined : new Date(created),
    compression: choice("compression", compressions),
    modes: flag("keep-modes", false) ? "exact" : "normal",
    ...configInputs(),
  };
  return {
    targets,
    tags,
    base: base === undefined ? undefined : locationOf("base", base),
    options,
    summary: flag("summary", true),
  };
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
  });
}
