"""An import books what is not booked yet, goes on where it was cut off, and leaves alone what a journal told."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from collectors.carbon_intensity import load
from collectors.errors import Unavailable
from collectors.price_list import PriceRow
from collectors.prometheus_api import QueryRefused
from ledger.carbon import Carbon
from ledger.carbon_settings import CarbonSettings
from ledger.costing import Costing, CostRules
from ledger.hours import NodeNote
from ledger.keeper import Keeper
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices
from ledger.prometheus_hours import DeviceEstimate, agent_hour
from ledger.prometheus_import import HOURS_AT_ONCE, FleetHour, Import, Imported, seen_lifetimes, whole_hours
from ledger.prometheus_nodes import NodeSeen
from ledger.prometheus_sums import estimate_sums
from ledger.store import Store
from ledger.tables import LIFETIMES, NODE_HOURS, PROGRESS, USAGE
from tests.ledger import ledger_rig

USD = 10**9
HOUR_NS = 3600 * 10**9
HOUR = timedelta(hours=1)
DAY = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 10, tzinfo=UTC)
HOURS = whole_hours(DAY, datetime(2026, 11, 1, 6, tzinfo=UTC))
LISTED = PriceRow("aws", "eu-west-1", "p5", "H100-80GB", 2, "on_demand", 8 * USD, "list", date(2026, 10, 1))


class Fleet:
    """What Prometheus makes of each hour: two nodes, but in ``empty`` hours none."""

    def __init__(self, empty=(), share=0.5):
        self.empty, self.share, self.asked, self.fails_at = empty, share, [], None

    def __call__(self, hour_s):
        hour = datetime.fromtimestamp(hour_s, UTC)
        if hour == self.fails_at:
            raise Unavailable("http://p answers 503, 3 times")
        self.asked.append(hour)
        return FleetHour([] if hour in self.empty else [self.node(name, hour_s) for name in ("a", "b")])

    def node(self, name, hour_s):
        devices = {}
        for gpu in (1, 2):
            device = devices[f"{name}{gpu}"] = DeviceEstimate("NVIDIA H100 80GB HBM3", energy_mj=1_800_000_000)
            device.add("", ("pod", "ml/x/y"), "active", round(HOUR_NS * self.share))
            device.add("", ("pod", "ml/x/y"), "idle", HOUR_NS - round(HOUR_NS * self.share))
        return agent_hour(name, hour_s, devices, {}, self.place(name))

    def half_an_hour(self):
        device = DeviceEstimate("NVIDIA H100 80GB HBM3")
        device.add("", ("pod", "ml/x/y"), "idle", HOUR_NS // 2)
        return device

    def place(self, name):
        return NodeNote(name, "prod", "aws", "eu-west-1", "", f"i-{name}", "p5", "on_demand")


def keeper(store):
    known = LedgerPrices(PriceSettings(fallback="none"), [LISTED], LivePriceSettings())
    return Keeper(store, Costing(store, CostRules(known, Carbon(CarbonSettings(), load()))))


def run(store, fleet, hours=HOURS, **how):
    return Import(store, keeper(store), fleet, "prod").run(hours, NOW, **how)


def table(store, which):
    return store.scan(which).sort(which.key).collect()


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_whole_hours_lie_between_both_ends():
    def moment(hour, minute=0):
        return datetime(2026, 11, 1, hour, minute, tzinfo=UTC)

    assert whole_hours(moment(1), moment(3)) == [moment(1), moment(2)]
    assert whole_hours(moment(1, 1), moment(3, 59)) == [moment(2)]
    assert whole_hours(moment(3), moment(1)) == []


def test_an_import_books_every_hour_as_an_estimate(store):
    ticks = []
    assert run(store, Fleet(), step=lambda: ticks.append(1)) == Imported(made=6)
    assert len(ticks) == 6
    assert set(table(store, USAGE)["source"]) == set(table(store, USAGE)["method"]) == {"prometheus"}
    assert table(store, NODE_HOURS).height == 12


class OnPremises(Fleet):
    """Nodes without an instance id."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster = cluster

    def __call__(self, hour_s):
        found = super().__call__(hour_s)
        return FleetHour(found.hours, [NodeSeen(self.place("a"), DAY.timestamp(), NOW.timestamp(), has_gpus=True)])

    def place(self, name):
        return NodeNote(name, self.cluster, "", "", "", "", "", "")


def test_hours_in_which_no_other_cluster_has_a_node_of_that_name_are_booked_and_the_others_told_again(store):
    Import(store, keeper(store), OnPremises("one"), "one").run(HOURS[:1], NOW)
    first = Import(store, keeper(store), OnPremises("two"), "two").run(HOURS, NOW)
    of_two = store.scan(NODE_HOURS).filter(cluster="two").select("hour_utc").unique().collect()
    assert sorted(of_two["hour_utc"]) == HOURS[1:]
    assert sorted(first.refused) == ["a", "b"]
    second = Import(store, keeper(store), OnPremises("two"), "two").run(HOURS, NOW)
    assert (second.known, second.refused) == (len(HOURS) - 1, first.refused)


