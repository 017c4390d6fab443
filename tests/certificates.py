"""Certificates that vouch for themselves."""

import subprocess
from pathlib import Path


def self_signed(openssl: str, folder: Path, name: str = "cert", of: str = "DNS:localhost,IP:127.0.0.1") -> list[Path]:
    """A certificate of two days and its key, as files; ``of`` are the names that it is for."""
    cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={of}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert), *names], check=True, capture_output=True)
    return [cert, key]
