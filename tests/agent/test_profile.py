from agent.accountant import DeviceView
from agent.attribution import Share
from agent.profile import ProfileBook
from agent.units import HolderUse
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.host import HolderUsage
from collectors.readings import Activity, DeviceSweep, Links, Power, Throttle
from ledger.accounts import Account, EnergyMethod, Method
from tests.agent.readings import reading

A = Holder("container", "a")
HOUR = 3600


def view(seconds=1, energy_mj=400_000, **more):
    share = Share("", A, Account.ACTIVE, Method.EXCLUSIVE, EnergyMethod.WHOLE, seconds * NS_PER_SECOND, energy_mj)
    use = HolderUse(A, "", 2 << 30, 1.0)
    sweep = DeviceSweep(reading(seconds, **more))
    return DeviceView(sweep, (use,), (), (share,), seconds * NS_PER_SECOND)


def mean(row, name):
    weighted, ns, _ = row["measures"][name]
    return weighted / ns


def test_means_are_weighted_by_time_and_peaks_kept():
    book = ProfileBook()
    book.observe(HOUR, view(1, activity=Activity(duty_cycle=0.2)), None)
    book.observe(HOUR, view(3, energy_mj=600_000, activity=Activity(duty_cycle=1.0)), None)

    (row,) = book.take(HOUR)

    assert mean(row, "duty_cycle_ppm") == 800_000
    assert row["measures"]["duty_cycle_ppm"][2] == 1_000_000
    assert mean(row, "power_mw") == 250_000
    assert row["measures"]["power_mw"][2] == 400_000
    assert mean(row, "memory_mib") == 2048


def test_what_was_not_read_has_no_measure():
    book = ProfileBook()
    book.observe(HOUR, view(activity=Activity(), energy_mj=0), None)

    (row,) = book.take(HOUR)

    assert not row["measures"].keys() & {"duty_cycle_ppm", "sm_ppm", "tensor_ppm", "node_iowait_ppm", "power_limit_mw"}


def test_throttle_time_is_what_the_counters_gained_while_held():
    book = ProfileBook()
    for seconds, ns in ((1, 5), (2, 7), (3, 7)):
        book.observe(HOUR, view(seconds, throttle=Throttle(duration_ns={"hw_thermal": ns})), None)

    assert book.take(HOUR)[0]["totals"]["throttle_ns.hw_thermal"] == 2


def test_traffic_is_rate_times_time():
    book = ProfileBook()
    links = Links(nvlink_rx_bytes_per_second=100, nvlink_tx_bytes_per_second=50)
    book.observe(HOUR, view(2, links=links, power=Power(limit_watts=700)), 0.25)

    (row,) = book.take(HOUR)

    assert row["totals"] == {"nvlink_bytes": 300}
    assert (mean(row, "power_limit_mw"), mean(row, "node_iowait_ppm")) == (700_000, 250_000)


def test_cpu_and_io_are_increments_of_the_holder_s_counters():
    book = ProfileBook()
    book.observe_usage(HOUR, {A: HolderUsage(cpu_ns=0, io_read_bytes=0)})
    book.observe_usage(HOUR, {A: HolderUsage(cpu_ns=70, io_read_bytes=5)})
    book.observe_usage(HOUR + 3600, {A: HolderUsage(cpu_ns=100, io_read_bytes=5)})

    assert book.take(HOUR)[0]["totals"] == {"cpu_ns": 70, "io_read_bytes": 5}
    assert book.take(HOUR + 3600)[0]["totals"] == {"cpu_ns": 30}


def test_an_hour_that_was_taken_and_is_open_again_gets_rows_of_its_own():
    book, same = ProfileBook(), view(1, activity=Activity(duty_cycle=0.2))
    book.observe(HOUR, same, None)
    taken = book.take(HOUR)
    book.observe(HOUR, same, None)

    assert book.take(HOUR) == taken


def test_holders_that_follow_each_other_have_rows_of_their_own():
    book = ProfileBook()
    book.observe(HOUR, view(1), None)
    later = view(2)
    later.uses = (HolderUse(Holder("container", "b"), "", None, 1.0),)
    book.observe(HOUR, later, None)

    rows = {row["holder"]: row["measures"] for row in book.take(HOUR)}
    assert rows["a"]["memory_mib"] == [2048 * NS_PER_SECOND, NS_PER_SECOND, 2048]
    assert "memory_mib" not in rows["b"]


def test_rows_come_back_for_hours_that_are_still_open(tmp_path):
    book = ProfileBook()
    book.observe(HOUR, view(), None)
    book.observe(HOUR + 3600, view(), None)
    book.save(tmp_path / "profile.json")
    again = ProfileBook()

    again.load(tmp_path / "profile.json", [HOUR + 3600])

    assert again.hours() == {HOUR + 3600}
    assert again.take(HOUR + 3600) == book.take(HOUR + 3600)


def test_a_profile_file_that_is_not_readable_is_left_out(tmp_path):
    (tmp_path / "profile.json").write_text("[[1,")
    book = ProfileBook()

    book.load(tmp_path / "profile.json", [1])
    book.load(tmp_path / "none.json", [1])

    assert book.hours() == set()
