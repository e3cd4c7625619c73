import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type {
  AttachResult,
  ChainLink,
  ConvertReport,
  CopyReport,
  DanglingReferrer,
  Descriptor,
  Inspection,
  ReconcileReport,
  TreeNode,
} from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
let image: string;
const digests: Record<string, string> = {};

async function attach(name: string, subject: string, ...options: string[]): Promise<void> {
  const { descriptor } = await stowageJson<AttachResult>(["attach", subject, "file.json", ...options], { cwd });
  digests[name] = descriptor.digest;
}

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  mkdirSync(join(cwd, "app"));
  writeFileSync(join(cwd, "app", "hello.txt"), "hello\n");
  writeFileSync(join(cwd, "file.json"), "{}");
  served = await startServe(["--memory"]);
  const built = await stowageJson<{ descriptor: Descriptor }>(
    ["build", "app:/app", "-t", "oci:out:v1", "--platform", "linux/amd64"],
    { cwd },
  );
  image = built.descriptor.digest;
  await attach("old", "oci:out:v1", "--artifact-type", "a/sbom", "--created", "100", "--annotation", "stage=build");
  await attach("new", "oci:out:v1", "--artifact-type", "a/sbom", "--created", "200", "--annotation", "stage=test");
  await attach("signature", `oci:out@${digests.new}`, "--artifact-type", "a/signature", "--created", "300");
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("options that choose referrers", () => {
  const expectations: [string[], string[]][] = [
    [[], ["old", "new", "signature"]],
    [
      ["--artifact-type", "a/sbom"],
      ["old", "new"],
    ],
    [
      ["--artifact-type", "a/sbom", "--artifact-type", "a/signature", "--latest"],
      ["new", "signature"],
    ],
    [["--annotation-filter", "stage=build"], ["old"]],
    [
      ["--annotation-filter", "stage"],
      ["old", "new"],
    ],
    [
      ["--depth", "1"],
      ["old", "new"],
    ],
    [["--depth", "0"], []],
  ];
  it.each(expectations)("%j choose %j for tree, copy and publish alike", async (options, names) => {
    const expected = names.map((name) => digests[name]);
    const links = await stowageJson<ChainLink[]>(["tree", "oci:out:v1", "--chain", ...options], { cwd });
    expect(links.map(({ descriptor }) => descriptor.digest)).toEqual(expected);
    const target = `oci:copy${options.join("").replace(/\W/g, "")}:v1`;
    const report = await stowageJson<CopyReport>(["copy", "oci:out:v1", target, ...options], { cwd });
    expect(report.referrers).toEqual({ found: names.length, copied: names.length });
    const reference = `${served.host}/app${options.join("").replace(/\W/g, "").toLowerCase()}:v1`;
    await stowageJson(["publish", "oci:out:v1", reference, ...options], { cwd });
    for (const location of [target, reference]) {
      const there = await stowageJson<ChainLink[]>(["tree", location, "--chain"], { cwd });
      expect(there.map(({ descriptor }) => descriptor.digest)).toEqual(expected);
    }
  });

  it("choose what inspect shows", async () => {
    const { referrers } = await stowageJson<Inspection>(["inspect", "oci:out:v1", "--latest"], { cwd });
    expect(referrers.map(({ digest }) => digest)).toEqual([digests.new]);
  });

  it.each([
    [["tree", "oci:out:v1", "--depth", "few"], "--depth"],
    [["copy", "oci:out:v1", "oci:x:y", "--annotation-filter", "=x"], "KEY=VALUE"],
    [["publish", "oci:out:v1", "localhost:1/x", "--referrers", "none", "--latest"], "nothing to choose"],
    [["reconcile", "oci-archive:x.tar"], "no layout"],
    [["reconcile", "oci:out:v1"], "as a whole"],
    [["reconcile", "oci:out", "--to", "crane"], "to"],
    [["convert", "oci:out:v1", "-t", "oci:x:y"], "attestations"],
    [["attach", "oci:out:v1", "file.json", "--subject", `sha256:${"0".repeat(64)}`], "--subject"],
    [["attach", "oci:out", "file.json", "--subject", "sha256:12"], "digest"],
    [["attach", "oci:out", "file.json", "--subject", `sha256:${"0".repeat(64)}`, "--subject-size", "-1"], "size"],
    [["list", "localhost:1/x", "--dangling"], "dangling"],
  ])("are refused where they make no sense: %j", async (args, text) => {
    const run = await stowage(args, { cwd });
    expect(run.stderr).toContain(text);
    expect(run.code).toBe(2);
  });
});

