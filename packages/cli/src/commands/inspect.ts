import {
  attestedDigest,
  type Descriptor,
  formatPlatform,
  type Inspection,
  inspect,
  isAttestation,
  isJsonObject,
  readManifest,
} from "@stowage/layout";
import { defineCommand, type ExitCode } from "../command.js";
import { openOptions, platformArgument, withRegistryOptions, withRoot } from "../locations.js";
import { count, formatSize, printJson, printLines } from "../output.js";
import { referrerFilter, withReferrerOptions } from "../referrer-options.js";

export const inspectCommand = defineCommand({
  command: "inspect <location>",
  describe: "Show what an image, an index or an artifact says of itself",
  examples: [
    ["$0 inspect oci:dist:v1", "Platform, entrypoint, layers, annotations and referrers"],
    ["$0 inspect alpine:3.20 --platform linux/arm64 --raw", "The manifest for one platform, byte for byte"],
  ],
  options: (yargs) =>
    withReferrerOptions(withRegistryOptions(yargs, "one"))
      .positional("location", { type: "string", demandOption: true, describe: "The LOCATION" })
      .option("platform", {
        type: "string",
        requiresArg: true,
        describe: "The image for this platform inside an index",
      })
      .option("raw", { type: "boolean", default: false, describe: "Print the bytes of the manifest and nothing else" }),
  run: (args, context) => {
    const open = openOptions(args, context.signal);
    const referrers = referrerFilter(args);
    return withRoot(
      args.location,
      { open, platform: platformArgument(args.platform), referrersFrom: args.referrersFrom },
      async ({ source, descriptor }): Promise<ExitCode> => {
        if (args.raw) context.out.write((await readManifest(source, descriptor, open)).bytes);
        else {
          const inspection = await inspect(source, descriptor, { signal: context.signal, referrers });
          if (args.json) printJson(context, inspection);
          else if (args.quiet) printLines(context, [descriptor.digest]);
          else printLines(context, inspectionLines(inspection));
        }
        return 0;
      },
    );
  },
});

function inspectionLines(inspection: Inspection): string[] {
  const { descriptor, config } = inspection;
  const lines = [
    `${inspection.kind} ${descriptor.digest}`,
    field("media type", descriptor.mediaType),
    field("artifact type", inspection.artifactType),
    field("subject", inspection.subject?.digest),
    field("platform", inspection.platform),
    field("created", inspection.created),
    ...["User", "WorkingDir", "Entrypoint", "Cmd", "Env"].map((key) => field(key.toLowerCase(), config?.[key])),
    field(
      "labels",
      isJsonObject(config?.Labels)
        ? Object.entries(config.Labels).map(([key, value]) => `${key}=${String(value)}`)
        : undefined,
    ),
    field("ports", isJsonObject(config?.ExposedPorts) ? Object.keys(config.ExposedPorts) : undefined),
    field("volumes", isJsonObject(config?.Volumes) ? Object.keys(config.Volumes) : undefined),
  ].filter((line) => line !== undefined);
  section(
    lines,
    "annotations",
    Object.entries(inspection.annotations ?? {}).map(([key, value]) => `${key}=${value}`),
  );
  section(
    lines,
    `${count(inspection.layers?.length ?? 0, "layer")}, ${formatSize(inspection.layersSize ?? 0)}`,
    inspection.layers?.map(blobLine) ?? [],
  );
  section(lines, "manifests", inspection.manifests?.map((child) => `${child.digest} ${childKind(child)}`) ?? []);
  section(
    lines,
    "referrers",
    inspection.referrers.map((referrer) => `${referrer.digest} ${referrer.artifactType ?? ""}`),
  );
  section(
    lines,
    "related",
    inspection.related?.map(({ descriptor, kind, role, name }) =>
      [descriptor.digest, kind, role, name].filter((part) => part !== undefined).join(" "),
    ) ?? [],
  );
  return lines;
}

function childKind(child: Descriptor): string {
  if (isAttestation(child)) return `attestation of ${attestedDigest(child) ?? "an unknown manifest"}`;
  return child.platform === undefined ? child.mediaType : formatPlatform(child.platform);
}

function field(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0))
    return undefined;
  const text = Array.isArray(value)
    ? value.map((item) => (typeof item === "string" && !/[\s"]/.test(item) ? item : JSON.stringify(item))).join(" ")
    : String(value);
  return `  ${name.padEnd(14)}${text}`;
}

function section(lines: string[], title: string, items: readonly string[]): void {
  if (items.length > 0) lines.push(`  ${title}`, ...items.map((item) => `    ${item}`));
}

function blobLine(blob: Descriptor): string {
  return `${blob.digest} ${formatSize(blob.size).padStart(9)}  ${blob.mediaType}`;
}
