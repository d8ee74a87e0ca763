"""Which certificates are trusted where a connection is encrypted."""

import ssl
from pathlib import Path


def trusting(ca_file: Path | None = None, ca: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts what a file or a text holds (PEM), without either what the system trusts.

    Raises: OSError, ssl.SSLError.
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file), cadata=ca)
    # Python from 3.13 on refuses an authority that does not say what its key is for. Older ones do not, nor do programs
    # in Go, so that such authorities are in use.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
