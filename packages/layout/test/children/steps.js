// What the tests of crashes do to a layout, in their own process and in children that die at it. The contents are fixed, so
// that both know every digest.

/**
 * Everything that may be stored, by name: two images that share a layer, indexes in each other, referrers of most of it, one
 * with a subject that is its own child.
 */
export function contents({ descriptorOf, digestOf, emptyBytes, emptyDescriptor, encodeJson, mediaTypes }) {
  const made = {};
  const add = (name, bytes, mediaType, links = [], subject = undefined) => {
    made[name] = { bytes, descriptor: descriptorOf(bytes, mediaType), links, subject };
    return made[name].descriptor;
  };
  const at = (name) => made[name].descriptor;
  const json = (name, members, links, subject) => {
    const mediaType = "manifests" in members ? mediaTypes.index : mediaTypes.manifest;
    add(name, encodeJson({ schemaVersion: 2, mediaType, ...members }), mediaType, links, subject);
  };
  add("empty", emptyBytes, emptyDescriptor.mediaType);
  const layer = (name) => add(name, Buffer.alloc(20_000, name), mediaTypes.layer);
  for (const name of ["layer-a", "layer-b", "layer-shared"]) layer(name);
  for (const name of ["a", "b"]) {
    const layers = [at("layer-shared"), at(`layer-${name}`)];
    const rootfs = { type: "layers", diff_ids: layers.map(({ digest }) => digest) };
    const config = encodeJson({ architecture: name === "a" ? "amd64" : "arm64", os: "linux", rootfs });
    add(`config-${name}`, config, mediaTypes.config);
    const links = [`config-${name}`, "layer-shared", `layer-${name}`];
    json(`image-${name}`, { config: at(`config-${name}`), layers }, links);
  }
  json("index", { manifests: [at("image-a"), at("image-b")] }, ["image-a", "image-b"]);
  json("nested", { manifests: [at("index")], annotations: { nested: "yes" } }, ["index"]);
  const referrer = (name, subject) => {
    const members = { artifactType: `application/x-${name}`, config: emptyDescriptor, layers: [emptyDescriptor] };
    json(name, { ...members, subject: at(subject) }, ["empty"], subject);
  };
  referrer("sbom-a", "image-a");
  referrer("signature-a", "image-a");
  referrer("signature-of-sbom-a", "sbom-a");
  referrer("sbom-b", "image-b");
  referrer("signature-of-index", "index");
  // Refers to its own child.
  json(
    "loop",
    { artifactType: "application/x-loop", manifests: [at("image-a")], subject: at("image-a") },
    ["image-a"],
    "image-a",
  );
  // Keeps an image alive for as long as another one lives.
  json(
    "bundle",
    { artifactType: "application/x-bundle", manifests: [at("image-b")], subject: at("image-a") },
    ["image-b"],
    "image-a",
  );
  for (const [name, { descriptor, bytes }] of Object.entries(made))
    if (descriptor.digest !== digestOf(bytes)) throw new Error(`${name} is not what it says`);
  return made;
}

/** Stores content with all that it points at, and not its subject. */
async function push({ contentOf }, layout, known, name) {
  for (const link of known[name].links) await push({ contentOf }, layout, known, link);
  await layout.push(contentOf(known[name].bytes, known[name].descriptor));
}

/** Does one step to the layout. */
export async function perform(library, layout, known, step) {
  switch (step.kind) {
    case "push":
      return push(library, layout, known, step.content);
    case "tag":
      await push(library, layout, known, step.content);
      return layout.tag(step.tag, known[step.content].descriptor);
    case "untag":
      return layout.untag(step.tag).catch((error) => {
        if (error.code !== "NOT_FOUND") throw error;
      });
    case "annotate":
      return layout.update((index) => ({ ...index, annotations: { ...index.annotations, note: step.text } }));
    case "gc":
      return library.gc(layout, { grace: step.grace });
    case "reconcile":
      return library.reconcile(layout);
    default:
      throw new TypeError(`no such step: ${step.kind}`);
  }
}
