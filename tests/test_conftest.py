"""A missing program skips by name with the remedy; where programs are required it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASKS = """
import pytest

@pytest.mark.tool("no-such-program")
def test_marked(): ...

def test_asks(require_tool):
    require_tool("no-such-program")

def test_other_skip():
    pytest.skip("some other reason")

def test_gpu():
    pytest.skip("no NVIDIA driver on this machine")
"""


def run_pytest(folder: Path, required: str) -> str:
    (folder / "test_asks.py").write_text(ASKS, encoding="utf-8")
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rsfE",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(folder),
    ]
    environment = os.environ | {"WATTLEDGER_REQUIRE_TOOLS": required}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout


def test_missing_program_skips_with_the_remedy(tmp_path):
    out = run_pytest(tmp_path, required="0")
    assert "4 skipped" in out
    assert "no-such-program is not installed: apt-get install no-such-program" in out


def test_skips_fail_where_programs_are_required_but_for_a_gpu(tmp_path):
    out = run_pytest(tmp_path, required="1")
    assert "2 failed, 1 skipped" in out
    assert "1 error" in out
    assert "would be skipped, but WATTLEDGER_REQUIRE_TOOLS=1: some other reason" in out


def test_known_tool_names_its_debian_package(monkeypatch, require_tool):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="promtool is not installed: apt-get install prometheus"):
        require_tool("promtool")
