import type { MutateReport } from "@stowage/image";
import { formatPlatform } from "@stowage/layout";
import { newDigestLines } from "./change-report.js";
import { reportLines } from "./commands/copy.js";

/** What did not come along, and why. */
export function mutationNotes({ left, attestations }: MutateReport): string[] {
  return [
    ...left.map(({ digest }) => `the referrer ${digest} stays with the old digest`),
    ...attestations.map(({ digest }) => `the attestation ${digest} is about the old digest and is left out`),
  ];
}

/** What has another digest now. */
export function mutationLines({ before, descriptor, images, copy }: MutateReport): string[] {
  if (before.digest === descriptor.digest) return ["  nothing changed; the digest stays", ...reportLines(copy)];
  const isIndex = !images.some((image) => image.descriptor.digest === descriptor.digest);
  return [
    ...newDigestLines(isIndex ? " of the index" : "", before, descriptor),
    ...(isIndex
      ? images.flatMap((image) =>
          newDigestLines(` for ${formatPlatform(image.platform)}`, image.before, image.descriptor),
        )
      : []),
    ...reportLines(copy),
  ];
}
