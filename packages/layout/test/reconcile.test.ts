import { readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import {
  type Descriptor,
  type Layout,
  MemoryStore,
  type ReconcileReport,
  type ReferrerForms,
  reconcile,
  referrerForms,
} from "@stowage/layout";
import { describe, expect, it } from "vitest";
import {
  digestsFound,
  layoutOf,
  list,
  listed,
  type Made,
  OLAREG_CONVERT,
  OLAREG_SUBJECT,
  onDisk,
  other,
  referrer,
  sorted,
  subject,
  tag,
} from "./referrer-fixtures.js";
import { all, named, pushImage, pushReferrer, REF_NAME } from "./support.js";

const [one, two, three] = [referrer("one"), referrer("two"), referrer("three")];
const nested = referrer("nested", one.descriptor);
const v1 = named(subject.descriptor, "v1");
const responseOf = (made: Made, of = subject): Descriptor => ({
  ...made.descriptor,
  annotations: { [OLAREG_SUBJECT]: of.descriptor.digest },
});
const PROPOSED = "org.opencontainers.image.referrer.subject";

/** A layout in which each of several tools has written a referrer that the others do not see. */
async function mixedLayout(): Promise<Layout> {
  const [tagged, response] = [list(one.descriptor), list(two.descriptor)];
  return layoutOf(
    [v1, named(tagged.descriptor, tag), responseOf(response), three.descriptor, nested.descriptor],
    [subject, one, two, three, nested, tagged, response],
    { annotations: { "org.olareg.history": "x" } },
  );
}

/** The digests in each form of the subject's referrers. */
async function formsOf(layout: Layout, of = subject): Promise<Record<string, string[] | undefined>> {
  const { manifests, annotations } = await onDisk(layout);
  const subjectTag = of.descriptor.digest.replace(":", "-");
  const names = async (entry: Descriptor | undefined): Promise<string[] | undefined> =>
    entry === undefined ? undefined : (await listed(layout, entry)).map(({ digest }) => digest);
  const those = new Set<string>(await digestsFound(layout, of.descriptor));
  return {
    oras: manifests
      .filter((entry) => those.has(entry.digest) && entry.annotations?.[REF_NAME] === undefined)
      .map(({ digest }) => digest)
      .sort(),
    regclient: await names(manifests.find((entry) => entry.annotations?.[REF_NAME] === subjectTag)),
    olareg: await names(manifests.find((entry) => entry.annotations?.[OLAREG_SUBJECT] === of.descriptor.digest)),
    flag: annotations?.[OLAREG_CONVERT] === undefined ? undefined : [annotations[OLAREG_CONVERT]],
  };
}

function summary(report: ReconcileReport): string[] {
  return report.changes.map(({ action, form }) => `${action} ${form}`).sort();
}

describe("reconcile", () => {
  it("makes entries and lists agree, and those of olareg that are there", async () => {
    const layout = await mixedLayout();
    const report = await reconcile(layout);
    const expected = sorted(one, two, three);
    expect(await formsOf(layout)).toEqual({ oras: expected, regclient: expected, olareg: expected, flag: undefined });
    expect(await formsOf(layout, one)).toMatchObject({ oras: sorted(nested), regclient: sorted(nested) });
    expect(report).toMatchObject({ to: "all", subjects: 2, referrers: 4, stale: [], unread: [] });
    expect(summary(report)).toEqual(["added entry", "added entry", "added list", "updated list", "updated response"]);
    expect((await onDisk(layout)).annotations).toEqual({ "org.olareg.history": "x" });
    expect(await all(layout.tags())).toEqual(["v1"]);
  });

  it("gives every subject a list in olareg's form where index.json has olareg's flag, and only there", async () => {
    const layout = await layoutOf([v1, one.descriptor, nested.descriptor], [subject, one, nested], {
      annotations: { [OLAREG_CONVERT]: "true" },
    });
    await reconcile(layout);
    expect(await formsOf(layout)).toMatchObject({ olareg: sorted(one), flag: ["true"] });
    expect(await formsOf(layout, one)).toMatchObject({ olareg: sorted(nested) });
    const without = await layoutOf([v1, one.descriptor], [subject, one]);
    await reconcile(without);
    expect(await formsOf(without)).toEqual({
      oras: sorted(one),
      regclient: sorted(one),
      olareg: undefined,
      flag: undefined,
    });
  });

  it("leaves a list with all that the manifests say of its referrers", async () => {
    const bare = list({
      mediaType: one.descriptor.mediaType,
      digest: one.descriptor.digest,
      size: one.descriptor.size,
    });
    const layout = await layoutOf([v1, named(bare.descriptor, tag)], [subject, one, bare]);
    await reconcile(layout);
    const entry = (await onDisk(layout)).manifests.find((item) => item.annotations?.[REF_NAME] === tag);
    expect(await listed(layout, entry)).toEqual([
      { ...one.descriptor, artifactType: "application/spdx+json", annotations: { name: "one" } },
    ]);
  });

  it("is idempotent in each form, and writes nothing the second time", async () => {
    for (const to of referrerForms) {
      const layout = await mixedLayout();
      expect((await reconcile(layout, { to })).changes).not.toEqual([]);
      const before = await readFile(join(layout.path, "index.json"), "utf8");
      expect((await reconcile(layout, { to })).changes).toEqual([]);
      expect(await readFile(join(layout.path, "index.json"), "utf8")).toBe(before);
    }
  });

  it("loses no referrer, whatever form is asked for after whatever form", async () => {
    const expected = sorted(one, two, three);
    for (const first of referrerForms) {
      for (const second of referrerForms) {
        const layout = await mixedLayout();
        for (const to of [first, second] satisfies ReferrerForms[]) {
          await reconcile(layout, { to });
          expect(await digestsFound(layout)).toEqual(expected);
          expect(await digestsFound(layout, one.descriptor)).toEqual(sorted(nested));
          expect(await all(layout.tags())).toEqual(["v1"]);
        }
      }
    }
  });

  it("to one tool's form writes that form and drops the others", async () => {
    const expected = sorted(one, two, three);
    const none = { oras: [], regclient: undefined, olareg: undefined, flag: undefined };
    const wanted = {
      oras: { ...none, oras: expected },
      regclient: { ...none, regclient: expected },
      olareg: { ...none, olareg: expected, flag: ["true"] },
    };
    for (const to of ["oras", "regclient", "olareg"] as const) {
      const layout = await mixedLayout();
      await reconcile(layout, { to: "all" });
      await reconcile(layout, { to });
      expect(await formsOf(layout)).toEqual(wanted[to]);
      expect((await onDisk(layout)).annotations?.["org.olareg.history"]).toBe("x");
    }
  });

  it("drops from a list what is no referrer of its subject, and a list that then names nothing", async () => {
    const foreign = referrer("foreign", other.descriptor);
    const stale = list(one.descriptor, foreign.descriptor, other.descriptor);
    const empty = list(subject.descriptor);
    const tagOfOther = other.descriptor.digest.replace(":", "-");
    const tagOfNested = nested.descriptor.digest.replace(":", "-");
    const layout = await layoutOf(
      [v1, named(other.descriptor, "other"), named(stale.descriptor, tag), named(empty.descriptor, tagOfNested)],
      [subject, other, one, foreign, stale, empty],
    );
    const report = await reconcile(layout);
    expect(report.stale.map(({ descriptor }) => descriptor.digest).sort()).toEqual(sorted(foreign, other, subject));
    expect(await formsOf(layout)).toMatchObject({ regclient: sorted(one) });
    // The list was wrong about whose it is; it is a referrer all the same.
    expect(await formsOf(layout, other)).toMatchObject({ oras: sorted(foreign), regclient: sorted(foreign) });
    const names = (await onDisk(layout)).manifests.map((entry) => entry.annotations?.[REF_NAME]);
    expect(names).toContain(tagOfOther);
    expect(names).not.toContain(tagOfNested);
  });

  it("keeps what it cannot read in every form, so that it is found when it is there again", async () => {
    for (const to of referrerForms) {
      const both = list(one.descriptor, two.descriptor);
      const layout = await layoutOf([v1, named(both.descriptor, tag)], [subject, one, two, both]);
      await unlink(layout.blobPath(two.descriptor.digest));
      const report = await reconcile(layout, { to });
      expect(report.unread.map(({ descriptor }) => descriptor.digest)).toEqual([two.descriptor.digest]);
      expect(report.stale).toEqual([]);
      expect(await digestsFound(layout)).toEqual(sorted(one));
      expect((await reconcile(layout, { to })).changes).toEqual([]);
      await layout.write([two.bytes], two.descriptor.mediaType);
      expect(await digestsFound(layout)).toEqual(sorted(one, two));
    }
  });

  it("keeps a list of which nothing can be read, and drops it where it is told to", async () => {
    for (const to of referrerForms) {
      const both = list(one.descriptor, two.descriptor);
      const layout = await layoutOf([v1, named(both.descriptor, tag)], [subject, both]);
      await reconcile(layout, { to });
      for (const made of [one, two]) await layout.write([made.bytes], made.descriptor.mediaType);
      expect(await digestsFound(layout)).toEqual(sorted(one, two));
    }
    const absent = list(one.descriptor);
    const layout = await layoutOf([v1, named(absent.descriptor, tag)], [subject, absent]);
    expect(summary(await reconcile(layout, { dropUnread: true }))).toEqual(["removed list"]);
    expect((await onDisk(layout)).manifests).toEqual([v1]);
  });

  it("keeps the entry of a list whose own blob is missing, until something takes its place", async () => {
    const absent = list(two.descriptor);
    const alone = await layoutOf([v1, named(absent.descriptor, tag)], [subject]);
    expect((await reconcile(alone)).changes).toEqual([]);
    const replaced = await layoutOf([v1, named(absent.descriptor, tag), one.descriptor], [subject, one]);
    await reconcile(replaced);
    expect(await formsOf(replaced)).toMatchObject({ regclient: sorted(one) });
  });

  it("brings lists under full names and of image-spec pull request 1171 up to date as well", async () => {
    const [a, b] = [list(one.descriptor), list(two.descriptor)];
    const proposed = { ...b.descriptor, annotations: { [PROPOSED]: subject.descriptor.digest } };
    const layout = await layoutOf([v1, named(a.descriptor, `app:${tag}`), proposed], [subject, one, two, a, b]);
    await reconcile(layout);
    const { manifests } = await onDisk(layout);
    for (const entry of manifests.filter(({ mediaType }) => mediaType === a.descriptor.mediaType))
      expect((await listed(layout, entry)).map(({ digest }) => digest)).toEqual(sorted(one, two));
    expect(manifests.map((entry) => entry.annotations?.[REF_NAME] ?? entry.annotations?.[PROPOSED])).toEqual(
      expect.arrayContaining([tag, `app:${tag}`, subject.descriptor.digest]),
    );
  });

  it("takes the tag of a list from another manifest and leaves that an entry without a name", async () => {
    const layout = await layoutOf(
      [v1, named(one.descriptor, tag), named(other.descriptor, tag)],
      [subject, one, other],
    );
    await reconcile(layout);
    expect(await formsOf(layout)).toMatchObject({ oras: sorted(one), regclient: sorted(one) });
    expect((await onDisk(layout)).manifests).toContainEqual(other.descriptor);
  });

  it("leaves alone a subject that is tagged like its own list, and entries that other tools annotated", async () => {
    const index = list(other.descriptor);
    const own = named(index.descriptor, index.descriptor.digest.replace(":", "-"));
    const containerd = {
      ...one.descriptor,
      annotations: { "io.containerd.manifest.subject": subject.descriptor.digest },
    };
    const layout = await layoutOf([v1, own, containerd], [subject, other, one, index]);
    await reconcile(layout, { to: "regclient" });
    expect((await onDisk(layout)).manifests).toEqual(expect.arrayContaining([v1, own, containerd]));
  });

  it("finds nothing to do in what this program wrote", async () => {
    for (const store of [new MemoryStore(), await layoutOf([], [])]) {
      const image = await pushImage(store);
      await store.tag("v1", image);
      const sbom = await pushReferrer(store, image, "application/spdx+json", { a: "b" });
      await pushReferrer(store, sbom, "application/vnd.example.signature");
      const before = await store.index();
      const report = await reconcile(store);
      expect(report).toMatchObject({ subjects: 2, referrers: 2, changes: [], stale: [], unread: [] });
      expect(await store.index()).toEqual(before);
    }
  });

  it("that runs many times at once beside writers loses nothing", async () => {
    const layout = await mixedLayout();
    const more = Array.from({ length: 12 }, (_, at) => referrer(`more${at}`));
    await Promise.all(
      more.flatMap(({ bytes, descriptor }, at) => [
        layout.push({ descriptor, open: () => [bytes] }),
        reconcile(layout, { to: referrerForms[at % referrerForms.length] as ReferrerForms }),
      ]),
    );
    await reconcile(layout);
    const expected = sorted(one, two, three, ...more);
    expect(await formsOf(layout)).toMatchObject({ oras: expected, regclient: expected });
  });
});
