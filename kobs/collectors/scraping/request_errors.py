"""Why a request came to nothing.

HttpError
  + BodyLimitError
"""

from kobs.errors import RetryableError


class HttpError(RetryableError):
    """No whole answer came; the message tells why, without secrets."""


class BodyLimitError(HttpError):
    """The body is larger than it may be."""
