import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CopyPlan, CopyReport, ExportReport, ListedTag, Receipt, VerifyReport } from "@stowage/layout";
import type { ImportReport } from "@stowage/registry";
import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Run, type Served, startServe, stowage, stowageJson, temporaryDirectory } from "./stowage.js";

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let served: Served;
let cwd: string;
/** The layers of the images `v1` and `v2`, which share the first. */
let shared: string;
let added: string;
const digests: Record<string, string> = {};

const json = <T>(...args: string[]): Promise<T> => stowageJson<T>(args, { cwd });
const run = (...args: string[]): Promise<Run> => stowage(args, { cwd });
const at = (...names: string[]): string => join(cwd, ...names);
const tags = async (location: string): Promise<string[]> =>
  (await json<ListedTag[]>("list", location)).map(({ tag }) => tag);

/** Bytes that do not compress, and are the same each time. */
function noise(name: string, size: number): Buffer {
  const chunks: Buffer[] = [];
  for (let chunk = 0; chunk * 64 < size; chunk++) chunks.push(createHash("sha512").update(`${name} ${chunk}`).digest());
  return Buffer.concat(chunks).subarray(0, size);
}

beforeAll(async () => {
  directory = await temporaryDirectory();
  cwd = directory.path;
  for (const name of ["one", "two"]) mkdirSync(at(name));
  writeFileSync(at("one", "base.bin"), noise("base", 100_000));
  writeFileSync(at("two", "app.bin"), noise("app", 20_000));
  writeFileSync(at("sbom.spdx.json"), "{}");
  served = await startServe(["--memory"]);
  const build = (...args: string[]) =>
    json<{ descriptor: { digest: string }; layers: { digest: string }[] }>("build", ...args);
  digests.v1 = (await build("one:/one", "-t", "oci:out:v1")).descriptor.digest;
  digests.v2 = (await build("two:/two", "--base", "oci:out:v1", "-t", "oci:out:v2")).descriptor.digest;
  await json("attach", "oci:out:v2", "sbom.spdx.json");
  const manifest = JSON.parse(readFileSync(at("out", "blobs", "sha256", digests.v2.slice(7)), "utf8"));
  [shared, added] = manifest.layers.map((layer: { digest: string }) => layer.digest);
  await json("export", "oci:out:v1", "v1.tar");
});

afterAll(async () => {
  await served?.stop();
  await directory?.remove();
});

describe("a receipt", () => {
  it("is written beside every archive, where --receipt says, or not at all, and is what its schema says", async () => {
    const receipt = JSON.parse(readFileSync(at("v1.tar.receipt.json"), "utf8")) as Receipt;
    expect(receipt.roots.map(({ name, digest }) => [name, digest])).toEqual([["v1", digests.v1]]);
    expect(receipt.content.map(({ digest }) => digest)).toContain(shared);
    const schema = JSON.parse(readFileSync(new URL("../../packages/cli/receipt.schema.json", import.meta.url), "utf8"));
    const validate = new Ajv({ strict: false }).compile(schema);
    expect(validate(receipt), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...receipt, content: [{ digest: "sha256:../x", size: 1 }] })).toBe(false);
    await json("export", "oci:out:v1", "again.tar", "--receipt", "elsewhere.json");
    expect(readFileSync(at("elsewhere.json"))).toEqual(readFileSync(at("v1.tar.receipt.json")));
    await json("export", "oci:out:v1", "again.tar", "--no-receipt");
    expect(existsSync(at("again.tar.receipt.json"))).toBe(false);
  });
});