class Forgetful(OnPremises):
    """Devices are forgotten, nodes are not."""

    def __call__(self, hour_s):
        nodes = [NodeSeen(self.place("b"), DAY.timestamp(), NOW.timestamp(), has_gpus=True)]
        return FleetHour([agent_hour(name, hour_s, {}, {}, self.place(name)) for name in ("a", "b")], nodes)


def test_what_was_booked_in_an_hour_that_is_told_again_for_another_node_stays(store):
    def of_b():
        return store.scan(USAGE).filter(cluster="two", node="b").sort(USAGE.key).collect()

    only_a = Fleet.__call__
    one = OnPremises("one")
    one_a = FleetHour([only_a(one, int(HOURS[0].timestamp())).hours[0]])
    Import(store, keeper(store), lambda _hour: one_a, "one").run(HOURS[:1], NOW)
    first = Import(store, keeper(store), OnPremises("two"), "two").run(HOURS, NOW)
    assert sorted(first.refused) == ["a"]
    before = of_b()
    assert HOURS[0] in before["hour_utc"].to_list()
    second = Import(store, keeper(store), Forgetful("two"), "two").run(HOURS, NOW)
    assert (second.refused, second.measured) == (first.refused, 0)
    assert of_b().equals(before)


@pytest.mark.parametrize("hours", [HOURS, HOURS[1:]], ids=["with it", "after it"])
def test_an_import_leaves_a_bare_hosts_journal_to_its_own_cluster(store, hours):
    facts = {"instance_id": "", "provider": "", "cluster": "one"}
    row = ledger_rig.row("a1", "active", HOUR_NS)
    told = ledger_rig.agent_hour(HOURS[0], row, node="a", closed=True, facts=facts)
    keeper(store).keep([told], since=NOW, now=NOW)

    def whose():
        rows = [store.scan(which).filter(hour_utc=HOURS[0], node="a").collect() for which in (NODE_HOURS, USAGE)]
        return [set(each["cluster"]) for each in rows]

    Import(store, keeper(store), OnPremises("two"), "two").run(hours, NOW)
    keeper(store).keep([], since=HOURS[0], now=NOW)
    assert whose() == [{"one"}, {"one"}]


def test_a_node_of_the_name_of_another_clusters_is_refused_and_named(store):
    def imported(cluster):
        return Import(store, keeper(store), OnPremises(cluster), cluster).run(HOURS[:2], NOW)

    assert imported("one").refused == {}
    tables = (USAGE, NODE_HOURS, LIFETIMES)
    before = [table(store, which) for which in tables]
    refused = imported("two").refused
    assert sorted(refused) == ["a", "b"]
    assert refused["a"].startswith(
        "node a of cluster two is refused: the ledger has a node of that name in cluster one, and neither has an"
        " instance id, so they would be one; keep a ledger of its own for each cluster (ledger.root, --data-dir)"
    )
    assert all(
        old.equals(table(store, which)) for old, which in zip(before, (USAGE, NODE_HOURS, LIFETIMES), strict=True)
    )
    assert Import(store, keeper(store), OnPremises("one"), "one").run(HOURS[:2], NOW, again=True).refused == {}


def test_what_the_books_then_say_is_told_in_sums(store):
    run(store, Fleet())
    sums = estimate_sums(store, HOURS, "prod")
    assert (sums.hours, sums.nodes, sums.gpus, sums.gpu_hours) == (6, 2, 4, 24)
    assert (sums.list_usd, sums.kwh) == (2 * 6 * 8, 12)
    assert (sums.unobserved_gpu_hours, sums.unpriced_gpu_hours) == (0, 0)
    other = estimate_sums(store, HOURS, "another")
    assert (other.hours, other.list_usd, other.kwh) == (0, None, None)


def test_run_again_it_asks_for_nothing_and_changes_nothing(store):
    run(store, Fleet())
    before, fleet = [store.version(which) for which in (USAGE, NODE_HOURS, PROGRESS)], Fleet()
    assert run(store, fleet) == Imported(known=6)
    assert fleet.asked == []
    assert [store.version(which) for which in (USAGE, NODE_HOURS, PROGRESS)] == before


