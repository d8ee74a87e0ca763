"""What can go wrong, named by what the caller does next.

KobsError
  x ConfigError             do not start: a setting is wrong
  x RejectedError           do not retry: the item is bad, and counted by its reason
  x RetryableError          try again after `retry_after_seconds`
  x LimitError              the work exceeds a limit that the message names
  x StorageError            the engine refused a statement of ours: a defect, or a foreign schema
  x QueryError              the query's author can mend it, at `start` to `end` in its text
    + QuerySyntaxError
    + QueryTypeError
    + QueryEvaluationError   its values do not allow an answer
    + UnsupportedQueryError  it cannot be answered exactly, so it is not answered
"""


class KobsError(Exception):
    """Base of every error that kobs raises on purpose."""


class ConfigError(KobsError):
    """A setting is wrong; the message names it, what was expected and what came."""


class RejectedError(KobsError):
    """An item is bad and stays bad: do not send it again.

    `reason` is a value of `kobs.ingest.limits.Reason` (or its text), under which the drop is counted.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RetryableError(KobsError):
    """A passing fault: try again after `retry_after_seconds`."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class LimitError(KobsError):
    """A limit was reached; the message names the limit, both numbers and the setting to change."""


class StorageError(KobsError):
    """The engine refused a statement; `code` is ClickHouse's error code, `name` its name (such as `UNKNOWN_TABLE`)."""

    def __init__(self, message: str, *, code: int, name: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name


class QueryError(KobsError):
    """A query is wrong at characters `start` to `end` (0-based, end exclusive) of its text; None where unknown."""

    def __init__(self, message: str, *, start: int | None = None, end: int | None = None) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


class QuerySyntaxError(QueryError):
    """The text does not follow the grammar."""


class QueryTypeError(QueryError):
    """The text follows the grammar, but an expression has the wrong type."""


class QueryEvaluationError(QueryError):
    """The query is right, but its values do not allow an answer, such as two series with the same labels."""


class UnsupportedQueryError(QueryError):
    """The query cannot be answered exactly."""
