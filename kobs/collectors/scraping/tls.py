"""What is trusted and what is shown when a connection is encrypted: a `tls_config` arrives, a context leaves.

Certificates and keys come from files or are texts of the configuration; no error tells a key.
"""

import contextlib
import functools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from kobs.collectors.scraping.client_configuration import Tls
from kobs.collectors.scraping.request_errors import HttpError
from kobs.collectors.trust import trusting

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


def state_of_files(tls: Tls) -> tuple[object, ...]:
    """Return what tells changed files of certificates from unchanged ones."""
    files = (path for path in (tls.ca_file, tls.cert_file, tls.key_file) if path is not None)
    return tuple(_state_of(path) for path in files)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return what is trusted and shown.

    Raises: HttpError.
    """
    if tls == Tls():
        return _default_context()
    try:
        context = _trusting(tls)
        if tls.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.min_version:
            context.minimum_version = _VERSIONS[tls.min_version]
        if tls.max_version:
            context.maximum_version = _VERSIONS[tls.max_version]
        if tls.cert or tls.cert_file is not None:
            with (
                _as_file(tls.cert_file, tls.cert) as certificate,
                _as_file(tls.key_file, tls.key.get_secret_value()) as key,
            ):
                context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise HttpError(f"tls_config: {error.reason or 'expected certificates and keys in PEM'}") from None
    except OSError as error:
        raise HttpError(f"tls_config: {error.filename or ''}: {error.strerror or error}") from None
    return context


def _trusting(tls: Tls) -> ssl.SSLContext:
    if not tls.server_name:
        return trusting(tls.ca_file, tls.ca or None)
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = tls.server_name
    if tls.ca_file is not None or tls.ca:
        context.load_verify_locations(None if tls.ca_file is None else str(tls.ca_file), cadata=tls.ca or None)
    else:
        context.load_default_certs()
    return context


class _NamedContext(ssl.SSLContext):
    """A context for which every server has one name, however it is reached: directly or through any proxy."""

    server_name: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature that it overrides
        server_hostname: str | bytes | None = None,  # noqa: ARG002 - likewise
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.server_name, session)


@functools.cache
def _default_context() -> ssl.SSLContext:
    """Return the system's trust, which takes a while to read and is the same for all jobs that say nothing of it."""
    return trusting()


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted; expected one without a password")


@contextlib.contextmanager
def _as_file(path: Path | None, text: str) -> Iterator[str]:
    """Give a file's name for a text, as certificates and keys are read from files only; it is never on a disk."""
    if path is not None:
        yield str(path)
        return
    descriptor = os.memfd_create("kobs-tls")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
