import type { Source } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";

/** Where content really comes from: a source may be made of others, and these of others again. */
export function originOf(source: Source, descriptor: Descriptor): Source {
  const origin = source.sourceOf?.(descriptor) ?? source;
  return origin === source ? source : originOf(origin, descriptor);
}
