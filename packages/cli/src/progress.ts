import type { CopyEvent } from "@stowage/layout";
import type { SingleBar } from "cli-progress";
import type { Context } from "./command.js";
import { formatSize } from "./output.js";

/** Shows how far a transfer has come, on a terminal; elsewhere it shows nothing. */
export interface Progress {
  /** Content of that many bytes is going to move. */
  expect(bytes: number): void;
  /** That many bytes have moved. */
  advance(bytes: number): void;
  /** Removes the bar. */
  stop(): void;
}

/** A bar on stderr where that is a terminal and the user did not ask for quiet. */
export function startProgress(context: Context, title: string, quiet: boolean): Progress {
  if (quiet || context.err.isTTY !== true) return { expect: () => {}, advance: () => {}, stop: () => {} };
  let bar: SingleBar | undefined;
  let stopped = false;
  let done = 0;
  let all = 0;
  const total = (): number => Math.max(all, 1);
  const sizes = (): { done: string; all: string } => ({ done: formatSize(done), all: formatSize(all) });
  // It takes longer to load than many a transfer takes, which goes on meanwhile.
  void import("cli-progress").then(({ default: progress }) => {
    if (stopped) return;
    bar = new progress.SingleBar({
      stream: context.err as NodeJS.WriteStream,
      format: `${title} {bar} {percentage}% {done} of {all}`,
      barsize: 30,
      barCompleteChar: "=",
      barIncompleteChar: " ",
      hideCursor: true,
      clearOnComplete: true,
      fps: 10,
    });
    bar.start(total(), done, sizes());
  });
  return {
    expect(bytes) {
      all += bytes;
      bar?.setTotal(total());
    },
    advance(bytes) {
      done += bytes;
      bar?.update(done, sizes());
    },
    stop() {
      stopped = true;
      bar?.stop();
    },
  };
}

/** Feeds the events of a copy to a bar. Content that was there counts as moved at once. */
export function followCopy(progress: Progress): (event: CopyEvent) => void {
  const moved = new Map<string, number>();
  return (event) => {
    const { digest, size } = event.descriptor;
    if (event.type === "start") progress.expect(size);
    if (event.type === "bytes") {
      moved.set(digest, (moved.get(digest) ?? 0) + event.bytes);
      progress.advance(event.bytes);
    }
    if (event.type === "done") {
      progress.advance(Math.max(0, size - (moved.get(digest) ?? 0)));
      moved.delete(digest);
    }
  };
}
