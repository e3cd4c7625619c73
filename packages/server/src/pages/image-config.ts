import {
  isImageConfigType,
  isJsonObject,
  isOciError,
  type JsonObject,
  parseJsonObject,
  readBytes,
} from "@stowage/layout";
import { factsOf } from "./document.js";
import { type Html, html } from "./html.js";
import type { Shown } from "./manifest.js";
import { contentPlace } from "./places.js";

/** The largest config that is read, in bytes. */
const LARGEST = 1024 * 1024;
/** How many entries of a list in a config are shown. */
const ENTRIES = 50;

/** The config of an image; undefined for what is no image, and where it cannot be read. image-spec v1.1.1, config.md. */
export async function readConfig({ manifest, repository, signal }: Shown): Promise<JsonObject | undefined> {
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) return undefined;
  try {
    return parseJsonObject(await readBytes(repository, manifest.config, { signal, limit: LARGEST }), "the config");
  } catch (error) {
    if (isOciError(error)) return undefined;
    throw error;
  }
}

/** What made each of the layers, where there is a history that fits them. */
export function historyOf(config: JsonObject | undefined, layers: number): readonly (string | undefined)[] {
  const history = Array.isArray(config?.history) ? config.history : [];
  const steps = history.filter((step): step is JsonObject => isJsonObject(step) && step.empty_layer !== true);
  return steps.length === layers ? steps.map(({ created_by: by }) => textOf(by)) : [];
}

/** What an image says of itself in its config. */
export function configPart({ manifest, name }: Shown, config: JsonObject | undefined): Html | undefined {
  if (manifest.kind !== "image" || !isImageConfigType(manifest.config.mediaType)) return undefined;
  const link = html`<a href="${contentPlace(name, manifest.config.digest)}">all of it</a>`;
  if (config === undefined) return html`<section><h2>Config</h2><p class="warn">It cannot be read.</p></section>`;
  const settings = isJsonObject(config.config) ? config.config : {};
  const platform = [config.os, config.architecture, config.variant].map(textOf).filter((part) => part !== undefined);
  const facts = factsOf([
    ["Platform", html`<span class="tag">${platform.join("/")}</span>`],
    ["Created", textOf(config.created)],
    ["Entrypoint", listOf(settings.Entrypoint)],
    ["Command", listOf(settings.Cmd)],
    ["User", textOf(settings.User)],
    ["Directory", textOf(settings.WorkingDir)],
    ["Ports", listOf(isJsonObject(settings.ExposedPorts) ? Object.keys(settings.ExposedPorts) : undefined)],
    ["Environment", linesOf(settings.Env)],
    ["Labels", linesOf(isJsonObject(settings.Labels) ? labels(settings.Labels) : undefined)],
    ["Config", link],
  ]);
  return html`<section><h2>Config</h2>${facts}</section>`;
}

function labels(value: JsonObject): readonly string[] {
  return Object.entries(value).map(([key, text]) => `${key}=${textOf(text) ?? ""}`);
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value.slice(0, 4000) : undefined;
}

function listOf(value: unknown): Html | undefined {
  const entries = textsOf(value);
  return entries.length === 0
    ? undefined
    : html`<code>${entries.map((entry) => JSON.stringify(entry)).join(" ")}</code>`;
}

function linesOf(value: unknown): Html | undefined {
  const entries = textsOf(value);
  return entries.length === 0 ? undefined : html`${entries.map((entry) => html`<code>${entry}</code><br>`)}`;
}

function textsOf(value: unknown): readonly string[] {
  const texts = (Array.isArray(value) ? value : []).flatMap((entry) => textOf(entry) ?? []);
  return texts.length > ENTRIES ? [...texts.slice(0, ENTRIES), `and ${texts.length - ENTRIES} more`] : texts;
}
