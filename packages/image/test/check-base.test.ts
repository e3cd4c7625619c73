import { isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { checkBase, recordedBase } from "../src/check-base.js";
import { file, imageOf, type TestLayer } from "./image-of.js";

const base: TestLayer = [file("base", "1")];
const newer: TestLayer = [file("base", "2")];
const own: TestLayer = [file("own", "x")];
const DIGEST = "org.opencontainers.image.base.digest";

async function check(image: readonly TestLayer[], annotations: Record<string, string>, now: readonly TestLayer[]) {
  const { store, descriptor } = await imageOf(image, annotations);
  const current = await imageOf(now);
  return checkBase(await recordedBase(store, descriptor), { source: current.store, reference: current.descriptor });
}

describe("the base of an image", () => {
  it("is the newest where its digest is the recorded one", async () => {
    const { descriptor } = await imageOf([base]);
    const found = await check([base, own], { [DIGEST]: descriptor.digest }, [base]);
    expect(found).toMatchObject({ isNewer: false, hasCurrentLayers: true, hasRecordedLayers: true });
    expect(found.current.digest).toBe(descriptor.digest);
  });

  it("is not the newest where that has another digest, and the recorded one may be gone", async () => {
    const { descriptor } = await imageOf([base]);
    const found = await check([base, own], { [DIGEST]: descriptor.digest }, [newer]);
    expect(found).toMatchObject({ isNewer: true, hasCurrentLayers: false, recorded: descriptor.digest });
    expect(found).not.toHaveProperty("hasRecordedLayers");
  });

  it("is told apart from a base whose layers the image does not have", async () => {
    const { descriptor } = await imageOf([base]);
    const found = await check([newer, own], { [DIGEST]: descriptor.digest }, [base]);
    expect(found).toMatchObject({ isNewer: false, hasCurrentLayers: false, hasRecordedLayers: false });
  });

  it("is known by its layers where no digest is recorded, or not at all", async () => {
    expect(await check([base, own], {}, [base])).toMatchObject({ isNewer: false, hasCurrentLayers: true });
    await expect(check([own], {}, [base])).rejects.toSatisfy((error) => isOciError(error, "INVALID"));
  });

  it("is read from the annotations of the image", async () => {
    const name = { "org.opencontainers.image.base.name": "docker.io/library/debian:12" };
    const { store, descriptor } = await imageOf([own], name);
    expect(await recordedBase(store, descriptor)).toMatchObject({ name: "docker.io/library/debian:12" });
  });
});
