import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkTar } from "@stowage/image";
import { ArchiveTarget, copy, Layout, OciError } from "@stowage/layout";
import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import { builtPackage } from "../../packages/layout/test/child-process.js";
import { pushImage, pushReferrer, temporaryDirectory } from "../../packages/layout/test/support.js";
import { tarOf } from "../../packages/layout/test/tar.js";

const script = fileURLToPath(new URL("children/tars.mjs", import.meta.url));
let packageUrl: string;

beforeAll(async () => {
  packageUrl = await builtPackage();
});

/** An archive of an image with a referrer, as this program writes it, and one with the extended headers others write. */
async function archives(directory: string): Promise<string[]> {
  const layout = await Layout.create(join(directory, "layout"));
  const image = await pushImage(layout);
  await layout.tag("v1", image);
  await pushReferrer(layout, image);
  const ours = join(directory, "ours.tar");
  const target = await ArchiveTarget.create(ours);
  await copy(layout, target, "v1", { tags: ["v1"] });
  await target.close();
  const theirs = join(directory, "theirs.tar");
  const digest = image.digest.slice("sha256:".length);
  const manifest = await readFile(layout.blobPath(image.digest));
  await writeFile(
    theirs,
    tarOf([
      { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}', pax: { mtime: "1.5", path: "./oci-layout" } },
      { name: "x", content: await readFile(join(layout.path, "index.json")), longName: "index.json" },
      { name: "data", content: manifest },
      { name: `blobs/sha256/${digest}`, type: "2", link: "../../data" },
      { name: "blobs/sha256/loop", type: "1", link: "blobs/sha256/loop" },
    ]),
  );
  return [ours, theirs];
}

it("an archive that is damaged anyhow is read or refused, at once, and never outside of its bytes", async () => {
  const directory = await temporaryDirectory();
  for (const archive of await archives(directory)) {
    const child = spawn(process.execPath, [script, packageUrl, archive, directory, "1500"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 50_000);
    let [output, errors] = ["", ""];
    child.stdout.on("data", (data: Buffer) => (output += data));
    child.stderr.on("data", (data: Buffer) => (errors += data));
    const [code, signal] = await once(child, "close");
    clearTimeout(timer);
    expect({ code, signal, errors }).toEqual({ code: 0, signal: null, errors: "" });
    const { read, refused } = JSON.parse(output);
    expect(Math.min(read, refused)).toBeGreaterThan(100);
  }
}, 120_000);

it("a layer that is damaged anyhow is read or refused", async () => {
  const whole = tarOf([
    { name: "etc/", type: "5" },
    { name: "etc/hosts", content: "x".repeat(700), pax: { path: "etc/hosts-of-pax", mtime: "12.5" } },
    { name: "etc/link", type: "2", link: "hosts" },
    { name: "etc/hard", type: "1", link: "etc/hosts" },
    { name: "l", content: "y", longName: `etc/${"n".repeat(150)}` },
  ]);
  const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 12 })), {
    maxLength: 4,
  });
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(changes, fc.nat(whole.length), fc.nat(700), async (all, length, piece) => {
      const bytes = Buffer.from(whole);
      for (const [at, put] of all) bytes.set(put.subarray(0, bytes.length - at), at);
      const cut = bytes.subarray(0, length);
      const chunks = Array.from({ length: Math.ceil(length / (piece + 1)) }, (_, number) =>
        cut.subarray(number * (piece + 1), (number + 1) * (piece + 1)),
      );
      try {
        await checkTar(chunks, "the layer");
      } catch (error) {
        expect(error).toBeInstanceOf(OciError);
        refused++;
      }
    }),
    { numRuns: 500 },
  );
  expect(refused).toBeGreaterThan(50);
});
