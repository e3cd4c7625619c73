import { randomUUID } from "node:crypto";
import { collect } from "@stowage/layout";
import { type Answer, jsonAnswer } from "../answer.js";
import { Refusal, refusalAnswer } from "../errors.js";
import type { Exchange } from "../exchange.js";
import type { Layer, LayerMaker } from "../layer.js";
import {
  type Account,
  type Fault,
  type FaultOptions,
  type Faults,
  isAbout,
  placeIn,
  refusing,
  simple,
} from "./fault.js";

/** How a registry lets clients in with tokens. */
interface TokenFlavour {
  /** True where anybody gets a token; otherwise the account alone does. */
  readonly anonymous?: boolean;
  /** How many requests a token is good for. */
  readonly uses?: number;
  /** True where the token server is on another host. */
  readonly elsewhere?: boolean;
  /** False where the challenge names no service. */
  readonly service?: boolean;
  /** True where a token is to be asked for with POST and a refresh token, which is the account's password. */
  readonly refresh?: boolean;
}

const DEFAULT_ACCOUNT: Account = { name: "user", password: "password" };

/** The ways in which registries ask who is there. */
export const loginFaults: Faults = {
  basic: {
    does: "asks for the account with Basic, and has no token server",
    layer: (_amount, options) => () =>
      asking(options, (exchange, account) =>
        isAccount(exchange, account) ? undefined : challenge('Basic realm="registry"'),
      ),
  },
  bearer: tokens("asks for a token, which its own token server gives to the account", {}),
  "bearer-anonymous": tokens("asks for a token, which its own token server gives to anybody", { anonymous: true }),
  "bearer-elsewhere": tokens("asks for a token, which a server on another host gives to the account", {
    elsewhere: true,
  }),
  "bearer-no-service": tokens("asks for a token without naming a service; anybody gets one", {
    anonymous: true,
    service: false,
  }),
  "bearer-refresh": tokens(
    "asks for a token, to be had with POST for a refresh token, which is the account's password",
    {
      refresh: true,
    },
  ),
  "bearer-expires": {
    does: "asks for a token, which anybody gets and which is good for NUMBER requests",
    amount: 5,
    layer: (uses, options) => tokenLayer({ anonymous: true, uses }, options),
  },
  "long-token": refusing(
    "refuses with 400 an Authorization of more than 6089 characters",
    (exchange) => (exchange.header("authorization")?.length ?? 0) > 6089,
    () => ({ status: 400, headers: { "Content-Type": "text/html" }, body: Buffer.from("<h1>400 Bad Request</h1>") }),
  ),
  "no-push": refusing(
    "denies every push with 403, as for an account without the right",
    (exchange) => !["GET", "HEAD"].includes(exchange.method) && isAbout(exchange, "manifest", "upload", "uploads"),
    () => refusalAnswer(new Refusal(403, "DENIED", "permission_denied: write_package")),
  ),
  hidden: simple("answers 404 for what one may not read, as if it were not there", async (exchange, next) => {
    const answer = await next();
    const isRefused =
      (answer.status === 401 || answer.status === 403) && exchange.header("authorization") !== undefined;
    return isRefused
      ? refusalAnswer(new Refusal(404, "NAME_UNKNOWN", "repository name not known to registry"))
      : answer;
  }),
  "path-depth": refusing(
    "answers 401 for a repository whose name has fewer than two parts",
    (exchange) => {
      const name = placeIn(exchange)?.repository;
      return name !== undefined && name !== "" && !name.includes("/");
    },
    () => refusalAnswer(new Refusal(401, "UNAUTHORIZED", "authentication required")),
  ),
};

/** A fault that asks for tokens of one kind. */
function tokens(does: string, flavour: TokenFlavour): Fault {
  return { does, layer: (_amount, options) => tokenLayer(flavour, options) };
}

/** Asks everybody, unless nobody is to be asked. */
function asking(options: FaultOptions, refusal: (exchange: Exchange, account: Account) => Answer | undefined): Layer {
  const account = options.account ?? DEFAULT_ACCOUNT;
  return async (exchange, next) => (account === false ? next() : (refusal(exchange, account) ?? next()));
}

function tokenLayer(flavour: TokenFlavour, options: FaultOptions): LayerMaker {
  return async (surroundings) => {
    const given = new Map<string, number>();
    const account = options.account ?? DEFAULT_ACCOUNT;
    const give = (exchange: Exchange): Promise<Answer> => giveToken(exchange, flavour, account, given);
    const realm = flavour.elsewhere === true && account !== false ? await surroundings.listen(give) : undefined;
    const ask = asking(options, (exchange) => {
      const token = /^Bearer (.+)$/i.exec(exchange.header("authorization") ?? "")?.[1] ?? "";
      const left = given.get(token) ?? 0;
      given.set(token, left - 1);
      if (left > 0) return undefined;
      given.delete(token);
      return challenge(challengeText(exchange, flavour, realm ?? exchange.origin));
    });
    return async (exchange, next) =>
      exchange.path === "/token" && realm === undefined ? give(exchange) : ask(exchange, next);
  };
}

function challengeText(exchange: Exchange, flavour: TokenFlavour, realm: string): string {
  const { repository = "" } = placeIn(exchange) ?? {};
  const actions = ["GET", "HEAD"].includes(exchange.method) ? "pull" : "pull,push";
  const service = flavour.service === false ? "" : ',service="registry"';
  const scope = repository === "" ? "" : `,scope="repository:${repository}:${actions}"`;
  return `Bearer realm="${realm}/token"${service}${scope}`;
}

/** The token endpoint: GET with Basic or nothing, POST with a form, as far as the flavour has them. */
async function giveToken(
  exchange: Exchange,
  flavour: TokenFlavour,
  account: Account | false,
  given: Map<string, number>,
): Promise<Answer> {
  const welcome =
    account === false ||
    (await knows(exchange, flavour, account)) ||
    (flavour.anonymous === true && isNobody(exchange));
  if (!welcome) return refusalAnswer(new Refusal(401, "UNAUTHORIZED", "incorrect username or password"));
  const token = randomUUID();
  given.set(token, flavour.uses ?? Number.MAX_SAFE_INTEGER);
  return jsonAnswer(200, { token, access_token: token, expires_in: 300, issued_at: new Date().toISOString() });
}

async function knows(exchange: Exchange, flavour: TokenFlavour, account: Account): Promise<boolean> {
  if (exchange.method !== "POST") return flavour.refresh !== true && isAccount(exchange, account);
  const form = new URLSearchParams(Buffer.from(await collect(exchange.body(), 64 * 1024)).toString());
  if (form.get("grant_type") === "refresh_token") return form.get("refresh_token") === account.password;
  return form.get("username") === account.name && form.get("password") === account.password;
}

function isNobody(exchange: Exchange): boolean {
  return exchange.method === "GET" && exchange.header("authorization") === undefined;
}

function isAccount(exchange: Exchange, { name, password }: Account): boolean {
  return exchange.header("authorization") === `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
}

function challenge(text: string): Answer {
  const refusal = new Refusal(401, "UNAUTHORIZED", "authentication required", { "WWW-Authenticate": text });
  return refusalAnswer(refusal);
}
