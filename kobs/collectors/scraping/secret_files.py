"""Files of secrets, which are read for each request, so that one that is renewed is taken at once."""

from pathlib import Path

from kobs.collectors.scraping.request_errors import HttpError


def content_of(path: Path, what: str) -> str:
    """Return a file's text without the space around it; `what` names it in an error.

    Raises: HttpError.
    """
    try:
        return path.read_text().strip()
    except OSError as error:
        raise HttpError(f"{what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HttpError(f"{what} {path}: expected text in UTF-8") from None
