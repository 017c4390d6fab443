"""Small files of procfs and sysfs, read with three system calls: a file object costs more than the kernel's answer.

Owns the bound on what is read of one file: 64 KiB, which no file that is asked for here comes near.
"""

import os

_CHUNK_BYTES, _CHUNKS = 4096, 16


def read_text(path: str) -> str:
    """The text of a file; what is no UTF-8 becomes U+FFFD.

    Raises:
        OSError: it is not there or may not be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = [os.read(descriptor, _CHUNK_BYTES)]
        while len(chunks) < _CHUNKS and len(chunks[-1]) == _CHUNK_BYTES:
            chunks.append(os.read(descriptor, _CHUNK_BYTES))
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode("utf-8", errors="replace")
