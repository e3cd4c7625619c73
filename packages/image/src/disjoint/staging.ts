import { chmodSync, chownSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, type Stats, utimesSync } from "node:fs";
import { join } from "node:path";
import { systemError } from "@stowage/layout";
import { prepareDestination } from "../unpack/destination.js";
import { move } from "./place-layer.js";
import { removeTree } from "./remove-tree.js";

/** A place to put files together, which become those of a directory when all is well. */
export interface Staging {
  /** An empty directory for the root of the image. */
  readonly root: string;
  /** An empty directory for a layer, by its number. */
  layer(at: number): string;
  /** Makes what is in the root, and its attributes, those of the destination. */
  commit(): Promise<void>;
  /** Nothing is left. */
  abandon(): Promise<void>;
}

/**
 * Prepares a directory that is missing or empty. Until {@link Staging.commit} nothing of the image is to be seen there, and after
 * {@link Staging.abandon} it is as it was. Fails with `CONFLICT` where there is something in it.
 */
export function prepareStaging(directory: string): Staging {
  const destination = prepareDestination(directory, false);
  const work = mkdtempSync(join(destination.path, ".unpacking-"));
  const root = join(work, "root");
  const layers = join(work, "layers");
  for (const path of [root, layers]) mkdirSync(path, 0o700);
  return {
    root,
    layer: (at) => {
      const path = join(layers, String(at));
      mkdirSync(path, 0o700);
      return path;
    },
    commit: async () => {
      try {
        const status = lstatSync(root);
        moveUp(root, destination.path);
        await removeTree(work);
        // The last of all: what is taken out of a directory changes its time.
        setStatus(destination.path, status);
        destination.commit();
      } catch (error) {
        throw systemError(error, `cannot unpack into ${directory}`);
      }
    },
    abandon: async () => {
      for (const name of readdirSync(destination.path)) await removeTree(join(destination.path, name));
      destination.abandon(() => {});
    },
  };
}

function moveUp(from: string, to: string): void {
  for (const name of readdirSync(from, { encoding: "buffer" })) {
    const child = Buffer.concat([Buffer.from("/"), name]);
    move(Buffer.concat([Buffer.from(from), child]), Buffer.concat([Buffer.from(to), child]));
  }
}

function setStatus(path: string, { mode, uid, gid, mtimeMs }: Stats): void {
  if (process.getuid?.() === 0) chownSync(path, uid, gid);
  chmodSync(path, mode & 0o7777);
  const time = mtimeMs < 0 ? String(mtimeMs / 1000) : mtimeMs / 1000;
  utimesSync(path, time, time);
}
