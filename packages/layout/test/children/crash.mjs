// Does one step to a layout and is killed before its Nth change of the file system. Ends well where it comes to its end first.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { contents, perform } from "./steps.js";

const [, , packageUrl, path, number, text] = process.argv;
const library = await import(packageUrl);
const layout = await library.Layout.open(path);
let left = Number(number);

/** Every call that changes something is counted; what it does is not changed. */
function count(holder, name, counts = () => true) {
  const original = holder[name];
  holder[name] = function (...values) {
    if (counts(values) && --left === 0) process.kill(process.pid, "SIGKILL");
    return original.apply(this, values);
  };
}
const handle = await fs.promises.open(path);
const fileHandle = Object.getPrototypeOf(handle);
await handle.close();
const { O_WRONLY, O_RDWR } = fs.constants;
const writes = ([, flags]) =>
  typeof flags === "number" ? (flags & (O_WRONLY | O_RDWR)) !== 0 : /[wa+]/.test(flags ?? "r");
count(fs.promises, "open", writes);
for (const name of ["copyFile", "link", "mkdir", "rename", "rm", "rmdir", "unlink", "utimes", "writeFile"])
  count(fs.promises, name);
for (const name of ["truncate", "utimes", "write", "writeFile", "writev"]) count(fileHandle, name);
syncBuiltinESMExports();

await perform(library, layout, contents(library), JSON.parse(text));
console.log(`done ${Number(number) - left}`);
process.exit(0);
