import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Digest, digestAlgorithm, digestEncoded, Layout, MemoryStore } from "@stowage/layout";
import { openRepository, type Repository } from "@stowage/registry";
import { directoryStore, layoutStore, memoryStore, type Store, serve } from "@stowage/server";
import { onTestFinished } from "vitest";
import { type DamageableFixture, describeStoredTarget, describeTarget } from "./describe-target.js";

async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "stowage-contract-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Turns over one bit in the middle of a blob of the layout at `path`. */
function damageIn(path: string): (digest: Digest) => Promise<void> {
  return async (digest) => {
    const file = await open(join(path, "blobs", digestAlgorithm(digest), digestEncoded(digest)), "r+");
    try {
      const position = Math.floor((await file.stat()).size / 2);
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, position);
      await file.write(Buffer.of((byte[0] as number) ^ 1), 0, 1, position);
    } finally {
      await file.close();
    }
  };
}

describeTarget("a memory store", async () => ({ target: new MemoryStore() }));

describeStoredTarget("a layout", async () => {
  const path = join(await temporaryDirectory(), "layout");
  return { target: await Layout.create(path), damage: damageIn(path) };
});

/** A repository on a server of ours, over a real connection. */
async function openOver(store: Store): Promise<Repository> {
  const server = await serve({ store });
  const target = openRepository(`${server.host}:${server.port}/team/app`, { credentials: false, retryDelay: 1 });
  onTestFinished(async () => {
    await target.close();
    await server.close();
  });
  return target;
}

async function overLayout(repository?: string): Promise<DamageableFixture> {
  const path = join(await temporaryDirectory(), "layout");
  const store = layoutStore(await Layout.create(path), repository === undefined ? {} : { repository });
  return { target: await openOver(store), damage: damageIn(path) };
}

describeTarget("a repository over memory", async () => ({ target: await openOver(memoryStore()) }));

describeStoredTarget("a repository over a layout, named by full names", () => overLayout());

describeStoredTarget("a repository over a layout, named by plain tags", () => overLayout("team/app"));

describeStoredTarget("a repository over a directory of layouts", async () => {
  const root = await temporaryDirectory();
  return { target: await openOver(await directoryStore(root)), damage: damageIn(join(root, "team", "app")) };
});
