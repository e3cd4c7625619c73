// Stores images, attaches a referrer to each, and tags them, until it is killed. A tag is printed when it is there.
import { writeSync } from "node:fs";

const [, , packageUrl, path, prefix] = process.argv;
const { contentOf, descriptorOf, emptyBytes, emptyDescriptor, encodeJson, Layout, mediaTypes } = await import(
  packageUrl
);
const layout = await Layout.open(path);
for (let at = 0; ; at++) {
  const layer = await layout.write([Buffer.alloc(50_000, `${prefix}-${at} `)], mediaTypes.octetStream);
  await layout.push(contentOf(emptyBytes, emptyDescriptor));
  const image = await store({ layers: [layer] });
  await store({ layers: [emptyDescriptor], subject: { ...image } });
  await layout.tag(`${prefix}-${at}`, image);
  writeSync(1, `${prefix}-${at}\n`);
}

async function store(members) {
  const bytes = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: "application/x-test",
    config: emptyDescriptor,
    ...members,
  });
  const descriptor = descriptorOf(bytes, mediaTypes.manifest);
  await layout.push(contentOf(bytes, descriptor));
  return descriptor;
}
