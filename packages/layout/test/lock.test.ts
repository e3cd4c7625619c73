import { mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Layout, verify } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { acquireLock } from "../src/store/lock.js";
import { Child } from "./child-process.js";
import { all, failure, pushImage, pushReferrer, temporaryDirectory } from "./support.js";

/** A layout with an image tagged `base`. */
async function newLayout(): Promise<string> {
  const path = join(await temporaryDirectory(), "layout");
  const layout = await Layout.create(path);
  await layout.tag("base", await pushImage(layout));
  return path;
}

async function expectClean(layout: Layout): Promise<void> {
  const { manifests } = await layout.index();
  const roots = manifests.map((descriptor) => ({ name: descriptor.digest, descriptor }));
  expect((await verify(layout, roots)).findings).toEqual([]);
}

/** Whether the work is still under way after everything else had its turn for a while. */
async function isWaiting(work: Promise<unknown>): Promise<boolean> {
  const settled = work.then(
    () => false,
    () => false,
  );
  return Promise.race([settled, new Promise<boolean>((resolve) => setTimeout(resolve, 300, true))]);
}

/** Leaves a lock behind as a process would that is not there, and returns the path of its owner's file. */
async function leaveLock(path: string, owner: object | string): Promise<string> {
  await mkdir(path);
  const file = join(path, "1-0-abcdef");
  await writeFile(file, typeof owner === "string" ? owner : JSON.stringify(owner));
  return file;
}

async function ownOwner(): Promise<Record<string, unknown>> {
  const path = join(await temporaryDirectory(), "lock");
  const lock = await acquireLock(path);
  const [name] = await readdir(path);
  const owner = JSON.parse(await readFile(join(path, name as string), "utf8"));
  await lock.release();
  return owner;
}

const anHourAgo = new Date(Date.now() - 3_600_000);

