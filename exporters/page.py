"""The page at ``/``: markup, style and script of ``exporters/page`` put into one document that needs no network.

The document is the same for everybody; the script fetches ``/v1/state`` and writes it as text, so no name that a
workload bears can become markup. A content security policy holds both.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

_FOLDER = "page"
_STYLE_MARK = "/* page.css */"
_SCRIPT_MARK = "/* page.js */"


@dataclass(frozen=True, slots=True)
class Page:
    """The document and the headers it is served with."""

    document: bytes
    headers: Mapping[str, str]

    @classmethod
    def load(cls) -> "Page":
        """Read the parts and join them."""
        markup, style, script = (_read(name) for name in ("index.html", "page.css", "page.js"))
        document = markup.replace(_STYLE_MARK, style).replace(_SCRIPT_MARK, script)
        return cls(document.encode(), _headers(style, script))


def _read(name: str) -> str:
    return (resources.files("exporters") / _FOLDER / name).read_text(encoding="utf-8")


def _headers(style: str, script: str) -> Mapping[str, str]:
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {"Content-Security-Policy": policy}


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
