import { readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  attach,
  type Descriptor,
  digestOf,
  type IndexedTarget,
  Layout,
  MemoryStore,
  referrersTag,
  refName,
  verify,
} from "@stowage/layout";
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  all,
  bytesOf,
  filesBelow,
  pushImage,
  pushIndex,
  temporaryDirectory,
} from "../../packages/layout/test/support.js";

/** One thing somebody does to a layout. Images are numbered; a tag is one of a few, so that steps meet. */
type Step =
  | { readonly kind: "image" | "index"; readonly image: number }
  | { readonly kind: "tag"; readonly image: number; readonly tag: string }
  | { readonly kind: "untag"; readonly tag: string }
  | { readonly kind: "attach"; readonly image: number; readonly note: number };

const image = fc.nat(3);
const tag = fc.constantFrom("v1", "v2", "latest", "docker.io/library/alpine:3", "3");
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constantFrom("image" as const, "index" as const), image }),
  fc.record({ kind: fc.constant("tag" as const), image, tag }),
  fc.record({ kind: fc.constant("untag" as const), tag }),
  fc.record({ kind: fc.constant("attach" as const), image, note: fc.nat(2) }),
);
/** Steps one after the other, and between them some at once: by two objects for the same directory. */
const program = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ at: fc.nat(1), steps: step.map((one) => [one]) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        at: fc.nat(1),
        steps: fc.array(fc.record({ kind: fc.constant("attach" as const), image, note: fc.nat(5) }), {
          minLength: 2,
          maxLength: 4,
        }),
      }),
    },
  ),
  { maxLength: 10 },
);

/** The descriptor of the numbered image, whether it is there or not. */
const descriptors: Descriptor[] = [];
const scratch = new MemoryStore();
for (let number = 0; number < 4; number++) descriptors.push(await pushImage(scratch, { layers: [`layer ${number}`] }));

/** Does the step; an expected failure is what it ends with as well. */
async function perform(target: IndexedTarget, step: Step): Promise<string> {
  try {
    switch (step.kind) {
      case "image":
        await pushImage(target, { layers: [`layer ${step.image}`] });
        return "done";
      case "index":
        await pushImage(target, { layers: [`layer ${step.image}`] });
        await pushIndex(target, [descriptors[step.image] as Descriptor]);
        return "done";
      case "tag":
        await target.tag(step.tag, descriptors[step.image] as Descriptor);
        return "done";
      case "untag":
        await target.untag(step.tag);
        return "done";
      case "attach":
        await attach(target, descriptors[step.image] as Descriptor, {
          artifactType: "application/x-note",
          annotations: { note: String(step.note) },
        });
        return "done";
    }
  } catch (error) {
    expect(error).toMatchObject({ name: "OciError", code: expect.stringMatching(/^(?:NOT_FOUND|CONFLICT)$/) });
    return (error as { code: string }).code;
  }
}

/** All that can be asked of a target. */
async function answers(target: IndexedTarget): Promise<unknown> {
  const names = await all(target.tags());
  const referrers = await Promise.all(descriptors.map((descriptor) => all(target.referrers(descriptor))));
  const present = await Promise.all(descriptors.map((descriptor) => target.has(descriptor)));
  const stands = await Promise.all(names.map(async (name) => [name, (await target.resolve(name)).digest]));
  return { names, stands, referrers, present, manifests: (await target.index()).manifests };
}

/** What holds for every layout, however it came about. */
async function expectInvariants(path: string): Promise<void> {
  const layout = await Layout.open(path);
  const { manifests } = await layout.index();
  // A full image name is for whoever tags to choose.
  expect((await layout.oddities()).filter(({ code }) => code !== "name-full")).toEqual([]);
  expect(await readdir(join(path, "ingest"))).toEqual([]);
  for (const name of await filesBelow(path)) {
    const [, algorithm, encoded] = /^blobs\/([^/]+)\/([^/]+)$/.exec(name) ?? [];
    if (algorithm === undefined || encoded === undefined) continue;
    const digest = `${algorithm}:${encoded}` as Descriptor["digest"];
    const size = (await layout.size(digest)) as number;
    const bytes = await bytesOf(layout.fetch({ mediaType: "application/octet-stream", digest, size }));
    expect(digestOf(bytes)).toBe(digest);
  }
  const names = manifests.map(refName).filter((name) => name !== undefined);
  expect(new Set(names).size).toBe(names.length);
  for (const entry of manifests) expect(await layout.has(entry), `${entry.digest} is there with its size`).toBe(true);
  const roots = manifests.map((descriptor) => ({ name: descriptor.digest, descriptor }));
  // A subject need not be there; nothing else may be missing.
  expect((await verify(layout, roots)).findings).toEqual([]);
  for (const subject of descriptors) {
    const found = (await all(layout.referrers(subject))).map(({ digest }) => digest);
    const list = manifests.find((entry) => refName(entry) === referrersTag(subject.digest));
    expect(found.every((digest) => manifests.some((entry) => entry.digest === digest))).toBe(true);
    expect(list !== undefined).toBe(found.length > 0);
    if (list === undefined) continue;
    const listed = JSON.parse((await bytesOf(layout.fetch(list))).toString()).manifests as Descriptor[];
    expect(listed.map(({ digest }) => digest)).toEqual(found);
  }
}

it("any sequence of writes, tags and attachments, some of them at once, ends as in a store in memory and keeps what a layout must keep", async () => {
  await fc.assert(
    fc.asyncProperty(program, async (rounds) => {
      const path = join(await temporaryDirectory(), "layout");
      const layouts = [await Layout.create(path), await Layout.open(path)] as const;
      const model = new MemoryStore();
      for (const { at, steps } of rounds) {
        const results = await Promise.all(
          steps.map((one, number) => perform(layouts[(at + number) % 2] as Layout, one)),
        );
        const expected: string[] = [];
        for (const one of steps) expected.push(await perform(model, one));
        expect(results).toEqual(expected);
        expect(await answers(layouts[at % 2] as Layout)).toEqual(await answers(model));
      }
      await expectInvariants(path);
    }),
    { numRuns: 60 },
  );
});

it("any number of changes at once through several objects are all there at the end", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(2), image, fc.nat(30)), { minLength: 2, maxLength: 40 }),
      async (changes) => {
        const path = join(await temporaryDirectory(), "layout");
        const layouts = await Promise.all([0, 1, 2].map(() => Layout.create(path)));
        for (const number of [0, 1, 2, 3]) await pushImage(layouts[0] as Layout, { layers: [`layer ${number}`] });
        // Each name once: which of two would be the last is not for the property to say.
        const byName = new Map(changes.map((change) => [change[2], change]));
        await Promise.all(
          [...byName.values()].map(([at, number, name]) =>
            (layouts[at] as Layout).tag(`t${name}`, descriptors[number] as Descriptor),
          ),
        );
        for (const [name, [, number]] of byName)
          expect((await (layouts[0] as Layout).resolve(`t${name}`)).digest).toBe(descriptors[number]?.digest);
        expect(await all((layouts[1] as Layout).tags())).toHaveLength(byName.size);
        await expectInvariants(path);
      },
    ),
    { numRuns: 30 },
  );
});
