import type { Abortable } from "./content.js";
import type { Descriptor } from "./model/descriptor.js";
import type { Digest } from "./model/digest.js";
import { annotationKeys, mediaTypes } from "./model/media-types.js";
import { annotatedSubject, responseKeys } from "./store/conventions.js";
import { type LayoutIndex, refName, unnamed, withEntry, withTag } from "./store/index-json.js";
import type { IndexedTarget } from "./store/indexed-target.js";
import { encodeList, wantedResponses, withResponse } from "./store/referrer-forms.js";
import {
  type ListedItem,
  type ListPlace,
  type ReferrerGroup,
  type ReferrerSurvey,
  surveyReferrers,
} from "./store/referrer-survey.js";

/**
 * Which tools the referrers are written for: `oras` keeps them as untagged entries, `regclient` in a tagged list, `olareg` in an
 * annotated list. `all` is entries and tagged lists, and annotated ones where index.json says that they are kept.
 */
export const referrerForms = ["all", "oras", "regclient", "olareg"] as const;
export type ReferrerForms = (typeof referrerForms)[number];

/** The options of {@link reconcile}. */
export interface ReconcileOptions extends Abortable {
  /** Default: `all`. Any other drops the forms of the other tools. */
  readonly to?: ReferrerForms | undefined;
  /** Drop what lists name and nobody can read, instead of keeping it for the day on which it is there. Default: false. */
  readonly dropUnread?: boolean | undefined;
}

/** Something in index.json that is not as it was. */
export interface ReconcileChange {
  readonly action: "added" | "updated" | "removed";
  /** An untagged entry of a referrer, a tagged list, an annotated one, or the annotation of index.json that asks for those. */
  readonly form: "entry" | "list" | "response" | "flag";
  /** The name of a tagged list, the subject of an annotated one, the key of a flag. */
  readonly of?: string;
  readonly descriptor?: Descriptor;
}

/** What a {@link reconcile} found and did. */
export interface ReconcileReport {
  readonly target: string;
  readonly to: ReferrerForms;
  readonly subjects: number;
  readonly referrers: number;
  /** Empty where everything agreed before. */
  readonly changes: readonly ReconcileChange[];
  /** What lists named and is no referrer of their subject. The lists do not name it any more. */
  readonly stale: readonly ListedItem[];
  /** What lists name and could not be read. */
  readonly unread: readonly ListedItem[];
}

/**
 * Makes all that index.json says of referrers agree with what the manifests themselves say, in one change of it. A referrer
 * that was found stays found; no content is removed. Doing it again changes nothing.
 */
export async function reconcile(target: IndexedTarget, options: ReconcileOptions = {}): Promise<ReconcileReport> {
  const to = options.to ?? "all";
  let report: ReconcileReport | undefined;
  await target.update(async (index) => {
    const survey = await surveyReferrers(target, index, options);
    const run = new Reconciliation(target, index, survey, to, options.dropUnread === true);
    const changed = await run.index();
    const those = [...survey.groups.values()].flatMap((group) => [...group.bySubject.values()]);
    const { stale, unread } = survey;
    report = {
      target: target.name,
      to,
      subjects: those.filter(({ size }) => size > 0).length,
      referrers: survey.referrers.size,
      changes: run.changes,
      stale,
      unread,
    };
    return JSON.stringify(changed) === JSON.stringify(index) ? index : changed;
  }, options);
  return report as ReconcileReport;
}

function isTaggedList(entry: Descriptor, tag: string, list: Descriptor): boolean {
  return refName(entry) === tag && entry.digest === list.digest;
}

class Reconciliation {
  readonly changes: ReconcileChange[] = [];
  readonly #target: IndexedTarget;
  readonly #before: LayoutIndex;
  readonly #survey: ReferrerSurvey;
  readonly #to: ReferrerForms;
  readonly #dropUnread: boolean;
  /** The keys under which each subject has to have a response. */
  readonly #keys: readonly string[];
  readonly #written = new Map<string, Descriptor | undefined>();

  constructor(
    target: IndexedTarget,
    index: LayoutIndex,
    survey: ReferrerSurvey,
    to: ReferrerForms,
    dropUnread: boolean,
  ) {
    this.#target = target;
    this.#before = index;
    this.#survey = survey;
    this.#to = to;
    this.#dropUnread = dropUnread;
    this.#keys = to === "all" ? wantedResponses(index) : to === "olareg" ? [annotationKeys.olaregSubject] : [];
  }

