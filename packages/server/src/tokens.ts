import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { isRepository } from "@stowage/layout";

/** What a token lets its bearer do: the actions for each repository. */
export type Access = Readonly<Record<string, readonly string[]>>;

/** How long a token is good for, in seconds. */
export const TOKEN_LIFETIME = 300;

/** How many repositories one token may be for. */
const MAXIMUM_SCOPES = 100;

/** Tokens that this process alone has made and takes. They are signed, so none has to be remembered. */
export class Tokens {
  readonly #key = randomBytes(32);

  /** A token for this access, good for {@link TOKEN_LIFETIME}. */
  issue(name: string, access: Access): string {
    const claims = { name, access, expires: Date.now() + TOKEN_LIFETIME * 1000 };
    const body = Buffer.from(JSON.stringify(claims)).toString("base64url");
    return `${body}.${this.#sign(body).toString("base64url")}`;
  }

  /** What the token lets its bearer do, or undefined where it is not one of these or has expired. */
  check(token: string): Access | undefined {
    const [body = "", signature = ""] = token.split(".");
    const expected = this.#sign(body);
    const given = Buffer.from(signature, "base64url");
    if (given.byteLength !== expected.byteLength || !timingSafeEqual(given, expected)) return undefined;
    const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as { access: Access; expires: number };
    return claims.expires > Date.now() ? claims.access : undefined;
  }

  #sign(body: string): Buffer {
    return createHmac("sha256", this.#key).update(body).digest();
  }
}

/** The access that scopes of the form `repository:NAME:ACTION,ACTION` ask for. Others are left out. */
export function accessIn(scopes: readonly string[]): Access {
  const access: Record<string, readonly string[]> = Object.create(null);
  for (const scope of scopes.flatMap((text) => text.split(" ")).slice(0, MAXIMUM_SCOPES)) {
    const match = /^repository:([^:]+):([a-z*,]+)$/.exec(scope);
    if (match === null || !isRepository(match[1] as string)) continue;
    const actions = (match[2] as string).split(",");
    access[match[1] as string] = [
      ...(access[match[1] as string] ?? []),
      ...(actions.includes("*") ? ["pull", "push", "delete"] : actions),
    ];
  }
  return access;
}
