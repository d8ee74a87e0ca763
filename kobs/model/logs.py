"""Log sources, segments and losses: where an entry came from, byte for byte.

A *source* is one log as its writer sees it: a container's output, a plain file whatever it is renamed to, a machine's
journal. A *segment* is one file of it. A *position* is `(segment, offset)`: it follows from the bytes alone, so a
renamed file, its `.gz` and a second reading give the same positions.
"""

import enum

import msgspec
import xxhash


class SourceKind(enum.StrEnum):
    """What a source is; it decides how its bytes are read."""

    CONTAINER = "container"
    FILE = "file"
    JOURNAL = "journal"


class LossReason(enum.StrEnum):
    """Why bytes of a source are not in the store: the closed list of the ledger."""

    ROTATED_AWAY = "rotated_away"
    """The file was gone before it could be read."""
    GONE_WHILE_AWAY = "gone_while_away"
    """The source ended while no agent ran; all that had been seen of it was delivered, there may have been more."""
    LINE_TOO_LONG = "line_too_long"
    """The end of a line beyond the limit of a line."""
    EXPIRED_ON_ARRIVAL = "expired_on_arrival"
    """Older than its retention when it arrived."""
    REJECTED = "rejected"
    """The server refused the batch; the detail tells why."""
    UNREADABLE = "unreadable"
    """The file could not be read (damaged compression, I/O error)."""
    DELETED = "deleted"
    """Deleted on request."""


class Finding(enum.StrEnum):
    """What else the ledger records: nothing of it is a loss."""

    DOUBLES_REMOVED = "doubles_removed"
    """Rows that two servers had inserted for the same positions; one of each is left."""


class LogSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Identity of a source. `path` is the file's path without rotation suffixes; for a journal its folder."""

    kind: SourceKind
    cluster: str = ""
    node: str
    path: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    restart: int = 0

    def id(self) -> int:
        """Return the 64-bit id that rows carry in `source`."""
        if self.kind is SourceKind.CONTAINER:
            identity = [self.namespace, self.pod, self.uid, self.container, str(self.restart)]
        else:
            identity = [self.path]
        parts = [self.cluster, self.node, self.kind.value, *identity]
        return xxhash.xxh64_intdigest(b"\xff".join(part.encode("utf-8", "surrogateescape") for part in parts))

    def labels(self) -> dict[str, str]:
        """Return the labels that all entries of this source have (without empty ones)."""
        labels = {
            "cluster": self.cluster,
            "node": self.node,
            "namespace": self.namespace,
            "pod": self.pod,
            "container": self.container,
        }
        if self.kind is SourceKind.FILE:
            labels["filename"] = self.path
        return {name: value for name, value in labels.items() if value}
