import { existsSync, readFileSync } from "node:fs";
import * as core from "@actions/core";
import { type BuildDestination, compressions } from "@stowage/image";
import { createdAt, formatLocation, formatPlatform, hostPlatform, type Location, type Platform } from "@stowage/layout";
import {
  type Closure,
  type ExportOptions,
  type ExportResult,
  exportInto,
  layerings,
  type NixKey,
  parsePublicKey,
  readCacheDirectory,
  readExportFile,
  readGraphFile,
  readStore,
} from "@stowage/nix";
import { type OpenOptions, withTarget } from "@stowage/registry";
import { configInputs } from "./config-inputs.js";
import { contentsOf, picturesOf } from "./contents.js";
import { type Login, loginFor, readAccount } from "./credentials.js";
import { annotations, choice, flag, InputError, lines, parsed, required, text, wholeNumber } from "./inputs.js";
import { locationOf, platform, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";
import { insidePath } from "./workspace.js";

await run("nix-export", async ({ signal }) => {
  const inputs = readInputs();
  const reach = registries(signal, inputs.login);
  try {
    const closure = await inputs.read(signal);
    const scratch = process.env.RUNNER_TEMP || undefined;
    const result = await core.group("Exporting", () =>
      exportInto(destination(inputs.to, reach.open), closure, {
        ...inputs.options,
        signal,
        scratch,
        onEvent: (event) => {
          if (event.type !== "layer") return;
          const { digest, size } = event.layer.descriptor;
          info(`layer ${digest} ${count(event.paths, "path")} ${formatSize(size)}`);
        },
      }),
    );
    await report(result, inputs, reach.open);
  } finally {
    await reach.close();
  }
});

interface NixExportInputs {
  readonly to: Location;
  readonly read: (signal: AbortSignal) => Promise<Closure>;
  readonly options: Omit<ExportOptions, "tags" | "onEvent">;
  readonly platform: Platform;
  readonly login: Login | undefined;
  readonly summary: boolean;
}

function readInputs(): NixExportInputs {
  const account = readAccount();
  const read = closureInput();
  const to = locationOf("to", required("to"));
  if (to.kind === "docker-archive")
    throw new InputError("to", "a docker-archive cannot hold what says which store paths a layer has", {
      hint: "Write to: oci:out:v1, and load it from there.",
    });
  const chosen = platform("platform");
  const wide = text("wide") === undefined ? undefined : choice("wide", ["referrer", "index"]);
  return {
    to,
    read,
    options: {
      compression: choice("compression", compressions),
      trustedKeys: lines("trusted-key").map(keyOf),
      layering: text("layering") === undefined ? undefined : choice("layering", layerings),
      maxLayers: wholeNumber("max-layers"),
      wide,
      pathArtifacts: flag("per-path-artifacts", false),
      links: flag("links", true),
      annotations: annotations("annotations"),
      config: {
        ...configInputs(),
        created: parsed("created", () => createdAt(text("created"))),
        platform: chosen,
      },
    },
    platform: chosen ?? hostPlatform(),
    login: loginFor(account, [to]),
    summary: flag("summary", true),
  };
}

/** The inputs `from`, `roots` and `store-root`. A store path lies outside the workspace and names its content; no other path may. */
function closureInput(): (signal: AbortSignal) => Promise<Closure> {
  const from = required("from");
  const roots = lines("roots");
  const root = text("store-root");
  const storeRoot = root === undefined ? undefined : insidePath("store-root", root);
  const [, kind, path = ""] = /^([a-z]+)(?::(.*))?$/s.exec(from) ?? [];
  if (kind === "store" && path === "") {
    if (roots.length > 0) return (signal) => readStore(roots, { signal, storeRoot });
    throw new InputError("roots", "from: store needs at least one store path", { hint: "For example roots: ./result" });
  }
  if (path === "" || kind === undefined || !["cache", "export", "graph"].includes(kind))
    throw new InputError("from", `${JSON.stringify(from)} is not store, cache:DIR, export:FILE or graph:FILE`);
  if (storeRoot !== undefined && kind !== "graph")
    throw new InputError("store-root", "it goes with from: store and from: graph:FILE");
  insidePath("from", path);
  if (kind === "graph") return (signal) => readGraphFile(path, roots, { signal, storeRoot });
  return (signal) => (kind === "cache" ? readCacheDirectory : readExportFile)(path, roots, { signal });
}

/** `NAME:BASE64`, or a file with it. */
function keyOf(value: string): NixKey {
  const key = existsSync(value) ? readFileSync(insidePath("trusted-key", value), "utf8") : value;
  return parsed("trusted-key", () => parsePublicKey(key.trim()));
}

function destination(location: Location, open: OpenOptions): BuildDestination {
  const { tag } = location.kind === "registry" ? location.reference : location;
  return {
    tags: tag === undefined ? [] : [tag],
    isLayout: location.kind === "layout",
    use: (work) => withTarget(location, open, work),
  };
}

async function report(
  result: ExportResult,
  { to, platform, summary }: NixExportInputs,
  open: OpenOptions,
): Promise<void> {
  const { descriptor, image, layers, paths, packed, narSize } = result;
  const system = formatPlatform(platform);
  setOutputs({
    digest: descriptor.digest,
    descriptor,
    reference: pinned(to, descriptor),
    layout: to.kind === "layout" ? to.path : "",
    platforms: { [system]: image.digest },
    paths: String(paths),
    packed: String(packed),
    "nar-bytes": String(narSize),
  });
  const content = `${count(paths, "store path")}, ${formatSize(narSize)}, ${packed} compressed now`;
  info(`exported ${formatLocation(to)} ${descriptor.digest} (${count(layers.length, "layer")}; ${content})`);
  if (!summary) return;
  const pictures =
    to.kind === "layout"
      ? await withTarget(to, open, async (target) =>
          picturesOf(target, descriptor, await contentsOf(target, descriptor, open), open),
        )
      : [];
  await writeSummary({
    heading: "Nix closure exported",
    columns: ["Reference", "Platform", "Digest", "Paths", "Layers", "Size"],
    rows: [
      [
        formatLocation(to),
        system,
        descriptor.digest,
        `${paths}, ${packed} compressed now`,
        String(layers.length),
        formatSize(layers.reduce((sum, layer) => sum + layer.descriptor.size, 0)),
      ],
    ],
    pictures,
  });
}
