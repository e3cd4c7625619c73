import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** An authority of our own, in files of one folder. */
export interface Authority {
  /** The certificate of the authority, PEM. */
  readonly caFile: string;
  /** Makes `NAME.cert` and `NAME.key` that the authority has signed, for these names and addresses. */
  issue(name: string, hosts?: readonly string[]): { readonly certFile: string; readonly keyFile: string };
}

/** Makes an authority with openssl; `name` tells it from others. */
export function makeAuthority(folder: string, name = "ca"): Authority {
  const file = (suffix: string): string => join(folder, suffix);
  const openssl = (...args: string[]): void => {
    execFileSync("openssl", args, { stdio: "ignore", timeout: 30_000 });
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const [caFile, caKey] = [file(`${name}.pem`), file(`${name}-key.pem`)];
  openssl("req", "-x509", ...key, "-days", "2", "-subj", `/CN=${name} of a test`, "-keyout", caKey, "-out", caFile);
  return {
    caFile,
    issue(subject, hosts = []) {
      const [certFile, keyFile, request, extensions] = ["cert", "key", "csr", "ext"].map((suffix) =>
        file(`${subject}.${suffix}`),
      ) as [string, string, string, string];
      const names = hosts.map((host) => (/^[\d.]+$|:/.test(host) ? `IP:${host}` : `DNS:${host}`)).join(",");
      writeFileSync(extensions, names === "" ? "" : `subjectAltName=${names}\n`);
      openssl("req", ...key, "-subj", `/CN=${subject}`, "-keyout", keyFile, "-out", request);
      const sign = ["x509", "-req", "-in", request, "-CA", caFile, "-CAkey", caKey, "-CAcreateserial", "-days", "2"];
      openssl(...sign, "-extfile", extensions, "-out", certFile);
      return { certFile, keyFile };
    },
  };
}
