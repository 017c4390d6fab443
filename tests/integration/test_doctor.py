"""The doctor as a command, on the fake driver through the real pynvml."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver

pytestmark = pytest.mark.tool("gcc")
WATTLEDGER = Path(sys.executable).with_name("wattledger")


@pytest.fixture
def doctor(tmp_path):
    def run(driver):
        command = [WATTLEDGER, "doctor", "--json", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "books"]
        environment = os.environ | driver.environment()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    return run


def lines(findings, check):
    return [(finding["verdict"], finding["what"]) for finding in findings if finding["check"] == check]


def test_driver_with_two_gpus_is_told_device_by_device(tmp_path, doctor):
    with FakeDriver.create(tmp_path, (profiles.h100(), profiles.t4())) as driver:
        status, findings = doctor(driver)
        uuids = [driver.device(0).uuid, driver.device(1).uuid]
        assert driver.violations() == {}
    assert status == 0
    assert [verdict for verdict, _ in lines(findings, "driver")] == ["ok"]
    told = lines(findings, "device")
    assert all(any(uuid in what for _, what in told) for uuid in uuids)
    assert any(verdict == "warn" and "Tesla T4 has no GPM" in what for verdict, what in told)
    assert len(lines(findings, "prices")) == 2


def test_lost_gpu_fails_while_its_sibling_is_good(tmp_path, doctor):
    with FakeDriver.create(tmp_path, (profiles.h100(), profiles.t4())) as driver:
        driver.device(0).lose()
        status, findings = doctor(driver)
    assert status == 1
    failing = [finding for finding in findings if finding["verdict"] == "fail"]
    assert len(failing) == 1
    assert "fallen off the bus" in failing[0]["what"] + failing[0]["remedy"]
    assert any("Tesla T4" in what for _, what in lines(findings, "device"))


def test_two_gpus_with_one_uuid_fail_by_name_while_the_third_is_good(tmp_path, doctor):
    with FakeDriver.create(tmp_path, [profiles.h100(), profiles.a100(), profiles.t4()]) as driver:
        driver.device(1).bear_uuid(driver.device(2).uuid)
        status, findings = doctor(driver)
    assert status == 1
    (failing,) = [finding for finding in findings if finding["verdict"] == "fail"]
    assert f"GPU 1 and GPU 2: all say that they are {driver.device(2).uuid}" in failing["what"]
    assert any("H100" in what and verdict == "ok" for verdict, what in lines(findings, "device"))


def test_driver_that_is_not_loaded_fails_with_its_remedy(tmp_path, doctor):
    with FakeDriver.create(tmp_path, (profiles.h100(),)) as driver:
        driver.unload()
        status, findings = doctor(driver)
    assert status == 1
    assert lines(findings, "driver") == [("fail", "NVIDIA driver does not answer")]
    assert "modprobe nvidia" in findings[0]["remedy"]
