// For each round that is named on standard input: stores images of layers that may be there already, and tags them. Says of each
// layer whether it was there, and of each tag that it is.
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";

const [, , packageUrl, path, prefix] = process.argv;
const { contentOf, descriptorOf, emptyBytes, emptyDescriptor, encodeJson, Layout, mediaTypes } = await import(
  packageUrl
);
const layout = await Layout.open(path);
writeSync(1, "ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const [round, count] = line.split(" ").map(Number);
  for (let at = 0; at < count; at++) {
    const bytes = Buffer.from(`layer ${at} of round ${round}`);
    const layer = descriptorOf(bytes, mediaTypes.octetStream);
    writeSync(1, `${await layout.push(contentOf(bytes, layer))}\n`);
    await layout.push(contentOf(emptyBytes, emptyDescriptor));
    const manifest = encodeJson({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: "application/x-test",
      config: emptyDescriptor,
      layers: [layer],
      annotations: { prefix },
    });
    const image = descriptorOf(manifest, mediaTypes.manifest);
    await layout.push(contentOf(manifest, image));
    await layout.tag(`${prefix}-${round}-${at}`, image);
    writeSync(1, `tagged ${prefix}-${round}-${at}\n`);
  }
  writeSync(1, `done ${round}\n`);
}
process.exit(0);
