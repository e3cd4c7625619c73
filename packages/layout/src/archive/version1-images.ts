import { OciError } from "../model/errors.js";
import { isJsonObject, type JsonObject, parseJsonObject } from "../model/json.js";
import { encodeJson } from "../model/manifest.js";
import type { ArchiveFiles } from "./archive-files.js";
import { type DockerImage, digestOfFile, readFile } from "./docker-archive.js";

/** What Docker before 1.10 kept beside the config of an image; an image config has no place for it. */
const DROPPED = ["id", "parent", "parent_id", "layer_id", "Size", "throwaway"];
/** How many layers an image may have. Docker allowed 127. */
const MAXIMUM_LAYERS = 1_000;

/**
 * Reads the images that `repositories` names: chains of layers with a `json` each, as Docker wrote them before 1.10. The
 * config is made of that of the uppermost layer and the chain, as Docker makes it when it loads such an archive.
 */
export async function readVersion1Images(files: ArchiveFiles, where: string): Promise<readonly DockerImage[]> {
  const what = `repositories in ${where}`;
  const repositories = parseJsonObject(await readFile(files, "repositories", where), what);
  const names = new Map<string, string[]>();
  for (const [repository, tags] of Object.entries(repositories)) {
    if (!isJsonObject(tags)) throw new OciError("INVALID", `${what} has no tags for ${repository}`);
    for (const [tag, id] of Object.entries(tags)) {
      const name = checkId(id, `${repository}:${tag} of ${what}`);
      names.set(name, [...(names.get(name) ?? []), `${repository}:${tag}`]);
    }
  }
  const images: DockerImage[] = [];
  for (const [id, tags] of names) images.push({ names: tags, ...(await readImage(files, id, where)) });
  return images;
}

async function readImage(files: ArchiveFiles, top: string, where: string): Promise<Omit<DockerImage, "names">> {
  const chain: { readonly id: string; readonly json: JsonObject }[] = [];
  const seen = new Set<string>();
  for (let id: string | undefined = top; id !== undefined; ) {
    if (seen.has(id) || seen.size >= MAXIMUM_LAYERS)
      throw new OciError("LIMIT", `the parents of ${top} in ${where} do not end`);
    seen.add(id);
    const json: JsonObject = parseJsonObject(await readFile(files, `${id}/json`, where), `${id}/json in ${where}`);
    chain.unshift({ id, json });
    const { parent } = json;
    id =
      parent === undefined || parent === null || parent === "" ? undefined : checkId(parent, `${id}/json in ${where}`);
  }
  const layers = chain.filter(({ json }) => json.throwaway !== true).map(({ id }) => `${id}/layer.tar`);
  for (const name of layers)
    if (files.size(name) === undefined) throw new OciError("INVALID", `${where} is not complete: it has no ${name}`);
  const diffIds: string[] = [];
  for (const name of layers) diffIds.push(await digestOfFile(files, name));
  const own = chain.at(-1)?.json ?? {};
  const config = {
    ...Object.fromEntries(Object.entries(own).filter(([key]) => !DROPPED.includes(key))),
    rootfs: { type: "layers", diff_ids: diffIds },
    history: chain.map(({ json }) => historyOf(json)),
  };
  return { config: encodeJson(config), layers };
}

function historyOf(json: JsonObject): JsonObject {
  const command = isJsonObject(json.container_config) ? json.container_config.Cmd : undefined;
  return {
    ...(typeof json.created === "string" ? { created: json.created } : {}),
    ...(typeof json.author === "string" && json.author !== "" ? { author: json.author } : {}),
    ...(Array.isArray(command) && command.length > 0 ? { created_by: command.join(" ") } : {}),
    ...(typeof json.comment === "string" && json.comment !== "" ? { comment: json.comment } : {}),
    ...(json.throwaway === true ? { empty_layer: true } : {}),
  };
}

/** It becomes part of a file name. */
function checkId(id: unknown, what: string): string {
  if (typeof id === "string" && /^[a-zA-Z0-9_.-]{1,200}$/.test(id) && !id.startsWith(".")) return id;
  throw new OciError("INVALID", `${what} names no image: ${JSON.stringify(id)?.slice(0, 200)}`);
}
