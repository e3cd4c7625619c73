import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ArchiveSource, descriptorOf, digestOf, mediaTypes, verify } from "@stowage/layout";
import { zipSync } from "fflate";
import { describe, expect, it } from "vitest";
import { blobName, bytesOf, failure, manifestBytes, named, temporaryDirectory, utf8 } from "./support.js";
import { type TarMember, tarOf } from "./tar.js";

const layoutFiles = (index: object, blobs: readonly Uint8Array[] = []): TarMember[] => [
  { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
  ...blobs.map((content) => ({ name: blobName({ digest: digestOf(content) }), content })),
  { name: "index.json", content: JSON.stringify({ schemaVersion: 2, ...index }) },
];

const config = utf8("{}");
const manifest = manifestBytes({ config: descriptorOf(config, "application/x-test"), layers: [] });
const entry = named(descriptorOf(manifest, mediaTypes.manifest), "v1");

async function archiveOf(members: readonly TarMember[] | Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), "x.tar");
  await writeFile(path, members instanceof Uint8Array ? members : tarOf(members));
  return path;
}

/** Whether `v1` and all below it can be read from the archive. */
async function reads(path: string): Promise<boolean> {
  const source = await ArchiveSource.open(path);
  try {
    const report = await verify(source, [{ name: "v1", descriptor: await source.resolve("v1") }]);
    return report.findings.length === 0;
  } finally {
    await source.close();
  }
}

function damaged(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}

describe("an archive that others wrote is read", () => {
  const files = layoutFiles({ manifests: [entry] }, [config, manifest]);

  it.each<[string, readonly TarMember[]]>([
    ["in any order", [...files].reverse()],
    ["with ./ before its names", files.map((file) => ({ ...file, name: `./${file.name}` }))],
    ["with directories in it", [{ name: "./", type: "5" }, { name: "blobs/", type: "5" }, ...files]],
    ["with devices and pipes in it", [{ name: "null", type: "3" }, { name: "pipe", type: "6" }, ...files]],
    ["with files nobody knows", [...files, { name: "manifest.json", content: "null" }, { name: "x/y", content: "z" }]],
    [
      "with PAX headers for names and sizes",
      files.map((file) => ({ ...file, pax: { path: file.name, comment: "é" } })),
    ],
    ["with GNU long names", files.map((file) => ({ ...file, name: "short", longName: file.name }))],
    [
      "with a PAX size before a GNU long name",
      files.map((file) => ({
        ...file,
        longName: file.name,
        pax: { size: `${utf8(typeof file.content === "string" ? file.content : "").length || file.content?.length}` },
      })),
    ],
    ["with a global PAX header", [{ name: "pax_global_header", type: "g", content: "19 comment=unknown\n" }, ...files]],
    ["with a name split in two", files.map((file) => ({ ...file, prefix: file.name.includes("/") }))],
    [
      "with an index.json that is a link",
      [
        ...files.map((file) => (file.name === "index.json" ? { ...file, name: "real.json" } : file)),
        { name: "index.json", type: "2", link: "real.json" },
      ],
    ],
    [
      "with a blob that is a symbolic link to another name",
      [
        ...files.map((file) => (file.content === config ? { ...file, name: "layers/config" } : file)),
        { name: blobName({ digest: digestOf(config) }), type: "2", link: "../../layers/config" },
      ],
    ],
    [
      "with a blob that is a hard link to another name",
      [
        ...files.map((file) => (file.content === config ? { ...file, name: "layers/config" } : file)),
        { name: blobName({ digest: digestOf(config) }), type: "1", link: "layers/config" },
      ],
    ],
    [
      "with a hard link that repeats the size of its target",
      [{ name: "a", content: "text" }, { name: "b", type: "1", link: "a", size: 4 }, ...files],
    ],
  ])("%s", async (_what, members) => {
    expect(await reads(await archiveOf(members))).toBe(true);
  });

  it("without the blocks of zeros at its end", async () => {
    const whole = tarOf(files);
    expect(await reads(await archiveOf(whole.subarray(0, whole.length - 1024)))).toBe(true);
  });

  it("with a name twice where both times are the same, and where a blob that stands twice is right the last time", async () => {
    const config = files.find(({ name }) => name.startsWith("blobs/")) as TarMember;
    const twice = [
      { ...config, content: "other" },
      ...files,
      ...files.filter(({ name }) => !name.startsWith("blobs/")),
    ];
    expect(await reads(await archiveOf(twice))).toBe(true);
  });

  it("with a blob missing, damaged or of another size found by verify, and a link out of it refused", async () => {
    const cases: [TarMember[], string][] = [
      [[], "missing"],
      [[{ name: blobName({ digest: digestOf(config) }), content: "[]" }], "corrupt"],
      [[{ name: blobName({ digest: digestOf(config) }), content: "{} " }], "corrupt"],
      [[{ name: blobName({ digest: digestOf(config) }), type: "2", link: "/etc/passwd" }], "corrupt"],
      [[{ name: blobName({ digest: digestOf(config) }), type: "1", link: "../../../../etc/passwd" }], "corrupt"],
    ];
    for (const [members, state] of cases) {
      const source = await ArchiveSource.open(
        await archiveOf([...layoutFiles({ manifests: [entry] }, [manifest]), ...members]),
      );
      const report = await verify(source, [{ name: "v1", descriptor: await source.resolve("v1") }]);
      expect(report.findings.map((finding) => finding.state)).toEqual([state]);
      await source.close();
    }
  });

  it("from an offset", async () => {
    const source = await ArchiveSource.open(await archiveOf(files));
    const whole = await bytesOf(source.fetch(entry));
    expect((await bytesOf(source.fetch(entry, { from: 10 }))).equals(whole.subarray(10))).toBe(true);
    await source.close();
  });
});

