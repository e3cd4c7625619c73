import type { Abortable } from "./content.js";
import { type Graph, readGraph, referrersIn } from "./graph.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { referrersTag } from "./model/reference.js";
import { isReferrersList, namedIn, reachable, subjectOfList } from "./reachable.js";
import { type LayoutIndex, refName } from "./store/index-json.js";
import type { Layout } from "./store/layout.js";
import { leftovers, listBlobs } from "./store/sweep.js";
import type { Finding } from "./verify.js";

/**
 * What is worth to be known of a layout beyond the content its entries lead to: names that stand for several manifests,
 * lists of referrers that disagree with the manifests, blobs that nothing leads to, temporary files. None of it is an
 * error. Changes nothing.
 */
export async function verifyLayout(layout: Layout, options: Abortable = {}): Promise<readonly Finding[]> {
  const index = await layout.index(options);
  const graph = await readGraph(layout, index, options);
  return [
    ...ambiguousNames(index),
    ...referrerForms(index, graph),
    ...(await unreferenced(layout, index, graph)),
    ...(await temporaryFiles(layout)),
  ];
}

function ambiguousNames(index: LayoutIndex): Finding[] {
  const digests = new Map<string, Set<Digest>>();
  for (const entry of index.manifests) {
    const name = refName(entry);
    if (name !== undefined) digests.set(name, (digests.get(name) ?? new Set()).add(entry.digest));
  }
  return [...digests]
    .filter(([, { size }]) => size > 1)
    .map(([name, found]) => ({
      severity: "warning",
      state: "ambiguous",
      path: [name],
      message: `the name stands for ${found.size} manifests: ${[...found].join(", ")}`,
    }));
}

/** Whether each referrer stands where the tools that know only one form look for it. */
function referrerForms(index: LayoutIndex, graph: Graph): Finding[] {
  const referrers = referrersIn(graph);
  const subjectsByTag = new Map([...referrers.keys()].map((subject) => [referrersTag(subject), subject]));
  const findings: Finding[] = [];
  const listed = new Map<Digest, Set<Digest>>();
  for (const entry of index.manifests) {
    if (!isReferrersList(graph, entry)) continue;
    const subject = subjectOfList(entry, subjectsByTag);
    const names = namedIn(graph, entry);
    if (subject !== undefined) listed.set(subject, new Set([...(listed.get(subject) ?? []), ...names]));
    for (const digest of names) {
      const actual = graph.get(digest)?.subject?.digest;
      if (graph.get(digest)?.state !== "read" || actual === subject) continue;
      findings.push(form("warning", entry, `the list names ${digest}, whose subject is ${actual ?? "none"}`));
    }
  }
  const entries = new Set(index.manifests.map(({ digest }) => digest));
  for (const [subject, digests] of referrers) {
    const list = listed.get(subject);
    for (const digest of digests) {
      const missing = [
        ...(entries.has(digest) ? [] : ["has no entry of its own"]),
        ...(list === undefined ? ["is in no list, as there is none for its subject"] : []),
        ...(list !== undefined && !list.has(digest) ? ["is missing from the list of its subject"] : []),
      ];
      if (missing.length === 0) continue;
      const path = [subject, `referrer ${graph.get(digest)?.artifactType ?? digest}`];
      // One complete form is how other tools keep them; a list that is there and incomplete misleads its readers.
      const severity = list === undefined || list.has(digest) ? "note" : "warning";
      findings.push({ severity, state: "referrers", path, message: `${digest} ${missing.join(" and ")}` });
    }
  }
  return findings;
}

function form(severity: Finding["severity"], descriptor: Descriptor, message: string): Finding {
  return { severity, state: "referrers", descriptor, path: [refName(descriptor) ?? descriptor.digest], message };
}

async function unreferenced(layout: Layout, index: LayoutIndex, graph: Graph): Promise<Finding[]> {
  const roots = index.manifests.flatMap((entry) => [entry.digest, ...namedIn(graph, entry)]);
  const { live } = reachable(graph, index, { roots });
  const { digests, foreign } = await listBlobs(layout.path);
  const note = (path: string, message: string): Finding => ({
    severity: "note",
    state: "unreferenced",
    path: [path],
    message,
  });
  return [
    ...digests
      .filter((digest) => !live.has(digest))
      .sort()
      .map((digest) => note(`blobs/${digest.replace(":", "/")}`, "nothing in index.json leads to this blob")),
    ...foreign.map((path) => note(path, "it is no blob that is known here")),
  ];
}

async function temporaryFiles(layout: Layout): Promise<Finding[]> {
  const found = await leftovers(layout.path, Date.now());
  return found.map(({ path, reason }) => ({
    severity: "note",
    state: "leftover",
    path: [path],
    message: `a temporary file: ${reason}`,
  }));
}
