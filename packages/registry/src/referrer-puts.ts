import { setImmediate as nextTurn } from "node:timers/promises";
import type { Abortable, Descriptor, Digest } from "@stowage/layout";
import type { Endpoint } from "./endpoint.js";
import type { Answer } from "./http/answer.js";
import { inTurn } from "./in-turn.js";
import type { Manifests } from "./manifests.js";
import type { Referrers } from "./referrers.js";
import { RegistryError } from "./registry-error.js";

/** How many connections are shared by the subjects that get several referrers at once. */
const LANES = 4;

/** What becomes of a manifest with a subject that is sent. */
export interface ReferrerPut {
  readonly answer: Promise<Answer>;
  /** Fails where it had to be sent again because it was not listed, and that failed. */
  readonly kept: Promise<void>;
}

/**
 * PUTs the manifests that have a subject. Registries were seen to lose referrers of one subject that arrive at the same time, so
 * those of one subject arrive one after the other. Several are sent over one connection without waiting for the answers between
 * them: a server does not begin with one before it is done with the one before (RFC 9112, 9.3.2). As not every server may know
 * that, the registry is asked afterwards which it lists, and gets the others once more.
 */
export class ReferrerPuts {
  readonly #endpoint: Endpoint;
  readonly #manifests: Manifests;
  readonly #referrers: Referrers;
  /** Those that take what comes. */
  readonly #batches = new Map<Digest, Batch>();

  constructor(endpoint: Endpoint, manifests: Manifests, referrers: Referrers) {
    this.#endpoint = endpoint;
    this.#manifests = manifests;
    this.#referrers = referrers;
  }

  /** PUTs a manifest with this subject. Fails as {@link Manifests.put} does. */
  put(descriptor: Descriptor, bytes: Uint8Array, subject: Digest, { signal }: Abortable): ReferrerPut {
    const { digest, mediaType } = descriptor;
    const send = (lane?: number): Promise<Answer> =>
      this.#manifests.put(digest, bytes, mediaType, { signal, digest, lane, once: lane !== undefined });
    const batch = this.#batches.get(subject) ?? this.#begin(subject);
    return batch.add(digest, send);
  }

  #begin(subject: Digest): Batch {
    const batch = new Batch(() => this.#referrers.listedIfOffered(subject, {}));
    this.#batches.set(subject, batch);
    const run = async (): Promise<void> => {
      // What is ready at the same time is sent together.
      await nextTurn();
      if (batch.size > 1) await batch.sendTogether(Number.parseInt(subject.slice(-4), 16) % LANES);
      this.#batches.delete(subject);
      await batch.complete();
    };
    void inTurn(`${this.#endpoint.url("referrers/")}${subject}`, run);
    return batch;
  }
}

type Send = (lane?: number) => Promise<Answer>;

/** Referrers of one subject that are sent together, or one by itself. */
class Batch {
  readonly #listed: () => Promise<readonly Descriptor[] | undefined>;
  readonly #puts: ReferrerPut[] = [];
  /** The connection that is shared, when it is known that it is wanted. */
  readonly #lane: Promise<number | undefined>;
  #useLane: (lane: number | undefined) => void = () => {};
  #unanswered = 0;
  /** When all that was sent together has been answered: what is listed then, where the registry can say so. */
  readonly #found: Promise<ReadonlySet<Digest> | undefined>;
  #answered: () => void = () => {};
  #last: Promise<unknown> = Promise.resolve();

  constructor(listed: () => Promise<readonly Descriptor[] | undefined>) {
    this.#listed = listed;
    this.#lane = new Promise((resolve) => {
      this.#useLane = resolve;
    });
    this.#found = new Promise<void>((resolve) => {
      this.#answered = resolve;
    }).then(() => this.#look());
  }

  get size(): number {
    return this.#puts.length;
  }

  add(digest: Digest, send: Send): ReferrerPut {
    const answer = this.#send(send);
    const put = { answer, kept: this.#keep(digest, send, answer) };
    // Whoever wants to know waits for them.
    for (const promise of [put.answer, put.kept]) promise.catch(() => {});
    this.#puts.push(put);
    return put;
  }

  /** Sends all there are, and whatever is added until all have been answered, over one connection. */
  async sendTogether(lane: number): Promise<void> {
    this.#useLane(lane);
    await this.#found;
  }

  /** Resolves when all that was added has succeeded or failed. */
  async complete(): Promise<void> {
    this.#useLane(undefined);
    await Promise.allSettled(this.#puts.map(({ kept }) => kept));
  }

  async #send(send: Send): Promise<Answer> {
    const lane = await this.#lane;
    if (lane === undefined) return send();
    this.#unanswered++;
    try {
      return await send(lane);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
    } finally {
      if (--this.#unanswered === 0) this.#answered();
    }
    // What goes wrong on a shared connection need not go wrong on one of its own.
    await this.#found;
    return this.#alone(send);
  }

  async #keep(digest: Digest, send: Send, answer: Promise<Answer>): Promise<void> {
    await answer;
    if ((await this.#lane) === undefined || (await this.#found)?.has(digest) !== false) return;
    await this.#alone(send);
  }

  /** One after the other, each when the one before was answered. */
  #alone(send: Send): Promise<Answer> {
    const answer = this.#last.then(() => send());
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #look(): Promise<ReadonlySet<Digest> | undefined> {
    const listed = await this.#listed().catch(() => []);
    return listed === undefined ? undefined : new Set(listed.map(({ digest }) => digest));
  }
}
