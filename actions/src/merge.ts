import * as core from "@actions/core";
import { type IndexOptions, type IndexPart, type IndexReport, mergeIndexes } from "@stowage/image";
import { formatLocation, formatReference, type Location, type Source } from "@stowage/layout";
import { resolveLocation, withSources, withTarget } from "@stowage/registry";
import { contentsOf, picturesOf } from "./contents.js";
import { type Login, loginFor, readAccount } from "./credentials.js";
import { annotations, atLeastOne, flag, InputError, names, pairs, tagName, text } from "./inputs.js";
import { locationOf, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { type ActionContext, run } from "./run.js";
import { writeSummary } from "./summary.js";
import { Tally } from "./tally.js";

await run("merge", async ({ signal, fail }) => {
  const { parts, target, options, login, summary } = readInputs();
  const reach = registries(signal, login);
  const tally = new Tally();
  try {
    await withSources(parts, reach.open, async (sources) => {
      const opened: IndexPart[] = [];
      for (const [at, location] of parts.entries()) {
        const source = sources[at] as Source;
        const { descriptor } = await resolveLocation(source, location, reach.open);
        opened.push({ source, descriptor, name: formatLocation(location) });
      }
      await withTarget(target, reach.open, async (destination) => {
        const merged = await core.group("Merging", () =>
          mergeIndexes(destination, opened, { ...options, tags: tagOf(target), onEvent: tally.onEvent, signal }),
        );
        const { descriptor } = merged;
        // What has gone into an archive cannot be read before it is closed; its manifests can.
        const contents = await contentsOf(destination, descriptor, reach.open);
        report(merged, target, contents.platforms, tally, fail);
        if (!summary) return;
        await writeSummary({
          heading: "Images merged",
          columns: ["Reference", "Platform", "Digest", "Size", "Content", "Referrers"],
          rows: [
            [
              formatLocation(target),
              Object.keys(contents.platforms).join(", "),
              descriptor.digest,
              formatSize(contents.size),
              tally.toString(),
              String(merged.copy.referrers.copied),
            ],
            ...Object.entries(contents.platforms).map(([name, digest]) => ["", name, digest, "", "", ""]),
          ],
          pictures: await picturesOf(destination, descriptor, contents, reach.open),
        });
      });
    });
  } finally {
    await reach.close();
  }
});

interface MergeInputs {
  readonly parts: readonly Location[];
  readonly target: Location;
  readonly options: IndexOptions;
  readonly login: Login | undefined;
  readonly summary: boolean;
}

function readInputs(): MergeInputs {
  const account = readAccount();
  const [first, ...others] = atLeastOne("parts", names("parts"));
  const firstPart = locationOf("parts", first);
  const parts = [firstPart, ...others.map((value) => locationOf("parts", value))];
  const target = targetOf(firstPart);
  return {
    parts,
    target,
    options: {
      annotations: annotations("annotations", "index"),
      descriptorAnnotations: pairs("descriptor-annotations"),
      artifactType: text("artifact-type"),
    },
    login: loginFor(account, [target], parts),
    summary: flag("summary", true),
  };
}

/** Where the index goes: `target`, or with `ref` where the first part is. */
function targetOf(first: Location): Location {
  const target = text("target");
  const named = text("ref");
  const ref = named === undefined ? undefined : tagName("ref", named);
  if (target !== undefined && ref === undefined) return locationOf("target", target);
  if (target !== undefined || ref === undefined)
    throw new InputError("target", "either target or ref says where the index goes", {
      hint: "Write target: oci:out:v1, or ref: v1 to store it where the first part is.",
    });
  if (first.kind === "layout") return { kind: "layout", path: first.path, tag: ref };
  if (first.kind !== "registry")
    throw new InputError("ref", "nothing can be stored inside an archive", { hint: "Name a target instead." });
  const { host, repository } = first.reference;
  return locationOf("ref", `${formatReference({ host, repository })}:${ref}`);
}

function tagOf(location: Location): string[] {
  const { tag } = location.kind === "registry" ? location.reference : location;
  return tag === undefined ? [] : [tag];
}

function report(
  { descriptor, manifests, copy }: IndexReport,
  target: Location,
  platforms: Readonly<Record<string, string>>,
  tally: Tally,
  fail: ActionContext["fail"],
): void {
  setOutputs({
    digest: descriptor.digest,
    descriptor,
    reference: pinned(target, descriptor),
    layout: target.kind === "layout" ? target.path : "",
    platforms,
    ...tally.outputs(),
  });
  for (const { path, error } of copy.failures) fail(error, `not copied: ${path.join(" > ")}`);
  info(`merged ${formatLocation(target)} ${descriptor.digest} (${count(manifests.length, "manifest")}; ${tally})`);
}
