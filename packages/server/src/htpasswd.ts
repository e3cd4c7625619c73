import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { OciError } from "@stowage/layout";
import { compare, hash } from "bcryptjs";

/** Tells whether a name and a password belong together. */
export type Accounts = (name: string, password: string) => Promise<boolean>;

/** How many passwords that were right are remembered, so that not every request costs a bcrypt. */
const REMEMBERED = 1000;
/** How long, in ms. */
const REMEMBERED_FOR = 10 * 60_000;
/** How many passwords are compared at once: each takes the processor for a while. */
const AT_ONCE = 4;
/** How many may wait for that. More are refused unread: somebody is guessing. */
const WAITING = 100;
/**
 * The accounts in a file as `htpasswd -B` writes it: `NAME:HASH` on each line, the hash of the kind bcrypt. Fails with
 * `INVALID`, naming the line and never what is in it, where a line is something else.
 */
export function parseHtpasswd(text: string): Accounts {
  const hashes = new Map<string, string>();
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const match = /^([^:]{1,256}):(\$2[aby]?\$(?:0[4-9]|1[0-7])\$[./A-Za-z0-9]{53})\s*$/.exec(line);
    if (match === null) {
      throw new OciError("INVALID", `line ${at + 1} of the htpasswd file is no name with a bcrypt hash`, {
        hint: "Make it with htpasswd -B; other kinds of hash are not safe.",
      });
    }
    hashes.set(match[1] as string, match[2] as string);
  }
  // An unknown name is compared as well, so that it takes as long as a known one.
  const cost = Math.max(...[...hashes.values()].map((one) => Number(one.split("$")[2])), 10);
  const nobody = hash(randomBytes(16).toString("hex"), cost);
  const check: Accounts = async (name, password) => {
    const right = await compare(password, hashes.get(name) ?? (await nobody));
    return right && hashes.has(name);
  };
  return remembering(limited(check));
}

function limited(check: Accounts): Accounts {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (name, password) => {
    if (waiting.length >= WAITING) return false;
    if (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
    try {
      return await check(name, password);
    } finally {
      running--;
      waiting.shift()?.();
    }
  };
}

function remembering(check: Accounts): Accounts {
  const known = new Map<string, { readonly digest: Buffer; readonly until: number }>();
  return async (name, password) => {
    const digest = createHash("sha256").update(password).digest();
    const right = known.get(name);
    if (right !== undefined && right.until > Date.now() && timingSafeEqual(right.digest, digest)) return true;
    if (!(await check(name, password))) return false;
    if (known.size >= REMEMBERED) known.clear();
    known.set(name, { digest, until: Date.now() + REMEMBERED_FOR });
    return true;
  };
}
