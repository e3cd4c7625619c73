import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import {
  type BuildArtifactOptions,
  type BuildOptions,
  compressions,
  type FileMapping,
  layerFor,
  parseFileList,
  parseMapping,
} from "@stowage/image";
import {
  type AttachedFile,
  createdAt,
  formatLocation,
  hostPlatform,
  type Location,
  type Platform,
  parseAttachedFile,
  parsePlatform,
  parseReference,
  systemError,
} from "@stowage/layout";
import { configInputs } from "./config-inputs.js";
import { type Login, loginFor, readAccount } from "./credentials.js";
import {
  atLeastOne,
  choice,
  flag,
  InputError,
  leveledAnnotations,
  lines,
  names,
  parsed,
  tagName,
  text,
  whole,
} from "./inputs.js";
import { locationOf } from "./locations.js";
import { insidePath } from "./workspace.js";

/** What the workflow wants to be built, and where it goes. */
export interface BuildInputs {
  readonly targets: readonly [Location, ...Location[]];
  readonly tags: readonly string[];
  readonly base: Location | undefined;
  readonly platforms: readonly Platform[];
  readonly index: boolean;
  readonly options: BuildOptions;
  /** Where an artifact is to be made. */
  readonly artifact: BuildArtifactOptions | undefined;
  readonly login: Login | undefined;
  readonly summary: boolean;
}

/** Reads the inputs of build. Fails with an {@link InputError} where one is wrong. */
export function readInputs(): BuildInputs {
  const account = readAccount();
  const base = text("base");
  const [first, ...others] = atLeastOne("target", lines("target"));
  const targets = [locationOf("target", first), ...others.map((value) => locationOf("target", value))] as const;
  const tags = names("tags").map(checkedTag);
  if (tags.length > 0 && targets[0].kind !== "layout") {
    throw new InputError("tags", `${formatLocation(targets[0])} is no layout, and only a layout gets more tags`, {
      hint: "Name a layout first in target, or a target for each tag.",
    });
  }
  const platforms = names("platform").map((value) => parsed("platform", () => parsePlatform(value)));
  const index = flag("index", false);
  if (index && platforms.length === 0) throw new InputError("platform", "an index needs to know what its image is for");
  const files = [...lines("files"), ...listed("files-from")];
  const artifactType = text("artifact-type");
  const config = text("config");
  const isArtifact = (artifactType ?? config) !== undefined;
  const isIndex = index || platforms.length > 1;
  // docker/metadata-action writes levels for whatever may be built.
  const annotations = leveledAnnotations("annotations").filter(({ level }) => isIndex || !level.startsWith("index"));
  const dataMax = whole("data-max");
  const options = imageInputs(isArtifact ? [] : files);
  const baseLocation = base === undefined ? undefined : locationOf("base", base);
  return {
    targets,
    tags,
    base: baseLocation,
    platforms,
    index,
    options: { ...options, annotations, dataMax },
    artifact: isArtifact
      ? {
          files: files.map((value) => attachedFile("files", value)),
          artifactType,
          config: config === undefined ? undefined : attachedFile("config", config),
          annotations,
          dataMax,
        }
      : undefined,
    login: loginFor(account, targets, baseLocation === undefined ? [] : [baseLocation]),
    summary: flag("summary", true),
  };
}

/** A tag, or the whole name of an image, as docker/metadata-action writes them. */
function checkedTag(value: string): string {
  if (/[/:]/.test(value)) parsed("tags", () => parseReference(value));
  else tagName("tags", value);
  return value;
}

function attachedFile(input: string, value: string): AttachedFile {
  const file = parseAttachedFile(value);
  insidePath(input, file.path);
  return file;
}

function mappingInside(value: string, cwd: string): FileMapping {
  const mapping = parsed("files", () => parseMapping(value));
  insidePath("files", resolve(cwd, mapping.source));
  return mapping;
}

/** A layer whose files, whatever platform they are for, lie in the workspace. */
function layerInside(value: string, cwd: string): string {
  const source = parsed("layer", () => layerFor(value.replace(/^\[[^\]]*\/[^\]]*\]/, ""), hostPlatform(), cwd));
  if (source === undefined) return value;
  const paths =
    "tar" in source ? [source.tar] : source.files.map((one) => (typeof one === "string" ? one : one.source));
  for (const path of paths) insidePath("layer", resolve(cwd, path));
  return value;
}

/** What the image is made of. */
function imageInputs(files: readonly string[]): BuildOptions {
  const created = parsed("created", () => createdAt(text("created")));
  const [createdBy, comment, author] = [text("created-by"), text("comment"), text("author")];
  const directory = text("directory");
  const cwd = directory === undefined ? "." : insidePath("directory", directory);
  return {
    files: files.map((value) => mappingInside(value, cwd)),
    layers: lines("layer").map((value) => layerInside(value, cwd)),
    split: flag("split-layers", false),
    cwd: directory,
    ignore: [...listed("ignore-file"), ...lines("ignore")],
    created: created === undefined ? undefined : new Date(created),
    history: {
      ...(createdBy === undefined ? {} : { created_by: createdBy }),
      ...(author === undefined ? {} : { author }),
      ...(comment === undefined ? {} : { comment }),
    },
    compression: choice("compression", compressions),
    level: whole("compression-level"),
    modes: flag("keep-modes", false) ? "exact" : "normal",
    xattrs: flag("keep-xattrs", false),
    ...ownerInput(),
    ...configInputs(),
  };
}

function ownerInput(): Pick<BuildOptions, "uid" | "gid"> {
  const owner = text("owner");
  if (owner === undefined) return {};
  const match = /^([0-9]{1,10}):([0-9]{1,10})$/.exec(owner);
  if (match === null) throw new InputError("owner", `${JSON.stringify(owner)} is not UID:GID`);
  return { uid: Number(match[1]), gid: Number(match[2]) };
}

/** The lines of the file that an input names. */
function listed(input: string): readonly string[] {
  const path = text(input);
  if (path === undefined) return [];
  try {
    return parseFileList(readFileSync(insidePath(input, path), "utf8"));
  } catch (error) {
    throw systemError(error, `cannot read ${path}`);
  }
}
