import { copy, type Descriptor, MemoryStore } from "@stowage/layout";
import { afterEach, describe, expect, it } from "vitest";
import { parseSyncFile, RegistryClient, type SyncReport, sync } from "../src/index.js";
import { all, blobOf, emptyBlob, manifestOf, referrerOf } from "./support/artifacts.js";
import { closeServers, sendJson } from "./support/server.js";
import { type SmallRegistry, type SmallRegistryOptions, serveRegistry } from "./support/small-registry.js";

const clients: RegistryClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await closeServers();
});

function client(): RegistryClient {
  const made = new RegistryClient({ credentials: false, environment: {}, tries: 1 });
  clients.push(made);
  return made;
}

const tags = ["a", "b", "c", "d", "e", "f"];

/** Two registries without the referrers API, one of them with six images that share a layer. */
async function prepared(options: SmallRegistryOptions = {}) {
  const [from, to] = [await serveRegistry(options), await serveRegistry()];
  const source = client().repository(`${from.host}/many`);
  const images: Descriptor[] = [];
  for (const tag of tags) {
    const [shared, own] = [blobOf("shared"), blobOf(`only in ${tag}`)];
    const image = manifestOf([shared, own]);
    const store = new MemoryStore();
    for (const content of [emptyBlob, shared, own, image]) await store.push(content);
    await copy(store, source, image.descriptor, { tags: [tag] });
    images.push(image.descriptor);
  }
  const run = async (): Promise<SyncReport> => {
    const text = `version: 1\nsync:\n  - { source: ${from.host}/many, tags: [${tags}], target: ${to.host}/many }`;
    from.received.length = 0;
    to.received.length = 0;
    return sync(await parseSyncFile(text, "/nowhere/sync.yaml"), { client: client(), concurrency: 1 });
  };
  return { from, to, source, images, run };
}

const requests = ({ received }: SmallRegistry): string[] =>
  received.map(({ method, path }) => `${method} ${path.replace("/v2/many/", "")}`);
const changes = ({ images }: SyncReport) => images.map(({ change }) => change);

describe("the requests of a sync", () => {
  it("to a repository that is not there: nothing is looked for, and what images share is sent once", async () => {
    const { to, run } = await prepared();
    expect(changes(await run())).toEqual(tags.map(() => "created"));
    const [head, list, ...rest] = requests(to);
    expect([head, list]).toEqual(["HEAD manifests/a", "GET tags/list?n=1000"]);
    expect(rest.filter((line) => line.startsWith("GET "))).toEqual([]);
    // Of the first blob that is sent in one request it is made sure that it is there.
    expect(rest.filter((line) => line.startsWith("HEAD ")).length).toBeLessThanOrEqual(1);
    expect(rest.filter((line) => line.startsWith("POST "))).toHaveLength(2 + tags.length);
  });

  it("again: a HEAD for each tag on either side, and one list of the tags instead of a question for each list of referrers", async () => {
    const { from, to, run } = await prepared();
    await run();
    expect(changes(await run())).toEqual(tags.map(() => "unchanged"));
    const heads = tags.map((tag) => `HEAD manifests/${tag}`);
    expect(requests(to)).toEqual(heads);
    const asked = requests(from).map((line) => line.replace(/sha256.*/, "DIGEST"));
    expect(asked.sort()).toEqual(
      ["GET manifests/DIGEST", "GET referrers/DIGEST", "GET tags/list?n=1000", ...heads].sort(),
    );
  });

  it("again: what has been signed meanwhile is found, also where the list of tags is not whole", async () => {
    let cut = false;
    const { to, source, images, run } = await prepared({
      intercept: ({ url }, response) => {
        if (!cut || !url?.includes("/tags/list")) return false;
        sendJson(response, 200, { name: "many", tags: ["a"] });
        return true;
      },
    });
    await run();
    for (const [at, wanted] of [
      [0, 1],
      [5, 2],
    ] as const) {
      await source.push(referrerOf(images[at] as Descriptor, `signature ${at}`));
      const report = await run();
      expect(changes(report)).toEqual(tags.map(() => "unchanged"));
      const found = report.images.flatMap(({ report: copied }) => copied?.referrers.found ?? []);
      expect(found).toHaveLength(wanted);
      const target = client().repository(`${to.host}/many`);
      expect(await all(target.referrers(images[at] as Descriptor))).toHaveLength(1);
      cut = true;
    }
  });
});
