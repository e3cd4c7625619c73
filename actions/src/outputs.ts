import * as core from "@actions/core";
import type { Descriptor, Location } from "@stowage/layout";
import { formatLocation } from "@stowage/layout";

/** Sets the outputs: text as it is, anything else as JSON, nothing for what is undefined. */
export function setOutputs(outputs: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(outputs)) if (value !== undefined) core.setOutput(name, value);
}

/** The location with the digest of what is there, so that a later step means exactly that. */
export function pinned(location: Location, { digest }: Descriptor): string {
  switch (location.kind) {
    case "registry":
      return formatLocation({ ...location, reference: { ...location.reference, digest } });
    // A `docker save` tarball knows no digests.
    case "docker-archive":
      return formatLocation(location);
    default:
      return formatLocation({ ...location, digest });
  }
}
