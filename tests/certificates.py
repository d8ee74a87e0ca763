"""Certificates made for a test, by openssl: an authority, and what it signs for servers and clients."""

import shutil
import ssl
import subprocess
from pathlib import Path

from tests.parts import require


class Authority:
    """An authority whose files are in a folder: NAME.crt and NAME.key."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        require(shutil.which("openssl"), "no openssl, which makes certificates")
        self.folder = folder
        self.name = name
        self._key(name)
        self._run("req", "-x509", "-new", "-key", f"{name}.key", "-days", "2", "-subj", f"/CN={name}", "-out",
                  f"{name}.crt", "-addext", "basicConstraints=critical,CA:true")  # fmt: skip

    @property
    def certificate(self) -> Path:
        """Return its own certificate."""
        return self.folder / f"{self.name}.crt"

    def sign(self, name: str, *, names: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """Return a certificate and its key."""
        self._key(name)
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        self._run("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.crt", "-CAkey", f"{self.name}.key",
                  "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def server_context(
        self, name: str = "server", *, names: str = "IP:127.0.0.1", client_ca: Path | None = None
    ) -> ssl.SSLContext:
        """Return what a server needs; with `client_ca`, clients must show a certificate that this one signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign(name, names=names))
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _key(self, name: str) -> None:
        self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
