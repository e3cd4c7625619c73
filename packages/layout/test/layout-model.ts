import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as library from "@stowage/layout";
import { type Digest, digestOf, Layout, referrersTag, refName, verify, verifyLayout } from "@stowage/layout";
import { expect } from "vitest";
import { contents, type Step } from "./children/steps.js";
import { all, bytesOf, filesBelow } from "./support.js";

/** Everything the steps may store, by name. */
export const known = contents(library);
const nameOf = new Map(Object.entries(known).map(([name, { descriptor }]) => [descriptor.digest, name]));

/** What a layout holds, as sets of names. */
export interface State {
  /** What each tag stands for. */
  readonly tags: ReadonlyMap<string, string>;
  /** The content that is there. */
  readonly present: ReadonlySet<string>;
  /** The referrers that can be found through their subjects. */
  readonly registered: ReadonlySet<string>;
}

export const nothing: State = { tags: new Map(), present: new Set(), registered: new Set() };

/** All that `content` points at, and itself; not its subject. */
function closure(content: string, found = new Set<string>()): Set<string> {
  if (found.has(content)) return found;
  found.add(content);
  for (const link of known[content]?.links ?? []) closure(link, found);
  return found;
}

/** The content that is there and to which some entry leads, by links and by subjects, whether it keeps it or not. */
function found({ tags, present, registered }: State): Set<string> {
  const reached = new Set<string>();
  const pending = [...tags.values(), ...registered];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (reached.has(name) || !present.has(name)) continue;
    reached.add(name);
    const { links = [], subject } = known[name] ?? {};
    pending.push(...links, ...(subject === undefined ? [] : [subject]));
  }
  return reached;
}

/**
 * What must stay: what a tag leads to, a referrer that was registered for what is not there, and a referrer of what stays, each
 * with all it leads to. Worked out by adding whatever one of these rules asks for until none asks for more. A referrer whose
 * writer was killed before it was registered is one where another one refers to it.
 */
export function live(state: State): Set<string> {
  const { tags, present, registered } = state;
  const reached = found(state);
  const stays = new Set<string>();
  for (let before = -1; before !== stays.size; ) {
    before = stays.size;
    for (const content of tags.values()) closure(content, stays);
    for (const referrer of reached) {
      const subject = known[referrer]?.subject;
      if (subject === undefined) continue;
      if (stays.has(subject) || (registered.has(referrer) && !present.has(subject))) closure(referrer, stays);
    }
  }
  return stays;
}

/** The state after the step. */
export function after(state: State, step: Step): State {
  switch (step.kind) {
    case "push":
      return stored(state, step.content);
    case "tag":
      return { ...stored(state, step.content), tags: new Map([...state.tags, [step.tag, step.content]]) };
    case "untag":
      return { ...state, tags: new Map([...state.tags].filter(([tag]) => tag !== step.tag)) };
    case "gc": {
      // What was stored a moment ago is all there is.
      if (step.grace > 0) return state;
      const stays = live(state);
      const rest = (names: ReadonlySet<string>): Set<string> => new Set([...names].filter((name) => stays.has(name)));
      const referrers = new Set([...found(state)].filter((name) => known[name]?.subject !== undefined));
      return { ...state, present: rest(state.present), registered: rest(referrers) };
    }
    case "annotate":
    case "reconcile":
      return state;
  }
}

function stored({ tags, present, registered }: State, content: string): State {
  const pushed = closure(content);
  const referrers = [...pushed].filter((name) => known[name]?.subject !== undefined);
  return { tags, present: new Set([...present, ...pushed]), registered: new Set([...registered, ...referrers]) };
}

/** What is there, as whoever opens the layout anew finds it. */
export async function observe(path: string): Promise<State> {
  const layout = await Layout.open(path);
  const tags = new Map<string, string>();
  for (const tag of await all(layout.tags()))
    tags.set(tag, nameOf.get((await layout.resolve(tag)).digest) ?? "something else");
  const digests = [...(await blobsOf(path)), ...(await takenBlobs(path))];
  const present = new Set(digests.map((digest) => nameOf.get(digest)).filter((name) => name !== undefined));
  const registered = new Set<string>();
  for (const { descriptor } of Object.values(known))
    for (const { digest } of await all(layout.referrers(descriptor))) registered.add(nameOf.get(digest) ?? digest);
  return { tags, present, registered };
}

