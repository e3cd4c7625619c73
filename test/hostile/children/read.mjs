// Reads the manifest behind a tag and prints how that ended, and by how many bytes the memory of this process grew.
const [, , packageUrl, path, tag] = process.argv;
const { ArchiveSource, inspect, Layout } = await import(packageUrl);
const before = process.resourceUsage().maxRSS;
let code = "none";
try {
  const source = path.endsWith(".tar") ? await ArchiveSource.open(path) : await Layout.open(path);
  await inspect(source, await source.resolve(tag));
} catch (error) {
  code = error.code;
}
console.log(JSON.stringify({ code, grown: (process.resourceUsage().maxRSS - before) * 1024 }));
