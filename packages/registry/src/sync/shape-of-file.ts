import { isOciError, parseAnnotationFilter, parsePlatform } from "@stowage/layout";
import { regexPattern } from "./pattern.js";
import { versionRange } from "./selection.js";
import { either, flag, list, mapping, pairs, type Read, text, whole, word } from "./shape.js";

/** More than anybody writes by hand; a file made by a program may come near. */
const MAXIMUM_ITEMS = 10_000;
const MAXIMUM_RULES = 1000;

const location = "oci:mirror, oci-archive:bundle.tar or ghcr.io/acme/app";

/** The problem that `read` has with its text, with what to write instead. */
export function problemOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (!isOciError(error)) throw error;
    return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
  }
}

const ruleFields = {
  glob: text(
    "Only names that this glob matches: * is anything but a slash, ** anything, ? one character",
    'a glob like "3.*"',
    { maximum: 500 },
  ),
  regex: text(
    "Only names that this regular expression matches as a whole, in the syntax of RE2",
    "a regular expression",
    { maximum: 500, check: (value) => problemOf(() => regexPattern(value)) },
  ),
  semver: text('Only tags that are versions in this range, as ">=1.2 <2"', 'a range like ">=1.2 <2"', {
    maximum: 200,
    check: (value) => problemOf(() => versionRange(value, false)),
  }),
  prerelease: flag("Versions with a pre-release count as well. Default: false"),
  newest: whole("Of those only so many, the newest", 1, 10_000),
  by: word("What makes one newer: the version it names, which is the default, or when the image was created", [
    "version",
    "created",
  ]),
  except: list(
    "Not the names that one of these globs matches",
    text("A glob", 'a glob like "*-rc*"', { maximum: 500 }),
    MAXIMUM_RULES,
  ),
};

const selection = (description: string, example: string) =>
  list(
    description,
    either(
      "A name, a glob, or a rule",
      text("A name, or a glob where it has a * or ?", example, { maximum: 500 }),
      mapping("A rule, all of which has to hold", ruleFields),
    ),
    MAXIMUM_RULES,
  );

const referrers = either(
  "Which referrers go along. Default: all; none for a docker-archive",
  word("All or none", ["all", "none"]),
  mapping("Those that all of this holds for", {
    artifactTypes: list("Their artifactType is one of these", text("An artifactType", "application/spdx+json"), 100),
    annotations: list(
      "They have all of these annotations",
      text("KEY or KEY=VALUE", "KEY or KEY=VALUE", { check: (value) => problemOf(() => parseAnnotationFilter(value)) }),
      100,
    ),
    latest: flag("Of each artifactType only the one created last"),
    depth: whole("How many levels: 1 for none of referrers", 0, 1000),
  }),
);

/** What an item may say, and what `defaults` may say for all of them. */
const settings = {
  names: word("What a layout or an archive calls the images: docker.io/library/alpine:3.20, or 3.20. Default: full", [
    "full",
    "tag",
  ]),
  platforms: list(
    "Only these platforms. Default: all",
    text("OS/ARCH[/VARIANT]", "linux/amd64", { check: (value) => problemOf(() => parsePlatform(value)) }),
    100,
  ),
  index: word(
    "With platforms: keep an index under its digest, which not every registry takes, or make a new one of these platforms. Default: filter; of one platform the image without an index",
    ["keep", "filter"],
  ),
  referrers,
  legacyTags: flag(
    "Whether the tags sha256-....sig, .att and .sbom go along with their images. Default: true where tags are listed",
  ),
  prune: flag("Remove the tags at the target that are not selected. Default: false"),
  noClobber: flag("Fail where a tag stands for something else at the target. Default: false; it is moved"),
  forceRecursive: flag("Check every blob also where the target has the manifest. Default: false"),
  includeExternal: flag("Fetch layers that may not be distributed from their urls. Default: false; they are left out"),
  fast: flag(
    "Look no further where the tag stands for the same digest at the target; new referrers are missed then. Default: false",
  ),
};

const item = mapping(
  "What is kept in step with what",
  {
    source: text(
      "Where from: a location with a tag, a repository, or with repositories a registry, a layout or an archive",
      location,
    ),
    target: text("Where to. With repositories a prefix: what follows the source's is put behind it", location),
    repositories: selection(
      "Which repositories of the source. Names that are neither globs nor rules are not looked up",
      "library/alpine",
    ),
    tags: selection("Which tags. Default: all", "latest"),
    rename: pairs(
      "Full repository names that a regular expression matches as a whole get another name; $1 is its first group. The first that matches counts",
      text("The new name", '"mirror.local/hub/$1"', { maximum: 500 }),
      100,
    ),
    ...settings,
  },
  {
    required: ["source"],
    advice: {
      type: "leave it out: a source with a tag is an image, one without a repository, and repositories makes it many",
      repos: "write repositories",
      tagSets: "write a rule in tags for each",
      platform: "write platforms",
      referrerFilters: "write artifactTypes and annotations under referrers",
      digestTags: "write legacyTags",
      fastCheck: "write fast",
      schedule: "run the command from cron or a scheduled workflow",
      interval: "run the command from cron or a scheduled workflow",
      backup: "leave it out: noClobber keeps tags from moving",
      from: "write source",
      to: "write target",
    },
  },
);

/** A whole file. */
export const fileShape = mapping(
  "What stowage sync keeps in step",
  {
    version: whole("The version of this format", 1, 1),
    concurrency: whole("How many images move at once. Default: 8", 1, 64),
    defaults: mapping("What holds for all items that say nothing else", settings),
    sync: list("What is kept in step with what", item, MAXIMUM_ITEMS),
  },
  {
    required: ["version", "sync"],
    advice: {
      creds: "leave it out: credentials are those of docker login",
      "x-sets": "write the list where it is used",
    },
  },
);

export type FileValue = Read<typeof fileShape>;
export type ItemValue = Read<typeof item>;
export type SelectionValue = NonNullable<ItemValue["tags"]>;
