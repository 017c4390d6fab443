"""Chromium opens the page of running agents: one that measures, one that simulates."""

import re

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import AgentProcess
from tests.integration.chromium import DESKTOP, PHONE, distinct_lines, document, picture_size, pixels, take_picture
from tests.integration.processes import FakeHost, container, container_name

MARGIN = 8
"""So many pixels at the right belong to nothing, on a phone too."""
HOSTILE = "<script>alert(1)</script>"

pytestmark = pytest.mark.tool("chromium")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An agent on a driver with two devices, one of them held by somebody with a hostile name."""
    folder = tmp_path_factory.mktemp("measured")
    with FakeDriver.create(folder, [profiles.h100(), profiles.a100()]) as driver:
        host = FakeHost(folder)
        driver.device(0).set(power_mw=312_000, utilization=0.93, sm_clock_mhz=1900)
        driver.device(0).processes([Process(pid=host.user_process(101, HOSTILE), share=0.9)])
        driver.device(1).processes([Process(pid=host.process(102, container(1)), share=0.5)])
        with AgentProcess(folder / "agent", driver.environment(), ("up",), host.config) as agent:
            agent.until_booked(driver.device(1).uuid, 0.5)
            yield agent


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulation that has a week behind it, so that figures are long."""
    folder, command = tmp_path_factory.mktemp("simulated"), ("up", "--simulate", "--speed", "100000")
    with AgentProcess(folder, command=command) as agent:
        days = "wattledger_gpu_accounted_seconds_total"
        agent.until("a week is booked", lambda page: page.total(days) > 4 * 6 * 86_400, seconds=60)
        yield agent


@pytest.fixture
def read(require_tool, tmp_path):
    """The document of an agent's page, without what is not shown."""

    def read(agent):
        shown = document(require_tool("chromium"), agent.url, tmp_path / "profile")
        return re.sub(r"<(style|template|noscript)[ >].*?</\1>", "", shown, flags=re.DOTALL)

    return read


def banner(shown):
    return re.search(r'<p class="notice simulated"[^>]*>', shown)[0]


@pytest.mark.tool("gcc")
def test_the_page_of_a_measured_node_shows_its_devices_and_holders_and_no_banner(measured, read):
    shown = read(measured)
    for text in ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "312", "93 %", container_name(1)):
        assert text in shown, text
    assert shown.count(">accounts add up to the device<") == 2
    assert "nvml, driver 580.95.05" in shown
    assert "hidden" in banner(shown)


@pytest.mark.tool("gcc")
def test_a_holder_whose_name_is_a_script_is_shown_as_text(measured, read):
    shown = read(measured)
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert HOSTILE not in shown
    assert shown.count("<script>") == 1


def test_the_page_of_a_simulated_node_says_so_and_names_its_devices(simulated, read):
    shown = read(simulated)
    assert shown.count("Simulated NVIDIA H100 80GB HBM3") >= 4
    assert "hidden" not in banner(shown)
    assert "No figure on this page was measured." in shown


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_picture_shows_something(simulated, require_tool, tmp_path, size):
    picture = tmp_path / "page.png"
    take_picture(require_tool("chromium"), simulated.url, tmp_path / "profile", picture, size)
    assert picture_size(picture) == size
    assert distinct_lines(picture) > size[1] / 3


def test_on_a_phone_nothing_juts_out_of_its_card(simulated, require_tool, tmp_path):
    picture = tmp_path / "page.png"
    take_picture(require_tool("chromium"), simulated.url, tmp_path / "profile", picture, PHONE)
    lines = pixels(picture)
    assert len({colour for line in lines for colour in line}) > 100
    assert len({colour for line in lines for colour in line[-MARGIN:]}) == 1
