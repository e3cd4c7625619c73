import { describe, expect, it } from "vitest";
import { checkReach, isLoopback, reachOf, reachOfAddress } from "../src/http/address.js";
import { nextPage } from "../src/http/link.js";
import { proxyFor } from "../src/http/proxy.js";
import { parseRetryAfter } from "../src/http/retry-after.js";
import { appendQuery, redactUrl } from "../src/http/url.js";

describe("redactUrl", () => {
  it("hides user, password, fragment and the values of signed parameters", () => {
    const url = new URL("https://user:pass@cdn.example/blob?X-Amz-Signature=abc&digest=sha256:1&token=t#f");
    expect(redactUrl(url)).toBe("https://cdn.example/blob?X-Amz-Signature=...&digest=sha256:1&token=...");
  });
});

describe("appendQuery", () => {
  it("keeps the spelling of what is there", () => {
    const url = new URL("https://h/upload?_state=a%2Bb~c%20d+e=&x");
    expect(appendQuery(url, "digest", "sha256:ab").href).toBe(
      "https://h/upload?_state=a%2Bb~c%20d+e=&x&digest=sha256%3Aab",
    );
  });

  it("begins a query where there is none", () => {
    expect(appendQuery(new URL("https://h/upload"), "n", "1").href).toBe("https://h/upload?n=1");
    expect(appendQuery(new URL("https://h/upload?#f"), "n", "1").href).toBe("https://h/upload?n=1");
  });
});

describe("nextPage", () => {
  const from = new URL("https://h:1/v2/a/tags/list?n=2");

  it("resolves the link against the request", () => {
    expect(nextPage(['</v2/a/tags/list?last=b&n=2>; rel="next"'], from)?.href).toBe(
      "https://h:1/v2/a/tags/list?last=b&n=2",
    );
  });

  it("takes rel without quotes, and finds it among other links and parameters", () => {
    const values = ['<a>; rel="prev", <b?x=1,2>; title="x, y; rel=next"; rel=next'];
    expect(nextPage(values, from)?.href).toBe("https://h:1/v2/a/tags/b?x=1,2");
    expect(nextPage(["<a>; rel=first", '<c>; rel="last next"'], from)?.href).toBe("https://h:1/v2/a/tags/c");
  });

  it("yields nothing where there is no next page or nothing that can be read", () => {
    for (const value of ["", "<a>", '<a>; rel="prev"', "a; rel=next", "<", '<a>; rel="nextish"']) {
      expect(nextPage([value], from)).toBeUndefined();
    }
  });
});

describe("parseRetryAfter", () => {
  const now = Date.parse("2026-01-02T03:04:05Z");

  it("reads seconds and dates", () => {
    expect(parseRetryAfter("7", now)).toBe(7000);
    expect(parseRetryAfter("Fri, 02 Jan 2026 03:04:15 GMT", now)).toBe(10_000);
    expect(parseRetryAfter("Fri, 02 Jan 2026 03:00:00 GMT", now)).toBe(0);
  });

  it("ignores what is neither", () => {
    for (const text of ["", "soon", "-1", "1.5", "99999999999999999999"])
      expect(parseRetryAfter(text, now)).toBeUndefined();
    expect(parseRetryAfter(undefined, now)).toBeUndefined();
  });
});

describe("reachOfAddress", () => {
  it("tells this machine, its link, private networks and the rest apart", () => {
    const cases = {
      loopback: ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"],
      "link-local": ["169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254"],
      private: ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"],
      public: ["8.8.8.8", "172.32.0.1", "2606:4700::1111"],
    };
    for (const [reach, addresses] of Object.entries(cases)) {
      for (const address of addresses) expect([address, reachOfAddress(address)]).toEqual([address, reach]);
    }
  });

  it("sees through the spellings of an address in a URL", async () => {
    for (const url of [
      "http://0x7f.1/",
      "http://2130706433/",
      "http://[::ffff:7f00:1]/",
      "http://localhost./",
      "http://a.localhost/",
    ]) {
      expect([url, await reachOf(new URL(url)), isLoopback(new URL(url))]).toEqual([url, "loopback", true]);
    }
  });
});

describe("checkReach", () => {
  const check = (from: string, to: string) => checkReach(new URL(from), new URL(to), "a request");

  it("lets nobody outside lead to this machine, its link or its network", async () => {
    for (const to of ["http://127.0.0.1:1/", "http://169.254.169.254/", "https://10.0.0.1/", "https://[::1]/"]) {
      await expect(check("https://8.8.8.8/", to)).rejects.toMatchObject({ code: "DENIED" });
    }
    await expect(check("https://10.0.0.1/", "http://169.254.169.254/")).rejects.toMatchObject({ code: "DENIED" });
    await expect(check("https://10.0.0.1/", "https://127.0.0.1/")).rejects.toMatchObject({ code: "DENIED" });
    await expect(check("http://127.0.0.1/", "http://169.254.169.254/")).rejects.toMatchObject({ code: "DENIED" });
  });

  it("lets neighbours lead to each other, and anybody to the outside", async () => {
    await check("https://10.0.0.1/", "https://10.0.0.2/");
    await check("http://127.0.0.1:1/", "http://127.0.0.1:2/");
    await check("http://127.0.0.1:1/", "http://172.17.0.2/");
    await check("https://10.0.0.1/", "https://8.8.8.8/");
  });
});

describe("proxyFor", () => {
  const at = (url: string, environment: Record<string, string>) => proxyFor(new URL(url), environment)?.href;

  it("takes the variable of the scheme, lower case first", () => {
    const environment = { https_proxy: "http://p:1", HTTPS_PROXY: "http://q:2", HTTP_PROXY: "r:3" };
    expect(at("https://ghcr.io/", environment)).toBe("http://p:1/");
    expect(at("http://plain.example/", environment)).toBe("http://r:3/");
    expect(at("https://ghcr.io/", { HTTP_PROXY: "http://r:3" })).toBeUndefined();
  });

  it("exempts what no_proxy names, and this machine", () => {
    const environment = { HTTPS_PROXY: "http://p:1", HTTP_PROXY: "http://p:1" };
    const list = "a.example, .b.example,c.example:5000,10.0.0.0/8,192.168.1.1,*.d.example,[fd00::1],2001:db8::/32";
    for (const host of [
      "a.example",
      "x.a.example",
      "b.example",
      "x.b.example",
      "c.example:5000",
      "10.9.9.9",
      "192.168.1.1",
      "y.d.example",
      "[fd00::1]",
      "[2001:db8::5]",
    ]) {
      expect([host, at(`https://${host}/`, { ...environment, NO_PROXY: list })]).toEqual([host, undefined]);
    }
    for (const host of ["aa.example", "c.example", "11.0.0.1", "192.168.1.2", "example"]) {
      expect([host, at(`https://${host}/`, { ...environment, NO_PROXY: list })]).toEqual([host, "http://p:1/"]);
    }
    expect(at("https://ghcr.io/", { ...environment, no_proxy: "*" })).toBeUndefined();
    for (const url of ["http://localhost:5000/", "http://127.0.0.1/", "http://[::1]/"])
      expect(at(url, environment)).toBeUndefined();
  });

  it("refuses a proxy it cannot use without quoting it", () => {
    expect(() => at("https://ghcr.io/", { HTTPS_PROXY: "socks5://user:secret@p:1" })).toThrow(
      /^(?!.*secret).*no http or https URL/,
    );
  });
});
