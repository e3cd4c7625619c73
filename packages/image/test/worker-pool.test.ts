import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isOciError } from "@stowage/layout";
import { describe, expect, it } from "vitest";
import { gzip } from "../src/gzip.js";
import { WorkerPool } from "../src/worker-pool.js";
import { all, temporaryDirectory } from "./support.js";

/** A worker that gives blocks back, except those that start with a letter that tells it to die. */
const PROGRAM = `
  import { parentPort } from "node:worker_threads";
  parentPort.on("message", (block) => {
    const order = String.fromCharCode(block[0]);
    if (order === "t") throw new Error("thrown in the worker");
    if (order === "e") process.exit(3);
    if (order === "h") return;
    parentPort.postMessage({ output: block.slice(), input: block }, [block.buffer]);
  });
`;

async function makePool(size: number): Promise<WorkerPool> {
  const file = join(await temporaryDirectory(), "worker.mjs");
  await writeFile(file, PROGRAM);
  return new WorkerPool(pathToFileURL(file), size);
}

const block = (text: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array([...text].map((letter) => letter.charCodeAt(0)));

describe("a pool of worker threads", () => {
  it("gives every caller its own result, with more work than threads", async () => {
    const pool = await makePool(2);
    const results = await Promise.all(
      [..."abcdfgijkl"].map(async (letter) => (await pool.run(block(letter))).output[0]),
    );
    expect(String.fromCharCode(...(results as number[]))).toBe("abcdfgijkl");
    await pool.close();
  });

  it.each(["t", "e"])("fails where a worker dies (%s), and goes on with another", async (order) => {
    const pool = await makePool(1);
    const [first, second, third] = await Promise.allSettled([
      pool.run(block("a")),
      pool.run(block(order)),
      pool.run(block("b")),
    ]);
    expect(first?.status).toBe("fulfilled");
    expect(second).toSatisfy((result) => result.status === "rejected" && isOciError(result.reason, "REGISTRY"));
    expect(third?.status).toBe("fulfilled");
    await pool.close();
  });

  it("makes a stream fail whose block is lost", async () => {
    const pool = await makePool(2);
    await expect(all(gzip([Buffer.alloc(3 * 2 ** 20, "t")], { compressor: pool }))).rejects.toSatisfy((error) =>
      isOciError(error, "REGISTRY"),
    );
    await pool.close();
  });

  it("gives up work where it is aborted, whether it is under way or waiting", async () => {
    const pool = await makePool(1);
    const controller = new AbortController();
    const work = ["h", "a"].map((order) => pool.run(block(order), controller.signal));
    controller.abort(new Error("enough"));
    for (const result of await Promise.allSettled(work)) {
      expect(result).toMatchObject({ status: "rejected", reason: { message: "enough" } });
    }
    await pool.close();
  });

  it("fails work that is under way or waiting where it is closed", async () => {
    const pool = await makePool(1);
    const work = Promise.allSettled([pool.run(block("h")), pool.run(block("a"))]);
    await pool.close();
    for (const result of await work) {
      expect(result).toSatisfy((one) => one.status === "rejected" && isOciError(one.reason, "REGISTRY"));
    }
  });
});
