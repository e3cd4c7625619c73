import { randomUUID } from "node:crypto";
import type { Answer } from "../answer.js";
import type { Exchange } from "../exchange.js";
import { type FaultOptions, type Faults, reads, refusing } from "./fault.js";

const to = (location: string): Answer => ({ status: 307, headers: { Location: location } });
const refused = (status: number, code: string): Answer => ({
  status,
  headers: { "Content-Type": "application/xml" },
  body: Buffer.from(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`),
});

/** Blobs that are elsewhere. distribution-spec (after v1.1.1), "Redirects". */
export const redirectFaults: Faults = {
  redirect: {
    does: "redirects blobs to a signed URL on another host, which refuses any credential, as object stores do",
    layer: (_amount, options) => async (surroundings) => {
      const signature = randomUUID();
      const url = await surroundings.listen(async (exchange) => {
        if (leaks(exchange, options)) return refused(400, "InvalidArgument");
        if (exchange.query.get("X-Signature") !== signature) return refused(403, "SignatureDoesNotMatch");
        return surroundings.registry(exchange);
      });
      return async (exchange, next) =>
        reads(exchange, "blob") ? to(`${url}${exchange.path}?X-Signature=${signature}&X-Expires=60`) : next();
    },
  },
  "redirect-login": {
    does: "redirects blobs to another host, which asks for a login with a token server of its own",
    layer: (_amount, options) => async (surroundings) => {
      const url = await surroundings.listen(async (exchange) => {
        leaks(exchange, options);
        if (exchange.path !== "/token") {
          const challenge = `Bearer realm="${exchange.origin}/token",service="elsewhere"`;
          return { status: 401, headers: { "WWW-Authenticate": challenge } };
        }
        const token = Buffer.from(JSON.stringify({ token: "elsewhere" }));
        return { status: 200, headers: { "Content-Type": "application/json" }, body: token };
      });
      return async (exchange, next) => (reads(exchange, "blob") ? to(url + exchange.path) : next());
    },
  },
  "redirect-loop": refusing(
    "redirects blobs to themselves",
    (exchange) => reads(exchange, "blob"),
    (exchange) => to(exchange.path),
  ),
};

/** True, and told, if a credential has come to where none should. */
function leaks(exchange: Exchange, options: FaultOptions): boolean {
  const credential = ["authorization", "cookie"].find((name) => exchange.header(name) !== undefined);
  if (credential === undefined) return false;
  const scheme = credential === "cookie" ? "" : ` ${exchange.header(credential)?.split(" ", 1)[0]}`;
  options.onLeak?.(`${credential}${scheme}`);
  return true;
}
