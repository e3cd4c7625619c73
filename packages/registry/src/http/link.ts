/**
 * The URL of the next page that Link headers name (RFC 8288), resolved against `from`; undefined where they name none. Each
 * value may hold several links, and `rel` may be without quotes. It may lead anywhere.
 */
export function nextPage(values: readonly string[], from: URL): URL | undefined {
  for (const value of values) {
    for (const [, target = "", parameters = ""] of value
      .slice(0, 16_384)
      .matchAll(/<([^<>]*)>((?:[^,<"]|"(?:[^"\\]|\\.)*")*)/g)) {
      const rel = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))/i.exec(parameters);
      const relations = (rel?.[1] ?? rel?.[2] ?? "").toLowerCase().split(/\s+/);
      if (!relations.includes("next") || !URL.canParse(target, from.href)) continue;
      return new URL(target, from);
    }
  }
  return undefined;
}
