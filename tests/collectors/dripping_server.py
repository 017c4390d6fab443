"""A server that drips: a byte now and then, for long, so that no wait for one is ever long."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

PAUSE_SECONDS, BYTES = 0.02, 500
"""Ten seconds altogether."""
STATUS_LINE = b"HTTP/1.1 200"
HEADERS = b"HTTP/1.1 200 OK\r\nX-Slow: "
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@contextmanager
def dripping(begin: bytes, tls: Sequence[Path] = ()) -> Iterator[str]:
    """Its address; each connection gets ``begin`` at once, then spaces. ``tls`` are certificate and key."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def wrapped(peer: socket.socket) -> socket.socket:
        if not tls:
            return peer
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[0], tls[1])
        return context.wrap_socket(peer, server_side=True)

    def drip(peer: socket.socket) -> None:
        with suppress(OSError), wrapped(peer) as sending:
            for chunk in chain([begin], repeat(b" ", BYTES)):
                sending.sendall(chunk)
                if ended.wait(PAUSE_SECONDS):
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                thread = threading.Thread(target=drip, args=(listener.accept()[0],))
                threads.append(thread)
                thread.start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join()
