import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { ArchiveSource, copy, imagesIn, isOciError, MemoryStore } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { skip } from "./peers.js";

/** The test data of other projects, where building the peers has brought their sources here. */
const modules = process.env.GOMODCACHE ?? join(process.env.GOPATH ?? join(homedir(), "go"), "pkg", "mod");

/** A file of whichever versions of a module are here, the highest first. */
function find(module: string, path: string): string | undefined {
  const parent = join(modules, dirname(module));
  if (!existsSync(parent)) return undefined;
  const versions = readdirSync(parent).filter((name) =>
    name.startsWith(`${module.slice(module.lastIndexOf("/") + 1)}@`),
  );
  return versions
    .sort()
    .reverse()
    .map((version) => join(parent, version, path))
    .find((file) => existsSync(file));
}

const crane = "github.com/google/go-containerregistry";
const tarballs = "pkg/v1/tarball/testdata";
const podman = "github.com/containers/common";
const libimage = "libimage/testdata";

/** Module, file, the names of its images, and how many children of indexes it does not have. */
const samples: readonly (readonly [string, string, readonly string[], number])[] = [
  ["oras.land/oras-go/v2", "content/oci/testdata/hello-world.tar", ["docker.io/library/hello-world:latest"], 10],
  [
    "oras.land/oras-go/v2",
    "content/oci/testdata/hello-world-prefixed-path.tar",
    ["docker.io/library/hello-world:latest"],
    10,
  ],
  [crane, `${tarballs}/hello-world-v25.tar`, [], 0],
  [crane, `${tarballs}/test_bundle.tar`, ["test_image_1", "test_image_2"], 0],
  [crane, `${tarballs}/test_link.tar`, ["bazel/v1/tarball:test_image_1", "bazel/v1/tarball:test_image_3"], 0],
  [crane, `${tarballs}/no_manifest.tar`, ["bazel/v1/tarball:test_image"], 0],
  [crane, "pkg/v1/mutate/testdata/whiteout_dir.tar", ["localhost:5000/whiteout:latest"], 0],
  [
    "github.com/docker/docker",
    "integration-cli/testdata/emptyLayer.tar",
    ["matthughes/library-centos:6-2015.03.20"],
    0,
  ],
  [podman, `${libimage}/oci-unnamed.tar.gz`, [], 0],
  [podman, `${libimage}/oci-registry-name.tar.gz`, ["example.com/empty:latest"], 0],
  [podman, `${libimage}/oci-non-docker-name.tar.gz`, ["UPPERCASE-IS-INVALID"], 0],
  [podman, `${libimage}/buildkit-oci.tar`, ["github.com/buildkit/archive:oci"], 0],
  [podman, `${libimage}/buildkit-docker.tar`, ["github.com/buildkit/archive:docker"], 0],
];

describe("an archive from the test data of another project", () => {
  it.for(samples)("%s %s is read with all that it has", async ([module, path, names, absent], context) => {
    const file = find(module, path);
    if (file === undefined) skip(context, `${module} is not in the module cache of Go here`);
    const source = await ArchiveSource.open(file);
    try {
      const images = await imagesIn(source);
      expect(images.flatMap((image) => image.names).sort()).toEqual(names);
      expect(images.length).toBeGreaterThan(0);
      for (const image of images) {
        const target = new MemoryStore();
        const report = await copy(source, target, image.descriptor, { tags: image.names });
        expect(report.descriptor.digest).toBe(image.descriptor.digest);
        expect([report.failures, report.leftOut.absent.length]).toEqual([[], absent]);
      }
    } finally {
      await source.close();
    }
  });

  it.for([
    [crane, `${tarballs}/null_manifest.tar`],
    [podman, `${libimage}/exported-container.tar`],
    ["github.com/vbatts/tar-split", "archive/tar/testdata/gnu-sparse-big.tar"],
    ["github.com/vbatts/tar-split", "archive/tar/testdata/pax-multi-hdrs.tar"],
    ["github.com/vbatts/tar-split", "archive/tar/testdata/writer-big-long.tar"],
  ] as const)("%s %s is refused with a word on why", async ([module, path], context) => {
    const file = find(module, path);
    if (file === undefined) skip(context, `${module} is not in the module cache of Go here`);
    const error = await ArchiveSource.open(file).catch((reason: unknown) => reason);
    expect(isOciError(error)).toBe(true);
  });
});
