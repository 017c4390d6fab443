"""Pages as Chromium shows them."""

import struct
import subprocess
import zlib
from pathlib import Path

DESKTOP, PHONE = (1280, 1000), (390, 844)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--virtual-time-budget=4000",
)


def open_page(program: str, url: str, profile: Path, *options: str) -> str:
    """What Chromium writes to its standard output; ``profile`` is a folder of its own."""
    command = [program, *_FLAGS, f"--user-data-dir={profile}", *options, url]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout.decode()


def document(program: str, url: str, profile: Path) -> str:
    """The document as its script left it."""
    return open_page(program, url, profile, "--dump-dom")


def take_picture(program: str, url: str, profile: Path, picture: Path, size: tuple[int, int]) -> None:
    """A PNG of so many pixels."""
    open_page(program, url, profile, f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}")


def picture_size(picture: Path) -> tuple[int, int]:
    """Width and height."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


def pixels(picture: Path) -> list[list[bytes]]:
    """Colours by line; reads what Chromium writes: 8 bits a channel, not interlaced."""
    data = picture.read_bytes()
    depth, kind, _, _, interlaced = data[24:29]
    channels = {2: 3, 6: 4}[kind]
    assert (depth, interlaced) == (8, 0)
    width, height = picture_size(picture)
    packed = zlib.decompress(_image_data(data))
    stride = 1 + width * channels
    lines: list[list[bytes]] = []
    before = bytes(stride - 1)
    for place in range(height):
        raw = packed[place * stride : (place + 1) * stride]
        before = _unfiltered(raw[0], bytearray(raw[1:]), before, channels)
        lines.append([before[at : at + 3] for at in range(0, len(before), channels)])
    return lines


def distinct_lines(picture: Path) -> int:
    """How many lines differ from all others as they are stored; a blank picture has two."""
    packed, (_, height) = zlib.decompress(_image_data(picture.read_bytes())), picture_size(picture)
    stride = len(packed) // height
    return len({packed[begin : begin + stride] for begin in range(0, len(packed), stride)})


def _image_data(data: bytes) -> bytes:
    at, packed = 8, b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return packed


def _unfiltered(kind: int, line: bytearray, above: bytes, step: int) -> bytes:
    """One line of a PNG, by section 9 of its specification."""
    for at, value in enumerate(line):
        left = line[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
        line[at] = (value + guess) & 0xFF
    return bytes(line)


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    return min((left, above, corner), key=lambda one: abs(estimate - one))
