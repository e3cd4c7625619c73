import { type Abortable, type Descriptor, formatDescriptor, OciError, verified } from "@stowage/layout";
import { checkStep, type Registry } from "./registry.js";

/** More places than this are not tried. */
const MAXIMUM_URLS = 10;

/**
 * The bytes of a layer from where its `urls` say, verified: the first https URL that answers. No credential goes along, except to
 * `registry` itself. Fails with `NOT_FOUND` where there is no such URL, with `DENIED` where the last one leads nearer than
 * the registry is itself, and with that one's failure. image-spec v1.1.1, descriptor.md "urls".
 */
export async function* fetchExternal(
  registry: Registry,
  layer: Descriptor,
  options: Abortable = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const what = formatDescriptor(layer);
  const urls = (layer.urls ?? []).filter((text) => URL.canParse(text)).map((text) => new URL(text));
  const secure = urls.filter(({ protocol }) => protocol === "https:").slice(0, MAXIMUM_URLS);
  let failure: unknown = new OciError("NOT_FOUND", `cannot fetch ${what} from elsewhere: it has no https URL`);
  for (const url of secure) {
    const action = `cannot fetch ${what} from ${url.host}`;
    let begun = false;
    try {
      url.username = url.password = url.hash = "";
      await checkStep(action, registry.url, url);
      const answer = await registry.send({
        action,
        method: "GET",
        url,
        scopes: [],
        accept: [200],
        headers: { accept: "*/*" },
        signal: options.signal,
      });
      for await (const chunk of verified(answer.stream(), layer, `${what} from ${url.host}`)) {
        begun = true;
        yield chunk;
      }
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      // What was yielded cannot be taken back.
      if (begun) throw error;
      failure = error;
    }
  }
  throw failure;
}
