/** What may be done to a repository. The names are those of token servers. */
export type Action = "pull" | "push" | "delete" | "*";

/** What a request needs to be allowed to do to one repository, or to what a registry has beside these. */
export interface Scope {
  /** Default: `repository`. */
  readonly kind?: "registry";
  readonly repository: string;
  readonly actions: readonly Action[];
}

/** The text a token server takes: `repository:library/alpine:pull,push`. Actions stand in a fixed order. */
export function formatScope(scope: Scope): string {
  const order: readonly Action[] = ["pull", "push", "delete", "*"];
  return `${scope.kind ?? "repository"}:${scope.repository}:${order.filter((action) => scope.actions.includes(action)).join(",")}`;
}

/** What it takes to list the repositories of a registry. */
export const catalogScope: Scope = { kind: "registry", repository: "catalog", actions: ["*"] };

/** Scopes of one kind per repository, in the given order of repositories. */
export function mergeScopes(scopes: readonly Scope[]): readonly Scope[] {
  const merged = new Map<string, { readonly scope: Scope; readonly actions: Set<Action> }>();
  for (const scope of scopes) {
    const key = `${scope.kind ?? "repository"}:${scope.repository}`;
    const known = merged.get(key) ?? { scope, actions: new Set() };
    for (const action of scope.actions) known.actions.add(action);
    merged.set(key, known);
  }
  return [...merged.values()].map(({ scope, actions }) => ({ ...scope, actions: [...actions] }));
}

/** True if `have` allows all that `want` needs. */
export function coversScopes(have: readonly Scope[], want: readonly Scope[]): boolean {
  return want.every(({ kind, repository, actions }) => {
    const same = have.filter((scope) => scope.kind === kind && scope.repository === repository);
    return actions.every((action) => same.some((scope) => scope.actions.includes(action)));
  });
}

/**
 * What of the scope a challenge names may be asked for besides `wanted`: more actions on a repository that is wanted
 * anyway, and reading of another, which a registry asks for that keeps the repository under another name. It may not lead us
 * to hand it a token that writes elsewhere.
 */
export function acceptableScopes(text: string, wanted: readonly Scope[]): readonly Scope[] {
  return text
    .split(" ")
    .slice(0, 10)
    .flatMap((part) => {
      const [, repository, list] = /^repository(?:\([a-z0-9]+\))?:(.+):([a-z,*]+)$/.exec(part) ?? [];
      if (repository === undefined || list === undefined || repository.length > 400) return [];
      const ours = wanted.some((scope) => scope.kind === undefined && scope.repository === repository);
      const actions = list
        .split(",")
        .filter(
          (action): action is Action => action === "pull" || (ours && (action === "push" || action === "delete")),
        );
      return actions.length === 0 ? [] : [{ repository, actions }];
    });
}
