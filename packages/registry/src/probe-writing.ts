import {
  type Abortable,
  type Descriptor,
  digestOf,
  emptyBytes,
  emptyDescriptor,
  encodeJson,
  type JsonObject,
  mediaTypes,
  plainDescriptor,
} from "@stowage/layout";
import { hasBlob } from "./blobs.js";
import { declaredDigest, type Endpoint } from "./endpoint.js";
import { appendQuery } from "./http/url.js";
import { type Findings, finding, type ProbeReport, triedOut } from "./probe.js";
import { type Attempt, cancelUpload, cookieHeader, openUpload, tryOut, uploadOf } from "./probe-requests.js";
import { ProbeScratch } from "./probe-scratch.js";
import type { Referrers } from "./referrers.js";

interface WritingOptions extends Abortable {
  readonly chunkMinimum: number | undefined;
}

type Sizes = Pick<ProbeReport, "manifestSize" | "manifestTooLarge">;

/** A larger chunk is not sent only to see whether it is taken, in bytes. */
const LARGEST_CHUNK = 1024 * 1024;

/** Stores small things to see what is accepted, and removes them again, whatever happens. */
export async function probeByWriting(
  endpoint: Endpoint,
  referrers: Referrers,
  findings: Findings,
  options: WritingOptions,
): Promise<{ readonly leftBehind: readonly string[]; readonly sizes: Sizes }> {
  const scratch = new ProbeScratch(endpoint, options);
  const probe = new WritingProbe(endpoint, referrers, scratch, findings, options);
  let cleared: Awaited<ReturnType<ProbeScratch["clear"]>>;
  try {
    await probe.run();
  } finally {
    cleared = await scratch.clear();
  }
  if (cleared.blobs !== undefined) findings.set("deleteBlobs", finding(cleared.blobs));
  return { leftBehind: [...probe.leftBehind, ...cleared.leftBehind], sizes: probe.sizes };
}

class WritingProbe {
  readonly leftBehind: string[] = [];
  sizes: Sizes = {};
  readonly #endpoint: Endpoint;
  readonly #referrers: Referrers;
  readonly #scratch: ProbeScratch;
  readonly #findings: Findings;
  readonly #options: WritingOptions;

  constructor(
    endpoint: Endpoint,
    referrers: Referrers,
    scratch: ProbeScratch,
    findings: Findings,
    options: WritingOptions,
  ) {
    this.#endpoint = endpoint;
    this.#referrers = referrers;
    this.#scratch = scratch;
    this.#findings = findings;
    this.#options = options;
  }

  async run(): Promise<void> {
    const layer = await this.#scratch.blob(ProbeScratch.bytes(), triedOut.layerType);
    const config = await this.#scratch.blob(ProbeScratch.bytes(), mediaTypes.config);
    if (layer.attempt.answer === undefined || config.attempt.answer === undefined) {
      this.#findings.set("push", finding(layer.attempt.answer === undefined ? layer.attempt : config.attempt));
      return;
    }
    const image = { config: config.descriptor, layers: [layer.descriptor] };
    const first = await this.#scratch.manifest({ ...image, annotations: { probe: "to be deleted" } });
    this.#findings.set("push", finding(first.attempt));
    if (first.attempt.answer === undefined) return;
    const deleted = await this.#scratch.deleteManifest(first.descriptor.digest);
    this.#findings.set("deleteManifests", finding(deleted));
    await this.#artifacts(image);
    await this.#sha512(image);
    await this.#mount(layer.descriptor);
    await this.#anonymousMount(layer.descriptor);
    await this.#chunks();
    // What cannot be removed is not to be seen in every listing, nor to take space for ever.
    if (deleted.answer === undefined) return;
    await this.#sizes(image);
    await this.#tags(image);
  }