describe("export --since", () => {
  it("writes what the base lacks, whichever way the base is named", async () => {
    await json("push", "oci:out:v1", `${served.host}/base:v1`);
    const bases = ["v1.tar.receipt.json", "oci:out:v1", "v1.tar", `${served.host}/base:v1`];
    for (const [number, base] of bases.entries()) {
      const report = await json<ExportReport>("export", "oci:out:v2", `delta-${number}.tar`, "--since", base);
      expect(report).toMatchObject({ format: "oci", images: [{ leftOut: { since: [{ digest: shared }] } }] });
    }
    const [first, ...others] = bases.map((_base, number) => readFileSync(at(`delta-${number}.tar`)));
    expect(first?.includes(noise("app", 20_000).subarray(0, 64))).toBe(false);
    expect(first?.byteLength).toBeLessThan(40_000);
    // A registry says of its images what a layout says.
    for (const other of others) expect(other.equals(first as Buffer)).toBe(true);
  });

  it("makes what import takes in where the base is, in a layout and in a registry, and nowhere else", async () => {
    await json("export", "oci:out:v2", "v2.tar", "--since", "v1.tar.receipt.json");
    for (const target of ["oci:far", `${served.host}/far`]) {
      for (const dry of [["--dry-run"], []]) {
        const refused = await run("import", "v2.tar", target, ...dry);
        expect(refused).toMatchObject({ code: 1, stdout: "" });
        expect(refused.stderr).toContain(`${target} is not the base that oci-archive:v2.tar needs: it lacks a blob`);
        expect(refused.stderr).toContain(shared);
        expect(refused.stderr).toContain(`The base held v1 (${digests.v1}). Bring that first.`);
      }
      if (target.startsWith("oci:")) expect(existsSync(at("far"))).toBe(false);
      else expect((await fetch(`http://${target.replace("/", "/v2/")}/tags/list`)).status).toBe(404);
      if (target.startsWith("oci:")) {
        const beside = await json<ImportReport>("import", "v2.tar", "oci:beside", "--have", "oci:out");
        expect(beside.images[0]?.report).toMatchObject({ descriptor: { digest: digests.v2 } });
        expect((await run("verify", "oci:beside")).code).toBe(0);
      }
      await json("import", "v1.tar", target);
      const { images } = await json<ImportReport>("import", "v2.tar", target);
      expect(images).toMatchObject([{ name: "v2", report: { descriptor: { digest: digests.v2 } } }]);
      expect(images[0]?.report.referrers).toEqual({ found: 1, copied: 1 });
      expect((await run("verify", `${target}:v2`)).code).toBe(0);
    }
  });

  it("is wrong usage where it cannot be: for docker load, of a file that is not there, from a receipt", async () => {
    const wrong = [
      ["export", "oci:out:v2", "x.tar", "--since", "oci:out:v1", "--format", "docker"],
      ["export", "oci:out:v2", "x.tar", "--since", "none.json"],
      ["copy", "oci:out:v2", "oci:x", "--have", "v1.tar.receipt.json"],
      ["copy", "oci:out:v2", "docker-archive:x.tar", "--since", "oci:out:v1"],
      ["export", "oci:out:v2", "-", "--max-part", "1GB"],
      ["export", "oci:out:v2", "x.tar.gz", "--max-part", "1GB"],
      ["export", "oci:out:v2", "x.tar", "--max-part", "some"],
    ];
    for (const args of wrong) expect(await run(...args), args.join(" ")).toMatchObject({ code: 2, stdout: "" });
    writeFileSync(at("lie.json"), '{"mediaType":"application/json"}');
    expect((await run("export", "oci:out:v2", "x.tar", "--since", "lie.json")).code).toBe(1);
    expect(readdirSync(cwd).filter((name) => name.startsWith("x"))).toEqual([]);
  });
});

describe("copy", () => {
  it("--since moves only what the base lacks, which --dry-run foretells, and makes a layout that is known as sparse", async () => {
    const args = ["copy", "oci:out:v2", "oci:sparse", "--since", "v1.tar.receipt.json"];
    const { content, ...foreseen } = await json<CopyPlan>(...args, "--dry-run");
    expect(content.map(({ descriptor }) => descriptor.digest)).not.toContain(shared);
    const report = await json<CopyReport>(...args);
    expect(report).toEqual({ ...foreseen, target: report.target });
    const verified = await run("verify", "oci:sparse", "--json");
    expect(verified.code).toBe(0);
    const [note] = (JSON.parse(verified.stdout) as VerifyReport).findings;
    expect(note).toMatchObject({ severity: "note", state: "missing", descriptor: { digest: shared } });
    const refused = await run("copy", "oci:sparse:v2", `${served.host}/nowhere:v2`);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`it lacks a blob\n  ${shared}`);
    await json("copy", "oci:out:v1", `${served.host}/somewhere:v1`);
    const arrived = await json<CopyReport>("copy", "oci:sparse:v2", `${served.host}/somewhere:v2`);
    expect(arrived.descriptor.digest).toBe(digests.v2);
  });

  it("--since to a registry that lacks the base sends nothing", async () => {
    const refused = await run("copy", "oci:out:v2", `${served.host}/empty:v2`, "--since", "oci:out:v1");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(shared);
    expect((await fetch(`http://${served.host}/v2/empty/blobs/${added}`)).status).toBe(404);
  });

  it("--have takes from there what is there: linked into a layout, mounted in a registry", async () => {
    await json("push", "oci:out:v2", `${served.host}/full:v2`);
    const args = ["copy", `${served.host}/full:v2`, "oci:whole", "--have", "oci:near", "--hardlink"];
    await json("copy", "oci:out:v1", "oci:near:v1");
    const report = await json<CopyReport>(...args);
    expect(report).toMatchObject({ linked: 1, taken: { count: 1 } });
    expect((await run("verify", "oci:whole")).code).toBe(0);
    const text = await run("copy", "oci:out:v2", `${served.host}/mounted:v2`, "--have", `${served.host}/full`);
    expect(text.stdout).toMatch(/at hand {3}[0-9]+ blobs of it/);
    expect(text.stdout).toMatch(/[0-9] mounted/);
  });
});

