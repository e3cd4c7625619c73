import { readLayers } from "../read-layers.js";
import { readTar, type TarReadEntry } from "../tar-reader.js";
import { LayerWriter } from "../unpack/layer-writer.js";
import { type DisjointImage, layerName } from "./disjoint-image.js";
import type { DisjointRun } from "./disjoint-run.js";
import { OrdinaryCheck } from "./ordinary-check.js";
import type { LayerName } from "./violation.js";

/** Puts the ordinary layers into the root and makes the directories above declared paths, lets `fill` add what is owned, and ends with the attributes of directories. */
export async function aroundRoot(run: DisjointRun, fill: () => Promise<void>): Promise<void> {
  const { source, found, options, counters } = run;
  const writer = new LayerWriter(run.root, options);
  const check = new OrdinaryCheck(found);
  try {
    found.ancestors.settle();
    writer.begin();
    const only = { only: found.ordinary, onBytes: undefined };
    for await (const { at, tar, what } of readLayers(source, found.image, { ...options, ...only }))
      await writer.apply(checked(readTar(counters.bytes(tar), what, options), check, layerName(found.image, at)), what);
    await writer.apply(ancestorEntries(found), "the directories above declared paths");
    await fill();
    await writer.finish();
    run.written.push(writer.written);
  } finally {
    writer.close();
  }
}

async function* checked(
  entries: AsyncIterable<TarReadEntry>,
  check: OrdinaryCheck,
  layer: LayerName,
): AsyncGenerator<TarReadEntry, void, undefined> {
  for await (const entry of entries) {
    check.entry(entry.header, layer);
    yield entry;
  }
}

async function* ancestorEntries({ ancestors }: DisjointImage): AsyncGenerator<TarReadEntry, void, undefined> {
  for (const { path, header } of ancestors.all()) yield { header: { ...header, name: `.${path}` }, body: noBytes() };
}

async function* noBytes(): AsyncGenerator<Uint8Array, void, undefined> {}