  async index(): Promise<LayoutIndex> {
    let index = await this.#withListsThatAre();
    for (const group of this.#survey.groups.values()) {
      index = await this.#withListsThatMiss(index, group);
      if (this.#to === "all" || this.#to === "oras") index = this.#withEntries(index, group);
    }
    if (this.#to === "regclient" || this.#to === "olareg") index = this.#withoutEntries(index);
    return this.#to === "all" ? index : this.#withFlags(index);
  }

  /** Lets each list that is there name what it has to name, and takes out those that have nothing to name or are not wanted. */
  async #withListsThatAre(): Promise<LayoutIndex> {
    const manifests: Descriptor[] = [];
    const seen = new Set<string>();
    for (const entry of this.#before.manifests) {
      const place = this.#survey.lists.get(entry);
      if (place === undefined) {
        manifests.push(entry);
        continue;
      }
      const group = this.#survey.groups.get(place.tag) as ReferrerGroup;
      const list = await this.#list(group, place.form === "response" ? place.subject : undefined);
      const key = `${refName(entry) ?? ""} ${place.form === "response" ? `${place.key} ${place.subject}` : ""}`;
      // What cannot be read may still be had from elsewhere; it goes only where something takes its place.
      const isOnly = place.readable ? list !== undefined && group.bySubject.size === 0 : list === undefined;
      if (isOnly && !(place.readable && this.#wants(place))) manifests.push(entry);
      else if (list === undefined || !this.#wants(place) || seen.has(key)) this.#change("removed", place, entry);
      else {
        seen.add(key);
        const same = list.digest === entry.digest && list.size === entry.size;
        const updated = same ? entry : { ...list, annotations: entry.annotations ?? {} };
        if (!same) this.#change("updated", place, updated);
        manifests.push(updated);
      }
    }
    return { ...this.#before, manifests };
  }

  async #withListsThatMiss(index: LayoutIndex, group: ReferrerGroup): Promise<LayoutIndex> {
    let changed = index;
    const list = this.#to === "all" || this.#to === "regclient" ? await this.#list(group, undefined) : undefined;
    if (list !== undefined && !changed.manifests.some((entry) => isTaggedList(entry, group.tag, list))) {
      // Another manifest that has the tag of the list loses that name, and nothing else.
      const displaced = changed.manifests.filter((entry) => refName(entry) === group.tag);
      changed = withTag(changed, group.tag, list);
      changed = displaced.reduce((index, entry) => withEntry(index, unnamed(entry)), changed);
      this.#change("added", { form: "list", tag: group.tag }, list);
    }
    for (const key of this.#keys) {
      for (const subject of group.bySubject.keys()) {
        const response = await this.#list(group, subject);
        const isThere = (entry: Descriptor): boolean =>
          entry.mediaType === mediaTypes.index &&
          entry.digest === response?.digest &&
          entry.annotations?.[key] === subject;
        if (response === undefined || changed.manifests.some(isThere)) continue;
        changed = withResponse(changed, key, subject, response);
        this.#change("added", { form: "response", tag: group.tag, key, subject }, response);
      }
    }
    return changed;
  }

  #withEntries(index: LayoutIndex, group: ReferrerGroup): LayoutIndex {
    const entries = [...group.bySubject.values()].flatMap((those) => [...those.values()].map(({ entry }) => entry));
    // Where there are to be no lists, what nobody can read has no other place.
    if (this.#to === "oras" && !this.#dropUnread)
      entries.push(...[...group.unread.values()].map(({ annotations: _annotations, ...entry }) => entry));
    let changed = index;
    for (const entry of entries) {
      const next = withEntry(changed, entry);
      if (next !== changed) this.changes.push({ action: "added", form: "entry", descriptor: entry });
      changed = next;
    }
    return changed;
  }

  /** Takes out the untagged entries of referrers, which a list names. What another tool annotated stays. */
  #withoutEntries(index: LayoutIndex): LayoutIndex {
    const manifests = index.manifests.filter((entry) => {
      const isForm =
        refName(entry) === undefined &&
        annotatedSubject(entry) === undefined &&
        this.#survey.referrers.has(entry.digest);
      if (isForm) this.changes.push({ action: "removed", form: "entry", descriptor: entry });
      return !isForm;
    });
    return { ...index, manifests };
  }

  /** The index with the flag that the wanted form needs, and without those of the others. */
  #withFlags(index: LayoutIndex): LayoutIndex {
    const annotations = { ...index.annotations };
    for (const { convert } of responseKeys) {
      const wanted = this.#to === "olareg" && convert === annotationKeys.olaregConvert;
      if (wanted === (annotations[convert] === "true")) continue;
      this.changes.push({ action: wanted ? "added" : "removed", form: "flag", of: convert });
      if (wanted) annotations[convert] = "true";
      else delete annotations[convert];
    }
    const { annotations: before, ...rest } = index;
    if (Object.keys(annotations).length > 0) return { ...index, annotations };
    return before === undefined ? index : rest;
  }

  #wants(place: ListPlace): boolean {
    if (place.form === "list") return this.#to === "all" || this.#to === "regclient";
    return this.#to === "all" || this.#keys.includes(place.key);
  }

  /** The list of a group, or of one subject in it, stored. Undefined where there is nothing to name. */
  async #list(group: ReferrerGroup, subject: Digest | undefined): Promise<Descriptor | undefined> {
    const key = `${group.tag} ${subject ?? ""}`;
    if (this.#written.has(key)) return this.#written.get(key);
    const those = subject === undefined ? [...group.bySubject.values()] : [group.bySubject.get(subject) ?? new Map()];
    const items = [
      ...(this.#dropUnread ? [] : group.unread.values()),
      ...those.flatMap((referrers) => [...referrers.values()].map(({ listed }) => listed)),
    ];
    const list = items.length === 0 ? undefined : await this.#store(items);
    this.#written.set(key, list);
    return list;
  }

  async #store(items: readonly Descriptor[]): Promise<Descriptor> {
    const { bytes, descriptor } = encodeList(items);
    if (!(await this.#target.has(descriptor))) await this.#target.write([bytes], mediaTypes.index);
    return descriptor;
  }

  #change(action: ReconcileChange["action"], place: ListPlace, descriptor: Descriptor): void {
    const of = place.form === "response" ? place.subject : (refName(descriptor) ?? place.tag);
    this.changes.push({ action, form: place.form, of, descriptor });
  }
}
