import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { copy, Layout } from "@stowage/layout";
import { afterAll, beforeAll, expect, it } from "vitest";
import { collectStore } from "../src/disjoint/layer-store.js";
import { unpackDisjoint } from "../src/disjoint/unpack-disjoint.js";
import { unpack } from "../src/unpack/unpack.js";
import { disjointImage, packageLayer } from "./disjoint-image.js";
import { file } from "./image-of.js";
import { bundle, temporaryDirectory } from "./support.js";
import { treeOf } from "./tree-of.js";

const program = `
import { unpackDisjoint } from "@stowage/image";
import { Layout } from "@stowage/layout";
const [layout, store, to] = process.argv.slice(2);
const result = await unpackDisjoint(await Layout.open(layout), "v1", to, { mode: "hardlink", store });
console.log(JSON.stringify(result));
`;

const children = new Set<ChildProcess>();
let directory: string;
let script: string;
let layout: string;
let expected: Record<string, unknown>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  script = await bundle(join(directory, "program"), program, { worker: false });
  const layers = Array.from({ length: 30 }, (_, at) =>
    packageLayer(
      `p${at}`,
      Array.from({ length: 20 }, (_each, number) => file(`nix/store/p${at}/f${number}`, "x".repeat(9000))),
    ),
  );
  const image = await disjointImage(layers);
  layout = join(directory, "layout");
  const target = await Layout.create(layout);
  await copy(image.store, target, image.descriptor, { tags: ["v1"] });
  await unpack(target, "v1", join(directory, "plain"));
  expected = await treeOf(join(directory, "plain"));
});

afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

function start(
  store: string,
  to: string,
): { child: ChildProcess; ended: Promise<{ code: number | null; output: string }> } {
  const child = spawn(process.execPath, [script, layout, store, to], { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data));
  const ended = once(child, "close").then(([code]) => {
    children.delete(child);
    return { code: code as number | null, output };
  });
  return { child, ended };
}

it("processes that want the same layers at once extract each once, also while the store is collected", async () => {
  const store = join(directory, "together");
  const runs = [0, 1, 2].map((at) => start(store, join(directory, `together-${at}`)).ended);
  let running = true;
  const all = Promise.all(runs).finally(() => (running = false));
  while (running) {
    await collectStore(store, { unusedFor: 0 }).catch(() => {});
    await sleep(20);
  }
  const results = (await all).map(({ code, output }) => {
    expect(code).toBe(0);
    return JSON.parse(output) as { bytesWritten: number };
  });
  const once = 30 * (20 * 9000) + [...Array(30).keys()].reduce((sum, at) => sum + `p${at}\n`.length, 0);
  expect(results.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0)).toBe(once);
  for (const at of [0, 1, 2]) expect(await treeOf(join(directory, `together-${at}`))).toEqual(expected);
}, 60_000);

it("a process that is killed anywhere leaves nothing that is taken for a layer, and what it leaves goes", async () => {
  const store = join(directory, "killed");
  for (let round = 0; round < 6; round++) {
    const to = join(directory, `killed-${round}`);
    const { child, ended } = start(store, to);
    while ((await readdir(join(store, "layers")).catch(() => [])).length <= round * 4 && child.exitCode === null)
      await sleep(1);
    child.kill("SIGKILL");
    await ended;
  }
  const source = await Layout.open(layout);
  const to = join(directory, "after");
  const result = await unpackDisjoint(source, "v1", to, { mode: "hardlink", store, checkStore: true });
  expect(await treeOf(to)).toEqual(expected);
  // Nothing that was there had to be made again.
  expect(result.bytesWritten).toBeLessThan(30 * 21 * 9000);
  expect(await readdir(join(store, "tmp"))).toEqual([]);
  expect(await readdir(join(store, "leases"))).toEqual([]);
  await collectStore(store, { unusedFor: 0 });
  for (const name of ["layers", "locks", "tmp"]) expect(await readdir(join(store, name))).toEqual([]);
}, 60_000);

it("what was cut short by a power loss is extracted anew", async () => {
  const store = join(directory, "lost");
  const source = await Layout.open(layout);
  await unpackDisjoint(source, "v1", join(directory, "before"), { mode: "hardlink", store });
  const [one, two, three] = await readdir(join(store, "layers"));
  await writeFile(join(store, "layers", one as string, "layer.json"), "");
  await writeFile(join(store, "layers", two as string, "entries.jsonl"), '{"path":"/nix');
  await mkdir(join(store, "tmp/2-1-00000000-x"));
  await writeFile(join(store, "layers", three as string, "layer.json"), '{"version":2}');
  const to = join(directory, "lost-after");
  await unpackDisjoint(source, "v1", to, { mode: "hardlink", store });
  expect(await treeOf(to)).toEqual(expected);
});
