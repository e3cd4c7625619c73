import type { RepositoryReconcileReport } from "@stowage/registry";
import { describe, expect, it } from "vitest";
import { stowage, stowageJson } from "../cli/stowage.js";
import { attachAll, type Discovered, orasGraph, smallImage, stowageGraph } from "./images.js";
import { needs, run, runJson } from "./peers.js";
import { type PeerRegistry, startDockerRegistry, startOlareg, startZot, zot } from "./registries.js";

/** Registries with the API. An old zot does not take from crane what has a subject. */
const kinds: { program: string; start: () => Promise<PeerRegistry> }[] = [
  { program: "olareg", start: startOlareg },
  ...(zot === "zot" ? [{ program: "zot", start: startZot }] : []),
];

for (const { program, start } of kinds) {
  describe(`a repository that moved from docker-registry to ${program} with its tags of referrers`, () => {
    it("shows all referrers by the API when reconciled, and loses the tags with --prune", async (context) => {
      needs(context, "docker-registry", program, "oras", "crane");
      const { directory, digest } = await smallImage();
      const graph = await attachAll(directory, "oci:out", digest);
      const [before, after] = [await startDockerRegistry(), await start()];
      const [from, to] = [before, after].map(({ host }) => `${host}/acme/app`) as [string, string];
      await stowageJson(["push", "oci:out:v1", `${from}:v1`], { cwd: directory });
      // crane knows nothing of referrers: it copies tags, and with those the lists and what they name.
      for (const tag of (await run("crane", ["ls", "--insecure", from])).trim().split("\n"))
        await run("crane", ["copy", "--insecure", `${from}:${tag}`, `${to}:${tag}`]);

      const lists = (await stowageJson<{ tag: string; carriesReferrers?: true }[]>(["list", to, "--all"])).filter(
        ({ carriesReferrers }) => carriesReferrers,
      );
      expect(lists).toHaveLength(2);
      const refused = await stowage(["reconcile", from]);
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("no referrers API")]);
      const tried = await stowageJson<RepositoryReconcileReport>(["reconcile", to, "--prune", "--dry-run"]);
      expect(tried.lists.map(({ tag, pruned }) => [tag, pruned])).toEqual(lists.map(({ tag }) => [tag, true]));
      const done = await stowageJson<RepositoryReconcileReport>(["reconcile", to, "--prune"]);
      expect(done.lists.flatMap(({ listed, moved }) => [...listed, ...moved])).toHaveLength(3);
      expect(await stowageJson<unknown[]>(["list", to, "--all"])).toEqual([{ tag: "v1" }]);
      const shown = ["discover", "--plain-http", "--distribution-spec", "v1.1-referrers-api", "--format", "json"];
      expect(orasGraph(await runJson<Discovered>("oras", [...shown, `${to}:v1`]))).toEqual(graph);
      expect(await stowageGraph(directory, `${to}:v1`)).toEqual(graph);
    });
  });
}
