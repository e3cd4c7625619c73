import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as core from "@actions/core";
import {
  type CopyReport,
  copy,
  formatPlatform,
  formatReference,
  hostPlatform,
  isIndexType,
  type Location,
  type Platform,
  parseReference,
  selectPlatform,
} from "@stowage/layout";
import { type OpenOptions, resolveLocation, withSource, withTarget } from "@stowage/registry";
import { type Login, loginFor, readAccount } from "./credentials.js";
import { choice, flag, InputError, names, parsed, required, text } from "./inputs.js";
import { locationOf, platform, registries } from "./locations.js";
import { formatSize, info } from "./log.js";
import { setOutputs } from "./outputs.js";
import { runProgram } from "./program.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";
import { Tally } from "./tally.js";

await run("load", async ({ signal }) => {
  const inputs = readInputs();
  const reach = registries(signal, inputs.login);
  const scratch = await mkdtemp(join(process.env.RUNNER_TEMP || tmpdir(), "stowage-load-"));
  try {
    const tally = new Tally();
    const archive = inputs.archive ?? { kind: "docker-archive", path: join(scratch, "image.tar") };
    const { report, chosen } = await core.group("Writing the archive", () => write(inputs, archive, reach.open, tally));
    const { descriptor } = report;
    await hand(inputs, archive.path, signal);
    setOutputs({
      digest: descriptor.digest,
      descriptor,
      images: inputs.images,
      image: inputs.images[0] ?? "",
      platform: chosen === undefined ? "" : formatPlatform(chosen),
      archive: inputs.archive === undefined ? "" : archive.path,
      ...tally.outputs(),
    });
    const where = inputs.into === "archive" ? archive.path : inputs.into;
    info(`loaded ${inputs.images.join(", ")} ${descriptor.digest} into ${where}`);
    if (!inputs.summary) return;
    await writeSummary({
      heading: "Image loaded",
      columns: ["Image", "Into", "Platform", "Digest", "Size"],
      rows: inputs.images.map((image) => [
        image,
        where,
        chosen === undefined ? "all" : formatPlatform(chosen),
        descriptor.digest,
        formatSize(report.bytes),
      ]),
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
    await reach.close();
  }
});

interface LoadInputs {
  readonly source: Location;
  readonly into: "docker" | "kind" | "archive";
  readonly cluster: string;
  /** Where the archive stays; undefined where it goes away again. */
  readonly archive: (Location & { readonly path: string }) | undefined;
  readonly images: readonly string[];
  readonly platform: Platform | undefined;
  readonly referrers: "all" | "none";
  readonly login: Login | undefined;
  readonly summary: boolean;
}

function readInputs(): LoadInputs {
  const account = readAccount();
  const source = locationOf("source", required("source"));
  const into = choice("into", ["docker", "kind", "archive"]);
  const archive = archiveInput();
  if ((into === "archive") !== (archive !== undefined))
    throw new InputError(
      "archive",
      archive === undefined ? "it is required with into: archive" : `${into} takes none`,
      {
        hint: "Write into: archive together with archive: image.tar, or leave both out.",
      },
    );
  const cluster = text("cluster") ?? "kind";
  if (!/^[a-z0-9.-]+$/.test(cluster))
    throw new InputError("cluster", `${JSON.stringify(cluster)} is no name of a kind cluster`, {
      hint: "It has lower-case letters, digits, dots and hyphens.",
    });
  const given = names("name").map((value) => parsed("name", () => formatReference(parseReference(value))));
  return {
    source,
    into,
    cluster,
    archive,
    images: given.length > 0 ? given : [nameOf(source)],
    platform: platform("platform"),
    referrers: text("referrers") === undefined && into === "archive" ? "all" : choice("referrers", ["none", "all"]),
    login: loginFor(account, [], [source]),
    summary: flag("summary", true),
  };
}

/** `FILE`, which `docker load` can read, or a location of an archive. */
function archiveInput(): LoadInputs["archive"] {
  const value = text("archive");
  if (value === undefined) return undefined;
  const location = locationOf("archive", /^(?:oci|docker)-archive:/.test(value) ? value : `docker-archive:${value}`);
  if (location.kind !== "oci-archive" && location.kind !== "docker-archive")
    throw new InputError("archive", `${JSON.stringify(value)} is no archive`, { hint: "Write archive: image.tar." });
  return { kind: location.kind, path: location.path };
}

/** What an image is called by default: as where it comes from, where that is a whole name. */
function nameOf(source: Location): string {
  if (source.kind === "registry") {
    const { host, repository, tag = "latest" } = source.reference;
    return formatReference({ host, repository, tag });
  }
  if (source.tag !== undefined && /[/:]/.test(source.tag))
    return parsed("source", () => formatReference(parseReference(source.tag as string)));
  throw new InputError("name", `it is required: ${JSON.stringify(source.tag ?? "")} is no whole name of an image`, {
    hint: "Write what it is to be called, as name: acme/app:v1.",
  });
}

/** Copies the image into the archive: for a loader the one platform that it can run. */
function write(
  { source, images, platform, referrers }: LoadInputs,
  archive: Location & { readonly path: string },
  open: OpenOptions,
  tally: Tally,
): Promise<{ report: CopyReport; chosen: Platform | undefined }> {
  return withSource(source, open, async (opened) => {
    const { descriptor: root } = await resolveLocation(opened, source, open);
    const needsOne = archive.kind === "docker-archive" && isIndexType(root.mediaType);
    const chosen = platform ?? (needsOne ? hostPlatform() : root.platform);
    const image =
      chosen === undefined || !isIndexType(root.mediaType) ? root : await selectPlatform(opened, root, chosen, open);
    const report = await withTarget(archive, open, (target) =>
      copy(opened, target, image, { tags: images, referrers, onEvent: tally.onEvent, ...open }),
    );
    return { report, chosen };
  });
}

async function hand({ into, cluster }: LoadInputs, file: string, signal: AbortSignal): Promise<void> {
  if (into === "docker") await runProgram("docker", ["load", "--input", file], signal);
  if (into === "kind") await runProgram("kind", ["load", "image-archive", file, "--name", cluster], signal);
}
