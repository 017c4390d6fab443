import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from collectors.host_rapl import Rapl, RaplReading, _Zone

RANGE_UJ = 262_143_328_850


class Powercap:
    def __init__(self, sys):
        self.root = sys / "class/powercap"
        self.root.mkdir(parents=True)
        self.rapl = Rapl(sys)
        self.now_ns = 0

    def zone(self, folder, name, energy_uj=0, range_uj=RANGE_UJ):
        path = self.root / folder
        path.mkdir()
        for file, value in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", range_uj)):
            (path / file).write_text(f"{value}\n")

    def read(self, seconds=0, **energy_uj):
        for folder, value in energy_uj.items():
            (self.root / folder.replace("rapl_", "intel-rapl:").replace("_", ":") / "energy_uj").write_text(
                f"{value}\n"
            )
        self.now_ns += seconds * NS_PER_SECOND
        return self.rapl.read(self.now_ns)


@pytest.fixture
def powercap(tmp_path):
    return Powercap(tmp_path)


def test_without_rapl_energy_is_absent(powercap):
    assert powercap.read() == RaplReading()
    assert powercap.read(1) == RaplReading()


def test_a_machine_without_powercap_is_no_failure(tmp_path, caplog):
    assert Rapl(tmp_path).read(0) == RaplReading()
    assert not caplog.messages


def test_energy_counts_from_the_first_read_and_power_from_the_second(powercap):
    powercap.zone("intel-rapl:0", "package-0", 5_000_000)
    assert powercap.read() == RaplReading(0, None)
    assert powercap.read(10, rapl_0=1_005_000_000) == RaplReading(1_000_000, 100.0)


def test_packages_and_dram_are_added_and_nothing_twice(powercap):
    for folder, name in [
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "uncore"),
        ("intel-rapl:0:2", "dram"),
        ("intel-rapl:1", "package-1-die-0"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
        ("dtpm", "package-0"),
    ]:
        powercap.zone(folder, name)
    powercap.read()
    second = {f"rapl_{zone}": 1_000_000 for zone in ("0", "0_0", "0_1", "0_2", "1", "2")}
    assert powercap.read(1, **second) == RaplReading(3000, 3.0)


def test_a_counter_that_wraps_goes_on(powercap):
    powercap.zone("intel-rapl:0", "package-0", RANGE_UJ - 400_000)
    powercap.read()
    assert powercap.read(1, rapl_0=599_999) == RaplReading(1000, 1.0)


def test_an_interval_in_which_two_wraps_could_hide_is_left_out(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.read()
    assert powercap.read(600, rapl_0=1_000_000) == RaplReading(0, None)
    assert powercap.read(1, rapl_0=3_000_000) == RaplReading(2000, 2.0)


def test_a_counter_that_was_set_back_is_no_burst_of_energy(powercap):
    powercap.zone("intel-rapl:0", "package-0", 100_000_000)
    powercap.read()
    assert powercap.read(1, rapl_0=0) == RaplReading(0, None)
    assert powercap.read(1, rapl_0=50_000_000) == RaplReading(50_000, 50.0)


def test_two_reads_at_one_instant_have_no_power(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.read()
    assert powercap.read(0, rapl_0=0) == RaplReading(0, None)


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj", "name"])
def test_one_zone_that_cannot_be_read_makes_all_absent_and_is_told_once(powercap, caplog, file):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.zone("intel-rapl:1", "package-1")
    (powercap.root / "intel-rapl:1" / file).unlink()
    with caplog.at_level(logging.WARNING):
        assert [powercap.read(1), powercap.read(70)] == [RaplReading(), RaplReading()]
    (line,) = caplog.messages
    assert f"RAPL under {powercap.root} cannot be read" in line
    assert "root only" in line


def test_a_counter_that_is_no_number_is_absent(powercap):
    powercap.zone("intel-rapl:0", "package-0", "none")
    assert powercap.read() == RaplReading()


def test_after_a_failure_it_is_tried_again_in_a_minute_and_counting_goes_on_from_where_it_was(powercap):
    powercap.zone("intel-rapl:0", "package-0")
    powercap.read()
    powercap.read(1, rapl_0=1_000_000)
    assert powercap.read(1, rapl_0="") == RaplReading()
    assert powercap.read(59, rapl_0=9_000_000) == RaplReading()
    assert powercap.read(1, rapl_0=9_000_000) == RaplReading(1000, None)
    assert powercap.read(1, rapl_0=10_000_000) == RaplReading(2000, 1.0)


@given(st.integers(0, RANGE_UJ), st.lists(st.integers(0, 1_000_000_000), max_size=30))
def test_any_run_of_the_counter_adds_up_over_wraps(start_uj, steps_uj):
    zone = _Zone(None, RANGE_UJ, start_uj)
    position_uj = start_uj
    for step_uj in steps_uj:
        position_uj += step_uj
        assert zone.advance(position_uj % (RANGE_UJ + 1), NS_PER_SECOND) == step_uj
