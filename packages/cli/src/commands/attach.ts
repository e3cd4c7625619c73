import {
  type AttachResult,
  annotationKeys,
  attach,
  createdAt,
  type Descriptor,
  findDescriptor,
  formatLocation,
  isManifestType,
  type Location,
  mediaTypes,
  OciError,
  parseAttachedFile,
  parseDigest,
  selectPlatform,
  type Target,
} from "@stowage/layout";
import { type OpenOptions, withTarget } from "@stowage/registry";
import { defineCommand, parsed, UsageError } from "../command.js";
import {
  elsewhereArgument,
  locationArgument,
  openOptions,
  pairsArgument,
  platformArgument,
  resolveRoot,
  withRegistryOptions,
} from "../locations.js";
import { formatSize, printJson, printLines } from "../output.js";
import { startProgress } from "../progress.js";
import { withReferrersTarget } from "../referrer-options.js";

export const attachCommand = defineCommand({
  command: "attach <location> [files..]",
  describe: "Attach files to an image as a referrer: an SBOM, a signature, a scan result",
  examples: [
    ["$0 attach oci:dist:v1 sbom.spdx.json", "Attach an SBOM to an image in a layout, offline"],
    [
      "$0 attach ghcr.io/acme/app:v1 scan.json:application/sarif+json --artifact-type application/sarif+json",
      "Attach a scan result in a registry",
    ],
    [
      "$0 attach oci:notices --subject sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730 --subject-size 1024 --artifact-type application/vnd.example.eol --annotation reason=obsolete",
      "Say something of an image that is elsewhere",
    ],
  ],
  options: (yargs) =>
    withReferrersTarget(withRegistryOptions(yargs, "one"))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION of the image" })
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
      .option("subject", {
        type: "string",
        requiresArg: true,
        describe: "Attach to the manifest with this digest, which need not be there",
      })
      .option("subject-size", {
        type: "string",
        requiresArg: true,
        describe: "Its size in bytes, needed where nothing in the layout tells it",
      })
      .option("subject-type", {
        type: "string",
        requiresArg: true,
        describe: `Its media type, where nothing in the layout tells it [default: ${mediaTypes.manifest}]`,
      })
      .option("tag", { type: "string", requiresArg: true, describe: "Tag the referrer itself as well" })
      .option("config", {
        choices: ["empty", "image"] as const,
        default: "empty" as const,
        describe: "What the config of the referrer is: image for registries that take nothing but container images",
      })
      .option("created", {
        type: "string",
        requiresArg: true,
        describe: "Record this time, RFC 3339 or seconds or now [default: SOURCE_DATE_EPOCH, else none]",
      }),
  run: async (args, context) => {
    const open = openOptions(args, context.signal);
    const location = locationArgument(args.location);
    const platform = platformArgument(args.platform);
    const files = (args.files ?? []).map(parseAttachedFile);
    const created = parsed(() => createdAt(args.created));
    const otherTarget =
      args.referrersTo === undefined ? undefined : elsewhereArgument("referrers-to", args.referrersTo);
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
    const elsewhere = args.subject === undefined ? undefined : subjectArgument(args.subject, args, location);
    const result = await withTarget(location, { ...open, mustExist: true }, async (target) => {
      const descriptor = await (elsewhere === undefined
        ? resolveRoot(target, location, open).then((root) => root.descriptor)
        : findSubject(target, elsewhere, open));
      const subject = platform === undefined ? descriptor : await selectPlatform(target, descriptor, platform, open);
      const put = (into: Target): Promise<AttachResult> =>
        attach(into, subject, {
          files,
          artifactType: args.artifactType,
          annotations,
          created,
          tag: args.tag,
          config: args.config,
          signal: context.signal,
          onBytes,
        });
      return otherTarget === undefined ? put(target) : withTarget(otherTarget, open, put);
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

interface SubjectArguments {
  readonly "subject-size": string | undefined;
  readonly "subject-type": string | undefined;
  readonly platform: string | undefined;
}

/** What the options say of a subject. */
type NamedSubject = Pick<Descriptor, "digest" | "mediaType"> & { readonly size: number | undefined };

function subjectArgument(text: string, args: SubjectArguments, location: Location): NamedSubject {
  const { tag, digest } = location.kind === "registry" ? location.reference : location;
  const byDefault = location.kind === "registry" && tag === "latest";
  if ((tag !== undefined && !byDefault) || digest !== undefined || args.platform !== undefined)
    throw new UsageError(
      `--subject names the image, and so does ${args.platform === undefined ? formatLocation(location) : "--platform"}`,
    );
  const size = args["subject-size"];
  const mediaType = args["subject-type"] ?? mediaTypes.manifest;
  if (size !== undefined && !/^[0-9]{1,15}$/.test(size))
    throw new UsageError(`--subject-size ${JSON.stringify(size)} is no number of bytes`);
  if (!isManifestType(mediaType)) throw new UsageError(`--subject-type ${JSON.stringify(mediaType)} is no manifest`);
  return {
    digest: parsed(() => parseDigest(text)),
    mediaType,
    size: size === undefined ? undefined : Number(size),
  };
}

/** The whole descriptor of a subject: what the target knows of it, or else what the user says. */
async function findSubject(target: Target, named: NamedSubject, options: OpenOptions): Promise<Descriptor> {
  const known = await findDescriptor(target, named.digest, { signal: options.signal });
  if (known !== undefined) return known;
  if (named.size !== undefined) return { mediaType: named.mediaType, digest: named.digest, size: named.size };
  throw new OciError("NOT_FOUND", `${target.name} knows nothing of ${named.digest}`, {
    hint: "A subject needs a size: give --subject-size, and --subject-type where it is no OCI image manifest.",
  });
}
