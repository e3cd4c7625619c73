// One block in, one gzip member out, and the memory of the block back. No type annotations here: when the sources are run as they are (under vitest), the
// text of this file is run as JavaScript.
import { parentPort, workerData } from "node:worker_threads";
import { gzipSync } from "fflate";

parentPort?.on("message", (block) => {
  const member = gzipSync(block, { level: workerData.level, mem: 4, mtime: 0 });
  const exact = member.byteLength === member.buffer.byteLength ? member : member.slice();
  parentPort?.postMessage({ output: exact, input: block }, [exact.buffer, block.buffer]);
});
