import fc from "fast-check";
import type { Tree, TreeEntry } from "../src/index.js";

/** All entries of a tree, with the bodies of files in memory. */
export async function collected(tree: Tree): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for await (const entry of tree) {
    if (entry.type !== "file") entries.push(entry);
    else {
      const chunks: Uint8Array[] = [];
      for await (const chunk of entry.body) chunks.push(Buffer.from(chunk));
      entries.push({ ...entry, body: [Buffer.concat(chunks)] });
    }
  }
  return entries;
}

/** The entries as a stream. */
export async function* treeOf(entries: readonly TreeEntry[]): AsyncGenerator<TreeEntry, void, undefined> {
  yield* entries;
}

type Node =
  | { readonly file: Uint8Array; readonly executable: boolean }
  | { readonly target: string }
  | { readonly children: readonly (readonly [string, Node])[] };

/** Any bytes that can name a file, UTF-8 or not, also long ones and ones that sort differently as text. */
const anyName = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
    fc.constantFrom(
      "a",
      "a-b",
      "a b",
      "\u00f0\u009f\u0098\u0080",
      "\u00ef\u00bf\u00bd",
      "n".repeat(200),
      "line\nbreak",
    ),
  )
  .map((name) => name.replace(/[/\0]/g, "_"))
  .filter((name) => name !== "." && name !== ".." && !name.startsWith(".wh."));

const { node } = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({ file: fc.uint8Array({ maxLength: 1500 }), executable: fc.boolean() }),
    fc.record({
      target: fc.oneof(anyName, fc.constantFrom("t".repeat(150), "../x", "/nix/store", "\u00ff/\u00fe")),
    }),
    fc.record({
      children: fc.uniqueArray(fc.tuple(anyName, tie("node")), { maxLength: 5, selector: ([name]) => name }),
    }),
  ),
}));

/** Any tree that a store path can be, in order. */
export function anyTree(): fc.Arbitrary<TreeEntry[]> {
  return node.map((root) => [...entriesOf(root, "")]);
}

function* entriesOf(node: Node, path: string): Generator<TreeEntry> {
  if ("target" in node) yield { type: "symlink", path, target: node.target };
  else if ("file" in node) {
    const { file, executable } = node;
    yield { type: "file", path, executable, size: file.byteLength, body: [Buffer.from(file)] };
  } else {
    yield { type: "directory", path };
    const sorted = [...node.children].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [name, child] of sorted) yield* entriesOf(child, path === "" ? name : `${path}/${name}`);
  }
}
