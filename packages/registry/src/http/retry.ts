import { setTimeout as sleep } from "node:timers/promises";
import { RegistryError } from "../registry-error.js";

/** When and how often a failed request is sent again. */
export interface RetryOptions {
  /** How often a request is sent in all before its failure is final. Default: 5. */
  readonly tries?: number | undefined;
  /** The longest wait before the first repetition, in ms; it doubles each time and each wait is a random part of it. Default: 500. */
  readonly retryDelay?: number | undefined;
  /** The longest wait a registry may ask for, in ms; where it asks for more, the failure is final. Default: 60,000. */
  readonly maximumRetryAfter?: number | undefined;
  /** How long one request may take with all its repetitions before another failure is final, in ms. Default: 300,000. */
  readonly retryBudget?: number | undefined;
}

const DEFAULTS = { tries: 5, retryDelay: 500, maximumRetryAfter: 60_000, retryBudget: 300_000 };
const MAXIMUM_DELAY = 30_000;
/** After a pause for all the requests to a registry start again one by one within this time, in ms. */
const SPREAD = 250;

/** Repeats what failed for a while. One for each registry: when it asks to wait, all requests to it wait. */
export class Retry {
  readonly #options: Required<{ [K in keyof RetryOptions]: number }>;
  #notBefore = 0;

  constructor(options: RetryOptions = {}) {
    this.#options = {
      tries: Math.max(1, options.tries ?? DEFAULTS.tries),
      retryDelay: options.retryDelay ?? DEFAULTS.retryDelay,
      maximumRetryAfter: options.maximumRetryAfter ?? DEFAULTS.maximumRetryAfter,
      retryBudget: options.retryBudget ?? DEFAULTS.retryBudget,
    };
  }

  /** How often a request is sent in all. */
  get tries(): number {
    return this.#options.tries;
  }

  /**
   * Runs `attempt` until it succeeds, fails for good, has been run the allowed number of times, or would have to wait beyond the
   * time allowed. Fails with its last error.
   */
  async run<T>(attempt: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const deadline = Date.now() + this.#options.retryBudget;
    for (let count = 1; ; count++) {
      await this.#pause(signal);
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof RegistryError) || !error.temporary || count >= this.#options.tries) throw error;
        const asked = error.retryAfter;
        if (asked !== undefined && asked > this.#options.maximumRetryAfter) throw error;
        const delay = Math.random() * Math.min(MAXIMUM_DELAY, this.#options.retryDelay * 2 ** (count - 1));
        if (Date.now() + Math.max(delay, asked ?? 0) > deadline) throw error;
        if (asked !== undefined) this.#notBefore = Math.max(this.#notBefore, Date.now() + asked);
        await wait(delay, signal);
      }
    }
  }

  async #pause(signal: AbortSignal | undefined): Promise<void> {
    for (let left = this.#notBefore - Date.now(); left > 0; left = this.#notBefore - Date.now())
      await wait(left + Math.random() * Math.min(SPREAD, left), signal);
  }
}

async function wait(duration: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(duration, undefined, { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}
