import {
  type AttachOptions,
  type AttachResult,
  annotationKeys,
  attach,
  createdAt,
  type Location,
  type Platform,
  parseAttachedFile,
  selectPlatform,
} from "@stowage/layout";
import { resolveLocation, withTarget } from "@stowage/registry";
import { annotations, flag, InputError, lines, parsed, required, text } from "./inputs.js";
import { locationOf, platform, registries } from "./locations.js";
import { formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { run } from "./run.js";
import { writeSummary } from "./summary.js";

await run("attach", async ({ signal }) => {
  const { subject, platform, options, summary } = readInputs();
  const reach = registries(signal);
  const open = { ...reach.open, mustExist: true };
  try {
    const result = await withTarget(subject, open, async (target) => {
      const { descriptor: root } = await resolveLocation(target, subject, open);
      const image = platform === undefined ? root : await selectPlatform(target, root, platform, open);
      return attach(target, image, { ...options, signal });
    });
    await report(result, subject, summary);
  } finally {
    await reach.close();
  }
});

interface AttachInputs {
  readonly subject: Location;
  readonly platform: Platform | undefined;
  readonly options: AttachOptions;
  readonly summary: boolean;
}

function readInputs(): AttachInputs {
  const subject = locationOf("subject", required("subject"));
  if (subject.kind === "oci-archive" || subject.kind === "docker-archive") {
    throw new InputError("subject", "nothing can be attached inside an archive", {
      hint: "Attach to the image in its layout, before it goes into the archive.",
    });
  }
  return {
    subject,
    platform: platform("platform"),
    options: {
      files: lines("files").map(parseAttachedFile),
      artifactType: text("artifact-type"),
      annotations: annotations("annotations"),
      created: parsed("created", () => createdAt(text("created"))),
      tag: text("tag"),
    },
    summary: flag("summary", true),
  };
}

async function report(result: AttachResult, location: Location, summary: boolean): Promise<void> {
  const { descriptor, subject, artifactType, files } = result;
  setOutputs({
    digest: descriptor.digest,
    descriptor,
    reference: pinned(untagged(location), descriptor),
    "subject-digest": subject.digest,
    "artifact-type": artifactType,
    files,
  });
  const titles = files.map(
    (file) => `${file.annotations?.[annotationKeys.title] ?? file.digest} (${formatSize(file.size)})`,
  );
  const what = [artifactType, descriptor.digest, ...(titles.length === 0 ? [] : [`with ${titles.join(", ")}`])];
  info(`attached ${what.join(" ")} to ${pinned(location, subject)}`);
  if (!summary) return;
  await writeSummary({
    heading: "Referrer attached",
    columns: ["Subject", "Artifact type", "Digest", "Files"],
    rows: [[pinned(location, subject), artifactType, descriptor.digest, titles.join(", ")]],
  });
}

/** The tag is the subject's. */
function untagged(location: Location): Location {
  if (location.kind !== "registry") return { kind: location.kind, path: location.path };
  const { host, repository } = location.reference;
  return { kind: "registry", reference: { host, repository } };
}
