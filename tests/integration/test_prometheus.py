"""Debian's Prometheus scrapes a running agent for half a minute; what it then knows is held against the script."""

import itertools
import subprocess
import time
from dataclasses import dataclass
from decimal import Decimal

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process, Segment
from tests.integration.agent_process import NAMES, AgentProcess, eventually
from tests.integration.processes import FakeHost, container
from tests.integration.prometheus import Prometheus, plain_job

SECONDS = 30
ON, OFF = 1.5, 2.6
"""The power changes for so long, then it is 0 and the energy counter stands still."""
KEPT_SECONDS = 1.0
"""A page is rendered for so long at most: so much older than it says may what it tells be."""
SCRAPE_SECONDS = 0.3
"""The agent answers within this of the moment that Prometheus stamps the samples with."""

pytestmark = [pytest.mark.tool("gcc"), pytest.mark.tool("prometheus"), pytest.mark.tool("promtool")]


@dataclass(frozen=True)
class Scraped:
    driver: FakeDriver
    begin_ns: int
    """When the script began."""
    wall_less_driver_ns: int
    prometheus: Prometheus
    page: str

    def raw(self, metric, uuid):
        """Value by Prometheus' own time stamp, over the last minute."""
        return self.prometheus.raw(f'{metric}{{gpu_uuid="{uuid}"}}')

    def driver_ns(self, stamp):
        return int(stamp * 10**9) - self.wall_less_driver_ns


@pytest.fixture(scope="module")
def scraped(tmp_path_factory, require_tool):
    folder = tmp_path_factory.mktemp("prometheus")
    with FakeDriver.create(folder, [profiles.h100(), profiles.a100()]) as driver:
        host = FakeHost(folder)
        shared, cut = driver.devices
        shared.processes([
            Process(pid=host.process(101, container(1)), share=0.5, memory_bytes=20 << 30),
            Process(pid=host.user_process(102, "carol"), share=0.25, memory_bytes=10 << 30),
        ])  # fmt: skip
        cut.mig(["1g.10gb", "3g.40gb"])
        cut.start(Process(pid=host.process(103, container(3)), share=0.3, mig=1))
        begin_ns = play(driver)
        with AgentProcess(folder / "agent", driver.environment(), config=host.config) as agent:
            agent.until_booked(cut.uuid)
            with Prometheus(folder, require_tool("prometheus"), [plain_job(agent.url)]) as prometheus:
                offset_ns = time.time_ns() - driver.now_ns()
                found = Scraped(driver, begin_ns, offset_ns, prometheus, agent.scrape().text)
                eventually("half a minute of samples", lambda: enough(found), seconds=3 * SECONDS, every=0.5)
                yield found


def play(driver):
    """Bursts of power with rests between them, for as long as anybody may look."""
    powers = itertools.cycle([312_345, 90_001, 233_333, 399_999, 71_717])
    segments = []
    for _ in range(40):
        burst = [Segment.seconds(ON / 3, power_mw=next(powers), utilization=0.8, sm_clock_mhz=1300) for _ in range(3)]
        segments += [*burst, Segment.seconds(OFF, power_mw=0, utilization=0.0, sm_clock_mhz=1300)]
    begin_ns = driver.now_ns() + 10**8
    for device in driver.devices:
        device.script(segments, start_ns=begin_ns)
    return begin_ns


def enough(scraped):
    try:
        values = [scraped.raw(NAMES["energy"][1], device.uuid) for device in scraped.driver.devices]
    except (OSError, ValueError):  # it is not there yet, or knows nothing yet
        return False
    return all(len(one) > 5 and max(one) - min(one) >= SECONDS for one in values)


def at_rest(scraped, stamp, age):
    """Where whatever the agent may have read for this sample, the counter stood: what it then said, else ``None``."""
    earliest_ns = scraped.driver_ns(stamp - age) - round(KEPT_SECONDS * 1e9)
    latest_ns = scraped.driver_ns(stamp) + round(SCRAPE_SECONDS * 1e9)
    place_ns = (earliest_ns - scraped.begin_ns) % round((ON + OFF) * 1e9)
    return place_ns >= round(ON * 1e9) and place_ns + latest_ns - earliest_ns < round((ON + OFF) * 1e9)


