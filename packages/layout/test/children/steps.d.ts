import type { Descriptor, Layout } from "@stowage/layout";

/** Something that may be stored. */
export interface KnownContent {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
  /** The names of what it points at. */
  readonly links: readonly string[];
  /** The name of its subject. */
  readonly subject: string | undefined;
}

export type Contents = Readonly<Record<string, KnownContent>>;

/** One change of a layout. */
export type Step =
  | { readonly kind: "push"; readonly content: string }
  | { readonly kind: "tag"; readonly content: string; readonly tag: string }
  | { readonly kind: "untag"; readonly tag: string }
  | { readonly kind: "annotate"; readonly text: string }
  | { readonly kind: "gc"; readonly grace: number }
  | { readonly kind: "reconcile" };

export function contents(library: typeof import("@stowage/layout")): Contents;

export function perform(
  library: typeof import("@stowage/layout"),
  layout: Layout,
  known: Contents,
  step: Step,
): Promise<unknown>;