describe("tree --chain", () => {
  it("prints who refers to whom in the order of time", async () => {
    const { stdout } = await stowage(["tree", "oci:out:v1", "--chain"], { cwd });
    const [head, ...rows] = stdout.trimEnd().split("\n");
    expect(head?.split(/ +/)).toEqual(["CREATED", "TYPE", "DIGEST", "SUBJECT"]);
    expect(rows.map((row) => row.split(/ +/))).toEqual([
      ["1970-01-01T00:01:40Z", "a/sbom", digests.old, image],
      ["1970-01-01T00:03:20Z", "a/sbom", digests.new, image],
      ["1970-01-01T00:05:00Z", "a/signature", digests.signature, digests.new],
    ]);
  });
});

describe("a tag of cosign's older style in a registry", () => {
  it("is shown by inspect and tree as what it is for the image, and is none of its referrers", async () => {
    const { host } = served;
    await stowageJson(["push", "oci:out:v1", `${host}/legacy:v1`, "--referrers", "none"], { cwd });
    const tag = `${image.replace(":", "-")}.sig`;
    await stowageJson(["build", "app:/signature", "-t", `${host}/legacy:${tag}`], { cwd });
    const inspection = await stowageJson<Inspection>(["inspect", `${host}/legacy:v1`], { cwd });
    expect(inspection.referrers).toEqual([]);
    expect(inspection.related).toMatchObject([{ kind: "legacy-tag", role: "signature", subject: image, name: tag }]);
    const tree = await stowage(["tree", `${host}/legacy:v1`], { cwd });
    expect(tree.stdout).toContain(`~ legacy-tag signature ${inspection.related?.[0]?.descriptor.digest} [${tag}]`);
  });
});

describe("a name with a line break in it", () => {
  it("is one line of a list", async () => {
    const path = join(cwd, "out", "index.json");
    const before = readFileSync(path, "utf8");
    const index = JSON.parse(before);
    const [entry] = index.manifests.filter((one: Descriptor) => one.digest === image);
    const annotations = { "org.opencontainers.image.ref.name": "v1\nv2  sha256:abc" };
    writeFileSync(path, JSON.stringify({ ...index, manifests: [...index.manifests, { ...entry, annotations }] }));
    try {
      const names = await stowage(["list", "oci:out", "--quiet"], { cwd });
      expect(names.stdout).toBe("v1\nv1\\nv2  sha256:abc\n");
    } finally {
      writeFileSync(path, before);
    }
  });
});

describe("attach to a subject that is not there", () => {
  const absent = `sha256:${"ab".repeat(32)}`;

  it("needs its size, and is shown with its subject missing", async () => {
    const args = ["attach", "oci:out", "--subject", absent, "--artifact-type", "a/eol", "--annotation", "reason=old"];
    const refused = await stowage(args, { cwd });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("--subject-size");
    const attached = await stowageJson<AttachResult>([...args, "--subject-size", "1234"], { cwd });
    expect(attached.subject).toEqual({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: absent,
      size: 1234,
    });
    expect(attached.files).toEqual([]);
    // Now a referrer tells the size.
    const again = await stowageJson<AttachResult>(
      ["attach", "oci:out", "file.json", "--subject", absent, "--artifact-type", "a/b"],
      { cwd },
    );
    expect(again.subject.size).toBe(1234);

    const node = await stowageJson<TreeNode>(["tree", `oci:out@${attached.descriptor.digest}`], { cwd });
    expect(node.subject).toMatchObject({ descriptor: { digest: absent }, missing: true });
    const text = await stowage(["tree", `oci:out@${attached.descriptor.digest}`], { cwd });
    expect(text.stdout).toContain(`-> subject ${absent} [missing]`);
    const dangling = await stowageJson<DanglingReferrer[]>(["list", "oci:out", "--dangling"], { cwd });
    expect(dangling.map(({ subject, referrer }) => [subject, referrer.digest])).toEqual(
      [attached, again].map(({ descriptor }) => [absent, descriptor.digest]).sort(),
    );
    expect((await stowage(["list", "oci:out", "--dangling"], { cwd })).stdout).toContain("MISSING SUBJECT");
    const plain = await stowage(["list", "oci:out"], { cwd });
    expect(plain.stderr).toBe("stowage: 2 referrers of images that are not here: stowage list oci:out --dangling\n");
    expect((await stowage(["list", "oci:out", "--quiet"], { cwd })).stderr).toBe("");
    expect((await stowage(["list", "oci:copy:v1"], { cwd })).stderr).toBe("");
    const shown = await stowage(["tree", `oci:out@${digests.old}`], { cwd });
    expect(shown.stdout).toContain(`-> subject ${image}\n`);
  });

  it("takes the descriptor of one that is there, and works in a registry", async () => {
    const inLayout = await stowageJson<AttachResult>(
      ["attach", "oci:out", "--subject", digests.old as string, "--artifact-type", "a/note", "--annotation", "x=y"],
      { cwd },
    );
    expect(inLayout.subject.digest).toBe(digests.old);
    const remote = await stowageJson<AttachResult>(
      ["attach", `${served.host}/absent`, "--subject", absent, "--subject-size", "99", "--artifact-type", "a/eol"],
      { cwd },
    );
    expect(remote.subject.size).toBe(99);
  });
});

