/** What may be done to a repository. The names are those of token servers. */
export type Action = "pull" | "push" | "delete";

/** What a request needs to be allowed to do to one repository. */
export interface Scope {
  readonly repository: string;
  readonly actions: readonly Action[];
}

/** The text a token server takes: `repository:library/alpine:pull,push`. Actions stand in a fixed order. */
export function formatScope(scope: Scope): string {
  const order: readonly Action[] = ["pull", "push", "delete"];
  return `repository:${scope.repository}:${order.filter((action) => scope.actions.includes(action)).join(",")}`;
}

/** Scopes of one kind per repository, in the given order of repositories. */
export function mergeScopes(scopes: readonly Scope[]): readonly Scope[] {
  const merged = new Map<string, Set<Action>>();
  for (const { repository, actions } of scopes) {
    const known = merged.get(repository) ?? new Set();
    for (const action of actions) known.add(action);
    merged.set(repository, known);
  }
  return [...merged].map(([repository, actions]) => ({ repository, actions: [...actions] }));
}

/** True if `have` allows all that `want` needs. */
export function coversScopes(have: readonly Scope[], want: readonly Scope[]): boolean {
  return want.every(({ repository, actions }) =>
    actions.every((action) => have.some((scope) => scope.repository === repository && scope.actions.includes(action))),
  );
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
      const ours = wanted.some((scope) => scope.repository === repository);
      const actions = list
        .split(",")
        .filter(
          (action): action is Action => action === "pull" || (ours && (action === "push" || action === "delete")),
        );
      return actions.length === 0 ? [] : [{ repository, actions }];
    });
}
