import type { Descriptor, Digest, TarReadHeader } from "@stowage/layout";
import type { Image } from "../image.js";
import type { Declaration } from "./declaration.js";
import type { LayerName } from "./violation.js";

/** A layer that declares paths, for a {@link LayerProfile}. */
export interface ProfiledLayer {
  readonly name: LayerName;
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly declaration: Declaration;
  /** The image around it. */
  readonly image: Image;
  /** Says that something breaks a rule of the profile (V6); `entry` is an absolute path. */
  report(problem: string, entry?: string): void;
}

/** What a profile does with the entries of one layer, in their order. */
export interface ProfileCheck {
  entry(header: TarReadHeader): void | Promise<void>;
  /** The bytes of the file of the last entry. They must not be changed or kept. */
  data(chunk: Uint8Array): void | Promise<void>;
  /** All entries were there. */
  end(): void | Promise<void>;
}

/** Rules for layers that are made of one kind of thing, such as the paths of a Nix store, beside the general ones (V6). */
export interface LayerProfile {
  /** Undefined where the rules do not apply to the layer. */
  check(layer: ProfiledLayer): ProfileCheck | undefined;
}
