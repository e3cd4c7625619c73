import * as core from "@actions/core";
import { type CopyReport, formatReference, type Location, parseReference, type Reference } from "@stowage/layout";
import { type PublishedReference, type PublishReport, publish, resolveLocation, withSource } from "@stowage/registry";
import { declareArtifacts } from "./artifacts.js";
import { type Contents, contentsOf, picturesOf } from "./contents.js";
import { type Login, loginFor, readAccount } from "./credentials.js";
import { atLeastOne, choice, flag, InputError, names, required } from "./inputs.js";
import { locationOf, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { type ActionContext, run } from "./run.js";
import { writeSummary } from "./summary.js";
import { Tally } from "./tally.js";

await run("publish", async ({ signal, fail }) => {
  const inputs = readInputs();
  const reach = registries(signal, inputs.login);
  try {
    const { source } = inputs;
    await withSource(source, reach.open, async (opened) => {
      const { descriptor: root } = await resolveLocation(opened, source, reach.open);
      const tally = new Tally();
      const published = await core.group("Publishing", () =>
        publish(opened, root, inputs.references, {
          ...reach.open,
          referrers: inputs.referrers,
          onEvent: tally.onEvent,
        }),
      );
      const contents = await contentsOf(opened, root, reach.open);
      await report(published, contents, tally, inputs, fail);
      if (!inputs.summary) return;
      await writeSummary({
        heading: "Image published",
        columns: ["Reference", "Platform", "Digest", "Size", "Content", "Referrers"],
        rows: rowsOf(published, contents),
        pictures: await picturesOf(opened, root, contents, reach.open),
      });
    });
  } finally {
    await reach.close();
  }
});

interface PublishInputs {
  readonly source: Location;
  readonly references: readonly Reference[];
  readonly referrers: "all" | "none";
  readonly login: Login | undefined;
  readonly summary: boolean;
}

function readInputs(): PublishInputs {
  const account = readAccount();
  const source = locationOf("source", required("source"));
  const targets = atLeastOne("references", names("references")).map((value) => {
    const location = locationOf("references", value);
    if (location.kind === "registry") return location;
    throw new InputError("references", `${JSON.stringify(value)} is no registry`, {
      hint: "A reference looks like ghcr.io/OWNER/NAME:TAG.",
    });
  });
  return {
    source,
    references: targets.map(({ reference }) => reference),
    referrers: choice("referrers", ["all", "none"]),
    login: loginFor(account, targets),
    summary: flag("summary", true),
  };
}

async function report(
  { descriptor, targets }: PublishReport,
  contents: Contents,
  tally: Tally,
  { source }: PublishInputs,
  fail: ActionContext["fail"],
): Promise<void> {
  const done = targets.filter(({ report }) => report !== undefined).map(({ reference }) => parseReference(reference));
  const references = done.map((reference) => pinned({ kind: "registry", reference }, descriptor));
  const [first] = done;
  setOutputs({
    digest: descriptor.digest,
    descriptor,
    reference: references[0] ?? "",
    references,
    repository: first === undefined ? "" : formatReference({ host: first.host, repository: first.repository }),
    platforms: contents.platforms,
    layout: source.kind === "layout" ? source.path : "",
    ...tally.outputs(),
  });
  const shown = contentOnce();
  for (const { reference, report, error } of targets) {
    if (report === undefined) fail(error, `not published: ${reference}`);
    else info(`published ${reference} ${descriptor.digest} (${shown(report)})`);
    for (const lost of report?.failures ?? [])
      fail(lost.error, `not published: ${reference}: ${lost.path.join(" > ")}`);
  }
  await declareArtifacts(done.map(formatReference), descriptor.digest);
}

/** A row for each reference, then one for each platform of an image that has several. */
function rowsOf({ descriptor, targets }: PublishReport, { platforms, size }: Contents): string[][] {
  const shown = contentOnce();
  const names = Object.keys(platforms).join(", ");
  const rows = targets.map(({ reference, report, error }: PublishedReference) => {
    const common = [reference, names, descriptor.digest, formatSize(size)];
    if (report !== undefined) return [...common, shown(report), referrersOf(report)];
    return [...common, `failed: ${error instanceof Error ? error.message : String(error)}`, ""];
  });
  const each = Object.entries(platforms);
  return each.length < 2 ? rows : [...rows, ...each.map(([name, digest]) => ["", name, digest, "", "", ""])];
}

/** What was copied. The tags of one repository share one copy, which counts with the first of them. */
function contentOnce(): (report: CopyReport) => string {
  const seen = new Set<string>();
  return (report) => {
    if (seen.has(report.target)) return "the same copy";
    seen.add(report.target);
    return contentOf(report);
  };
}

function contentOf({ written, present, mounted, linked, bytes }: CopyReport): string {
  const counts = { written, present, mounted, linked };
  const named = Object.entries(counts).filter(([name, number]) => number > 0 || name === "written");
  return `${named.map(([name, number]) => `${number} ${name}`).join(", ")}; ${formatSize(bytes)} sent`;
}

function referrersOf({ referrers: { found, copied } }: CopyReport): string {
  return found === copied ? String(found) : `${copied} of ${count(found, "referrer")}`;
}