describe("a layout in a compressed archive is read", () => {
  const files = layoutFiles({ manifests: [entry] }, [config, manifest]);
  const named = Object.fromEntries(files.map(({ name, content }) => [name, Buffer.from(content as string)]));

  it.each([
    ["gzip", gzipSync(tarOf(files))],
    [
      "gzip of several members",
      Buffer.concat([gzipSync(tarOf(files).subarray(0, 700)), gzipSync(tarOf(files).subarray(700))]),
    ],
    ["zstd", zstdOf(tarOf(files))],
    ["a zip", zipSync(named)],
    ["a zip without compression", zipSync(named, { level: 0 })],
    ["a zip in a zstd", zstdOf(zipSync(named))],
  ])("%s", async (_what, bytes) => {
    expect(await reads(await archiveOf(bytes))).toBe(true);
  });

  it("from an offset in a zip", async () => {
    const source = await ArchiveSource.open(await archiveOf(zipSync(named)));
    expect((await bytesOf(source.fetch(entry, { from: 10 }))).equals(manifest.subarray(10))).toBe(true);
    await source.close();
  });

  it("but not where a member of a zip is damaged", async () => {
    const zip = zipSync(named, { level: 0 });
    const at = Buffer.from(zip).indexOf(Buffer.from(manifest));
    const source = await ArchiveSource.open(await archiveOf(damaged(zip, at + 5)));
    await failure(bytesOf(source.fetch(entry)), "MISMATCH");
    await source.close();
  });
});

/** The bytes as zstd: blocks that are not compressed, which needs no compressor. */
function zstdOf(bytes: Uint8Array): Buffer {
  const parts = [Buffer.from("28b52ffd0058", "hex")];
  for (let at = 0; at < bytes.byteLength || at === 0; at += 65_536) {
    const block = bytes.subarray(at, at + 65_536);
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.byteLength << 3) | (at + 65_536 >= bytes.byteLength ? 1 : 0), 0, 3);
    parts.push(header, Buffer.from(block));
  }
  return Buffer.concat(parts);
}

