import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Layout } from "@stowage/layout";
import { beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { startServe } from "../cli/stowage.js";
import { attempt, needs, scratch } from "./peers.js";

beforeEach((context) => needs(context, "conformance"));

/** What the conformance program of the distribution-spec says of each API and each kind of data. */
interface Results {
  readonly apis: Readonly<Record<string, string>>;
  readonly data: Readonly<Record<string, string>>;
}

/** How the stores are started. */
const stores = {
  "a directory of layouts": ["store"],
  "one layout": ["layout"],
  memory: ["--memory"],
};

describe.each(Object.entries(stores))("%s, served", (_name, store) => {
  it.each(["1.0", "1.1", "dev"])(
    "passes the conformance tests for version %s with everything switched on",
    async (version) => {
      const cwd = await scratch();
      await Layout.create(join(cwd, "layout"));
      const served = await startServe([...store, "--sparse", "--delete-blobs"], { cwd });
      try {
        const ended = await attempt("conformance", [], {
          cwd,
          timeout: 200_000,
          env: {
            OCI_REGISTRY: served.host,
            OCI_TLS: "disabled",
            OCI_REPO1: "conformance/one",
            OCI_REPO2: "conformance/two",
            OCI_VERSION: version,
            OCI_DATA_SPARSE: "true",
            OCI_RESULTS_DIR: join(cwd, "results"),
            OCI_LOG: "warn",
          },
        });
        // The program ends with 0 also where it could not start, and then writes no results.
        const results = parse(await readFile(join(cwd, "results", "results.yaml"), "utf8")) as Results;
        const verdicts = Object.entries({ ...results.apis, ...results.data });
        expect(verdicts.filter(([, verdict]) => /fail|error/i.test(verdict))).toEqual([]);
        expect(verdicts.filter(([, verdict]) => verdict === "Pass").length).toBeGreaterThan(40);
        const sum = (name: string): number => Number(new RegExp(`${name}\\.+:\\s+(\\d+)`).exec(ended.stdout)?.[1]);
        expect([sum("FAIL"), sum("Error"), sum("Skip"), ended.code]).toEqual([0, 0, 0, 0]);
        expect(sum("Pass")).toBeGreaterThan(850);
      } finally {
        await served.stop();
      }
    },
    240_000,
  );
});
