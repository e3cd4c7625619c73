import { isJsonObject, OciError } from "@stowage/layout";

/** What a request says about itself, or who asks: no configuration may set it for every registry. */
const RESERVED = new Set(
  "accept accept-encoding authorization connection content-length content-range content-type cookie expect host if-match keep-alive proxy-authorization proxy-connection range te trailer transfer-encoding upgrade user-agent".split(
    " ",
  ),
);

/**
 * The headers that `HttpHeaders` of a configuration asks for, names in lower case, without those that are the client's own business
 * (`Authorization`, `Host`, `Content-Length` and the like). Fails with `INVALID` where one is no header, naming it and `where` it stands.
 */
export function customHeaders(value: unknown, where: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value)) throw new OciError("INVALID", `HttpHeaders in ${where} is not an object`);
  const headers = Object.entries(value).map(([name, text]): [string, string] => {
    // In it nothing may end the line. The value may be a secret, and is not quoted.
    if (
      !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) ||
      typeof text !== "string" ||
      !/^[\t\x20-\x7e\x80-\xff]*$/.test(text)
    )
      throw new OciError("INVALID", `${JSON.stringify(name.slice(0, 100))} of HttpHeaders in ${where} is no header`);
    return [name.toLowerCase(), text];
  });
  return Object.fromEntries(headers.filter(([name]) => !RESERVED.has(name)));
}
