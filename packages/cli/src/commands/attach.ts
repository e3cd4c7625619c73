import { statSync } from "node:fs";
import { type AttachedFile, annotationKeys, attach, createdAt, isMediaType, selectPlatform } from "@stowage/layout";
import { defineCommand, parsed, UsageError } from "../command.js";
import {
  locationArgument,
  openOptions,
  pairsArgument,
  platformArgument,
  resolveRoot,
  withRegistryOptions,
  withTarget,
} from "../locations.js";
import { formatSize, printJson, printLines } from "../output.js";
import { startProgress } from "../progress.js";

export const attachCommand = defineCommand({
  command: "attach <subject> [files..]",
  describe: "Attach files to an image as a referrer: an SBOM, a signature, a scan result",
  examples: [
    ["$0 attach oci:dist:v1 sbom.spdx.json", "Attach an SBOM to an image in a layout, offline"],
    [
      "$0 attach ghcr.io/acme/app:v1 scan.json:application/sarif+json --artifact-type application/sarif+json",
      "Attach a scan result in a registry",
    ],
  ],
  options: (yargs) =>
    withRegistryOptions(yargs)
      .positional("subject", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
      .positional("files", {
        type: "string",
        array: true,
        describe: "FILE[:MEDIATYPE]; without files the annotations are the message",
      })
      .option("artifact-type", {
        type: "string",
        requiresArg: true,
        describe: "What is attached, a media type [default: what the first file's name tells]",
      })
      .option("annotation", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "KEY=VALUE for the referrer's manifest",
      })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "Attach to the image for this platform inside an index",
      })
      .option("tag", { type: "string", requiresArg: true, describe: "Tag the referrer itself as well" })
      .option("created", {
        type: "string",
        requiresArg: true,
        describe: "Record this time, RFC 3339 or seconds or now [default: SOURCE_DATE_EPOCH, else none]",
      }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.subject);
    const platform = platformArgument(args.platform);
    const files = (args.files ?? []).map(fileArgument);
    const created = parsed(() => createdAt(args.created));
    const annotations = pairsArgument("annotation", args.annotation);
    if (location.kind === "oci-archive" || location.kind === "docker-archive") {
      throw new UsageError("cannot attach inside an archive", {
        hint: "Copy it into a layout, attach there, and copy it back.",
      });
    }
    const progress = startProgress(context, "attaching", args.quiet || args.json);
    const onBytes = (bytes: number): void => {
      progress.expect(bytes);
      progress.advance(bytes);
    };
    const result = await withTarget(location, { ...open, mustExist: true }, async (target) => {
      const { descriptor } = await resolveRoot(target, location, open);
      const subject = platform === undefined ? descriptor : await selectPlatform(target, descriptor, platform, open);
      return attach(target, subject, {
        files,
        artifactType: args.artifactType,
        annotations,
        created,
        tag: args.tag,
        signal: context.signal,
        onBytes,
      });
    }).finally(() => progress.stop());
    if (args.json) printJson(context, result);
    else if (args.quiet) printLines(context, [result.descriptor.digest]);
    else {
      printLines(context, [
        `${result.artifactType} attached to ${result.subject.digest}`,
        `  digest ${result.descriptor.digest}`,
        ...result.files.map(
          (file) =>
            `  file   ${file.annotations?.[annotationKeys.title] ?? file.digest} (${file.mediaType}, ${formatSize(file.size)})`,
        ),
      ]);
    }
    return 0;
  },
});

/** `FILE[:MEDIATYPE]`. A name that holds a colon and exists is a name. */
function fileArgument(text: string): AttachedFile {
  const colon = text.lastIndexOf(":");
  const mediaType = text.slice(colon + 1);
  const exists = statSync(text, { throwIfNoEntry: false }) !== undefined;
  if (exists || colon < 1 || !isMediaType(mediaType)) return { path: text };
  return { path: text.slice(0, colon), mediaType };
}
