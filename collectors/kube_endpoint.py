"""Where the API server is and what proves the right to ask it.

Owns the files of the service account: the token is read for each request, so a new one is used at once, and the CA is
loaded again when its file changes. Must never show a token to anyone but the server: none stands in a message.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from collectors.errors import Misconfigured, Unavailable
from collectors.web_address import masked

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MOST_TOKEN_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class KubeEndpoint:
    """An API server: ``https://host:port``, or ``http://`` without a certificate for a proxy on this machine."""

    base_url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be an address.

        Raises:
            Misconfigured: the URL is none.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in parts.netloc:
            raise Misconfigured(
                f"Kubernetes API server is {masked(self.base_url)!r}; it has to be like https://10.0.0.1:443"
            )


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> KubeEndpoint:
    """The API server of the cluster that this pod runs in.

    Raises:
        Misconfigured: this is no pod, or one without a service account's token.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Misconfigured("KUBERNETES_SERVICE_HOST is not set: this process runs in no pod, so give the API's URL")
    if not (folder / "token").exists():
        raise Misconfigured(
            f"no service account token at {folder / 'token'}: set automountServiceAccountToken: true on the agent's pod"
        )
    return KubeEndpoint(f"https://{f'[{host}]' if ':' in host else host}:{port}", folder / "token", folder / "ca.crt")


def own_namespace(folder: Path = SERVICE_ACCOUNT) -> str:
    """The namespace of the pod that this process runs in; ``default`` elsewhere."""
    try:
        return (folder / "namespace").read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def read_token(file: Path) -> str:
    """The token that the file holds now.

    Raises:
        Unavailable: there is none, or what is there cannot be one.
    """
    try:
        with file.open("rb") as opened:
            token = opened.read(_MOST_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"cannot read the API server's token from {file} ({type(error).__name__})") from error
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise Unavailable(f"the API server's token file {file} is empty or holds more than a token")
    return token


class Tls:
    """TLS to one server, made anew when a file of it changes."""

    def __init__(self, endpoint: KubeEndpoint) -> None:
        self._endpoint = endpoint
        self._stamps: tuple[object, ...] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context for the next connection.

        Raises:
            Unavailable: a file cannot be read, or holds no certificate.
        """
        files = (self._endpoint.ca_file, self._endpoint.client_cert_file, self._endpoint.client_key_file)
        try:
            stamps = tuple(None if file is None else (file.stat().st_mtime_ns, file.stat().st_size) for file in files)
            if self._context is None or stamps != self._stamps:
                self._context, self._stamps = self._load(), stamps
        except (OSError, ssl.SSLError) as error:
            named = ", ".join(str(file) for file in files if file is not None)
            raise Unavailable(f"cannot use the API server's certificates in {named} ({error})") from error
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._endpoint.ca_file)
        if self._endpoint.client_cert_file is not None:
            context.load_cert_chain(self._endpoint.client_cert_file, self._endpoint.client_key_file)
        return context