/**
 * What is seen lies between two states: it has the tags of one of them, everything that both have, and nothing that neither has.
 */
export function expectBetween(seen: State, before: State, goal: State): void {
  expect([before.tags, goal.tags]).toContainEqual(seen.tags);
  for (const member of ["present", "registered"] as const) {
    expect([...before[member]].filter((name) => goal[member].has(name) && !seen[member].has(name))).toEqual([]);
    expect([...seen[member]].filter((name) => !goal[member].has(name) && !before[member].has(name))).toEqual([]);
  }
}

/** The digests by which the files under `blobs` are named. */
export async function blobsOf(path: string): Promise<Digest[]> {
  return (await filesBelow(join(path, "blobs"))).map((name) => name.replace("/", ":") as Digest);
}

/** The digests of what a collection had in its hand when it was killed; the next change puts it back. */
async function takenBlobs(path: string): Promise<Digest[]> {
  const names = await readdir(join(path, "ingest")).catch(() => []);
  return names.flatMap((name) => {
    const match = /\.(sha256|sha512)-([0-9a-f]+)$/.exec(name);
    return match === null ? [] : [`${match[1]}:${match[2]}` as Digest];
  });
}

/**
 * What holds for every layout at any moment, whoever was killed at what: it opens and has nothing odd; each blob is what its
 * name says; each entry leads to content that is whole; each referrer is an entry and in the one list of its subject, and that
 * list names nothing else.
 */
export async function expectInvariants(path: string): Promise<void> {
  const layout = await Layout.open(path);
  expect(await layout.oddities()).toEqual([]);
  for (const digest of await blobsOf(path)) {
    const size = (await layout.size(digest)) as number;
    const bytes = await bytesOf(layout.fetch({ mediaType: "application/octet-stream", digest, size }));
    expect(digestOf(bytes)).toBe(digest);
  }
  const { manifests } = await layout.index();
  const names = manifests.map(refName).filter((name) => name !== undefined);
  expect(new Set(names).size).toBe(names.length);
  for (const entry of manifests) expect(await layout.has(entry)).toBe(true);
  const roots = manifests.map((descriptor) => ({ name: descriptor.digest, descriptor }));
  expect((await verify(layout, roots)).findings).toEqual([]);
  // A writer that was killed may have left a referrer in neither form; only in one form it must not be.
  const inNeither = /has no entry of its own and is (?:missing from the list|in no list)/;
  const warnings = (await verifyLayout(layout)).filter(({ severity }) => severity !== "note");
  expect(warnings.filter(({ message }) => !inNeither.test(message))).toEqual([]);
  const lists = new Map(manifests.map((entry) => [refName(entry), entry]));
  for (const { descriptor } of Object.values(known)) {
    const found = (await all(layout.referrers(descriptor))).map(({ digest }) => digest);
    for (const digest of found) expect(manifests.map((entry) => entry.digest)).toContain(digest);
    const list = lists.get(referrersTag(descriptor.digest));
    const listed = list === undefined ? [] : JSON.parse((await bytesOf(layout.fetch(list))).toString()).manifests;
    expect(listed.map((one: { digest: Digest }) => one.digest)).toEqual(found);
  }
}

/** After a collection only what has to stay is there, and the lists of referrers that index.json names. */
export async function expectNoGarbage(path: string, state: State): Promise<void> {
  const entries = new Set((await (await Layout.open(path)).index()).manifests.map(({ digest }) => digest));
  const unknown = (await blobsOf(path)).filter((digest) => !nameOf.has(digest) && !entries.has(digest));
  expect(unknown).toEqual([]);
  expect((await observe(path)).present).toEqual(new Set([...live(state)].filter((name) => state.present.has(name))));
  expect(await readdir(join(path, "ingest"))).toEqual([]);
}
