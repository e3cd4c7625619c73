import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { type ActionName, actionNames, actionsFolder, metadataOf } from "./runner.js";

const folder = fileURLToPath(new URL("../../docs/actions/", import.meta.url));
const pages = [
  ...readdirSync(folder).map((name) => join(folder, name)),
  join(actionsFolder, "README.md"),
  fileURLToPath(new URL("../../.github/workflows/actions.yml", import.meta.url)),
];

interface Step {
  readonly id?: string;
  readonly uses?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

/** Every step in the YAML of a page, in lists of those that are in one job. */
function jobsIn(page: string): Step[][] {
  const text = readFileSync(page, "utf8");
  const blocks = page.endsWith(".yml")
    ? [text]
    : [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block]) => block as string);
  return blocks.flatMap((block) => {
    const value = parse(block) as Step[] | { jobs?: Record<string, { steps: Step[] }> };
    if (Array.isArray(value)) return [value];
    return Object.values(value.jobs ?? {}).map(({ steps }) => steps);
  });
}

function actionOf({ uses }: Step): ActionName | undefined {
  const name = /^(?:stowage\/stowage|\.)\/actions\/([a-z-]+)(?:@v1)?$/.exec(uses ?? "")?.[1];
  return name === undefined ? undefined : (actionNames.find((one) => one === name) ?? (name as ActionName));
}

describe.each(pages)("%s", (page) => {
  it("uses actions that there are, with inputs they have, and outputs of steps before", () => {
    for (const steps of jobsIn(page)) {
      const outputs = new Map<string, readonly string[]>();
      for (const step of steps) {
        const action = actionOf(step);
        for (const [, id = "", name = ""] of JSON.stringify(step).matchAll(/steps\.([\w-]+)\.outputs\.([\w-]+)/g))
          if (outputs.has(id)) expect(outputs.get(id), `steps.${id}`).toContain(name);
        if (action === undefined) {
          if (step.uses?.includes("stowage") === true) throw new Error(`there is no ${step.uses}`);
          continue;
        }
        const metadata = metadataOf(action);
        const given = Object.keys(step.with ?? {});
        expect(
          given.filter((name) => !(name in metadata.inputs)),
          step.uses,
        ).toEqual([]);
        const required = Object.entries(metadata.inputs).filter(([, input]) => input.required === true);
        expect(
          required.map(([name]) => name).filter((name) => !given.includes(name)),
          step.uses,
        ).toEqual([]);
        if (step.id !== undefined) outputs.set(step.id, Object.keys(metadata.outputs));
      }
    }
  });
});

describe.each(actionNames)("docs/actions/%s.md", (action) => {
  const text = readFileSync(join(folder, `${action}.md`), "utf8");

  it("begins with the smallest workflow, and tells the permissions", () => {
    const uses = jobsIn(join(folder, `${action}.md`)).flatMap((steps) =>
      steps.filter((step) => actionOf(step) === action),
    );
    const sizes = uses.map((step) => Object.keys(step.with ?? {}).length);
    expect(sizes.length).toBeGreaterThan(1);
    // Credentials are in the smallest that works.
    expect(sizes[0]).toBeLessThanOrEqual(Math.min(...sizes) + 2);
    expect(text.indexOf("```yaml")).toBeLessThan(text.indexOf("## Inputs"));
    expect(text.slice(text.indexOf("## Permissions"))).toContain("permissions:\n  contents: read");
  });

  it("is named on the page of all actions", () => {
    expect(readFileSync(join(actionsFolder, "README.md"), "utf8")).toContain(`../docs/actions/${action}.md`);
  });
});
