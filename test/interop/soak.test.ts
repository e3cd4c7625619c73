import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile, utimes } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Layout } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { type Served, startServe, stowage } from "../cli/stowage.js";
import { scratch } from "./peers.js";

/** How long the clients go on, in seconds. A short while proves that they work together; minutes prove that memory stays flat. */
const SECONDS = Number(process.env.STOWAGE_SOAK ?? 12);
const CLIENTS = 8;
const REPOSITORIES = ["soak/one", "soak/two"];
const TAGS = ["a", "b", "c", "d"];
const TYPE = "application/vnd.oci.image.manifest.v1+json";

const sha256 = (bytes: Uint8Array | string): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const descriptor = (bytes: Buffer, mediaType: string) => ({ mediaType, digest: sha256(bytes), size: bytes.byteLength });

/** Layers that all clients push and delete again, from a few bytes to a megabyte. */
const pool = Array.from({ length: 12 }, (_, at) => Buffer.alloc(4 ** (at % 11), `layer ${at} `));

/** Numbers that look random and are the same in each run. */
function numbers(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** One client, which does one thing after the other, checks what it sees, and counts what it has done. */
class Client {
  readonly done: Record<string, number> = {};
  readonly #base: string;
  readonly #below: (below: number) => number;

  constructor(host: string, seed: number) {
    this.#base = `http://${host}/v2`;
    this.#below = numbers(seed);
  }

  async run(until: number): Promise<void> {
    const acts = [
      this.#push,
      this.#push,
      this.#push,
      this.#pull,
      this.#pull,
      this.#refer,
      this.#deleteTag,
      this.#deleteManifest,
      this.#deleteBlob,
    ];
    while (Date.now() < until) {
      const act = acts[this.#below(acts.length)] as () => Promise<string>;
      const what = await act.call(this);
      this.done[what] = (this.done[what] ?? 0) + 1;
    }
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T;
  }

  async #ask(path: string, allowed: readonly number[], init: RequestInit = {}): Promise<Response> {
    const response = await fetch(`${this.#base}/${path}`, init);
    if (!allowed.includes(response.status)) {
      throw new Error(`${init.method ?? "GET"} ${path} was answered with ${response.status}: ${await response.text()}`);
    }
    return response;
  }

  async #discard(path: string, allowed: readonly number[], init: RequestInit = {}): Promise<number> {
    const response = await this.#ask(path, allowed, init);
    await response.arrayBuffer();
    return response.status;
  }

  async #blob(repository: string, bytes: Buffer): Promise<void> {
    const digest = sha256(bytes);
    if ((await this.#discard(`${repository}/blobs/${digest}`, [200, 404], { method: "HEAD" })) === 200) return;
    if (this.#below(2) === 0) {
      await this.#discard(`${repository}/blobs/uploads/?digest=${digest}`, [201], { method: "POST", body: bytes });
      return;
    }
    const opened = await this.#ask(`${repository}/blobs/uploads/`, [202], { method: "POST" });
    const location = new URL(opened.headers.get("location") as string, this.#base);
    const patch = await fetch(location, { method: "PATCH", body: bytes });
    const put = await fetch(`${location}?digest=${digest}`, { method: "PUT" });
    if (patch.status !== 202 || put.status !== 201)
      throw new Error(`an upload ended with ${patch.status}, ${put.status}`);
  }

  async #manifest(repository: string, reference: string | undefined, more: object): Promise<string> {
    const config = Buffer.from(`{"n":${this.#below(5)}}`);
    const layers = [this.#one(pool), this.#one(pool)];
    for (const bytes of [config, ...layers]) await this.#blob(repository, bytes);
    const manifest = {
      schemaVersion: 2,
      mediaType: TYPE,
      config: descriptor(config, "application/vnd.example.config"),
      layers: layers.map((bytes) => descriptor(bytes, "application/octet-stream")),
      ...more,
    };
    const body = JSON.stringify(manifest);
    const init = { method: "PUT", body, headers: { "Content-Type": TYPE } };
    const status = await this.#discard(`${repository}/manifests/${reference ?? sha256(body)}`, [201, 404], init);
    return status === 201 ? "pushed" : "told that a blob was deleted meanwhile";
  }

  #push(): Promise<string> {
    return this.#manifest(this.#one(REPOSITORIES), this.#one(TAGS), {});
  }

  async #refer(): Promise<string> {
    const repository = this.#one(REPOSITORIES);
    const head = await this.#ask(`${repository}/manifests/${this.#one(TAGS)}`, [200, 404], { method: "HEAD" });
    if (head.status === 404) return "found no subject";
    const digest = head.headers.get("docker-content-digest") as string;
    const subject = { mediaType: TYPE, digest, size: Number(head.headers.get("content-length")) };
    await this.#manifest(repository, undefined, { subject, artifactType: "application/vnd.example.soak" });
    const list = await this.#ask(`${repository}/referrers/${digest}`, [200]);
    if (!Array.isArray(((await list.json()) as { manifests: unknown }).manifests))
      throw new Error("no list of referrers");
    return "referred";
  }

  async #pull(): Promise<string> {
    const repository = this.#one(REPOSITORIES);
    const response = await this.#ask(`${repository}/manifests/${this.#one(TAGS)}`, [200, 404]);
    const bytes = Buffer.from(await response.arrayBuffer());
    if (response.status === 404) return "found no image";
    if (sha256(bytes) !== response.headers.get("docker-content-digest")) throw new Error("a manifest is damaged");
    for (const { digest } of (JSON.parse(bytes.toString()) as { layers: { digest: string }[] }).layers) {
      const blob = await this.#ask(`${repository}/blobs/${digest}`, [200, 404]);
      const layer = Buffer.from(await blob.arrayBuffer());
      // Somebody may delete the image while it is pulled, and never damage it.
      if (blob.status === 200 && sha256(layer) !== digest) throw new Error("a blob is damaged");
    }
    return "pulled";
  }

  async #deleteTag(): Promise<string> {
    await this.#discard(`${this.#one(REPOSITORIES)}/manifests/${this.#one(TAGS)}`, [202, 404], { method: "DELETE" });
    return "deleted a tag";
  }

  async #deleteManifest(): Promise<string> {
    const repository = this.#one(REPOSITORIES);
    const head = await this.#ask(`${repository}/manifests/${this.#one(TAGS)}`, [200, 404], { method: "HEAD" });
    const digest = head.headers.get("docker-content-digest");
    if (digest === null) return "found no image";
    await this.#discard(`${repository}/manifests/${digest}`, [202, 404, 405], { method: "DELETE" });
    return "deleted a manifest";
  }

  async #deleteBlob(): Promise<string> {
    const path = `${this.#one(REPOSITORIES)}/blobs/${sha256(this.#one(pool))}`;
    const status = await this.#discard(path, [202, 404, 405], { method: "DELETE" });
    return status === 202 ? "deleted a blob" : "found a blob needed";
  }
}

