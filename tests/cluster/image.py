"""A container image of plain files, written as an OCI archive: no registry, no daemon, no build tool."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

NAME = "wattledger.test/busybox:1"
"""The one image that every node has. Pods name it with ``imagePullPolicy: Never``."""

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def write_busybox(path: Path, busybox: Path) -> None:
    """An archive of a static busybox, every one of its commands in ``/bin``, that sleeps when told nothing else.

    It is the pods' sandbox as well, which only has to stay alive.
    """
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = _layer(busybox.read_bytes(), applets)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    _write_archive(path, _json(config), layer)


def _layer(program: bytes, applets: list[str]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755)):
            entry = _entry(folder, mode)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        entry = _entry("bin/busybox", 0o755)
        entry.size = len(program)
        tar.addfile(entry, io.BytesIO(program))
        for applet in applets:
            if applet != "busybox":
                entry = _entry(f"bin/{applet}", 0o777)
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
    return raw.getvalue()


def _write_archive(path: Path, config: bytes, layer: bytes) -> None:
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    named = {**_descriptor(_MANIFEST, manifest), "annotations": {"io.containerd.image.name": NAME}}
    index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]})
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in (manifest, config, layer):
            _add(archive, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    return entry


def _add(archive: tarfile.TarFile, name: str, blob: bytes) -> None:
    entry = _entry(name, 0o644)
    entry.size = len(blob)
    archive.addfile(entry, io.BytesIO(blob))
