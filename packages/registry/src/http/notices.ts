import { withoutSecrets } from "../auth/credentials.js";
import type { Answer } from "./answer.js";
import { type RateLimit, rateLimitOf } from "./rate-limit.js";
import { parseWarnings } from "./warning.js";

/** A warning a registry sent along with an answer. */
export interface RegistryWarning {
  /** The registry as the user names it. */
  readonly host: string;
  /** On one line, without control characters. */
  readonly text: string;
}

/** A registry that sends a new warning with each answer is not listened to forever. */
const MAXIMUM_WARNINGS = 50;

/** What registries say beside their answers. Nothing that is done depends on it. */
export class Notices {
  readonly #warnings = new Map<string, RegistryWarning>();
  readonly #rateLimits = new Map<string, RateLimit>();

  /** Takes note of what an answer of the registry itself says. */
  read(host: string, answer: Answer): void {
    for (const said of parseWarnings(answer.headers("warning"))) {
      const text = withoutSecrets(said, answer.secrets);
      if (this.#warnings.size < MAXIMUM_WARNINGS) this.#warnings.set(`${host} ${text}`, { host, text });
    }
    const limit = rateLimitOf(host, answer);
    if (limit !== undefined) this.#rateLimits.set(host, limit);
  }

  /** The warnings, each once, in the order in which they came. distribution-spec v1.1.1, "Warnings". */
  get warnings(): readonly RegistryWarning[] {
    return [...this.#warnings.values()];
  }

  /** What each registry said last about its limit; those that said nothing are not among them. */
  get rateLimits(): readonly RateLimit[] {
    return [...this.#rateLimits.values()];
  }
}
