import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { connect as connectTo, createServer as createTcpServer, type Socket } from "node:net";
import { join } from "node:path";
import {
  type CopyPlan,
  type CopyReport,
  contentOf,
  type Descriptor,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  Layout,
  mediaTypes,
} from "@stowage/layout";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import { needs, run, scratch } from "./peers.js";
import { type PeerRegistry, startDockerRegistry, startOlareg, startZot, watch, zot } from "./registries.js";

const SIZE = 24 * 1024 * 1024;
const CUT = 7 * 1024 * 1024;

let cwd: string;
let image: Descriptor;
const proxies: (() => void)[] = [];

beforeAll(async () => {
  cwd = await scratch();
  const layout = await Layout.create(join(cwd, "out"));
  const layer = await layout.write([randomBytes(SIZE)], mediaTypes.layer);
  await layout.push(contentOf(emptyBytes, emptyDescriptor));
  const config = await layout.write([encodeJson({ architecture: "amd64", os: "linux" })], mediaTypes.config);
  image = await layout.write(
    [encodeJson({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] })],
    mediaTypes.manifest,
  );
  await layout.tag("v1", image);
});

afterAll(() => {
  for (const close of proxies.splice(0)) close();
});

/** A second address of a registry, where a connection breaks when this many bytes have gone through it in one direction. */
async function cutting(registry: PeerRegistry, limit: number): Promise<{ host: string; cuts: () => number }> {
  const sockets = new Set<Socket>();
  let cuts = 0;
  const server = createTcpServer((client) => {
    const [host, port] = registry.host.split(":");
    const upstream = connectTo(Number(port), host as string);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      let passed = 0;
      from.on("data", (chunk: Buffer) => {
        passed += chunk.byteLength;
        if (passed < limit) {
          if (!to.write(chunk)) from.pause();
          return;
        }
        cuts++;
        // The rest arrives, and then nothing more.
        to.end(chunk.subarray(0, chunk.byteLength - (passed - limit)));
        from.destroy();
      });
      to.on("drain", () => from.resume());
      from.on("end", () => to.end()).on("error", () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxies.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, cuts: () => cuts };
}

/** An old zot opens an upload where a blob is to be mounted. */
for (const { program, start, mounts } of [
  { program: "docker-registry", start: () => startDockerRegistry(), mounts: true },
  { program: zot, start: startZot, mounts: zot === "zot" },
  { program: "olareg", start: startOlareg, mounts: true },
]) {
  describe(`a transfer to and from ${program}`, () => {
    let started: Promise<PeerRegistry> | undefined;
    const registry = (): Promise<PeerRegistry> => (started ??= start());
    const json = <T>(...args: string[]): Promise<T> => stowageJson<T>(args, { cwd });

    it("in chunks has the digest that crane sees", async (context) => {
      needs(context, program, "crane");
      const { host } = await registry();
      await json("push", "oci:out:v1", `${host}/chunks/app:v1`, "--upload", "chunked", "--chunk-size", "5MiB");
      expect((await run("crane", ["digest", "--insecure", `${host}/chunks/app:v1`])).trim()).toBe(image.digest);
      await json("pull", `${host}/chunks/app:v1`, `oci:chunks-${program}`);
    });

    it("over a line that is cut every 7 MiB ends with all of it, both ways", async (context) => {
      needs(context, program);
      const up = await cutting(await registry(), CUT);
      const sent = await json<CopyReport>("push", "oci:out:v1", `${up.host}/cut/app:v1`);
      expect(up.cuts()).toBeGreaterThan(0);
      expect(sent.bytes).toBeGreaterThan(SIZE);
      const down = await cutting(await registry(), CUT);
      const back = `oci:back-${program}:v1`;
      await json("pull", `${down.host}/cut/app:v1`, back);
      expect(down.cuts()).toBeGreaterThanOrEqual(3);
      expect(await json<CopyReport>("copy", back, "oci:out:back")).toMatchObject({ written: 0 });
    });

    it("is planned as it is made, to a second repository as mounts", async (context) => {
      needs(context, program);
      const { host } = await registry();
      const places = ["planned/one", "planned/two"].map((name) => `${host}/${name}:v1`);
      const [one, two] = places as [string, string];
      for (const [from, to] of [
        ["oci:out:v1", one],
        [one, two],
        ["oci:out:v1", two],
      ] as const) {
        const { content: _, ...foreseen } = await json<CopyPlan>("copy", from, to, "--dry-run");
        const report = await json<CopyReport>("copy", from, to);
        if (mounts || foreseen.mounted === 0) expect(report).toEqual(foreseen);
        else expect(report.written).toBe(foreseen.written + foreseen.mounted);
      }
      const again = await json<CopyReport>("copy", one, two);
      expect(again).toMatchObject({ written: 0, mounted: 0, bytes: 0, tagged: [{ change: "unchanged" }] });
    });

    it("takes one request to be pushed again, and at most four to be pulled again", async (context) => {
      needs(context, program);
      const watched = await watch(await registry());
      const place = `${watched.host}/again/app:v1`;
      await json("push", "oci:out:v1", place);
      const since = (before: number): string[] =>
        watched.requests.slice(before).filter((line) => !line.endsWith("/v2/"));
      let before = watched.requests.length;
      await json("push", "oci:out:v1", place);
      expect(since(before)).toEqual(["HEAD /v2/again/app/manifests/v1"]);
      await json("pull", place, `oci:again-${program}:v1`);
      before = watched.requests.length;
      await json("pull", place, `oci:again-${program}:v1`);
      const requests = since(before);
      expect(requests.some((line) => line.includes("/blobs/") || line.includes("/manifests/sha256:"))).toBe(false);
      // Without the referrers API its absence costs one more.
      expect(requests.length).toBeLessThanOrEqual(4);
    });

    it("moves no tag where it is told not to", async (context) => {
      needs(context, program, "crane");
      const { host } = await registry();
      const place = `${host}/kept/app:v1`;
      await json("push", "oci:out:v1", place);
      await run("crane", ["mutate", "--insecure", "--label", "a=b", place, "-t", `${host}/kept/app:other`]);
      const other = (await run("crane", ["digest", "--insecure", `${host}/kept/app:other`])).trim();
      const { code, stderr } = await stowage(["copy", "oci:out:v1", `${host}/kept/app:other`, "--no-clobber"], { cwd });
      expect(code).toBe(1);
      expect(stderr).toContain(other);
      expect(stderr).toContain(image.digest);
    });
  });
}
