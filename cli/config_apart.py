"""Loads the configuration in a child process, so that the process that is to run for months never holds the checker.

pydantic, PyYAML and all they import make up a quarter of an agent's memory, for the tenth of a second in which they are
of use. The child hands over what it has checked; here the same classes hold it as plain values.
"""

import importlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from cli.config import Config
    from cli.config_source import Value

_BUFFER_BYTES = 1 << 16


def load_config_apart(
    file: Path | None, environ: Mapping[str, str], options: "Mapping[str, tuple[str, Value]]"
) -> "Config":
    """As :func:`cli.config_load.load_config`. To be called while there is one thread.

    Raises:
        Misconfigured: as there.
    """

    def load() -> "Config":
        from cli.config_load import load_config  # noqa: PLC0415  (for the child alone)

        return load_config(file, environ, options)

    if "pydantic" in sys.modules:
        return load()
    checked = _in_child(lambda: pickle.dumps(load()))
    importlib.import_module("collectors.plain_settings")  # what is unpickled is of its classes
    config: Config = pickle.loads(checked)  # noqa: S301  (this process's own child wrote it)
    return config


def _in_child(work: Callable[[], bytes]) -> bytes:
    readable, writable = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _work(work, writable)
    os.close(writable)
    with open(readable, "rb") as answers:  # noqa: PTH123  (a descriptor, no path)
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    if status or not answer:
        raise RuntimeError(f"the process that checks the configuration ended with status {status}")
    refused, value = pickle.loads(answer)  # noqa: S301  (this process's own child wrote it)
    if refused:
        raise Misconfigured(value)
    return bytes(value)


def _work(work: Callable[[], bytes], writable: int) -> NoReturn:
    """What the child does; it never returns."""
    status = 1
    try:
        answer: tuple[bool, bytes | str]
        try:
            answer = False, work()
        except Misconfigured as error:
            answer = True, str(error)
        with open(writable, "wb", buffering=_BUFFER_BYTES) as answers:
            answers.write(pickle.dumps(answer))
        status = 0
    except Exception:  # noqa: BLE001  (a defect is shown, and the parent says that the check failed)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
