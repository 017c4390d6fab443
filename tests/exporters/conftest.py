import importlib.util
import subprocess
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("fake_app", Path(__file__).with_name("fake_app.py"))
fake = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fake)


@pytest.fixture
def fake_app():
    """The module of the fake app."""
    return fake


@pytest.fixture
def make_certificate(require_tool, tmp_path):
    """``make_certificate("name")`` writes a self-signed certificate for 127.0.0.1 and gives it and its key."""

    def make(name, *arguments):
        cert, key = tmp_path / f"{name}.crt", tmp_path / f"{name}.key"
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        protect = arguments or ("-nodes",)
        command = [require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run(
            [*command, "-keyout", str(key), "-out", str(cert), *subject, *protect], check=True, capture_output=True
        )
        return cert, key

    return make
