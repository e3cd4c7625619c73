// What the benchmarks of images share: a tree of files, and how long a tool takes.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Runs a tool in a process that can tell what its children took, which Node cannot. */
export function timed(cwd, command, args) {
  const start = performance.now();
  const script = `import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=2)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)`;
  const { status, stdout, stderr } = spawnSync("python3", ["-c", script, command, ...args], { cwd });
  if (status !== 0) return { failed: String(stderr).trim().split("\n").at(-1) };
  const [cpu, memory] = String(stdout).trim().split("\n").at(-1).split(" ").map(Number);
  return { wall: performance.now() - start, cpu: cpu * 1000, memory: memory / 1024 };
}

/** Files of 1 to 40 kB with bytes that compress about as well as programs do. */
export function makeTree(directory) {
  let state = 1;
  const block = Buffer.alloc(65_536);
  for (let at = 0; at < block.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    block[at] = (state >>> 24) % 3 === 0 ? state >>> 16 : 101;
  }
  for (let at = 0; at < 30_000; at++) {
    const parent = join(directory, String(at % 100), String(at % 1000));
    if (at < 1000) mkdirSync(parent, { recursive: true });
    writeFileSync(
      join(parent, `file-${at}`),
      block.subarray(at % 25_000, (at % 25_000) + 1000 + ((at * 7919) % 19_000)),
    );
  }
}

/** The one in the middle. */
export const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
