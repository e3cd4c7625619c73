import { collect, digestOf } from "@stowage/layout";
import { printNarInfo, sourceStorePath, type Tree, writeNar } from "@stowage/nix";
import type { Job } from "./runner.js";

/** Writes a binary cache with two store paths, of which the first refers to the other, into `nix`. Returns the first. */
export async function writeNixCache(job: Job): Promise<string> {
  await job.write("nix/nix-cache-info", "StoreDir: /nix/store\n");
  const library = await add(job, "library", "shared text\n", []);
  return add(job, "program", `#!/bin/sh\ncat ${library}\n`, [library]);
}

async function add(job: Job, name: string, text: string, references: readonly string[]): Promise<string> {
  const body = Buffer.from(text);
  const tree: Tree = (async function* () {
    yield { type: "file", path: "", executable: true, size: body.byteLength, body: [body] } as const;
  })();
  const nar = await collect(writeNar(tree, name), 1 << 20);
  const narHash = digestOf(nar);
  const path = sourceStorePath(name, narHash, references);
  const hash = path.slice("/nix/store/".length, "/nix/store/".length + 32);
  await job.write(`nix/nar/${hash}.nar`, nar);
  const info = {
    ...{ path, narHash, narSize: nar.byteLength, url: `nar/${hash}.nar`, compression: "none", signatures: [] },
    references: references.map((reference) => reference.slice("/nix/store/".length)),
  };
  await job.write(`nix/${hash}.narinfo`, printNarInfo(info));
  return path;
}
