"""What a reader may see. Every read of the store takes a Scope and is narrowed by it."""

import enum
from dataclasses import dataclass


class Signal(enum.StrEnum):
    """The kinds of data that a Scope can allow."""

    METRICS = "metrics"
    LOGS = "logs"
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Scope:
    """Clusters, namespaces and signals that a reader may see; None means all of them.

    Data without a namespace (the host's own files and metrics) has the namespace "".
    """

    clusters: frozenset[str] | None
    namespaces: frozenset[str] | None
    signals: frozenset[Signal]

    @classmethod
    def all(cls) -> "Scope":
        """Everything. For roles and tests only: an API request gets its scope from who asks."""
        return cls(clusters=None, namespaces=None, signals=frozenset(Signal))