  async #artifacts(image: { config: Descriptor; layers: Descriptor[] }): Promise<void> {
    const { artifactType } = triedOut;
    this.#findings.set("artifactType", finding((await this.#scratch.manifest({ ...image, artifactType })).attempt));
    this.#findings.set("emptyConfig", await this.#emptyConfig({ artifactType, layers: image.layers }));
    const subject = await this.#scratch.manifest({ ...image, annotations: { probe: "subject" } });
    const refers = { ...image, subject: plainDescriptor(subject.descriptor) };
    const referrer = await this.#scratch.manifest(refers);
    const told = referrer.attempt.answer?.header("oci-subject")?.trim() === subject.descriptor.digest;
    this.#findings.set("subject", finding(referrer.attempt, told ? "answers OCI-Subject" : "without OCI-Subject"));
    if (this.#findings.get("referrers")?.support === "no") return;
    // The repository is there by now, whatever became of the referrer.
    const listed = await this.#referrers.listed(subject.descriptor.digest, this.#options);
    if (listed === undefined) this.#findings.set("referrers", { support: "no" });
    else if (referrer.attempt.answer === undefined) return;
    else if (listed.some(({ digest }) => digest === referrer.descriptor.digest))
      this.#findings.set("referrers", { support: "yes" });
    else
      this.#findings.set("referrers", { support: "no", detail: "the API answers, and does not list what was pushed" });
  }

  /** With bytes of the probe's own first: what is there as the empty blob belongs to every artifact, and stays. */
  async #emptyConfig(rest: JsonObject): Promise<ReturnType<typeof finding>> {
    const own = await this.#scratch.blob(ProbeScratch.bytes(), mediaTypes.empty);
    const tried = await this.#scratch.manifest({ ...rest, config: own.descriptor });
    if (tried.attempt.answer !== undefined) return finding(tried.attempt);
    if (!(await hasBlob(this.#endpoint, emptyDescriptor, "push", this.#options))) {
      const { attempt } = await this.#scratch.emptyBlob(emptyBytes);
      if (attempt.answer !== undefined)
        this.leftBehind.push("the empty blob (2 bytes), which every artifact in the repository shares");
    }
    return finding((await this.#scratch.manifest({ ...rest, config: plainDescriptor(emptyDescriptor) })).attempt);
  }

  async #sha512(image: JsonObject): Promise<void> {
    const blob = await this.#scratch.blob(ProbeScratch.bytes(), triedOut.layerType, "sha512");
    const manifest = await this.#scratch.manifest(
      { ...image, annotations: { probe: "sha512" } },
      { algorithm: "sha512" },
    );
    const refused = [blob.attempt, manifest.attempt].find(({ answer }) => answer === undefined);
    const what = refused === blob.attempt ? "blobs" : "manifests";
    const told = manifest.attempt.answer === undefined ? undefined : declaredDigest(manifest.attempt.answer);
    const { digest } = manifest.descriptor;
    if (refused !== undefined)
      this.#findings.set("sha512", { support: "no", detail: `${what}: ${finding(refused).detail}` });
    else if (told === undefined || told === digest) this.#findings.set("sha512", { support: "yes" });
    else this.#findings.set("sha512", { support: "no", detail: `manifests: stored as ${told}` });
  }

  /** From the repository itself, since of no other it is known that it may be read. */
  async #mount({ digest }: Descriptor): Promise<void> {
    const { attempt, upload } = await this.#scratch.mount(digest, this.#endpoint.repository);
    if (upload !== undefined) {
      this.#findings.set("mount", { support: "no", detail: "202, an upload instead" });
      await cancelUpload(this.#endpoint, upload);
    } else this.#findings.set("mount", finding(attempt));
  }

  /**
   * Whether a mount that does not say from where may be asked for at any time: one of a blob that is nowhere has to open an upload
   * that works, and one of a blob that is there has to find it.
   */
  async #anonymousMount({ digest }: Descriptor): Promise<void> {
    const absent = await this.#scratch.blobAfterMount(ProbeScratch.bytes(), triedOut.layerType);
    const no = (detail: string): void => void this.#findings.set("anonymousMount", { support: "no", detail });
    if (absent === "mounted") return no("201 for a blob that is nowhere");
    if (absent.answer === undefined) return no(absent.refusal);
    const { attempt, upload } = await this.#scratch.mount(digest);
    if (upload !== undefined) {
      await cancelUpload(this.#endpoint, upload);
      no("202, an upload instead");
    } else this.#findings.set("anonymousMount", finding(attempt));
  }

  async #chunks(): Promise<void> {
    const minimum = this.#options.chunkMinimum;
    const least = minimum === undefined ? "" : `at least ${minimum} bytes each`;
    if ((minimum ?? 0) > LARGEST_CHUNK) return void this.#findings.set("chunks", { support: "unknown", detail: least });
    const last = ProbeScratch.bytes();
    const bytes = Buffer.concat([Buffer.alloc(Math.max(minimum ?? 0, 64), last), last]);
    const attempt = await this.#sendChunks(bytes, bytes.byteLength - last.byteLength);
    if (attempt === undefined) return;
    this.#findings.set("chunks", finding(attempt, least === "" ? undefined : least));
  }

