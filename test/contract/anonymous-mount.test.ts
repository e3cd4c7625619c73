import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contentOf, descriptorOf, mediaTypes } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { type LayerMaker, memoryStore, serve } from "@stowage/server";
import { faulty } from "@stowage/server/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const closing: (() => Promise<void>)[] = [];
let probeCache: string;

beforeEach(async () => {
  probeCache = await mkdtemp(join(tmpdir(), "stowage-mounts-"));
  closing.push(() => rm(probeCache, { recursive: true }));
});

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const bytes = Buffer.from("a layer");
const layer = contentOf(bytes, descriptorOf(bytes, mediaTypes.layer));

/** A registry with these faults that has the layer in one repository, what a probe of it says, and the requests since then. */
async function probed(faults: readonly string[], later: LayerMaker[] = []) {
  const requests: string[] = [];
  let isProbed = false;
  const spy: LayerMaker = () => async (exchange, next) => {
    if (isProbed) requests.push(`${exchange.method} ${exchange.request.url}`);
    return next();
  };
  const late = later.map(
    (make): LayerMaker =>
      async (surroundings) => {
        const layer = await make(surroundings);
        return (exchange, next) => (isProbed ? layer(exchange, next) : next());
      },
  );
  const server = await serve({ store: memoryStore(), layers: [spy, ...late, ...faulty(faults)] });
  closing.push(() => server.close());
  const host = `127.0.0.1:${server.port}`;
  const connect = (): RegistryClient => {
    const client = new RegistryClient({
      credentials: false,
      environment: {},
      tries: 2,
      retryDelay: 1,
      upload: { probeCache },
    });
    closing.push(() => client.close());
    return client;
  };
  const first = connect().repository(`${host}/acme/first`);
  await first.push(layer);
  const { capabilities, leftBehind } = await first.probe({ write: true, cache: probeCache });
  isProbed = true;
  // Another run, which has seen the layer nowhere.
  const second = connect().repository(`${host}/acme/second`);
  return { anonymousMount: capabilities.anonymousMount, leftBehind, second, requests };
}

/** Says of every blob that it was mounted. */
const mountsNothing: LayerMaker = () => async (exchange, next) => {
  const digest = exchange.query.get("mount");
  if (exchange.method !== "POST" || digest === null || exchange.query.has("from")) return next();
  return { status: 201, headers: { Location: `/v2/acme/second/blobs/${digest}` } };
};

describe("a blob that no repository is known to have", () => {
  it("is mounted where a probe found that the registry looks for it", async () => {
    const { anonymousMount, second, requests } = await probed([]);
    expect(anonymousMount).toEqual({ support: "yes" });
    expect(await second.push(layer)).toBe("mounted");
    expect(requests.filter((line) => !line.startsWith("HEAD"))).toEqual([expect.stringMatching(/^POST .*mount=/)]);
    expect(await second.has(layer.descriptor)).toBe(true);
  });

  it("is sent, and nothing else is asked, where the registry refuses that or does not do it", async () => {
    for (const [fault, detail] of [
      ["mount-needs-from", expect.stringMatching(/^4/)],
      ["no-mount", "202, an upload instead"],
    ] as const) {
      const { anonymousMount, second, requests, leftBehind } = await probed([fault]);
      expect([fault, anonymousMount, leftBehind.filter((what) => what.includes("upload"))]).toEqual([
        fault,
        { support: "no", detail },
        [],
      ]);
      expect(await second.push(layer)).toBe("written");
      expect(requests.join()).not.toContain("mount=");
    }
  });

  it("is sent where a registry says of everything that it was mounted, also when it began to after the probe", async () => {
    const server = await serve({ store: memoryStore(), layers: [mountsNothing] });
    closing.push(() => server.close());
    const client = new RegistryClient({ credentials: false, environment: {} });
    closing.push(() => client.close());
    const liar = client.repository(`127.0.0.1:${server.port}/acme/app`);
    const { capabilities } = await liar.probe({ write: true, cache: false });
    expect(capabilities.anonymousMount).toEqual({ support: "no", detail: "201 for a blob that is nowhere" });

    const { second } = await probed([], [mountsNothing]);
    expect(await second.push(layer)).toBe("written");
    expect(await second.has(layer.descriptor)).toBe(true);
  });

  it("is sent where a registry that was found to mount fails since, and it is not asked for the next one", async () => {
    const { second, requests } = await probed([], faulty(["mount-needs-from"]) as LayerMaker[]);
    expect(await second.push(layer)).toBe("written");
    const other = Buffer.from("another layer");
    expect(await second.push(contentOf(other, descriptorOf(other, mediaTypes.layer)))).toBe("written");
    expect(requests.filter((line) => line.includes("mount="))).toHaveLength(1);
  });
});
