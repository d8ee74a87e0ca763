"""A reader's Scope as SQL: what arrives is a Scope, what leaves is a condition and its bound parameters.

Every select on data joins this condition with AND. Names are bound, never written into the text; only the column
expressions, which are the caller's own text, are.
"""

from kobs.model.scope import Scope, Signal

NOTHING = "0"
"""The condition that no row meets."""
EVERYTHING = "1"
"""The condition that all rows meet."""


def where(
    scope: Scope,
    signal: Signal,
    *,
    cluster: str = "cluster",
    namespace: str = "namespace",
    prefix: str = "scope_",
) -> tuple[str, dict[str, object]]:
    """Return the condition that narrows rows of `signal` to what `scope` allows, and the parameters it needs.

    `cluster` and `namespace` are SQL expressions of the row's cluster and namespace. `prefix` begins the parameters'
    names, for statements with two conditions. A signal that the scope lacks gives a condition that no row meets, as
    does an empty set of clusters or namespaces.
    """
    if signal not in scope.signals:
        return NOTHING, {}
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    for expression, allowed, name in (
        (cluster, scope.clusters, f"{prefix}clusters"),
        (namespace, scope.namespaces, f"{prefix}namespaces"),
    ):
        if allowed is None:
            continue
        if not allowed:
            return NOTHING, {}
        conditions.append(f"({expression}) IN {{{name}:Array(String)}}")
        parameters[name] = sorted(allowed)
    return " AND ".join(conditions) or EVERYTHING, parameters
