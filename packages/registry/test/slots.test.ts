import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { Slots } from "../src/http/slots.js";
import { RegistryClient } from "../src/index.js";
import { blobOf } from "./support/artifacts.js";
import { closeServers, serve } from "./support/server.js";

afterEach(closeServers);

const refused = (result: string): boolean => result === "too many";
const good = async (): Promise<string> => "good";
const bad = async (): Promise<string> => "too many";

describe("Slots", () => {
  it("let no more through than allowed, and all of them in the end", async () => {
    const slots = new Slots(3);
    let [running, most, done] = [0, 0, 0];
    const action = async (): Promise<string> => {
      most = Math.max(most, ++running);
      await sleep(1);
      running--;
      done++;
      return "good";
    };
    await Promise.all(Array.from({ length: 30 }, () => slots.run(action, refused)));
    expect([most, done]).toEqual([3, 30]);
  });

  it("halve for a refusal, down to one, and recover one by one", async () => {
    const slots = new Slots(8);
    const seen: number[] = [];
    for (let count = 0; count < 5; count++) {
      await slots.run(bad, refused);
      seen.push(slots.allowed);
    }
    expect(seen).toEqual([4, 2, 1, 1, 1]);
    for (let count = 0; count < 1 + 2 + 3; count++) await slots.run(good, refused);
    expect(slots.allowed).toBe(4);
    for (let count = 0; count < 100; count++) await slots.run(good, refused);
    expect(slots.allowed).toBe(8);
  });

  it("halve once for all that were under way at the same time", async () => {
    const slots = new Slots(8);
    await Promise.all(Array.from({ length: 8 }, () => slots.run(bad, refused)));
    expect(slots.allowed).toBe(4);
  });

  it("are given back by what fails, and not kept waiting for by what is given up", async () => {
    const slots = new Slots(1);
    await expect(slots.run(() => Promise.reject(new Error("broken")), refused)).rejects.toThrow("broken");
    let release = (): void => {};
    const first = slots.run(() => new Promise<string>((resolve) => (release = () => resolve("good"))), refused);
    const abort = new AbortController();
    const second = slots.run(good, refused, abort.signal);
    abort.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    release();
    expect(await first).toBe("good");
    expect(await slots.run(good, refused)).toBe("good");
  });
});

describe("a registry that says 429", () => {
  it("gets fewer requests at the same time, and more again", async () => {
    let [running, most, count] = [0, 0, 0];
    const mosts: number[] = [];
    const server = await serve((_, response) => {
      most = Math.max(most, ++running);
      count++;
      setTimeout(() => {
        running--;
        if (count === 8) mosts.push(most);
        response.writeHead(count <= 8 ? 429 : 404).end();
      }, 20);
    });
    const client = new RegistryClient({ credentials: false, environment: {}, retryDelay: 1, connections: 8 });
    const target = client.repository(`${server.host}/a/b`);
    const has = (index: number) => target.has(blobOf(`${index}`).descriptor);
    await Promise.all(Array.from({ length: 8 }, (_, index) => has(index)));
    most = 0;
    await Promise.all(Array.from({ length: 8 }, (_, index) => has(index)));
    expect(most).toBeLessThan(8);
    for (let round = 0; round < 60; round++) await has(round);
    most = 0;
    await Promise.all(Array.from({ length: 32 }, (_, index) => has(index)));
    expect(most).toBe(8);
    await client.close();
  });
});