/** Makes every blob look two hours old: a collection takes it unless somebody needs it or has just counted on it. */
async function age(directory: string): Promise<void> {
  const old = new Date(Date.now() - 2 * 3600_000);
  for (const file of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (file.isFile() && file.parentPath.includes("blobs"))
      await utimes(join(file.parentPath, file.name), old, old).catch(() => {});
  }
}

/** The memory that the process has, in MB, where that can be told. */
async function memory({ process }: Served): Promise<number> {
  const status = await readFile(`/proc/${process.pid}/status`, "utf8").catch(() => "");
  return Number(/VmRSS:\s+([0-9]+)/.exec(status)?.[1] ?? 0) / 1000;
}

/** Looks at the memory of the process from time to time until `until`, in ms since 1970. */
async function watchMemory(served: Served, until: number): Promise<readonly number[]> {
  const seen: number[] = [];
  while (Date.now() < until) {
    seen.push(await memory(served));
    await sleep(Math.min((SECONDS * 1000) / 24, Math.max(until - Date.now(), 0)));
  }
  return seen;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

describe.each(["a directory of layouts", "one layout"])(
  "%s, with eight clients and other processes at work in it",
  (kind) => {
    it(
      "ends sound, and with no more memory than it began with",
      async () => {
        const cwd = await scratch();
        const directory = join(cwd, "served");
        if (kind === "one layout") await Layout.create(directory);
        // With so little to waste, memory that is not given back soon shows.
        const env = { NODE_OPTIONS: "--max-old-space-size=64" };
        const served = await startServe(["served", "--delete-blobs"], { cwd, env });
        const layouts = kind === "one layout" ? [directory] : REPOSITORIES.map((name) => join(directory, name));
        try {
          const clients = Array.from({ length: CLIENTS }, (_, at) => new Client(served.host, at));
          const warm = Date.now() + Math.min(SECONDS * 250, 20_000);
          await Promise.all(clients.map((client) => client.run(warm)));
          for (const layout of layouts) await age(layout);
          const until = Date.now() + SECONDS * 1000;
          const others = async (): Promise<void> => {
            while (Date.now() < until) {
              for (const layout of layouts.filter((path) => existsSync(join(path, "index.json")))) {
                const collected = await stowage(["gc", layout], { cwd });
                expect([collected.code, collected.stderr]).toEqual([0, ""]);
                const [first] =
                  (await stowage(["list", `oci:${layout}`, "--json"], { cwd })).stdout.match(/"tag":"[^"]+"/) ?? [];
                const tag = /:"(.+)"/.exec(first ?? "")?.[1];
                // The tag may be gone by now; what counts is what is left behind.
                if (tag !== undefined) await stowage(["copy", `oci:${layout}:${tag}`, `oci:${layout}:copied`], { cwd });
              }
            }
          };
          const watching = watchMemory(served, until);
          await Promise.all([...clients.map((client) => client.run(until)), others()]);
          const seen = await watching;
          const done = clients.flatMap((client) => Object.entries(client.done));
          const sums = Object.fromEntries(done.map(([what]) => [what, 0]));
          for (const [what, count] of done) sums[what] = (sums[what] as number) + count;
          console.log(`${kind}: ${JSON.stringify(sums)}; memory in MB: ${seen.map(Math.round).join(" ")}`);
          for (const what of ["pushed", "pulled", "referred", "deleted a tag", "deleted a manifest"])
            expect(sums[what]).toBeGreaterThan(0);
          // Whether a blob is needed when it is to be deleted is a matter of luck.
          expect((sums["deleted a blob"] ?? 0) + (sums["found a blob needed"] ?? 0)).toBeGreaterThan(0);
          const quarter = Math.ceil(seen.length / 4);
          expect(mean(seen.slice(-quarter)) - mean(seen.slice(0, quarter))).toBeLessThan(60);
        } finally {
          expect(await served.stop()).toBe(0);
        }
        for (const layout of layouts) {
          const verified = await stowage(["verify", `oci:${layout}`, "--json"], { cwd });
          expect([verified.code, (JSON.parse(verified.stdout) as { findings: unknown[] }).findings]).toEqual([0, []]);
        }
      },
      SECONDS * 3000 + 60_000,
    );
  },
);
