import { OciError } from "@stowage/layout";
import { isLoopback } from "./address.js";

/** Node's network takes longer to load than a command that reaches no registry takes to run. */
const net = (): typeof import("node:net") => process.getBuiltinModule("node:net");

/** The environment variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for `url` that `http_proxy`, `https_proxy` and `no_proxy` (or their upper-case forms) ask for, or undefined for
 * a direct connection. This machine is always reached directly. Fails with `INVALID` where the proxy is no http or https URL.
 */
export function proxyFor(url: URL, environment: Environment): URL | undefined {
  const read = (name: string): string => environment[name] || environment[name.toUpperCase()] || "";
  const text = read(url.protocol === "https:" ? "https_proxy" : "http_proxy");
  if (text === "" || isLoopback(url) || isExempt(url, read("no_proxy"))) return undefined;
  const whole = text.includes("://") ? text : `http://${text}`;
  if (!URL.canParse(whole) || !/^https?:$/.test(new URL(whole).protocol)) {
    throw new OciError(
      "INVALID",
      `the proxy for ${url.protocol.slice(0, -1)} in the environment is no http or https URL`,
    );
  }
  return new URL(whole);
}

/** The entries of no_proxy: `*`, a domain with all below it, an address, a range of addresses; each but the range with a port or without. */
function isExempt(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list.split(/[\s,]+/).some((entry) => entry !== "" && matches(entry.toLowerCase(), host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  const range = /^([0-9a-f.:]+)\/(\d{1,3})$/.exec(entry);
  if (range !== null) return isInRange(host, range[1] as string, Number(range[2]));
  const [, name = "", wantedPort] =
    /^\[?(.*?)\]?(?::(\d+))?$/.exec(net().isIP(entry) === 6 ? `[${entry}]` : entry) ?? [];
  if (wantedPort !== undefined && wantedPort !== port) return false;
  const bare = name.replace(/^\*?\./, "");
  return host === bare || host.endsWith(`.${bare}`);
}

function isInRange(host: string, network: string, prefix: number): boolean {
  const family = net().isIP(network);
  if (family === 0 || net().isIP(host) !== family || prefix > (family === 6 ? 128 : 32)) return false;
  const list = new (net().BlockList)();
  list.addSubnet(network, prefix, family === 6 ? "ipv6" : "ipv4");
  return list.check(host, family === 6 ? "ipv6" : "ipv4");
}