describe("many processes on one layout", () => {
  it("sixteen that add a hundred tags each leave sixteen hundred", { timeout: 240_000 }, async () => {
    const path = await newLayout();
    const children = await Promise.all(
      Array.from({ length: 16 }, (_, at) => Child.start("tag", path, `child${at}`, "100", at % 2 === 0 ? "1" : "10")),
    );
    await Promise.all(children.map((child) => child.line("ready")));
    for (const child of children) child.send("go");
    await Promise.all(children.map((child) => child.end()));
    const layout = await Layout.open(path);
    const expected = children.flatMap((_, at) => Array.from({ length: 100 }, (_, count) => `child${at}-${count}`));
    expect(await all(layout.tags())).toEqual(["base", ...expected].sort());
    expect(await readdir(join(path, "ingest"))).toEqual([]);
    await expectClean(layout);
  });

  it("killed two hundred times at random moments lose nothing they had committed, and hold up nobody", {
    timeout: 240_000,
  }, async () => {
    const path = await newLayout();
    const printed: string[] = [];
    let kills = 0;
    /** Starts writers one after the other and kills each at a moment of its own, while the others go on. */
    const killAgainAndAgain = async (name: string): Promise<void> => {
      while (kills < 200) {
        const number = ++kills;
        const writer = await Child.start("write", path, `${name}-${number}`);
        // Before its first change there is nothing to lose; after that any moment is as good as any other.
        if (number % 4 !== 0) await writer.line("");
        await new Promise((resolve) => setTimeout(resolve, Math.random() * (number % 4 === 0 ? 400 : 60)));
        writer.signal("SIGKILL");
        await writer.end("SIGKILL");
        printed.push(...writer.lines);
      }
    };
    /** What anybody sees meanwhile: a layout that opens and has every tag that was there before. */
    const watch = async (): Promise<void> => {
      while (kills < 200) {
        const before = [...printed];
        const seen = new Set(await all((await Layout.open(path)).tags()));
        expect(before.filter((tag) => !seen.has(tag))).toEqual([]);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    await Promise.all([...["a", "b", "c", "d", "e"].map(killAgainAndAgain), watch()]);
    // Whatever lock the last of them left is taken over long before its owner would count as silent.
    await (await acquireLock(join(path, "ingest", "lock"), { timeout: 20_000 })).release();
    const layout = await Layout.open(path);
    await layout.tag("after", await layout.resolve("base"));

    const tags = await all(layout.tags());
    expect(printed.length).toBeGreaterThan(100);
    expect(printed.filter((tag) => !tags.includes(tag))).toEqual([]);
    expect(tags).toContain("after");
    await expectClean(layout);
    for (const tag of printed) {
      const referrers = await all(layout.referrers(await layout.resolve(tag)));
      expect(referrers).toHaveLength(1);
    }
  });
});

describe("a lock that another process holds", () => {
  it("is waited for, also where that process is stopped", async () => {
    const path = await newLayout();
    const holder = await Child.start("hold", path);
    await holder.line("holding");
    holder.signal("SIGSTOP");
    const layout = await Layout.open(path);
    const tagging = layout.tag("waiter", await layout.resolve("base"));
    expect(await isWaiting(tagging)).toBe(true);
    expect(await all(layout.tags())).toEqual(["base"]);
    holder.signal("SIGCONT");
    holder.send("go on");
    await tagging;
    await holder.end();
    expect(await all(layout.tags())).toEqual(["base", "holder", "waiter"]);
    expect(await readdir(join(path, "ingest"))).toEqual([]);
  });

  it("is a CONFLICT that names the process when the time-out passes, and nothing is changed", async () => {
    const path = await newLayout();
    const holder = await Child.start("hold", path);
    const pid = (await holder.line("holding")).split(" ")[1];
    const lock = join(path, "ingest", "lock");
    const error = await failure(acquireLock(lock, { timeout: 50 }), "CONFLICT");
    expect(error.message).toContain(`process ${pid}`);
    expect(await readdir(join(path, "ingest"))).toEqual(["lock"]);
    holder.send("go on");
    await holder.end();
    expect(await readdir(join(path, "ingest"))).toEqual([]);
  });

  it("is a CONFLICT for every change that waits, by the time-out the layout was opened with", async () => {
    const path = join(await temporaryDirectory(), "layout");
    const layout = await Layout.create(path, { lockTimeout: 50 });
    const base = await pushImage(layout);
    await layout.tag("base", base);
    const holder = await Child.start("hold", path);
    await holder.line("holding");
    const changes = ["one", "two"].map((name) => failure(layout.tag(name, base), "CONFLICT"));
    for (const error of await Promise.all(changes)) expect(error.message).toMatch(/held by process \d+/);
    holder.send("go on");
    await holder.end();
    expect(await all(layout.tags())).toEqual(["base", "holder"]);
  });

  it("is waited for as long as each of several layouts in one process was opened to wait", async () => {
    const path = await newLayout();
    const patient = await Layout.open(path);
    const impatient = await Layout.open(path, { lockTimeout: 50 });
    const base = await patient.resolve("base");
    const holder = await Child.start("hold", path);
    await holder.line("holding");
    const waiting = patient.tag("patient", base);
    const given = await failure(impatient.tag("impatient", base), "CONFLICT");
    expect(given.message).toMatch(/held by process \d+/);
    await failure(impatient.tag("impatient", base), "CONFLICT");
    expect(await isWaiting(waiting)).toBe(true);
    holder.send("go on");
    await waiting;
    await holder.end();
    expect(await all(patient.tags())).toEqual(["base", "holder", "patient"]);
  });

  it("is no longer waited for by those whose signal is aborted, while the others go on waiting", async () => {
    const path = await newLayout();
    const holder = await Child.start("hold", path);
    await holder.line("holding");
    const layout = await Layout.open(path);
    const base = await layout.resolve("base");
    const controllers = [new AbortController(), new AbortController(), new AbortController()];
    const tagging = controllers.map(({ signal }, at) => layout.tag(`t${at}`, base, { signal }));
    expect(await isWaiting(Promise.race(tagging))).toBe(true);
    for (const [at, name] of ["first", "second"].entries()) {
      controllers[at]?.abort(new RangeError(name));
      await expect(tagging[at]).rejects.toThrow(name);
    }
    expect(await isWaiting(tagging[2] as Promise<void>)).toBe(true);
    holder.send("go on");
    await tagging[2];
    await holder.end();
    expect(await all(layout.tags())).toEqual(["base", "holder", "t2"]);
    expect(await readdir(join(path, "ingest"))).toEqual([]);
  });

  it("is given up by all, and a change that comes then waits anew", async () => {
    const path = await newLayout();
    const holder = await Child.start("hold", path);
    await holder.line("holding");
    const layout = await Layout.open(path);
    const base = await layout.resolve("base");
    const controller = new AbortController();
    const given = layout.tag("given-up", base, { signal: controller.signal });
    expect(await isWaiting(given)).toBe(true);
    controller.abort(new RangeError("given up"));
    const late = layout.tag("late", base);
    await expect(given).rejects.toThrow("given up");
    expect(await isWaiting(late)).toBe(true);
    holder.send("go on");
    await late;
    await holder.end();
    expect(await all(layout.tags())).toEqual(["base", "holder", "late"]);
  });
});

describe("a lock whose owner cannot give it back is taken over", () => {
  it("where the owner was killed", async () => {
    const path = await newLayout();
    const holder = await Child.start("hold", path);
    await holder.line("holding");
    holder.signal("SIGKILL");
    await holder.end("SIGKILL");
    const lock = await acquireLock(join(path, "ingest", "lock"), { timeout: 20_000 });
    expect(await lock.held()).toBe(true);
    await lock.release();
  });

  it("where the owner has ended and its parent has not asked how", async () => {
    const path = await newLayout();
    const holder = await Child.startUnwatched("hold", path);
    const pid = Number((await holder.line("holding")).split(" ")[1]);
    process.kill(pid, "SIGKILL");
    const lock = await acquireLock(join(path, "ingest", "lock"), { timeout: 20_000 });
    expect(() => process.kill(pid, 0)).not.toThrow();
    await lock.release();
  });

  it("where the process id was given to another process since", async () => {
    const path = join(await temporaryDirectory(), "lock");
    const owner = await ownOwner();
    await leaveLock(path, { ...owner, started: `${owner.started}0` });
    await (await acquireLock(path, { timeout: 20_000 })).release();
    await leaveLock(path, owner);
    await failure(acquireLock(path, { timeout: 50 }), "CONFLICT");
  });

  it("where the owner on another machine has been silent, and not where it has not", async () => {
    const path = join(await temporaryDirectory(), "lock");
    const file = await leaveLock(path, { ...(await ownOwner()), pid: 1, space: "elsewhere" });
    expect((await failure(acquireLock(path, { timeout: 50 }), "CONFLICT")).message).toContain("process 1");
    await utimes(file, anHourAgo, anHourAgo);
    await (await acquireLock(path, { timeout: 20_000 })).release();
  });

  it.each(["", "{", "null", "[]", '{"pid":"x"}'])(
    "where a power loss left %j of the owner, once it has been silent",
    async (text) => {
      const path = join(await temporaryDirectory(), "lock");
      const file = await leaveLock(path, text);
      await failure(acquireLock(path, { timeout: 50 }), "CONFLICT");
      await utimes(file, anHourAgo, anHourAgo);
      await (await acquireLock(path, { timeout: 20_000 })).release();
    },
  );

  it("where nothing is left of the owner", async () => {
    const path = join(await temporaryDirectory(), "lock");
    await mkdir(path);
    const lock = await acquireLock(path, { timeout: 20_000 });
    expect(await readdir(path)).toHaveLength(1);
    await lock.release();
  });
});

describe("a lock", () => {
  it("is held by one at a time, and leaves nothing behind", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "lock");
    let holders = 0;
    let most = 0;
    const take = async (): Promise<void> => {
      const lock = await acquireLock(path);
      most = Math.max(most, ++holders);
      await new Promise((resolve) => setImmediate(resolve));
      expect(await lock.held()).toBe(true);
      holders--;
      await lock.release();
    };
    await Promise.all(Array.from({ length: 40 }, take));
    expect(most).toBe(1);
    expect(await readdir(directory)).toEqual([]);
  });

  it("that was taken from its owner is no longer held, and giving it back does not take it from the next", async () => {
    const path = join(await temporaryDirectory(), "lock");
    const first = await acquireLock(path);
    const [name] = await readdir(path);
    await rm(join(path, name as string));
    const second = await acquireLock(path);
    expect(await first.held()).toBe(false);
    await first.release();
    expect(await second.held()).toBe(true);
    await second.release();
  });

  it("waits no longer than its signal, and leaves nothing behind", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "lock");
    const lock = await acquireLock(path);
    const controller = new AbortController();
    const waiting = acquireLock(path, { signal: controller.signal });
    expect(await isWaiting(waiting)).toBe(true);
    controller.abort(new RangeError("given up"));
    await expect(waiting).rejects.toThrow("given up");
    expect(await readdir(directory)).toEqual(["lock"]);
    await lock.release();
    expect(await readdir(directory)).toEqual([]);
  });

  it("that was lost to another process while a change was made is a CONFLICT, and the change is not written", async () => {
    const path = await newLayout();
    const layout = await Layout.open(path);
    const base = await layout.resolve("base");
    const lock = join(path, "ingest", "lock");
    const error = await failure(
      layout.update(async (index) => {
        const [name] = await readdir(lock);
        await rm(join(lock, name as string));
        return { ...index, manifests: [base] };
      }),
      "CONFLICT",
    );
    expect(error.message).toContain("took over");
    expect(await all(layout.tags())).toEqual(["base"]);
    expect(await readdir(join(path, "ingest"))).toEqual([]);
  });
});

