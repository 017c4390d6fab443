"""Devices and processes that are not what the driver says: named, left out, and nobody else's."""

from decimal import Decimal

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import Process
from tests.integration.agent_process import NAMES
from tests.integration.processes import FakeHost, container, container_name

ACCOUNT_TIME, TIME = NAMES["time"]

pytestmark = pytest.mark.tool("gcc")


def booked(scrape, device, account=None):
    if account is None:
        return scrape.value(TIME, gpu_uuid=device.uuid)
    return scrape.total(ACCOUNT_TIME, gpu_uuid=device.uuid, account=account)


def test_two_devices_with_one_uuid_are_named_and_left_out_until_they_are_told_apart(start, make_driver):
    driver = make_driver(profiles.h100(), profiles.a100(), profiles.t4())
    good, twin, other = driver.devices
    twin.bear_uuid(other.uuid)
    agent = start(driver)
    page = agent.until_booked(good.uuid, 0.3)
    words = f"GPU 1 and GPU 2: all say that they are {other.uuid}, so none of them is read"
    assert words in agent.json("/v1/state")["message"]
    assert words in agent.said
    assert page.value("wattledger_collector_up", collector="gpu") == 0
    assert page.value("wattledger_gpu_up", gpu_uuid=good.uuid) == 1
    assert booked(page, twin) is booked(page, other) is None
    twin.bear_uuid(twin.uuid)
    good.lose()  # the next failure has the agent look for devices anew
    agent.until("both are read", lambda s: all((booked(s, device) or 0) > 0 for device in (twin, other)))
    good.restore()
    agent.until("all is well", lambda s: s.value("wattledger_collector_up", collector="gpu") == 1)


def test_a_process_that_dies_between_two_calls_costs_nothing_but_itself(start, make_driver, tmp_path):
    driver = make_driver(profiles.h100())
    device, host = driver.device(0), FakeHost(tmp_path)
    device.set(utilization=0.5, sm_clock_mhz=1500)
    living = Process(pid=host.process(7, container(1)), share=0.5)
    # the driver tells of a process that the host knows no more
    device.processes([living, Process(pid=8, share=0.5)])
    agent = start(driver, config=host.config)
    page = agent.until("it works", lambda s: s.total(ACCOUNT_TIME, holder=container_name(1), account="active") > 0)
    assert page.total(ACCOUNT_TIME, account="unattributed") > 0
    assert page.value("wattledger_collector_up", collector="holders") == 1
    assert page.value("wattledger_collector_up", collector="gpu") == 1
    assert {s.labels["holder"] for s in page.find(ACCOUNT_TIME) if s.value} == {"", container_name(1)}
    device.processes([living])
    alone = agent.until("it is gone", lambda s: booked(s, device) > booked(page, device))
    later = agent.until("the other goes on", lambda s: booked(s, device) > booked(alone, device) + Decimal("0.5"))
    gained = booked(later, device, "unattributed") - booked(alone, device, "unattributed")
    assert gained < Decimal("0.2")  # at most what the driver told late
    assert later.imbalance() is None
