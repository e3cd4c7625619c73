/**
 * What is done with an image on one disk: copying it from layout to layout, and verifying it, beside the programs of the system
 * that do as much with the same bytes.
 *
 *   node test/bench/local.mjs [--runs 5] [--layers 16] [--mebibytes 64] [--json FILE]
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeImage } from "./images.js";
import { bench, benchOptions, findTool, inTurn, row, scratch, stowage, timed, toolEnvironment } from "./measure.js";

const options = benchOptions({
  layers: { type: "string", default: "16" },
  mebibytes: { type: "string", default: "64" },
});

await bench(options, async function* () {
  const directory = scratch();
  const [image, target] = [join(directory, "image"), join(directory, "target")];
  await makeImage(image, { layers: Number(options.layers), bytes: Number(options.mebibytes) << 20 });
  const env = toolEnvironment(directory);
  const size = `${options.layers} layers of ${options.mebibytes} MiB`;
  const contender = ([command, ...args], prepare = () => {}) =>
    command === undefined
      ? undefined
      : () => {
          prepare();
          return timed([command, ...args], { env });
        };
  const fresh = () => rmSync(target, { recursive: true, force: true });
  yield row(
    `layout to layout, ${size}`,
    await inTurn(
      {
        stowage: contender([...stowage, "copy", "-q", `oci:${image}:v1`, `oci:${target}:v1`], fresh),
        cp: contender(["cp", "-r", "--reflink=auto", image, target], fresh),
        oras: contender(
          [findTool("oras"), "cp", "--from-oci-layout", "--to-oci-layout", `${image}:v1`, `${target}:v1`],
          fresh,
        ),
        regctl: contender(
          [findTool("regctl"), "image", "copy", `ocidir://${image}:v1`, `ocidir://${target}:v1`],
          fresh,
        ),
        skopeo: contender([findTool("skopeo"), "copy", "-q", `oci:${image}:v1`, `oci:${target}:v1`], fresh),
      },
      options.runs,
    ),
    {
      target: 1.2,
      against: "cp",
      why: "cp takes no digest, and that alone is 0.5 s of processor time for a GB. Reading, hashing and writing take as long as in oras, in two threads; the start of Node and of the threads comes on top.",
    },
  );
  const blobs = join(image, "blobs", "sha256");
  const files = readdirSync(blobs).map((name) => join(blobs, name));
  yield row(
    `verify, ${size}`,
    await inTurn(
      {
        stowage: contender([...stowage, "verify", "-q", `oci:${image}`]),
        "sha256sum, two jobs": contender([
          "sh",
          "-c",
          `printf '%s\\n' "$@" | xargs -P 2 -n 1 sha256sum`,
          "sh",
          ...files,
        ]),
      },
      options.runs,
    ),
    { target: 1.3, against: "sha256sum, two jobs" },
  );
});
