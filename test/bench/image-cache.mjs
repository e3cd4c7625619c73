/**
 * What the offline cache of images of docs/actions/image-cache.md gains: images that share a base are pulled from a registry
 * that is some way off, with skopeo and with sync, and brought back from a tar of the layout, as actions/cache does it. The tar
 * is on this machine: what it takes from where actions/cache keeps it is the runner's own affair, and comes on top.
 *
 *   node test/bench/image-cache.mjs [--runs 3] [--images 10] [--base 60] [--own 6] [--trip 30] [--json FILE]
 *
 * `base` and `own` are MB, in 3 and 2 layers.
 */
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copy, Layout } from "@stowage/layout";
import { RegistryClient } from "@stowage/registry";
import { makeImages } from "./images.js";
import {
  bench,
  benchOptions,
  findTool,
  inTurn,
  row,
  run,
  scratch,
  stowage,
  timed,
  toolEnvironment,
} from "./measure.js";
import { link, startOlareg } from "./registries.js";

const options = benchOptions({
  images: { type: "string", default: "10" },
  base: { type: "string", default: "60" },
  own: { type: "string", default: "6" },
  trip: { type: "string", default: "30" },
});

await bench(options, async function* () {
  const directory = scratch();
  const env = toolEnvironment(directory);
  const { host: registry } = await startOlareg();
  const far = await link(registry, Number(options.trip) / 2);
  const count = Number(options.images);

  const source = join(directory, "source");
  await makeImages(source, { images: count, base: Number(options.base) * 1e6, own: Number(options.own) * 1e6 });
  const client = new RegistryClient();
  const layout = await Layout.open(source);
  for (let at = 0; at < count; at++)
    await copy(layout, client.repository(`${registry}/images/app`), `v${at}`, { tags: [`v${at}`] });
  await client.close();

  const file = join(directory, "sync.yaml");
  writeFileSync(file, `version: 1\nsync:\n  - { source: "${far.host}/images/app", target: "oci:cache" }\n`);
  const cache = join(directory, "cache");
  const archive = join(directory, "cache.tzst");
  const sync = (...more) => [...stowage, "sync", file, "--quiet", ...more];
  run(sync("--update")[0], sync("--update").slice(1), { env });
  run("tar", ["--zstd", "-cf", archive, "-C", directory, "cache"], { env });

  const gone = () => rmSync(cache, { recursive: true, force: true });
  const pulls = Array.from({ length: count }, (_, at) => `v${at}`).map(
    (tag) => `skopeo copy --quiet --src-tls-verify=false docker://${far.host}/images/app:${tag} oci:${cache}:${tag}`,
  );
  const pull = ["sh", "-ec", pulls.join("\n")];
  const restore = [
    "sh",
    "-ec",
    `tar --zstd -xf ${archive} -C ${directory}\n${sync("--frozen", "--offline", "--salvage").join(" ")}`,
  ];
  const once = (command) => async () => {
    gone();
    return timed(command, { env });
  };
  const skopeo = findTool("skopeo") === undefined ? undefined : once(pull);
  const size = `${(statSync(archive).size / 1e6).toFixed(0)} MB`;
  const words = `${count} images, ${size}, ${options.trip} ms round trip`;
  yield row(`pull, ${words}`, await inTurn({ stowage: once(sync("--frozen")), skopeo }, options.runs));
  yield row(
    `restore and check, ${words}`,
    await inTurn({ stowage: once(restore), "pull with skopeo": skopeo }, options.runs),
  );
  const check = { stowage: async () => timed(sync("--frozen", "--offline", "--salvage"), { env }) };
  run("sh", restore.slice(1), { env });
  yield row(`of that the check, ${words}`, await inTurn(check, options.runs));
});
