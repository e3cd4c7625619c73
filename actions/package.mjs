// Writes stowage-VERSION.tgz, the command line with all it needs, and SHA256SUMS into the directory that is given: the files of
// a release, from which the action setup installs. The same sources give the same bytes with the same tar and gzip.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { gzipSync } from "node:zlib";

const [target] = process.argv.slice(2);
if (target === undefined) throw new Error("usage: node actions/package.mjs DIRECTORY");
const dist = join(import.meta.dirname, "dist");
const files = JSON.parse(readFileSync(join(dist, "tool.json"), "utf8"));
const { version } = JSON.parse(files["package.json"]);

const scratch = mkdtempSync(join(tmpdir(), "stowage-package-"));
try {
  for (const [name, content] of Object.entries(files)) {
    const file = join(scratch, name);
    mkdirSync(dirname(file), { recursive: true });
    const source = name === "bundle/main.js" ? "stowage.mjs" : posix.basename(name);
    if (/^[0-9a-f]{64}$/.test(content)) cpSync(join(dist, source), file);
    else writeFileSync(file, content, { mode: name.startsWith("bin/") ? 0o755 : 0o644 });
  }
  const names = Object.keys(files).sort();
  const same = ["--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX", "--format=ustar"];
  const tar = execFileSync("tar", ["-c", ...same, "-C", scratch, "--", ...names], { maxBuffer: 1 << 28 });
  const archive = gzipSync(tar, { level: 9 });
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, `stowage-${version}.tgz`), archive);
  const sum = createHash("sha256").update(archive).digest("hex");
  writeFileSync(join(target, "SHA256SUMS"), `${sum}  stowage-${version}.tgz\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