describe("a change of a layout within a change of it", () => {
  it("is an error at once, however it is asked for, and the outer one stays whole", async () => {
    const path = await newLayout();
    const layout = await Layout.open(path);
    const other = await Layout.open(path);
    const base = await layout.resolve("base");
    const nested: readonly (() => Promise<unknown>)[] = [
      () => layout.update((index) => index),
      () => other.tag("nested", base),
      () => pushReferrer(layout, base),
      () => layout.sweep(async () => () => true, { grace: 0 }),
      async () => {
        const between = await Layout.create(await temporaryDirectory());
        await between.update((index) => layout.tag("through", base).then(() => index));
      },
    ];
    for (const change of nested) {
      const message = "was to be changed within a change of it";
      await expect(layout.update((index) => change().then(() => index))).rejects.toThrow(message);
      await expect(layout.update((index) => change().then(() => index))).rejects.toThrow(TypeError);
    }
    const kept = await layout.update((index) =>
      layout.tag("nested", base).then(
        () => index,
        () => index,
      ),
    );
    expect(kept.manifests).toHaveLength(1);
    await layout.tag("after", base);
    expect(await all(layout.tags())).toEqual(["after", "base"]);
  });

  it("may be left for later: once the outer one has ended it is made", async () => {
    const layout = await Layout.open(await newLayout());
    const base = await layout.resolve("base");
    let later: Promise<void> | undefined;
    await layout.update((index) => {
      later = new Promise<void>((resolve) => setTimeout(resolve, 200)).then(() => layout.tag("later", base));
      return index;
    });
    await later;
    expect(await all(layout.tags())).toEqual(["base", "later"]);
  });
});
