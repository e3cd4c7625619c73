declare const STOWAGE_VERSION: string;

/** The version of the command line and the libraries in these bundles. The bundler puts it in. */
export const version: string = STOWAGE_VERSION;