@pytest.mark.parametrize("place", [0, 1])
def test_the_energy_between_two_samples_is_the_scripts_to_the_millijoule(scraped, place):
    device = scraped.driver.device(place)
    energy = scraped.raw(NAMES["energy"][1], device.uuid)
    age = scraped.raw("wattledger_gpu_age_seconds", device.uuid)
    stamps = [stamp for stamp in sorted(energy) if at_rest(scraped, stamp, age[stamp])]
    assert len(stamps) >= 4
    assert stamps[-1] - stamps[0] > SECONDS / 2
    first = stamps[0]
    seen = [int((energy[stamp] - energy[first]) * 1000) for stamp in stamps]
    truth = [device.true_energy_mj(scraped.driver_ns(stamp)) for stamp in stamps]
    assert seen == [mj - truth[0] for mj in truth]
    assert seen[-1] > 1_000_000


@pytest.mark.parametrize("place", [0, 1])
def test_each_sample_lies_between_what_the_counter_said_before_and_after(scraped, place):
    device = scraped.driver.device(place)
    energy = scraped.raw(NAMES["energy"][1], device.uuid)
    age = scraped.raw("wattledger_gpu_age_seconds", device.uuid)
    anchor = next(stamp for stamp in sorted(energy) if at_rest(scraped, stamp, age[stamp]))
    anchor_mj = device.true_energy_mj(scraped.driver_ns(anchor)) - int(energy[anchor] * 1000)
    for stamp, joules in energy.items():
        earliest_ns = scraped.driver_ns(stamp - age[stamp]) - round(KEPT_SECONDS * 1e9)
        latest_ns = scraped.driver_ns(stamp) + round(SCRAPE_SECONDS * 1e9)
        counter_mj = anchor_mj + int(joules * 1000)
        assert device.true_energy_mj(earliest_ns) <= counter_mj <= device.true_energy_mj(latest_ns)


@pytest.mark.parametrize("kind", NAMES)
def test_accounts_add_up_to_their_device_at_every_sample(scraped, kind):
    account, control = NAMES[kind]
    for device in scraped.driver.devices:
        parts = scraped.prometheus.ask(f'{account}{{gpu_uuid="{device.uuid}"}}[1m]')
        whole = scraped.raw(control, device.uuid)
        sums = dict.fromkeys(whole, Decimal())
        for stamp, value in itertools.chain.from_iterable(part["values"] for part in parts):
            sums[Decimal(str(stamp))] += Decimal(value)
        assert len(parts) > 1
        assert max(whole.values()) > 0
        assert [s for s in whole if abs(sums[s] - whole[s]) > Decimal("1e-9") * whole[s]] == []


@pytest.mark.parametrize("kind", NAMES)
def test_prometheus_itself_finds_that_the_books_balance(scraped, kind):
    account, control = NAMES[kind]
    stamps = sorted(scraped.raw(control, scraped.driver.device(0).uuid))
    off = f"abs(sum by (gpu_uuid) ({account}) - on (gpu_uuid) {control})"
    expression = f"{off} <= bool on (gpu_uuid) 1e-9 * {control}"
    result = scraped.prometheus.get("query_range", query=expression, start=stamps[0], end=stamps[-1], step="1s")[
        "result"
    ]
    assert len(result) == len(scraped.driver.devices)
    for series in result:
        assert len(series["values"]) >= SECONDS
        assert {value for _, value in series["values"]} == {"1"}


def test_no_label_of_ours_is_taken_away_from_us(scraped):
    series = scraped.prometheus.get("series", **{"match[]": '{job="wattledger"}'})
    assert len(series) > 100
    assert {label for one in series for label in one if label.startswith("exported_")} == set()


def test_every_series_but_prometheus_own_bears_the_node(scraped):
    series = scraped.prometheus.get("series", **{"match[]": '{job="wattledger",node=""}'})
    assert {one["__name__"] for one in series if one["__name__"].startswith("wattledger_")} == set()


def test_promtool_has_nothing_to_say_of_the_page(scraped, require_tool):
    checked = subprocess.run(
        [require_tool("promtool"), "check", "metrics"], input=scraped.page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
