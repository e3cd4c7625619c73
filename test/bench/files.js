// A tree of files, for the benchmarks of layers.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** So many files of 10 kB on average: of 1 to 20 kB with bytes that compress about as well as programs do. 30,000 are about 300 MB. */
export function makeTree(directory, count = 30_000) {
  let state = 1;
  const block = Buffer.alloc(65_536);
  for (let at = 0; at < block.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    block[at] = (state >>> 24) % 3 === 0 ? state >>> 16 : 101;
  }
  for (let at = 0; at < count; at++) {
    const parent = join(directory, String(at % 100), String(at % 1000));
    if (at < 1000) mkdirSync(parent, { recursive: true });
    writeFileSync(
      join(parent, `file-${at}`),
      block.subarray(at % 25_000, (at % 25_000) + 1000 + ((at * 7919) % 19_000)),
    );
  }
}
