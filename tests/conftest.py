"""What every test may ask for: the shared data, a program, root. What is missing skips by name, with the remedy.

With ``WATTLEDGER_REQUIRE_TOOLS=1`` (continuous integration) a missing program is a failure, and so is every
other skip, except for what not every machine can be given: the shared data, an NVIDIA GPU, and a Python newer than the
distribution's, which the FOCUS validator alone needs.
"""

import os
import shutil
import socketserver
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

CHECKOUT = Path(__file__).parents[1]
REQUIRED = os.environ.get("WATTLEDGER_REQUIRE_TOOLS") == "1"
SKIPS_ALLOWED_EVERYWHERE = ("no shared data", "no NVIDIA", "no Python 3.12")
"""How the reason of a skip begins that stays a skip where programs are required."""

# tool: (names it goes by, Debian package)
TOOLS = {
    "chromium": (("chromium", "chromium-headless-shell", "google-chrome"), "chromium"),
    "gcc": (("gcc",), "gcc libc6-dev"),
    "git": (("git",), "git"),
    "openssl": (("openssl",), "openssl"),
    "prometheus": (("prometheus",), "prometheus"),
    "promtool": (("promtool",), "prometheus"),
    "victoria-metrics": (("victoria-metrics",), "victoria-metrics"),
}


# a property is no timed test: what a busy machine takes for an example says nothing
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# who serves in a test's process may get no processor for a while: nobody is turned away meanwhile
socketserver.TCPServer.request_queue_size = 128


def find_tool(name: str) -> str:
    """The path of a program; without it the test is skipped (fails where programs are required)."""
    candidates, package = TOOLS.get(name, ((name,), name))
    for candidate in candidates:
        if path := shutil.which(candidate):
            return path
    pytest.skip(f"{name} is not installed: apt-get install {package}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that at the end no process waits for another."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folders = ("cluster", "integration", "scaling")
    return folders.index(item.path.parent.name) if item.path.parent.name in folders else len(folders)


class ByFile(LoadScopeScheduling):
    """Shares tests out among processes by file, since a file shares fixtures; all that use the cluster are one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/cluster" if file.startswith("tests/cluster/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("tool"):
        find_tool(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where programs are required a skip is a failure, so that no missing tool hides behind one."""
    report = yield
    if not REQUIRED or not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return report
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    if not reason.startswith(SKIPS_ALLOWED_EVERYWHERE):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} would be skipped, but WATTLEDGER_REQUIRE_TOOLS=1: {reason}"
    return report


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """``require_tool("promtool")`` gives the program's path."""
    return find_tool


@pytest.fixture
def require_root() -> None:
    """The test needs to be root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: run the tests as root (sudo make test)")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, which is never part of the repository."""
    named = os.environ.get("WATTLEDGER_SHARED_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set WATTLEDGER_SHARED_DATA to its folder")
    return folder
