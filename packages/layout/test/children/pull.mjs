// Copies what `v1` stands for from a repository into a layout, and tells of every piece that has been stored.
import { writeSync } from "node:fs";

const [, , packageUrl, path, url, digest, size] = process.argv;
const { Layout } = await import(packageUrl);
const layout = await Layout.open(path);
const fetchFrom = async function* (from) {
  const answer = await fetch(url, { headers: { range: `bytes=${from}-` } });
  yield* answer.body;
};
let stored = 0;
const descriptor = { mediaType: "application/octet-stream", digest, size: Number(size) };
const content = { descriptor, open: () => fetchFrom(0), openFrom: fetchFrom };
await layout.push(content, {
  onBytes: (count) => {
    stored += count;
    writeSync(1, `stored ${stored}\n`);
  },
});
writeSync(1, "done\n");
process.exit(0);