describe("export --max-part", () => {
  const parts = (): string[] =>
    readdirSync(cwd)
      .filter((name) => /^big\.part-[0-9]-of-[0-9]\.tar$/.test(name))
      .sort();

  it("cuts an archive into tars of at most that size, of which import names those that are to be fetched again", async () => {
    const report = await json<ExportReport>("export", "oci:out", "big.tar", "--max-part", "60kB");
    expect(report.parts?.map(({ path }) => path)).toEqual(parts());
    for (const name of parts()) expect(readFileSync(at(name)).byteLength).toBeLessThanOrEqual(60_000);
    const names = parts();
    const [damaged, missing] = [names[0] as string, names.at(-1) as string];
    const spare = [damaged, missing].map((name) => [name, readFileSync(at(name))] as const);
    rmSync(at(missing));
    const bytes = readFileSync(at(damaged));
    bytes[40_000] = (bytes[40_000] as number) ^ 1;
    writeFileSync(at(damaged), bytes);
    for (const target of ["oci:cut", `${served.host}/cut`]) {
      const refused = await run("import", damaged, target);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain(`2 of ${names.length} parts have to be fetched again`);
      expect(refused.stderr).toContain(`${damaged} is damaged\n    ${shared}`);
      expect(refused.stderr).toContain(`${missing} is missing\n`);
    }
    expect(await tags("oci:cut")).toEqual([]);
    for (const [name, before] of spare) writeFileSync(at(name), before);
    const { images } = await json<ImportReport>("import", ...names, "oci:cut");
    expect(images.map(({ report: { descriptor } }) => descriptor.digest)).toEqual([digests.v1, digests.v2]);
    expect((await run("verify", "oci:cut")).code).toBe(0);
    expect((await json<ImportReport>("import", ".", `${served.host}/cut`)).images).toHaveLength(2);
    expect((await json<VerifyReport>("verify", `oci-archive:${damaged}:v2`)).findings).toEqual([]);
    const delta = ["--since", "v1.tar.receipt.json", "--max-part", "20kB"];
    expect((await json<ExportReport>("export", "oci:out:v2", "both.tar", ...delta)).parts?.length).toBeGreaterThan(1);
    for (const name of readdirSync(cwd).filter((one) => one.startsWith("big."))) rmSync(at(name));
    expect((await json<ImportReport>("import", "both.part-1-of-4.tar", "oci:cut")).images).toHaveLength(1);
  });

  it("costs of a part that is lost only the images that need it", async () => {
    const report = await json<ExportReport>("export", "oci:out", "two.tar", "--max-part", "120kB");
    const withAdded = report.parts?.find(({ content }) => content.some(({ digest }) => digest === added));
    const others = report.parts?.filter((part) => part !== withAdded) ?? [];
    expect(others.some(({ content }) => content.some(({ digest }) => digest === shared))).toBe(true);
    rmSync(at(withAdded?.path as string));
    const refused = await run("import", others[0]?.path as string, "oci:partly");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`1 of ${report.parts?.length} parts has to be fetched again`);
    expect(await tags("oci:partly")).toEqual(["v1"]);
  });
});
