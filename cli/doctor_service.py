"""Checks of what the agent needs to serve and to keep its books: port, token, certificate, directory."""

import errno
import ipaddress
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cli.doctor_finding import Finding, Machine
from cli.figures import size
from cli.state_client import StateClient
from collectors.errors import Misconfigured, SourceError
from exporters.server_settings import split_address

_LEAST_FREE_BYTES = 64 << 20
_COMFORTABLE_FREE_BYTES = 1 << 30
_PASSING = {"tmpfs": "memory", "ramfs": "memory", "overlay": "the container"}
"""File systems that do not last, and what they go away with."""
_OTHERS_MAY_READ = 0o004
_NEEDS_TOKEN = "set server.token_file"  # noqa: S105  (a remedy, no secret)


def check_listen(machine: Machine) -> Iterator[Finding]:
    """Whether the address is free, and who could reach it."""
    listen = machine.config.server.listen
    host, port = split_address(listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except socket.gaierror:
        yield Finding("listen", "fail", f"{host} is no known host", "give server.listen an address of this machine")
        return
    except OSError as error:
        yield _not_free(machine, listen, error)
        return
    yield Finding("listen", "ok", f"{listen} is free")
    yield from _exposure(machine, str(address[0]))


def _not_free(machine: Machine, listen: str, error: OSError) -> Finding:
    other = "choose another with --listen HOST:PORT"
    if error.errno == errno.EADDRINUSE:
        scheme = "https" if machine.config.server.tls_cert_file else "http"
        if _is_agent(StateClient(f"{scheme}://{listen}", machine.config.server.token_file)):
            return Finding("listen", "ok", f"a wattledger agent is serving on {listen} already")
        port = listen.rpartition(":")[2]
        return Finding(
            "listen", "fail", f"{listen} is taken", f"{other}, or stop who has it (ss -ltnp sport = :{port})"
        )
    if error.errno == errno.EACCES:
        return Finding("listen", "fail", f"{listen} needs a privilege", f"{other}, with a port from 1024 on")
    return Finding("listen", "fail", f"{listen} cannot be used ({error.strerror})", other)


def _is_agent(client: StateClient) -> bool:
    try:
        client.fetch()
    except SourceError:
        return False
    return True


def _exposure(machine: Machine, address: str) -> Iterator[Finding]:
    if ipaddress.ip_address(address.split("%", maxsplit=1)[0]).is_loopback:
        return
    server = machine.config.server
    if server.token_file is None:
        what = "whoever reaches this address reads who runs what, and what it costs"
        yield Finding("listen", "warn", what, _NEEDS_TOKEN)
    elif server.tls_cert_file is None:
        what = "the token goes over the network as it stands"
        yield Finding("listen", "warn", what, "set server.tls_cert_file and server.tls_key_file")


def check_token(machine: Machine) -> Iterator[Finding]:
    """Whether the token can be read, by the agent alone."""
    path = machine.config.server.token_file
    if path is None:
        yield Finding("token", "ok", "none asked for")
        return
    try:
        token = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except OSError as error:
        yield Finding("token", "fail", f"{path} cannot be read ({error.strerror})", f"mend it, or {_NEEDS_TOKEN} anew")
        return
    except UnicodeDecodeError:
        yield Finding("token", "fail", f"{path} holds no ASCII text", "write one line of letters and digits into it")
        return
    if not token:
        yield Finding("token", "fail", f"{path} is empty", f"openssl rand -hex 32 > {path}")
    elif mode & _OTHERS_MAY_READ:
        yield Finding("token", "warn", f"every user of this machine may read {path}", f"chmod 640 {path}")
    else:
        yield Finding("token", "ok", f"{path} can be read")


def check_certificate(machine: Machine) -> Iterator[Finding]:
    """Whether certificate and key fit and are in date."""
    server = machine.config.server
    if server.tls_cert_file is None or server.tls_key_file is None:
        yield Finding("certificate", "ok", "none: HTTP without TLS")
        return
    try:
        until = _valid_until(server.tls_cert_file, server.tls_key_file)
    except Misconfigured as error:
        yield Finding(
            "certificate", "fail", str(error), "give server.tls_cert_file and server.tls_key_file a fresh pair"
        )
        return
    yield Finding("certificate", "ok", f"{server.tls_cert_file} fits its key and is valid until {until}")


def _valid_until(cert: Path, key: Path) -> str:
    """The end of the certificate's time, found by a handshake in memory: no private function of ``ssl`` is needed."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust the very certificate, whoever issued it
    try:
        server.load_cert_chain(cert, key, password=_no_passphrase)
        client.load_verify_locations(cert)
        told = _handshake(client, server)
    except ssl.SSLCertVerificationError as error:
        raise Misconfigured(f"{cert}: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise Misconfigured(f"{cert} and {key}: {error.reason or error}") from error
    except OSError as error:
        raise Misconfigured(f"{cert} or {key} cannot be read ({error.strerror})") from error
    return str(told.get("notAfter", "an unknown time"))


def _no_passphrase() -> str:
    raise Misconfigured("the key has a passphrase, which nobody is there to type")


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, object]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    while True:
        try:
            asking.do_handshake()
        except ssl.SSLWantReadError:
            try:
                answering.do_handshake()
            except ssl.SSLWantReadError:
                continue
        else:
            return dict(asking.getpeercert() or {})


def check_directory(machine: Machine) -> Iterator[Finding]:
    """Whether the books can be kept, and whether they last."""
    chosen = machine.config.agent.data_dir
    folder = chosen.absolute()
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=standing):
            free = shutil.disk_usage(standing).free
    except OSError as error:
        what = f"{chosen} cannot be written ({error.strerror})"
        yield Finding("data", "fail", what, "name a writable directory with --data-dir")
        return
    mark = folder / "kind"
    kind = mark.read_text(encoding="utf-8").strip() if os.access(mark, os.R_OK) else "no"
    if free < _LEAST_FREE_BYTES:
        what = f"{chosen} has {size(free)} free: the books would stop"
        yield Finding("data", "fail", what, "make room, or name another directory with --data-dir")
    elif free < _COMFORTABLE_FREE_BYTES:
        yield Finding("data", "warn", f"{chosen} has {size(free)} free", "make room before it runs out")
    else:
        yield Finding("data", "ok", f"{chosen} can be written, {size(free)} free, holds {kind} figures")
    lasts_with = _PASSING.get(_file_system(machine.config.host.proc, standing))
    if lasts_with:
        what = f"{chosen} goes away with {lasts_with}, and the counters begin at 0 again"
        yield Finding("data", "warn", what, "name a directory on a disk or volume with --data-dir")


def _file_system(proc: Path, folder: Path) -> str:
    """The type of the file system that a directory is on, by proc_pid_mountinfo(5)."""
    try:
        lines = (proc / "self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = [line.split() for line in lines]
    # Fields: 5th the mount point; after a lone dash the type. Of two mounts on one point the later covers.
    mounts = [(Path(field[4]), field[field.index("-") + 1]) for field in fields if "-" in field]
    covering = [
        (len(point.parts), place, kind) for place, (point, kind) in enumerate(mounts) if folder.is_relative_to(point)
    ]
    return max(covering)[2] if covering else ""
