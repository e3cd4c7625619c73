/**
 * How long it takes to sync many small images from one registry to another, first and again, beside regsync.
 *
 *   node test/bench/sync.mjs [--runs 3] [--images 200] [--trip 30] [--json FILE]
 *
 * Once on loopback, and once over a link with a round trip of `--trip` ms to the target. Ten tags in each repository; each image has
 * a layer of its own and one that all share. Each run goes to a registry that is empty. regsync goes as it comes, and with as many at once as
 * stowage has.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { copy, descriptorOf, encodeJson, MemoryStore } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { bench, benchOptions, findTool, inTurn, row, scratch, stowage, timed, toolEnvironment } from "./measure.js";
import { link, startDockerRegistry } from "./registries.js";

const options = benchOptions({
  runs: { type: "string", default: "3" },
  images: { type: "string", default: "200" },
  trip: { type: "string", default: "30" },
});

async function fill(host) {
  const client = new RegistryClient({ credentials: false });
  const store = new MemoryStore();
  const put = async (bytes, mediaType) => {
    const descriptor = descriptorOf(bytes, mediaType);
    await store.push({ descriptor, open: () => [bytes] });
    return descriptor;
  };
  const shared = await put(new Uint8Array(20_000).fill(7), "application/vnd.oci.image.layer.v1.tar");
  const names = [];
  for (let at = 0; at < Number(options.images); at++) {
    const config = await put(
      encodeJson({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] }, at }),
      "application/vnd.oci.image.config.v1+json",
    );
    const layer = await put(new TextEncoder().encode(`${at} `.repeat(1000)), "application/vnd.oci.image.layer.v1.tar");
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const root = await put(encodeJson({ schemaVersion: 2, mediaType, config, layers: [shared, layer] }), mediaType);
    const [repository, tag] = [`team/app-${Math.floor(at / 10)}`, `v${at % 10}`];
    await copy(store, client.repository(`${host}/${repository}`), root, { tags: [tag] });
    names.push(`${repository}:${tag}`);
  }
  await client.close();
  return names;
}

await bench(options, async function* () {
  const directory = scratch();
  const env = toolEnvironment(directory);
  const { host: source } = await startDockerRegistry();
  const names = await fill(source);
  const regsync = findTool("regsync");
  const items = (target, more) =>
    names.map((name) => `  - { source: "${source}/${name}", target: "${target}/${name}"${more} }`).join("\n");
  const file = (name, text) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };
  const commands = {
    stowage: (target) => [
      ...[...stowage, "sync", "-q"],
      file("sync.yaml", `version: 1\nsync:\n${items(target, "")}\n`),
    ],
  };
  if (regsync === undefined) process.stderr.write("left out: regsync is not installed\n");
  else
    for (const [name, defaults] of [
      ["regsync", ""],
      ["regsync, 8 at once", "defaults: { parallel: 8 }\n"],
    ])
      commands[name] = (target) => {
        const hosts = [source, target].map((host) => `  - { registry: "${host}", tls: disabled }`).join("\n");
        const text = `version: 1\ncreds:\n${hosts}\n${defaults}sync:\n${items(target, ", type: image")}\n`;
        return [regsync, "once", "-c", file("regsync.yaml", text), "-v", "error"];
      };

  for (const trip of [0, Number(options.trip)]) {
    const where = trip === 0 ? "on loopback" : `${trip} ms away`;
    const targets = {};
    const first = {};
    const again = {};
    for (const [name, command] of Object.entries(commands)) {
      first[name] = async () => {
        const registry = await startDockerRegistry();
        targets[name] = await link(registry.host, trip / 2);
        const result = await timed(command(targets[name].host), { cwd: directory, env });
        return { ...result, requests: await targets[name].requests() };
      };
      again[name] = async () => {
        const result = await timed(command(targets[name].host), { cwd: directory, env });
        return { ...result, requests: await targets[name].requests() };
      };
    }
    yield row(`sync ${options.images} images, ${where}`, await inTurn(first, options.runs), {
      target: 0.5,
      why: "docker-registry is what is waited for: of 10 s our processor time is 2.2, at 1,261 requests to the target where regsync sends 2,066.",
    });
    yield row(`sync ${options.images} images again, ${where}`, await inTurn(again, options.runs), {
      target: 0.5,
      why: "Each tag is asked for once at the source and once at the target, as regsync does, in 420 requests with those for referrers, which regsync does not look for. The start of Node and its compiler take a third of the processor time, the HTTP library most of the rest.",
    });
  }
});
