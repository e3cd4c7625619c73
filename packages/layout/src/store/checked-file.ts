import { type FileHandle, open } from "node:fs/promises";
import type { Abortable } from "../content.js";
import type { Descriptor } from "../model/descriptor.js";
import { type Digest, Hasher } from "../model/digest.js";
import { damaged, verified } from "../model/verified.js";
import { type Cloned, cloneFile } from "./clone.js";
import { openRegularFile, readChunks } from "./files.js";
import { type HashOptions, hashFile, WORTH_A_THREAD } from "./hash-threads.js";

/** Has another thread hash an open file, and copy it where the options say so. Fails with `MISMATCH` where it has another digest. */
export async function checkFile({ fd }: FileHandle, path: string, digest: Digest, options: HashOptions): Promise<void> {
  const { algorithm } = Hasher.for(digest);
  const found = `${algorithm}:${await hashFile(fd, algorithm, options)}`;
  if (found !== digest) throw damaged(`${digest} at ${path}`, found);
}

/**
 * Makes the new file `to` a clone of the file `from`, in the first of `ways` that works, and checks what it got. False where it cannot
 * be cloned or has another size; `MISMATCH` where it has another digest. What was made then is left to the caller.
 */
export async function cloneChecked(
  descriptor: Descriptor,
  from: string,
  to: string,
  ways: readonly Cloned[],
  { signal }: Abortable,
): Promise<boolean> {
  if ((await cloneFile(from, to, ways)) === undefined) return false;
  const { handle, size } = await openRegularFile(to);
  try {
    if (size !== descriptor.size) return false;
    if (size >= WORTH_A_THREAD) await checkFile(handle, to, descriptor.digest, { signal });
    else for await (const _chunk of verified(readChunks(handle, 0, signal, size), descriptor)) signal?.throwIfAborted();
  } finally {
    await handle.close();
  }
  return true;
}

/**
 * Makes the new file `to` a copy of the file `from`, which is read once: another thread hashes what it copies. Answers and fails as
 * {@link cloneChecked} does.
 */
export async function copyChecked(
  descriptor: Descriptor,
  from: string,
  to: string,
  options: Omit<HashOptions, "into">,
): Promise<boolean> {
  const { handle, size } = await openRegularFile(from);
  try {
    if (size !== descriptor.size) return false;
    const into = await open(to, "wx");
    try {
      await checkFile(handle, from, descriptor.digest, { ...options, into: into.fd });
    } finally {
      await into.close();
    }
  } finally {
    await handle.close();
  }
  return true;
}
