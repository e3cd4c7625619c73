import { resolve } from "node:path";
import type { Platform } from "@stowage/layout";
import { matchesPlatform } from "@stowage/layout";
import { kindOf } from "./file-node.js";
import { type FileMapping, mappingFor, platformPrefix, withPlatform } from "./mapping.js";

/** What a layer is made from: files, directories and patterns, or a tar archive that is taken as it is. */
export type LayerSource =
  | {
      /** `SRC[:DEST[:MODE[:UID:GID]]]`, or the same as an object. */
      readonly files: readonly (string | FileMapping)[];
    }
  | {
      /** The path of a tar archive, relative to the context. */
      readonly tar: string;
      /** Only images for this platform get the layer. */
      readonly platform?: Platform | undefined;
    };

/**
 * The layer for an image of this platform, with the names in it read as {@link mappingFor} does. A text is the path of a tar
 * archive where a file is there, and otherwise mappings with commas between them; `\,` is a comma in a name, and one in
 * braces or brackets belongs to a pattern. Undefined where nothing of it is for the platform. Fails with `INVALID`.
 */
export function layerFor(source: string | LayerSource, platform: Platform, cwd = "."): LayerSource | undefined {
  if (typeof source !== "string") {
    if ("files" in source) return filesFor(source.files, platform);
    return source.platform === undefined || matchesPlatform(platform, source.platform)
      ? { tar: withPlatform(source.tar, platform) }
      : undefined;
  }
  const { text, platform: only } = platformPrefix(source);
  const tar = withPlatform(text, platform);
  if (kindOf(resolve(cwd, tar)) !== "other") return filesFor(splitMappings(source), platform);
  return only === undefined || matchesPlatform(platform, only) ? { tar } : undefined;
}

function filesFor(files: readonly (string | FileMapping)[], platform: Platform): LayerSource | undefined {
  const own = files.map((mapping) => mappingFor(mapping, platform)).filter((mapping) => mapping !== undefined);
  return own.length === 0 ? undefined : { files: own };
}

function splitMappings(text: string): string[] {
  const parts = [""];
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (character === "\\" && text[at + 1] === ",") {
      at++;
      parts.push(`${parts.pop()},`);
      continue;
    }
    if (character === "{" || character === "[") depth++;
    if (character === "}" || character === "]") depth = Math.max(0, depth - 1);
    if (character === "," && depth === 0) parts.push("");
    else parts.push(`${parts.pop()}${character}`);
  }
  return parts.filter((part) => part !== "");
}
