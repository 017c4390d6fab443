"""A kubelet's PodResources socket as a test says: good answers by a real gRPC server, or one of its ways to fail."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

SERVER = Path(__file__).with_name("grpc_kubelet.py")


def varint(number):
    groups = []
    while True:
        number, group = number >> 7, number & 0x7F
        groups.append(group | (0x80 if number else 0))
        if not number:
            return bytes(groups)


def field(number, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def devices(resource, *ids):
    """``ContainerDevices`` of one resource."""
    return field(1, resource) + b"".join(field(2, each) for each in ids)


def claim(driver, pool, device):
    """``DynamicResource`` of one device."""
    return field(2, "claim") + field(3, "ml") + field(4, field(2, driver) + field(3, pool) + field(4, device))


def pod(namespace, name, container="main", held=(), claims=()):
    """``PodResources`` of a pod of one container; ``held`` as ``devices`` makes them."""
    inside = field(1, container) + b"".join(field(2, each) for each in held)
    inside += b"".join(field(5, each) for each in claims)
    return field(1, field(1, name) + field(2, namespace) + field(3, inside))


def allocatable(resource, *ids):
    """``AllocatableResourcesResponse`` of one resource, one entry per device as the kubelet has it."""
    return b"".join(field(1, devices(resource, each)) for each in ids)


class Kubelet:
    """One socket, served in one way at a time; absent until told otherwise."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "kubelet.sock"
        self._process = None
        self._thread = None
        self._listener = None

    def answer(self, *pods, offered=b""):
        """Answer with these pods from now on; ``offered=None`` is a kubelet that lacks the other method."""
        self._serve(b"".join(pods).hex(), *([] if offered is None else [offered.hex()]))

    def abort(self, status):
        """Answer every call with this gRPC status."""
        self._serve(f"!{status}", f"!{status}")

    def slow(self):
        """Take every call and never answer."""
        self._serve("!slow", "!slow")

    def say(self, block):
        """Send these bytes to whoever connects, and hang up: no gRPC at all."""
        self.stop()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._speak, args=(self._listener, block))
        self._thread.start()

    def stop(self):
        """The socket is gone."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listener.close()
        self._process = self._listener = self._thread = None
        self.socket.unlink(missing_ok=True)

    def _serve(self, *answers):
        self.stop()
        command = [sys.executable, str(SERVER), str(self.socket), *answers]
        environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self._process.stdout.readline() == b"listening\n"

    @staticmethod
    def _speak(listener, block):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(block)