  /** Sends bytes in two chunks, then closes the upload. distribution-spec v1.1.1, "Pushing a blob in chunks". */
  async #sendChunks(bytes: Uint8Array, first: number): Promise<Attempt | undefined> {
    const opened = await openUpload(this.#endpoint, this.#options);
    let upload = opened.upload;
    const action = `cannot push a blob in chunks to ${this.#endpoint.name}`;
    for (const [start, end] of [
      [0, first],
      [first, bytes.byteLength],
    ] as const) {
      if (upload?.location === undefined) return undefined;
      const attempt = await tryOut(this.#endpoint, {
        action,
        method: "PATCH",
        at: upload.location,
        needs: "push",
        accept: [201, 202, 204],
        headers: {
          "content-type": mediaTypes.octetStream,
          "content-range": `${start}-${end - 1}`,
          ...cookieHeader(upload),
        },
        body: bytes.subarray(start, end),
        signal: this.#options.signal,
      });
      if (attempt.answer === undefined) {
        await cancelUpload(this.#endpoint, upload);
        return attempt;
      }
      upload = uploadOf(attempt.answer, upload);
    }
    if (upload?.location === undefined) return undefined;
    const digest = digestOf(bytes);
    const attempt = await tryOut(this.#endpoint, {
      action,
      method: "PUT",
      at: appendQuery(upload.location, "digest", digest),
      needs: "push",
      accept: [200, 201, 204],
      headers: { "content-type": mediaTypes.octetStream, ...cookieHeader(upload) },
      body: new Uint8Array(),
      signal: this.#options.signal,
    });
    if (attempt.answer === undefined) await cancelUpload(this.#endpoint, upload);
    else this.#scratch.stored(digest, bytes.byteLength);
    return attempt;
  }

  async #sizes(image: JsonObject): Promise<void> {
    let refusal: string | undefined;
    for (const size of triedOut.manifestSizes) {
      const empty = encodeJson({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        ...image,
        annotations: { probe: "" },
      });
      const filled = { ...image, annotations: { probe: "x".repeat(size - empty.byteLength) } };
      const { attempt, descriptor } = await this.#scratch.manifest(filled);
      if (attempt.answer !== undefined) {
        this.sizes = { ...this.sizes, manifestSize: size };
        await this.#scratch.deleteManifest(descriptor.digest);
        break;
      }
      refusal ??= attempt.refusal;
      this.sizes = { manifestTooLarge: size };
    }
    this.#findings.set("manifestSize", refusal === undefined ? { support: "yes" } : { support: "no", detail: refusal });
  }

  async #tags(image: JsonObject): Promise<void> {
    const [one, other] = ["one", "other"].map((probe) => ({ ...image, annotations: { probe } }));
    if ((await this.#scratch.manifest(one as JsonObject, { tagged: true })).attempt.answer === undefined) return;
    const moved = await this.#scratch.manifest(other as JsonObject, { tagged: true });
    this.#findings.set(
      "immutableTags",
      moved.attempt.answer === undefined ? { support: "yes", detail: moved.attempt.refusal } : { support: "no" },
    );
    this.#findings.set("deleteTags", finding(await this.#scratch.deleteTag()));
  }
}
