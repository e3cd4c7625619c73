/**
 * What goes into an archive and comes out of it: an image of about a gigabyte, between a layout and a file on one disk.
 *
 *   node test/bench/archives.mjs [--runs 5] [--layers 16] [--mebibytes 64] [--json FILE]
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeImage } from "./images.js";
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

const options = benchOptions({
  layers: { type: "string", default: "16" },
  mebibytes: { type: "string", default: "64" },
});

await bench(options, async function* () {
  const directory = scratch();
  const at = (name) => join(directory, name);
  await makeImage(at("image"), { layers: Number(options.layers), bytes: Number(options.mebibytes) << 20 });
  const env = toolEnvironment(directory);
  const size = `${options.layers} layers of ${options.mebibytes} MiB`;
  const [command, ...first] = stowage;
  run(command, [...first, "export", "-q", `oci:${at("image")}:v1`, at("hybrid.tar"), "--name", "a.example/b:v1"], {
    env,
  });
  const contender = ([program, ...args], remove) =>
    program === undefined
      ? undefined
      : () => {
          for (const name of remove) rmSync(at(name), { recursive: true, force: true });
          return timed([program, ...args], { env });
        };
  const skopeo = [findTool("skopeo"), "--insecure-policy", "copy", "-q"];
  const regctl = [findTool("regctl"), "image"];
  yield row(
    `export of a layout, ${size}`,
    await inTurn(
      {
        stowage: contender([...stowage, "export", "-q", `oci:${at("image")}:v1`, at("out.tar")], ["out.tar"]),
        skopeo: contender([...skopeo, `oci:${at("image")}:v1`, `oci-archive:${at("skopeo.tar")}:v1`], ["skopeo.tar"]),
        regctl: contender([...regctl, "export", `ocidir://${at("image")}:v1`, at("regctl.tar")], ["regctl.tar"]),
      },
      options.runs,
    ),
    { target: 0.5, against: "skopeo" },
  );
  yield row(
    `import into a layout, ${size}`,
    await inTurn(
      {
        stowage: contender([...stowage, "import", "-q", at("hybrid.tar"), `oci:${at("in")}`], ["in"]),
        skopeo: contender([...skopeo, `oci-archive:${at("hybrid.tar")}`, `oci:${at("by-skopeo")}:v1`], ["by-skopeo"]),
        regctl: contender([...regctl, "import", `ocidir://${at("by-regctl")}:v1`, at("hybrid.tar")], ["by-regctl"]),
      },
      options.runs,
    ),
    {
      target: 0.5,
      against: "skopeo",
      why: "An archive is read twice, first to find what is damaged before anything changes, and hashed both times and once more where it is stored: a gigabyte each, at 0.5 s of processor time.",
    },
  );
  yield row(
    `inspect in an archive, ${size}`,
    await inTurn(
      {
        stowage: contender([...stowage, "inspect", `oci-archive:${at("hybrid.tar")}`], []),
        skopeo: contender([findTool("skopeo"), "inspect", `oci-archive:${at("hybrid.tar")}`], []),
      },
      options.runs,
    ),
    { target: 0.5, against: "skopeo" },
  );
});
