/**
 * How long the smallest commands take, beside those of the peers and an empty program of Node.
 *
 *   node test/bench/start.mjs [--runs 15] [--json FILE]
 */
import { join } from "node:path";
import { makeImage } from "./images.js";
import { bench, benchOptions, findTool, inTurn, row, scratch, stowage, timed, toolEnvironment } from "./measure.js";

const options = benchOptions({ runs: { type: "string", default: "15" } });

await bench(options, async function* () {
  const directory = scratch();
  const image = join(directory, "image");
  await makeImage(image, { layers: 2, bytes: 1000 });
  const env = toolEnvironment(directory);
  const contender = (command) => (command[0] === undefined ? undefined : () => timed(command, { env }));
  const node = contender([process.execPath, "-e", "0"]);
  yield row(
    "stowage --version",
    await inTurn(
      {
        stowage: contender([...stowage, "--version"]),
        oras: contender([findTool("oras"), "version"]),
        regctl: contender([findTool("regctl"), "version"]),
        "an empty program of Node": node,
      },
      options.runs,
    ),
    { most: { ms: 90 } },
  );
  yield row(
    "stowage list oci:DIR",
    await inTurn(
      {
        stowage: contender([...stowage, "list", `oci:${image}`]),
        oras: contender([findTool("oras"), "repo", "tags", "--oci-layout", image]),
        regctl: contender([findTool("regctl"), "tag", "ls", `ocidir://${image}`]),
        "an empty program of Node": node,
      },
      options.runs,
    ),
    {
      most: { ms: 90 },
      why: "Node itself takes 25 ms on Node 24 and 60 on Node 20. The rest is reading and compiling 600 kB of program (20 ms), Node's own modules for files and digests (15), the command line (15) and the listing (10).",
    },
  );
});