describe("an archive is refused", () => {
  const files = layoutFiles({ manifests: [entry] }, [config, manifest]);
  const whole = tarOf(files);

  it.each<[string, Uint8Array | readonly TarMember[], "INVALID" | "UNSUPPORTED" | "LIMIT" | "DENIED"]>([
    ["that is empty", new Uint8Array(), "INVALID"],
    ["that is text", utf8("this is no tar\n".repeat(100)), "INVALID"],
    ["that is damaged gzip", damaged(gzipSync(whole), 40), "INVALID"],
    ["that is damaged zstd", Buffer.from("28b52ffd000000000000", "hex"), "INVALID"],
    ["that is a zip without a directory", Buffer.from("504b03040000000000", "hex"), "INVALID"],
    ["that is a zip with a name that leads out of it", zipSync({ "../oci-layout": utf8("{}") }), "INVALID"],
    ["that is a zip without a layout in it", zipSync({ "README.md": utf8("# hi") }), "INVALID"],
    ["that is cut in a header", whole.subarray(0, 700), "INVALID"],
    ["that is cut in a content", whole.subarray(0, 520), "INVALID"],
    ["whose header is damaged", damaged(whole, 20), "INVALID"],
    ["whose later header is damaged", damaged(whole, 1024 + 100), "INVALID"],
    ["with a size that is no number", tarOf([{ name: "a", content: "x", sizeField: "9999999999z" }]), "INVALID"],
    ["with a size beyond the file", tarOf([{ name: "a", content: "x", sizeField: "77777777777" }]), "INVALID"],
    [
      "with a negative size",
      tarOf([{ name: "a", content: "x", sizeField: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" }]),
      "INVALID",
    ],
    ["with a PAX size that is no number", [{ name: "a", content: "x", pax: { size: "-1" } }], "INVALID"],
    ["with a damaged PAX header", [{ name: "x", type: "x", content: "999 path=a\n" }, ...files], "INVALID"],
    ["with a PAX header of no length", [{ name: "x", type: "x", content: "0 path=a\n" }, ...files], "INVALID"],
    [
      "with an extended header beyond all measure",
      [{ name: "x", type: "L", content: Buffer.alloc(1024 * 1024 + 1, "a") }, ...files],
      "LIMIT",
    ],
    ["with a sparse file", [{ name: "a", type: "S", content: "x" }, ...files], "UNSUPPORTED"],
    ["with a name that leads out of it", [{ name: "../../outside", content: "x" }, ...files], "DENIED"],
    ["with an absolute name", [...files, { name: "/etc/passwd", content: "x" }], "DENIED"],
    ["with a link that lies outside", [{ name: "blobs/../../x", type: "2", link: "/etc/passwd" }, ...files], "DENIED"],
    [
      "with an index.json that links out of it",
      [...files.slice(0, -1), { name: "index.json", type: "2", link: "../index.json" }],
      "DENIED",
    ],
    [
      "with an index.json that is an absolute link",
      [...files, { name: "index.json", type: "1", link: "/index.json" }],
      "DENIED",
    ],
    [
      "with two index.json that differ",
      [...files, { name: "./index.json", content: '{"schemaVersion":2,"manifests":[]}' }],
      "INVALID",
    ],
    ["with two oci-layout that differ", [{ name: "oci-layout", content: "{}" }, ...files], "INVALID"],
    ["without oci-layout", files.slice(1), "INVALID"],
    ["without index.json", files.slice(0, -1), "INVALID"],
    [
      "of layout version 9.0.0",
      [...files, { name: "oci-layout", content: '{"imageLayoutVersion":"9.0.0"}' }],
      "INVALID",
    ],
    ["with an oci-layout that is no JSON", [...files, { name: "oci-layout", content: "1.0.0" }], "INVALID"],
    ["with half an index.json", [...files, { name: "index.json", content: '{"schemaVersion":2,' }], "INVALID"],
    [
      "with an index.json that links to nothing",
      [...files, { name: "index.json", type: "2", link: "nothing" }],
      "INVALID",
    ],
    [
      "with an index.json that links to itself",
      [...files, { name: "index.json", type: "2", link: "index.json" }],
      "LIMIT",
    ],
    [
      "with an oci-layout that links to nothing",
      [...files, { name: "oci-layout", type: "1", link: "nothing" }],
      "INVALID",
    ],
  ])("%s", async (_what, members, code) => {
    await failure(ArchiveSource.open(await archiveOf(members)), code);
  });

  it("that is not there, or is a directory", async () => {
    const path = await temporaryDirectory();
    await failure(ArchiveSource.open(join(path, "none")), "NOT_FOUND");
    await failure(ArchiveSource.open(path), "NOT_FOUND");
  });
});
