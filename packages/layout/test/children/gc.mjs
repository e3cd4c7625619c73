// Collects garbage in a layout again and again, with the given grace time in ms and number of tags to keep, until it is killed.
import { writeSync } from "node:fs";

const [, , packageUrl, path, grace, keepLast] = process.argv;
const { gc, Layout } = await import(packageUrl);
const layout = await Layout.open(path);
for (;;) {
  const { removed, tags } = await gc(layout, {
    grace: Number(grace),
    ...(keepLast === undefined ? {} : { keepLast: Number(keepLast) }),
  });
  writeSync(1, `collected ${removed.length} ${tags.length}\n`);
}
