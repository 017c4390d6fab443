"""Builds the fake ``libnvidia-ml.so.1`` on demand, under a hash of everything it is made from."""

import functools
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fakedriver import layout

HERE = Path(__file__).resolve().parent
SONAME = "libnvidia-ml.so.1"
FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared", "-pthread", f"-Wl,-soname,{SONAME}")
_ENTERED = re.compile(r"\bENTER(?:_DEVICE|_ANY|_FREE|_INIT)?\((nvml\w+)")
_SETTER = re.compile(
    r"nvmlReturn_t DECLDIR (nvml(?:Device|System|Unit|GpuInstance|ComputeInstance|VgpuInstance|Gpm|)"
    r"(?:\w*?)(?:Set|Setup|Reset|Clear|Create|Destroy|Remove|Activate|Update|Modify|Freeze|ReadWrite)"
    r"(?:[A-Z]\w*)?)\(([^;]*?)\);",
    re.DOTALL,
)
_READS = re.compile(r"EventSet|Get(?!\w*(?:Remove|Destroy))|GpmSample|SystemRegister|Query")


class FakeDriverUnavailable(RuntimeError):  # noqa: N818  (named for what it says)
    """The fake cannot be built here; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Library:
    """A built library."""

    path: Path
    functions: tuple[str, ...]
    """By id: the place of a function in the control block's tables."""


def nvml_header() -> Path:
    """The vendor's ``nvml.h`` out of PyPI's nvidia-nvml-dev.

    Raises:
        FakeDriverUnavailable: the package is not installed.
    """
    try:
        files = importlib.metadata.files("nvidia-nvml-dev") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nvml.h":
            return Path(str(file.locate()))
    raise FakeDriverUnavailable("nvml.h is missing: install the package nvidia-nvml-dev (pip install nvidia-nvml-dev)")


def setters(header: str) -> dict[str, str]:
    """Every function of ``nvml.h`` that changes something, with its parameters in C."""
    plain = header.partition("#ifdef NVML_NO_UNVERSIONED_FUNC_DEFS")[0]
    return {name: parameters for name, parameters in _SETTER.findall(plain) if not _READS.search(name)}


def sources() -> tuple[Path, ...]:
    """The C files, in a fixed order."""
    return tuple(sorted(HERE.glob("*.c")))


@functools.cache
def functions() -> tuple[str, ...]:
    """Every function that the library has, by id."""
    entered: set[str] = set()
    for source in sources():
        entered |= set(_ENTERED.findall(source.read_text()))
    names = tuple(sorted(entered | set(setters(nvml_header().read_text()))))
    if len(names) > layout.MAX_FUNCTIONS:
        raise FakeDriverUnavailable(f"{len(names)} functions, room for {layout.MAX_FUNCTIONS}: raise MAX_FUNCTIONS")
    return names


def _generated(missing_symbols: tuple[str, ...]) -> dict[str, str]:
    stubs = "\n".join(
        f"nvmlReturn_t {name}({parameters}) {{ ENTER_SETTER({name}); }}"
        for name, parameters in sorted(setters(nvml_header().read_text()).items())
    )
    hidden = "".join(f" {name};" for name in missing_symbols)
    return {
        "layout.h": layout.header(functions()),
        "setters.c": f'#include "fake.h"\n#pragma GCC diagnostic ignored "-Wunused-parameter"\n{stubs}\n',
        "exports.map": "{ global: nvml*; wattledger_fake_*; local:" + hidden + " *; };\n",
    }


def _compile(target: Path, generated: dict[str, str]) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        raise FakeDriverUnavailable("gcc is missing: the fake driver is C; install it (apt-get install gcc libc6-dev)")
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=target.parent.parent, prefix="making-"))
    for name, text in generated.items():
        (work / name).write_text(text)
    command = [gcc, *FLAGS, f"-I{HERE}", f"-I{work}", f"-I{nvml_header().parent}", "-o", str(work / SONAME)]
    command += [f"-Wl,--version-script={work / 'exports.map'}", *map(str, sources()), str(work / "setters.c")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        shutil.rmtree(work)
        raise FakeDriverUnavailable(f"gcc refused the fake driver:\n{result.stderr}")
    try:
        work.rename(target.parent)
    except OSError:  # another process built the same thing first
        shutil.rmtree(work)


def library(missing_symbols: tuple[str, ...] = ()) -> Library:
    """The library, built if it is not there yet.

    Raises:
        FakeDriverUnavailable: no gcc, no nvml.h, or the compiler refused.
        ValueError: a name in ``missing_symbols`` is no function of the fake.
    """
    strangers = sorted(set(missing_symbols) - set(functions()))
    if strangers:
        raise ValueError(f"no such function in the fake driver: {', '.join(strangers)}")
    generated = _generated(tuple(sorted(set(missing_symbols))))
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for source in (*sources(), HERE / "fake.h", nvml_header()):
        digest.update(source.read_bytes())
    for text in generated.values():
        digest.update(text.encode())
    target = HERE / "build" / digest.hexdigest()[:24] / SONAME
    if not target.exists():
        _compile(target, generated)
    return Library(target, functions())
