import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Descriptor, descriptorOf, emptyBytes, mediaTypes } from "@stowage/layout";
import { expect } from "vitest";
import { builtPackage } from "../../packages/layout/test/child-process.js";
import {
  handMadeLayout,
  indexBytes,
  manifestBytes,
  named,
  temporaryDirectory,
  utf8,
} from "../../packages/layout/test/support.js";
import { type Run, stowage } from "../cli/stowage.js";

export const layerBytes = utf8("the only layer");
export const layer = descriptorOf(layerBytes, mediaTypes.layer);
export const configBytes = utf8(
  JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [layer.digest] } }),
);
export const config = descriptorOf(configBytes, mediaTypes.config);
export const imageBytes = manifestBytes({ config, layers: [layer] });
export const image = descriptorOf(imageBytes, mediaTypes.manifest);
export const allBlobs: readonly Uint8Array[] = [layerBytes, configBytes, imageBytes, emptyBytes];

/** What a stranger's content could make a program read. It must not turn up anywhere. */
export const secret = "the content of a file outside of the layout";

/** A directory with a layout `in` that has the image under the tag `v1`, and the index given instead where one is. */
export async function layoutIn(
  index: Record<string, unknown> | string = { manifests: [named(image, "v1")] },
  blobs: readonly Uint8Array[] = [],
): Promise<string> {
  const directory = await temporaryDirectory();
  await handMadeLayout(join(directory, "in"), index, [...allBlobs, ...blobs]);
  return directory;
}

/** A layout whose tag `v1` stands for these bytes. */
export function layoutWithRoot(bytes: Uint8Array, mediaType: string, blobs: readonly Uint8Array[] = []) {
  return layoutIn({ manifests: [named(descriptorOf(bytes, mediaType), "v1")] }, [bytes, ...blobs]);
}

/**
 * The command refuses: exit code 1, a message and no stack, nothing of the secret, and no tag and no leftovers in `out`.
 * A command that does not end is killed and has no exit code.
 */
export async function expectRefusal(cwd: string, args: readonly string[], message: RegExp): Promise<Run> {
  const run = await stowage(args, { cwd });
  const told = { ...run, args };
  expect(told).toMatchObject({ code: 1 });
  expect(`${run.stdout}${run.stderr}`).toMatch(message);
  expect(`${run.stdout}${run.stderr}`).not.toMatch(/\n\s+at |Maximum call stack/);
  expect(`${run.stdout}${run.stderr}`).not.toContain(secret);
  if (args.some((text) => text.startsWith("oci:out:"))) await expectNothingIn(join(cwd, "out"));
  return run;
}

async function expectNothingIn(layout: string): Promise<void> {
  if (!existsSync(layout)) return;
  expect(JSON.parse(await readFile(join(layout, "index.json"), "utf8")).manifests).toEqual([]);
  expect(await readdir(join(layout, "ingest"))).toEqual([]);
}

/** What a verb can end with: the code of an OciError, `finding` of a verification, `problem` in a tree, or `done`. */
export interface Judgement {
  readonly code: string;
  readonly message?: string;
}

const verbs = ["inspect", "copy", "tree", "verify", "list", "tag", "attach"] as const;
/** What is done to the layout as a whole, whatever became of the tag. */
const upkeep = [
  "dangling",
  "verifyLayout",
  "du",
  "related",
  "convert",
  "reconcile",
  "normalize",
  "repair",
  "gc",
] as const;

/**
 * How each verb ends with the tag `v1` of the layout `in`, and then with the layout, in a process that is killed where it does
 * not end. None of them crashes, and no entry loses the file it leads to.
 */
export async function judge(
  cwd: string,
): Promise<Readonly<Record<(typeof verbs)[number] | (typeof upkeep)[number], Judgement>>> {
  const script = fileURLToPath(new URL("children/judge.mjs", import.meta.url));
  const child = spawn(process.execPath, [script, await builtPackage(), cwd], { stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  let [output, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const [code, signal] = await once(child, "close");
  clearTimeout(timer);
  expect({ code, signal, errors }).toEqual({ code: 0, signal: null, errors: "" });
  expect(output).not.toContain(secret);
  const results = JSON.parse(output);
  for (const verb of [...verbs, ...upkeep])
    expect({ verb, ...results[verb] }).toMatchObject({ code: expect.not.stringMatching("crashed") });
  expect(results.lost).toEqual([]);
  return results;
}

/** These verbs, all of them where none is named, end with a message that matches, and leave nothing in `out`. */
export async function expectRefusedBy(cwd: string, message: RegExp, which: readonly (typeof verbs)[number][] = verbs) {
  const results = await judge(cwd);
  for (const verb of which) {
    expect({ verb, ...results[verb] }).not.toMatchObject({ code: "done" });
    expect(`${verb}: ${results[verb].message}`).toMatch(message);
  }
  if (which.includes("copy")) await expectNothingIn(join(cwd, "out"));
}

export async function expectDone(cwd: string, args: readonly string[]): Promise<Run> {
  const run = await stowage(args, { cwd });
  expect({ ...run, args }).toMatchObject({ code: 0 });
  return run;
}

/** A chain of indexes around the image; each holds the one before it `width` times. The outermost is last. */
export function nest(depth: number, width: number): { blobs: Uint8Array[]; root: Descriptor } {
  const blobs: Uint8Array[] = [];
  let root: Descriptor = image;
  for (let at = 0; at < depth; at++) {
    const bytes = indexBytes({ manifests: Array.from({ length: width }, () => root) });
    blobs.push(bytes);
    root = descriptorOf(bytes, mediaTypes.index);
  }
  return { blobs, root };
}
