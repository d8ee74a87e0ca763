"""What a reader of logs asks for: sources by their labels, and what an entry must be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """Exact values of labels, any of which matches; an empty tuple matches all. The value "" means: without it."""

    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    def by_label(self) -> dict[str, tuple[str, ...]]:
        """Return the values asked for by the label's name, without labels that match all."""
        asked = {
            "cluster": self.clusters,
            "namespace": self.namespaces,
            "pod": self.pods,
            "container": self.containers,
            "node": self.nodes,
        }
        return {name: values for name, values in asked.items() if values}


EVERY_SOURCE = SourceFilter()


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What an entry must be: all given conditions hold."""

    sources: SourceFilter = EVERY_SOURCE
    severities: tuple[str, ...] = ()
    token: str = ""
    """A run of letters and digits that stands between other characters; ASCII letters match in either case."""
    text: str = ""
    """Bytes that the entry contains."""
    regex: str = ""
    """RE2, found anywhere; `.` matches line breaks too."""


EVERY_ENTRY = LogFilter()
