import { isOciError } from "@stowage/layout";
import { readSyncFile, type SyncFile, type SyncItemValue, syncItem } from "@stowage/registry";
import { choice, flag, InputError, lines, names, text, wholeNumber } from "./inputs.js";
import { locationOf } from "./locations.js";
import { insidePath } from "./workspace.js";

/** The inputs that take the place of what a sync file says of an item. */
const ITEM_INPUTS = ["tags", "semver", "newest", "repositories", "rename", "names", "platform", "index", "referrers"];

/** What is to be synced: the file that `source` names, or with `target` one with what the inputs say. */
export async function syncFileOf(source: string): Promise<{ readonly file: SyncFile; readonly fromFile: boolean }> {
  const target = text("target");
  const item = itemOf(source, target);
  if (target !== undefined) {
    checkPlaces(source, target);
    return {
      file: { path: "the inputs", items: [await attempted(inputIn, () => syncItem(item))], concurrency: 8 },
      fromFile: false,
    };
  }
  const [given] = ITEM_INPUTS.filter((input) => text(input) !== undefined);
  if (given !== undefined)
    throw new InputError(given, "it is for a sync from a source to a target, not for a file", {
      hint: "Write it into the file, or name a target.",
    });
  const file = await attempted(
    () => "source",
    () => readSyncFile(insidePath("source", source)),
  );
  return { file, fromFile: true };
}

/** A place may be the part of a registry, which is no location; a path in it has to lie in the workspace all the same. */
function checkPlaces(source: string, target: string): void {
  for (const [input, value] of [
    ["source", source],
    ["target", target],
  ] as const)
    if (/^(?:oci|ocidir|oci-archive|docker-archive):/.test(value)) locationOf(input, value);
}

function itemOf(source: string, target: string | undefined): SyncItemValue {
  const tags = names("tags");
  const odd = tags.find((tag) => !/^[\w*?][\w.*?-]*$/.test(tag));
  if (odd !== undefined)
    throw new InputError("tags", `${JSON.stringify(odd)} is no tag`, {
      hint: "A tag has letters, digits, dots, hyphens and underscores; * and ? stand for any of them, as 1.2.*",
    });
  const [semver, newest] = [text("semver"), wholeNumber("newest")];
  const rule = { ...(semver === undefined ? {} : { semver }), ...(newest === undefined ? {} : { newest }) };
  const ruled = Object.keys(rule).length > 0;
  const globs = tags.length === 0 ? [undefined] : tags;
  const rules = ruled ? globs.map((glob) => ({ ...rule, ...(glob === undefined ? {} : { glob }) })) : tags;
  const repositories = names("repositories");
  const rename = lines("rename").map(renamePair);
  const platforms = names("platform");
  const index = text("index") === undefined ? undefined : choice("index", ["keep", "filter"]);
  return {
    source,
    ...(target === undefined ? {} : { target }),
    ...(rules.length === 0 ? {} : { tags: rules }),
    ...(repositories.length === 0 ? {} : { repositories }),
    ...(rename.length === 0 ? {} : { rename }),
    ...(text("names") === undefined ? {} : { names: choice("names", ["full", "tag"]) }),
    ...(platforms.length === 0 ? {} : { platforms }),
    ...(index === undefined ? {} : { index }),
    noClobber: !flag("clobber", true),
    ...(text("referrers") === undefined ? {} : { referrers: choice("referrers", ["all", "none"]) }),
  };
}

function renamePair(value: string): { key: string; value: string; at: number } {
  const equals = value.lastIndexOf("=");
  if (equals < 1)
    throw new InputError("rename", `${JSON.stringify(value)} is not FROM=TO`, {
      hint: "For example docker.io/(.*)=mirror.local/$1",
    });
  return { key: value.slice(0, equals), value: value.slice(equals + 1), at: 0 };
}

/** What is wrong with a sync file, or not there, is what the workflow gave as this input. */
async function attempted<T>(input: (message: string) => string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof InputError || !isOciError(error)) throw error;
    if (error.code !== "INVALID" && error.code !== "NOT_FOUND") throw error;
    const hint = error.code === "NOT_FOUND" ? "Name a sync file, or with a source also the input target." : error.hint;
    throw new InputError(input(error.message), error.message, { hint, cause: error });
  }
}

/** The input whose text a message quotes. */
function inputIn(message: string): string {
  const quoted = (input: string): boolean =>
    [...names(input), ...lines(input).flatMap((line) => [line, line.slice(0, line.lastIndexOf("="))])].some(
      (part) => part !== "" && message.includes(JSON.stringify(part)),
    );
  return ["semver", "platform", "rename", "repositories", "tags", "target"].find(quoted) ?? "source";
}
