import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Served, startServe, stowageJson } from "../cli/stowage.js";
import { Browser } from "./chromium.js";
import { findTool, needs, scratch } from "./peers.js";
import { Picture } from "./png.js";

/** What tries to become a script, were it not escaped. */
const HOSTILE = `"'></pre><script>document.title='broken'</script><img src=x onerror="document.title='broken'">`;

beforeEach((context) => needs(context, "chromium"));

let browser: Browser;
let served: Served;
let digest: string;
const url = (path: string): string => `http://${served.host}${path}`;

beforeAll(async () => {
  if (findTool("chromium") === undefined) return;
  const cwd = await scratch();
  const run = (...args: string[]) => stowageJson<{ descriptor: { digest: string } }>(args, { cwd });
  await mkdir(join(cwd, "app"));
  // The sizes are those of the layers but for a few hundred bytes.
  const noise = (size: number) =>
    Buffer.from(Array.from({ length: size }, (_, at) => (at * at * 31 + (at >> 3)) & 255));
  await writeFile(join(cwd, "app", "large"), noise(300_000));
  await writeFile(join(cwd, "small"), noise(100_000));
  await writeFile(join(cwd, "sbom.spdx.json"), JSON.stringify({ spdxVersion: "SPDX-2.3", name: HOSTILE }));
  const none = ["--compression", "none"];
  await run("build", "app:/app", "-t", "oci:base:v1", ...none);
  await run("build", "small:/small", "-t", "oci:out:v1", "--base", "oci:base:v1", "--label", `x=${HOSTILE}`, ...none);
  const sbom = await run("attach", "oci:out:v1", "sbom.spdx.json", "--annotation", `note=${HOSTILE}`);
  digest = sbom.descriptor.digest;
  served = await startServe(["served"], { cwd });
  await run("push", "oci:out:v1", `${served.host}/team/app:v1`);
  browser = await Browser.start();
}, 60_000);
afterAll(async () => {
  await browser?.close();
  await served?.stop();
});

/** A picture of the page. One for somebody to look at lies where STOWAGE_SCREENSHOTS says. */
async function picture(name: string): Promise<Buffer> {
  const png = await browser.screenshot();
  if (process.env.STOWAGE_SCREENSHOTS !== undefined)
    await writeFile(join(process.env.STOWAGE_SCREENSHOTS, `${name}.png`), png);
  return png;
}

describe("the pages in Chromium", () => {
  it("show the layers as long as they are large, light or dark as the reader wants", async () => {
    const looks = {
      light: { ground: "#fcfcfb", first: "#3b6fb5", second: "#d08a2e" },
      dark: { ground: "#15171a", first: "#6a9de0", second: "#e0a553" },
    };
    for (const scheme of ["light", "dark"] as const) {
      await browser.prefer(scheme);
      await browser.open(url("/-/team/app/-/manifests/v1"));
      const seen = new Picture(await picture(`manifest-${scheme}`));
      const { ground, first, second } = looks[scheme];
      expect([seen.at(2, 2), seen.at(seen.width - 3, 2)]).toEqual([ground, ground]);
      const colours = seen.colours();
      const ratio = (colours.get(first) ?? 0) / (colours.get(second) ?? 1);
      expect(ratio).toBeGreaterThan(2.8);
      expect(ratio).toBeLessThan(3.2);
    }
    await browser.prefer("light");
  });

  it("are the same without scripts", async () => {
    await browser.allowScripts(false);
    await browser.open(url("/-/team/app/-/manifests/v1"));
    const without = await picture("without-scripts");
    await browser.allowScripts(true);
    await browser.open(url("/-/team/app/-/manifests/v1"));
    expect(without.equals(await picture("with-scripts"))).toBe(true);
  });

  it("are walked through with the keyboard alone, from the repositories to a file in a layer", async () => {
    await browser.open(url("/-/"));
    await browser.press("Tab");
    expect(await browser.evaluate("document.activeElement.textContent")).toBe("To the content");
    await follow("team/app");
    expect(await browser.evaluate("document.title")).toBe("team/app");
    await follow("v1");
    expect(await browser.evaluate("document.title")).toBe("team/app:v1");
    const details = "document.querySelector('details').open";
    expect(await browser.evaluate(details)).toBe(false);
    await focus("Content");
    await browser.press("Enter");
    expect(await browser.evaluate(details)).toBe(true);
    await picture("referrers");
    await follow("files");
    expect(await browser.evaluate("document.querySelector('table').textContent")).toContain("app/large");
    await picture("files");
  });

  it("show hostile content as it is, and neither run nor load anything", async () => {
    browser.complaints.length = 0;
    for (const reference of ["v1", digest]) {
      await browser.open(url(`/-/team/app/-/manifests/${encodeURIComponent(reference)}`));
      expect(await browser.evaluate("document.title")).toContain("team/app");
      expect(await browser.evaluate("document.body.textContent")).toContain(HOSTILE.slice(0, 20));
      expect(await browser.evaluate("document.querySelectorAll('script, img, iframe, object, form').length")).toBe(0);
      await picture(`hostile-${reference.slice(0, 12).replace(":", "-")}`);
    }
    expect(browser.complaints).toEqual([]);
  });

  it("would be kept by their policy from running what was not escaped", async () => {
    await browser.open(url("/-/"));
    browser.complaints.length = 0;
    await browser.evaluate(
      "document.body.insertAdjacentHTML('beforeend', `<img src=x onerror=\"document.title='broken'\">`)",
    );
    await browser.evaluate("new Promise((resolve) => setTimeout(resolve, 100))");
    expect(await browser.evaluate("document.title")).toBe("Repositories");
    expect(browser.complaints.join("\n")).toContain("Content Security Policy");
  });

  it("fit a narrow window without scrolling sideways", async () => {
    await browser.resize(400, 1800);
    await browser.open(url("/-/team/app/-/manifests/v1"));
    expect(await browser.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(400);
    await picture("narrow");
    await browser.resize(1000, 1100);
  });
});

/** Goes on with the Tab key until something with this text has the focus. */
async function focus(text: string): Promise<void> {
  for (let count = 0; count < 60; count++) {
    await browser.press("Tab");
    if ((await browser.evaluate("document.activeElement.textContent")) === text) return;
  }
  throw new Error(`the keyboard does not lead to ${text}`);
}

async function follow(text: string): Promise<void> {
  await focus(text);
  await browser.press("Enter", true);
}
