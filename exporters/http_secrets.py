"""The token and the certificate, from files that may be replaced while the server runs.

At the start a file that is no good stops it with a message; later the last good one stays in force, and the log says
so once.
"""

import base64
import binascii
import hmac
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from collectors.errors import Misconfigured

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Stamp = tuple[tuple[int, int, int], ...]


class Watched(Generic[_T]):
    """What is read from files, read again when one of them changes.

    Args:
        load: reads the files; raises :class:`Misconfigured` with a message when they are no good.
        paths: the files.

    Raises:
        Misconfigured: they are no good at the start.
    """

    def __init__(self, load: Callable[[], _T], *paths: Path) -> None:
        self._load = load
        self._paths = paths
        self._stamp = self._look()
        self._value = load()

    def current(self) -> _T:
        """What the files say now, or said when they last were good."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._load()
            except Misconfigured as error:
                log.warning("%s; what was read before stays in force", error)
        return self._value

    def _look(self) -> _Stamp | None:
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)


class Token:
    """The bearer token of a file.

    Args:
        path: the file.
        setting: what names it, for messages.

    Raises:
        Misconfigured: the file cannot be read, or holds no token of one line of printable ASCII.
    """

    def __init__(self, path: Path, setting: str = "server.token_file") -> None:
        self._token = Watched(lambda: _read_token(path, setting), path)

    def allows(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header bears the token: as bearer, or as the password of any user."""
        scheme, _, credentials = authorization.strip().partition(" ")
        given = credentials.strip().encode("utf-8", "replace")
        if scheme.lower() == "basic":
            given = _basic_password(given)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self._token.current())


def tls_contexts(cert_file: Path, key_file: Path, section: str = "server") -> Watched[ssl.SSLContext]:
    """TLS 1.2 or newer with this certificate.

    Raises:
        Misconfigured: a file cannot be read or is no certificate or key, or they do not belong together.
    """
    return Watched(lambda: _tls_context(cert_file, key_file, section), cert_file, key_file)


def _read_token(path: Path, setting: str) -> bytes:
    token = _read(path, setting).strip()
    if not token or not token.isascii() or not token.decode("ascii").isprintable():
        raise Misconfigured(f"{setting} {path}: holds no token; write one line of printable ASCII")
    return token


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"{setting} {path}: cannot be read ({error.strerror}); create it, or let this user read it"
        ) from error


def _basic_password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _tls_context(cert_file: Path, key_file: Path, section: str) -> ssl.SSLContext:
    if b"-----BEGIN CERTIFICATE-----" not in _read(cert_file, f"{section}.tls_cert_file"):
        raise Misconfigured(f"{section}.tls_cert_file {cert_file}: holds no PEM certificate")
    if b"PRIVATE KEY-----" not in _read(key_file, f"{section}.tls_key_file"):
        raise Misconfigured(f"{section}.tls_key_file {key_file}: holds no PEM private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password of its own OpenSSL would ask the terminal for one and hang the start.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{section}.tls_cert_file {cert_file} and {section}.tls_key_file {key_file}: {_tls_problem(error)}"
        ) from error
    return context


def _tls_problem(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate; give the pair that was issued together"
    why = reason or "damaged, or the key has a passphrase"
    return f"cannot be used ({why}); give PEM files, the key without a passphrase"
