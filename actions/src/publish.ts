import * as core from "@actions/core";
import {
  type CopyEvent,
  type CopyReport,
  formatReference,
  type Location,
  parseReference,
  type Reference,
} from "@stowage/layout";
import {
  type OpenOptions,
  type PublishedReference,
  type PublishReport,
  publish,
  resolveLocation,
  withSource,
} from "@stowage/registry";
import { declareArtifacts } from "./artifacts.js";
import { type Contents, contentsOf } from "./contents.js";
import { atLeastOne, choice, flag, InputError, names, required, text } from "./inputs.js";
import { locationOf, registries } from "./locations.js";
import { count, formatSize, info } from "./log.js";
import { pinned, setOutputs } from "./outputs.js";
import { type ActionContext, run } from "./run.js";
import { writeSummary } from "./summary.js";

await run("publish", async ({ signal, fail }) => {
  const inputs = readInputs();
  const reach = registries(signal);
  try {
    const { source, login } = inputs;
    const target: OpenOptions =
      login === undefined ? reach.open : { signal, client: reach.withCredentials(login.credentials) };
    // The credentials are for one registry; a source elsewhere must not see them.
    const own = source.kind === "registry" && source.reference.host === login?.host;
    await withSource(source, own ? target : reach.open, async (opened) => {
      const { descriptor: root } = await resolveLocation(opened, source, reach.open);
      const published = await core.group("Publishing", () =>
        publish(opened, root, inputs.references, { ...target, referrers: inputs.referrers, onEvent: logEvent }),
      );
      await report(published, await contentsOf(opened, root, reach.open), inputs, fail);
    });
  } finally {
    await reach.close();
  }
});

interface Login {
  readonly host: string;
  readonly credentials: { readonly username: string; readonly password: string };
}

interface PublishInputs {
  readonly source: Location;
  readonly references: readonly Reference[];
  readonly referrers: "all" | "none";
  readonly login: Login | undefined;
  readonly summary: boolean;
}

function readInputs(): PublishInputs {
  // First of all, so that nothing can be logged before it is masked.
  const credentials = readCredentials();
  const source = locationOf("source", required("source"));
  const references = atLeastOne("references", names("references")).map((value) => {
    const location = locationOf("references", value);
    if (location.kind === "registry") return location.reference;
    throw new InputError("references", `${JSON.stringify(value)} is no registry`, {
      hint: "A reference looks like ghcr.io/OWNER/NAME:TAG.",
    });
  });
  const [host = "", ...others] = new Set(references.map((reference) => reference.host));
  if (credentials !== undefined && others.length > 0) {
    throw new InputError(
      "password",
      `it is for one registry, and the references name ${[host, ...others].join(", ")}`,
      {
        hint: "Log in to each with docker/login-action, and leave username and password out.",
      },
    );
  }
  return {
    source,
    references,
    referrers: choice("referrers", ["all", "none"]),
    login: credentials === undefined ? undefined : { host, credentials },
    summary: flag("summary", true),
  };
}

function readCredentials(): Login["credentials"] | undefined {
  const password = text("password");
  const username = text("username");
  if (password !== undefined) core.setSecret(password);
  if (password === undefined && username === undefined) return undefined;
  if (password === undefined) throw new InputError("password", "it is required where username is given");
  if (username === undefined) throw new InputError("username", "it is required where password is given");
  // What the header of a request holds; a registry might repeat it in an error.
  core.setSecret(Buffer.from(`${username}:${password}`).toString("base64"));
  return { username, password };
}

function logEvent(event: CopyEvent): void {
  const { digest, size, mediaType } = event.descriptor;
  if (event.type === "done") info(`${event.presence} ${digest} ${mediaType} ${formatSize(size)}`);
}

async function report(
  { descriptor, targets }: PublishReport,
  contents: Contents,
  { summary }: PublishInputs,
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
  });
  const shown = contentOnce();
  for (const { reference, report, error } of targets) {
    if (report === undefined) fail(error, `not published: ${reference}`);
    else info(`published ${reference} ${descriptor.digest} (${shown(report)})`);
    for (const lost of report?.failures ?? [])
      fail(lost.error, `not published: ${reference}: ${lost.path.join(" > ")}`);
  }
  await declareArtifacts(done.map(formatReference), descriptor.digest);
  if (!summary) return;
  await writeSummary({
    heading: "Image published",
    columns: ["Reference", "Platform", "Digest", "Size", "Content", "Referrers"],
    rows: rowsOf(targets, descriptor.digest, contents),
  });
}

function rowsOf(targets: readonly PublishedReference[], digest: string, contents: Contents): string[][] {
  const shown = contentOnce();
  return targets.map(({ reference, report, error }) => {
    const common = [reference, Object.keys(contents.platforms).join(", "), digest, formatSize(contents.size)];
    if (report !== undefined) return [...common, shown(report), referrersOf(report)];
    return [...common, `failed: ${error instanceof Error ? error.message : String(error)}`, ""];
  });
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