describe("reconcile", () => {
  it("converts between the forms and says what it changed, and then that nothing is to do", async () => {
    await stowageJson(
      ["copy", "oci:out:v1", "oci:forms:v1", "--artifact-type", "a/sbom", "--artifact-type", "a/signature"],
      { cwd },
    );
    const report = await stowageJson<ReconcileReport>(["reconcile", "oci:forms", "--to", "oras"], { cwd });
    expect(report.changes.map(({ action, form }) => `${action} ${form}`)).toEqual(["removed list", "removed list"]);
    const index = JSON.parse(readFileSync(join(cwd, "forms", "index.json"), "utf8"));
    expect(index.manifests).toHaveLength(4);
    const back = await stowage(["reconcile", "oci:forms"], { cwd });
    expect(back.stdout).toMatch(/added +list .*\noci:forms: 2 changes \(3 referrers of 2 subjects\)\n/);
    expect((await stowage(["reconcile", "oci:forms"], { cwd })).stdout).toBe(
      "oci:forms: all forms agree (3 referrers of 2 subjects)\n",
    );
    expect((await stowage(["reconcile", "oci:nowhere"], { cwd })).code).toBe(1);
  });
});

describe("convert", () => {
  it("says that the index has a new digest, and where the attestations are now", async () => {
    const { descriptor } = await stowageJson<Inspection>(["inspect", "oci:out:v1"], { cwd });
    await addAttestedIndex(join(cwd, "out"), descriptor, digests.signature as string);
    const inspection = await stowage(["inspect", "oci:out:attested"], { cwd });
    expect(inspection.stdout).toContain(`${digests.signature} attestation of ${image}`);
    expect((await stowage(["tree", "oci:out:attested"], { cwd })).stdout).toMatch(/attestation sha256:.*\[of sha256:/);
    const args = ["convert", "oci:out:attested", "-t", "oci:out:converted", "--attestations", "referrers"];
    const run = await stowage(args, { cwd });
    expect(run.code).toBe(0);
    expect(run.stdout).toContain("NEW DIGEST of the index");
    expect(run.stdout).toContain(`now refers to ${image}`);
    const report = await stowageJson<ConvertReport>(args, { cwd });
    expect(report.before.digest).not.toBe(report.descriptor.digest);
    expect(run.stdout).toContain(report.descriptor.digest);
    const [child, ...rest] = (await stowageJson<TreeNode>(["tree", "oci:out:converted"], { cwd })).children;
    expect(rest).toEqual([]);
    expect(child?.descriptor.digest).toBe(image);
    expect(child?.referrers.map((node) => node.descriptor.digest)).toContain(report.converted[0]?.descriptor.digest);
    const again = await stowage(
      ["convert", "oci:out:converted", "-t", "oci:out:again", "--attestations", "referrers"],
      { cwd },
    );
    expect(again.stdout).toContain("nothing to convert");
  });
});

/** Writes an index of the image and an attestation of it into a layout, under the tag `attested`. */
async function addAttestedIndex(layout: string, image: Descriptor, attestation: string): Promise<void> {
  const { createHash } = await import("node:crypto");
  const size = readFileSync(join(layout, "blobs", "sha256", attestation.slice(7))).length;
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const plain = { mediaType: image.mediaType, digest: image.digest, size: image.size };
  const bytes = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    manifests: [
      { ...plain, platform: { os: "linux", architecture: "amd64" } },
      {
        mediaType: image.mediaType,
        digest: attestation,
        size,
        platform: { os: "unknown", architecture: "unknown" },
        annotations: {
          "vnd.docker.reference.digest": image.digest,
          "vnd.docker.reference.type": "attestation-manifest",
        },
      },
    ],
  });
  const hex = createHash("sha256").update(bytes).digest("hex");
  writeFileSync(join(layout, "blobs", "sha256", hex), bytes);
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
  index.manifests.push({
    mediaType,
    digest: `sha256:${hex}`,
    size: Buffer.byteLength(bytes),
    annotations: { "org.opencontainers.image.ref.name": "attested" },
  });
  writeFileSync(join(layout, "index.json"), JSON.stringify(index));
}
