import { OciError, type ParseLocationOptions, parseLocation, parseReference, splitReference } from "@stowage/layout";
import type { SyncPlace } from "../sync/sync-file.js";

/**
 * Reads where the images of an archive go: a layout or archive, one repository, or with a slash at the end everything below
 * a place in a registry: `reg.local/` or `reg.local/hub/`. A repository without a tag takes the tags of the images. Fails
 * with `INVALID`.
 */
export function parseImportPlace(text: string, options: ParseLocationOptions = {}): SyncPlace {
  const plain = text.replace(/^docker:\/\//, "");
  const isHost =
    /^(?:localhost|[^/:[\]]*\.[^/:[\]]*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/.test(plain) || /^localhost:\d+$/.test(plain);
  const isFile = /^(?:oci|ocidir|oci-archive|docker-archive):|^\.{0,2}[/\\]|^~/.test(text);
  if (!isFile && (isHost || plain.endsWith("/"))) {
    const [host = "", ...rest] = plain.replace(/\/$/, "").split("/");
    const prefix = rest.join("/");
    // Any name below it tells whether the place can be part of one.
    const reference = parseReference(`${host}/${prefix === "" ? "x/x" : `${prefix}/x`}`);
    if (reference.host !== host && !/[.:]/.test(host))
      throw new OciError("INVALID", `${JSON.stringify(text)} names no registry`, {
        hint: "Write its host first, as reg.local/hub/.",
      });
    return { kind: "registry-prefix", host: reference.host, prefix };
  }
  const location = parseLocation(text, options);
  if (location.kind !== "registry") return location;
  const { tag, digest } = splitReference(plain);
  if (digest !== undefined)
    throw new OciError("INVALID", `${JSON.stringify(text)} names a digest; what an image is called is a tag`);
  const { tag: _latest, ...repository } = location.reference;
  return { kind: "registry", reference: tag === undefined ? repository : { ...repository, tag } };
}