def test_made_again_the_newer_estimate_stands_alone(store):
    run(store, Fleet())
    assert run(store, Fleet(share=0.25), again=True) == Imported(made=6)
    usage = table(store, USAGE)
    assert usage.filter(account="active")["gpu_ns"].unique().to_list() == [HOUR_NS // 4]
    assert usage["gpu_ns"].sum() == 24 * HOUR_NS


def test_another_clusters_import_is_its_own(store):
    run(store, Fleet())
    fleet = Fleet()
    Import(store, keeper(store), fleet, "staging").run(HOURS, NOW)
    assert fleet.asked == HOURS


def test_hours_without_a_sample_are_asked_for_the_next_time(store):
    assert run(store, Fleet(empty=HOURS[:2])) == Imported(made=4, empty=2)
    assert run(store, Fleet()) == Imported(made=2, known=4)


def test_cut_off_it_keeps_what_was_whole_and_goes_on_from_there(store):
    fleet = Fleet()
    fleet.fails_at = HOURS[4]
    with pytest.raises(Unavailable, match="503"):
        run(store, fleet)
    assert table(store, NODE_HOURS)["hour_utc"].unique().sort().to_list() == HOURS[:4]
    fleet = Fleet()
    assert run(store, fleet) == Imported(made=2, known=4)
    assert fleet.asked == HOURS[4:]


def test_an_hour_that_is_refused_is_named_and_the_others_are_booked(store):
    fleet = Fleet()
    answered = fleet.__call__

    def make(hour_s):
        if datetime.fromtimestamp(hour_s, UTC) in {HOURS[1], HOURS[2]}:
            raise QueryRefused("http://p answers 422 to x: too many samples")
        return answered(hour_s)

    refused = "http://p answers 422 to x: too many samples"
    assert run(store, make) == Imported(made=4, left={HOURS[1]: refused, HOURS[2]: refused})
    assert table(store, NODE_HOURS)["hour_utc"].unique().sort().to_list() == [HOURS[0], *HOURS[3:]]
    assert run(store, Fleet()) == Imported(made=2, known=4)


def test_cut_off_or_not_the_books_are_the_same(store, tmp_path):
    run(store, Fleet())
    cut = Store(str(tmp_path / "cut"))
    for at in (1, 3, 4):
        fleet = Fleet()
        fleet.fails_at = HOURS[at]
        with pytest.raises(Unavailable):
            run(cut, fleet)
    run(cut, Fleet())
    assert table(cut, USAGE).equals(table(store, USAGE))


def test_long_ranges_are_booked_some_hours_at_a_time(store):
    many = whole_hours(DAY, datetime(2026, 11, 3, tzinfo=UTC))
    booked = []
    run(store, Fleet(), many, step=lambda: booked.append(store.scan(NODE_HOURS).collect()["hour_utc"].n_unique()))
    assert booked[HOURS_AT_ONCE - 2 :: HOURS_AT_ONCE] == [0, HOURS_AT_ONCE]
    assert booked[-1] == len(many)


def test_what_a_journal_told_is_left_alone_even_when_made_again(store):
    row = ledger_rig.row("a1", "active", 600 * 10**9)
    opened = ledger_rig.agent_hour(HOURS[1], row, node="a", closed=False, facts={"instance_id": ""})
    keeper(store).keep([opened], since=NOW, now=NOW)
    before = table(store, USAGE).filter(source="measured")
    for again in (False, True):
        assert run(store, Fleet(), again=again).measured == 1
    assert table(store, USAGE).filter(source="measured").equals(before)
    assert table(store, NODE_HOURS).filter(hour_utc=HOURS[1])["source"].to_list() == ["measured", "prometheus"]


def test_a_journal_that_comes_later_replaces_what_was_imported(store):
    run(store, Fleet())
    measured = ledger_rig.agent_hour(
        HOURS[1], ledger_rig.row("a1", "active", 600 * 10**9), node="a", facts={"instance_id": "i-a"}
    )
    keeper(store).keep([measured], since=NOW, now=NOW)
    hour = table(store, USAGE).filter(pl.col("hour_utc") == HOURS[1], pl.col("node") == "a")
    assert set(hour["source"]) == {"measured"}


def test_a_nodes_life_is_one_row_that_grows_and_unobserved_is_what_no_exporter_told(store):
    began = DAY.timestamp() - 600

    def make(hour_s):
        fleet = Fleet()
        short = [agent_hour("a", hour_s, {"a1": fleet.half_an_hour()}, {}, fleet.place("a"))]
        return FleetHour(short, [NodeSeen(fleet.place("a"), began, hour_s + 3600, has_gpus=True)])

    run(store, make, HOURS[:2])
    run(store, make)
    assert table(store, LIFETIMES).select("node", "seen", "evidence").rows() == [("a", HOURS[-1] + HOUR, "api")]
    told = table(store, USAGE).group_by("account").agg(pl.col("gpu_ns").sum())
    assert dict(told.iter_rows()) == {"idle": 3 * HOUR_NS, "unobserved": 3 * HOUR_NS}


def test_lives_of_one_name_are_told_apart_by_instance_and_creation():
    first, second = NodeNote(node="a", instance_id="i-1"), NodeNote(node="a", instance_id="i-2")
    seen = [
        NodeSeen(first, 0, 60, has_gpus=True),
        NodeSeen(first, 0, 90, has_gpus=True),
        NodeSeen(second, 95, 99, has_gpus=True),
    ]
    rows = seen_lifetimes(seen).select("instance_id", pl.col("seen").dt.timestamp("ms")).rows()
    assert rows == [("i-1", 90_000), ("i-2", 99_000)]
