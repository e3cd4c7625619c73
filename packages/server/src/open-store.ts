import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Layout, type LayoutOptions } from "@stowage/layout";
import type { Store } from "./store.js";
import { directoryStore } from "./store-directory.js";
import { layoutStore } from "./store-layout.js";

/** Serves the layout that a directory is, or else the layouts in it, one for each repository; the directory is made where it is not there. Fails as {@link layoutStore} and `Layout.open` do. */
export async function openStore(directory: string, options: LayoutOptions = {}): Promise<Store> {
  if (existsSync(join(directory, "oci-layout"))) return layoutStore(await Layout.open(directory, options));
  await mkdir(directory, { recursive: true });
  return directoryStore(directory, options);
}
