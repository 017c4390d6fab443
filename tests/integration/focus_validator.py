"""The FOCUS validator in an environment of its own: it needs a newer Python than wattledger does."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = "2.2.1"
OLDEST = (3, 12)
REQUIREMENTS = (f"focus-validator=={VERSION}", "pyarrow<22")  # it does not start with a later pyarrow
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wattledger-focus-validator"
_FAILED = re.compile(r"^\S+ ([A-Za-z]+-[ACD]-\d{3}-[MCO]): FAIL", re.MULTILINE)
_TOTAL = re.compile(r"^Total: (\d+) \| Pass: (\d+) \| Fail: (\d+)", re.MULTILINE)


def newer_python() -> str:
    """A Python that the validator runs on; without one the test is skipped, with the remedy."""
    for candidate in _candidates():
        told = subprocess.run(
            [candidate, "-c", "import ensurepip, sys, venv; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode == 0 and tuple(map(int, told.stdout.split())) >= OLDEST:
            return candidate
    pytest.skip(
        f"no Python 3.12 or newer for the FOCUS validator {VERSION}: put python3.12 on the PATH, or pyenv install 3.12"
    )


def _candidates() -> Iterator[str]:
    names = [f"python3.{minor}" for minor in range(12, 16)]
    yield from (path for name in names if (path := shutil.which(name)))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(path) for name in names for path in sorted(pyenv.glob(f"*/bin/{name}")))
    yield sys.executable


def environment() -> Path:
    """The environment's Python, installed once for each version."""
    python = newer_python()
    home = CACHE / f"{VERSION}-{OLDEST[0]}.{OLDEST[1]}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            _install(python, home / "venv")
            (home / "installed").touch()
    return home / "venv" / "bin" / "python"


def _install(python: str, venv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(venv)], check=True, capture_output=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    told = subprocess.run(pip, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip(f"the FOCUS validator {VERSION} cannot be installed: {told.stderr.strip()[-300:]}")


def failures(python: Path, file: Path) -> set[str]:
    """Ids of the rules that the file fails. The exit status says nothing: it is 0 either way."""
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    command = [str(python.with_name("focus-validator")), "--data-file", str(file), "--validate-version", "1.2"]
    command += ["--block-download", "--applicability-criteria", "ALL"]
    # it reads a table of currencies by a path that is relative to where it is installed, and logs to where it is run
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=site, timeout=300)
    total = _TOTAL.search(told.stdout)
    assert total, f"no result: {told.stdout[-1000:]} {told.stderr[-1000:]}"
    failed = set(_FAILED.findall(told.stdout))
    assert len(failed) == int(total[3]), "a failure has a form that is not understood"
    assert int(total[2]) > 300, "hardly a rule was tried"
    return failed
