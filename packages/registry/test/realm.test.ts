import { describe, expect, it } from "vitest";
import { checkRealm, registrableDomain } from "../src/auth/realm.js";
import { acceptableScopes, formatScope } from "../src/auth/scope.js";

const check = (registry: string, realm: string, withCredentials: boolean, trusted: string[] = []) =>
  checkRealm({ registry: new URL(registry), realm, withCredentials, trusted }).then(
    (url) => url.href,
    (error) => error.code,
  );

describe("checkRealm", () => {
  it("lets credentials go to the registry itself and to its own domain over https", async () => {
    expect(await check("https://203.0.113.1", "https://203.0.113.1/token", true)).toBe("https://203.0.113.1/token");
    expect(await check("http://203.0.113.1:5000", "http://203.0.113.1:5000/t", true)).toBe("http://203.0.113.1:5000/t");
    expect(await check("https://registry.stowage.invalid", "https://auth.stowage.invalid/t", true)).toBe(
      "https://auth.stowage.invalid/t",
    );
    expect(await check("https://registry.a.co.uk", "https://a.co.uk/t", true)).toBe("https://a.co.uk/t");
  });

  it("lets Docker Hub's credentials go to its token server only", async () => {
    expect(await check("https://registry-1.docker.io", "https://auth.docker.io/token", true)).toBe(
      "https://auth.docker.io/token",
    );
    expect(await check("https://registry-1.docker.io", "https://evil.docker.io/token", true)).toBe("DENIED");
  });

  it("sends no credentials anywhere else unless it is allowed by hand", async () => {
    const registry = "https://203.0.113.1";
    for (const realm of ["https://203.0.113.2/t", "https://203.0.113.1:444/t", "https://stowage.invalid/t"]) {
      expect([realm, await check(registry, realm, true)]).toEqual([realm, "DENIED"]);
      expect(await check(registry, realm, false)).toBe(realm);
      expect(await check(registry, realm, true, [new URL(realm).host])).toBe(realm);
    }
    expect(await check("https://a.co.uk", "https://b.co.uk/t", true)).toBe("DENIED");
    expect(await check("https://a.azurecr.io", "https://b.azurecr.io/t", true)).toBe("DENIED");
    expect(await check("http://203.0.113.1", "http://203.0.113.1:81/t", true)).toBe("DENIED");
  });

  it("sends nothing at all from https to http or from outside to inside", async () => {
    for (const withCredentials of [true, false]) {
      expect(await check("https://203.0.113.1", "http://203.0.113.1/t", withCredentials)).toBe("DENIED");
      expect(await check("https://203.0.113.1", "https://127.0.0.1/t", withCredentials, ["127.0.0.1"])).toBe("DENIED");
      expect(await check("http://203.0.113.1", "http://169.254.169.254/t", withCredentials)).toBe("DENIED");
    }
  });

  it("refuses what is no URL, or holds credentials itself", async () => {
    for (const realm of ["", "token", "file:///etc/passwd", "https://user:pass@203.0.113.1/t"]) {
      expect([realm, await check("https://203.0.113.1", realm, false)]).toEqual([realm, "INVALID"]);
    }
  });

  it("names the host that asked and the host that wanted them", async () => {
    const failed = checkRealm({
      registry: new URL("https://203.0.113.1"),
      realm: "https://203.0.113.2/t",
      withCredentials: true,
      trusted: [],
    });
    await expect(failed).rejects.toThrow(/203\.0\.113\.1 asks to send its credentials to https:\/\/203\.0\.113\.2/);
  });
});

describe("registrableDomain", () => {
  it("is what the public suffix list says, and the longer name for those who give names to many", async () => {
    const cases: [string, string | undefined][] = [
      ["registry.gitlab.com", "gitlab.com"],
      ["gitlab.com", "gitlab.com"],
      ["a.b.example.co.uk", "example.co.uk"],
      ["co.uk", undefined],
      ["localhost", undefined],
      ["10.0.0.1", undefined],
      ["[::1]", undefined],
      ["x.y.github.io", "y.github.io"],
      ["github.io", undefined],
      ["a.b.kawasaki.jp", "a.b.kawasaki.jp"],
      ["team.azurecr.io", "team.azurecr.io"],
      ["1.dkr.ecr.us-east-1.amazonaws.com", "1.dkr.ecr.us-east-1.amazonaws.com"],
      ["europe-docker.pkg.dev", "europe-docker.pkg.dev"],
      ["dockerauth.cn-hangzhou.aliyuncs.com", "aliyuncs.com"],
      ["registry.corp.internal", "corp.internal"],
      ["EXAMPLE.org.", "example.org"],
    ];
    for (const [host, domain] of cases) expect([host, await registrableDomain(host)]).toEqual([host, domain]);
  });
});

describe("acceptableScopes", () => {
  const ours = [{ repository: "a/b", actions: ["pull"] as const }];

  it("takes more actions on our repository and reading of others, nothing else", () => {
    const text =
      "repository:a/b:pull,push,delete,* repository:c/d:pull,push registry:catalog:* repository(plugin):e:pull rubbish";
    expect(acceptableScopes(text, ours).map(formatScope)).toEqual([
      "repository:a/b:pull,push,delete",
      "repository:c/d:pull",
      "repository:e:pull",
    ]);
    expect(acceptableScopes("", ours)).toEqual([]);
  });
});
