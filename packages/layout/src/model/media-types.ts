/**
 * The media types Stowage knows by name. Any other is carried as opaque content.
 * image-spec v1.1.1, media-types.md.
 */
export const mediaTypes = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  empty: "application/vnd.oci.empty.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  layerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  layerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  /** Withdrawn before image-spec 1.1.0; still read. */
  artifactManifest: "application/vnd.oci.artifact.manifest.v1+json",
  octetStream: "application/octet-stream",
} as const;

/** True for the media types whose content is an image manifest (OCI or Docker). */
export function isImageManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.manifest || mediaType === mediaTypes.dockerManifest;
}

/** True for the media types whose content is an image index (OCI) or manifest list (Docker). */
export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.index || mediaType === mediaTypes.dockerManifestList;
}

/** True for content that points at other content: a manifest or an index of any vintage. */
export function isManifestType(mediaType: string): boolean {
  return isImageManifestType(mediaType) || isIndexType(mediaType) || mediaType === mediaTypes.artifactManifest;
}

/** True for the media types of an image configuration (OCI or Docker). */
export function isImageConfigType(mediaType: string): boolean {
  return mediaType === mediaTypes.config || mediaType === mediaTypes.dockerConfig;
}

/**
 * True for the layers that their makers do not let others distribute. Only the type says so, never that there are `urls`.
 * image-spec v1.1.1, layer.md "Non-Distributable Layers".
 */
export function isForeignLayerType(mediaType: string): boolean {
  return (
    /^application\/vnd\.oci\.image\.layer\.nondistributable\.v1\.tar(?:\+[a-z0-9]+)?$/.test(mediaType) ||
    /^application\/vnd\.docker\.image\.rootfs\.foreign\.diff\.tar(?:\.[a-z0-9]+)?$/.test(mediaType)
  );
}

/** The manifest types a client asks for, in one Accept header. distribution-spec v1.1.1, "Pulling manifests". */
export const acceptedManifestTypes: readonly string[] = [
  mediaTypes.manifest,
  mediaTypes.index,
  mediaTypes.dockerManifest,
  mediaTypes.dockerManifestList,
  mediaTypes.artifactManifest,
];

/** The annotation keys Stowage reads or writes. image-spec v1.1.1, annotations.md. */
export const annotationKeys = {
  refName: "org.opencontainers.image.ref.name",
  created: "org.opencontainers.image.created",
  title: "org.opencontainers.image.title",
  baseName: "org.opencontainers.image.base.name",
  baseDigest: "org.opencontainers.image.base.digest",
  containerdName: "io.containerd.image.name",
  /** On an index from which platforms were left out: the digest it had with all of them. */
  filteredFrom: "dev.stowage.index.filtered-from",
  /** On the index.json of an archive for docker load: the digest of an index of the entries it does not show to loaders. */
  archiveEntries: "dev.stowage.archive.entries",
  /** On a layer: the paths it alone owns. docs/disjoint-layers.md. */
  disjointPaths: "dev.stowage.disjoint.paths",
  /** On a layer: nobody is to change what is at those paths. */
  disjointReadonly: "dev.stowage.disjoint.readonly",
  /** On a layer that was put together from others: where each of them stands in it. */
  disjointMembers: "dev.stowage.disjoint.members",
  /** On the manifest of an image that has such layers. */
  disjointVersion: "dev.stowage.disjoint.version",
  /** olareg's mark on a response index. */
  olaregSubject: "org.olareg.referrer.subject",
  /** olareg's mark on an index.json whose referrers are kept its way. */
  olaregConvert: "org.olareg.referrer.convert",
  /** The keys of image-spec pull request 1171: on a list of referrers or, in its other reading, on a referrer itself. */
  proposedSubject: "org.opencontainers.image.referrer.subject",
  proposedConvert: "org.opencontainers.image.referrer.convert",
  /** What an entry is for the image of the same name, as `cosign save` and hauler write it. */
  kind: "kind",
  haulerSubject: "hauler.dev/subject-digest",
  containerdSubject: "io.containerd.manifest.subject",
  /** BuildKit's mark on an attestation among the children of an index, and the sibling it attests. */
  referenceType: "vnd.docker.reference.type",
  referenceDigest: "vnd.docker.reference.digest",
} as const;
