from datetime import UTC, date, datetime
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.carbon_intensity import HourIntensity, RegionIntensity, load
from collectors.errors import Misconfigured
from ledger.carbon import Carbon, with_carbon
from ledger.carbon_settings import CarbonSettings
from ledger.tables import COST, USAGE, conform

HOUR = datetime(2026, 11, 1, 5, tzinfo=UTC)
NS = 3_600_000_000_000
KWH = 3_600_000_000
TABLE = load()


def usage(energy_mj=KWH, gpu_ns=NS, **more):
    row = {
        "hour_utc": HOUR,
        "day": HOUR.date(),
        "node": "node-a",
        "cluster": "prod",
        "provider": "gcp",
        "region": "us-central1",
        "zone": "us-central1-a",
        "gpu_uuid": "GPU-1",
        "gpu_model": "NVIDIA H100 80GB HBM3",
        "account": "active",
        "method": "exclusive",
        "energy_method": "counter",
        "price_id": "p",
        "holder": "a",
    }
    return row | {"energy_mj": energy_mj, "gpu_ns": gpu_ns} | more


def frame(table, rows):
    texts = {name: "" for name, dtype in table.schema.items() if dtype == pl.String}
    return conform(table, pl.LazyFrame([texts | row for row in rows], schema_overrides=table.schema))


def cost_of(rows, **more):
    return [row | {"charge": "list", "list_nano_usd": 1, "stack_layer": "compute"} | more for row in rows]


def carbon(*rows, cost=None, hours=(), table=TABLE, **settings):
    known = Carbon(CarbonSettings.model_validate(settings), table, hours)
    filled = with_carbon(frame(COST, cost or cost_of(rows)), frame(USAGE, rows), known)
    assert filled.collect_schema() == COST.schema
    return filled.collect()


def grams(*rows, **settings):
    return [ug and ug / 1_000_000 for ug in carbon(*rows, **settings).get_column("carbon_ug")]


def test_a_kilowatt_hour_bears_its_regions_intensity():
    found = carbon(usage())
    assert found.get_column("carbon_ug").to_list() == [430_000_000]
    assert found.get_column("intensity").to_list() == [
        "google-region-carbon gcp us-central1 as of 2026-08-08, 430 gCO2e/kWh, PUE 1, scope gpu"
    ]
    assert found.get_column("embodied_ug").to_list() == [None]


def test_a_region_without_a_figure_of_its_own_has_its_countrys_and_says_the_year():
    found = carbon(usage(provider="aws", region="us-east-1"))
    assert found.get_column("carbon_ug").to_list() == [369_473_000]
    assert found.get_column("intensity").to_list() == ["country-mix USA 2023, 369.473 gCO2e/kWh, PUE 1, scope gpu"]


@pytest.mark.parametrize(
    "place", [{"region": "mars-1"}, {"region": ""}, {"provider": "", "region": ""}, {"provider": "oracle-cloud"}]
)
def test_an_unknown_region_has_no_figure_and_never_zero(place):
    found = carbon(usage(**place))
    assert found.select("carbon_ug", "intensity").row(0) == (None, None)


def test_no_energy_has_no_figure_and_no_intensity():
    found = carbon(usage(None), usage(KWH, holder="b")).sort("holder")
    assert found.select("carbon_ug", "intensity").row(0) == (None, None)
    assert found.get_column("carbon_ug").to_list() == [None, 430_000_000]


def test_no_energy_used_is_no_grams():
    assert grams(usage(0)) == [0.0]


def test_machines_in_no_cloud_have_the_intensity_of_the_configured_country():
    assert grams(usage(provider="", region=""), country="DEU") == [380.95]


def test_an_intensity_of_ones_own_stands_before_the_table_and_the_first_that_fits_counts():
    own = [
        {"region": "us-*", "node": "node-b", "g_per_kwh": 1},
        {"region": "us-*", "node": "node-*", "g_per_kwh": "300.5", "source": "our utility 2026"},
        {"g_per_kwh": 2},
    ]
    found = carbon(usage(), intensity_g_per_kwh=own)
    assert found.get_column("carbon_ug").to_list() == [300_500_000]
    assert found.get_column("intensity").to_list() == ["our utility 2026, 300.5 gCO2e/kWh, PUE 1, scope gpu"]


@pytest.mark.parametrize(
    ("place", "fits"),
    [
        ({"provider": "gcp", "cluster": "prod", "zone": "us-central1-a"}, True),
        ({"provider": "gcp", "cluster": "test"}, False),
        ({"zone": "us-central1.a"}, False),
        ({"node": "*-a"}, True),
        ({"node": "ode-*"}, False),
        ({"provider": ""}, False),
    ],
)
def test_a_place_fits_when_all_that_it_names_fits(place, fits):
    assert grams(usage(), intensity_g_per_kwh=[place | {"g_per_kwh": 7}]) == [7 if fits else 430]


def test_an_hourly_series_stands_before_all_else_and_a_missing_hour_takes_the_yearly_figure():
    later = HOUR.replace(hour=6)
    settings = {"series": [{"region": "us-central1", "file": "grid.csv"}]}
    found = carbon(usage(), usage(hour_utc=later), hours=[[HourIntensity(HOUR, 123_456)]], **settings).sort("hour_utc")
    assert found.get_column("carbon_ug").to_list() == [123_456_000, 430_000_000]
    assert found.get_column("intensity").to_list()[0] == "series grid.csv, 123.456 gCO2e/kWh, PUE 1, scope gpu"


def test_pue_by_place_multiplies_and_the_rest_of_the_machine_is_added_by_ratio():
    settings = {"pue": "1.5", "pues": [{"node": "node-a", "pue": "1.2"}], "scope": "node", "host_ratio": "0.25"}
    found = carbon(usage(), usage(node="node-b"), **settings).sort("node")
    # 430 x 1.25 x 1.2, and 430 x 1.25 x 1.5
    assert found.get_column("carbon_ug").to_list() == [645_000_000, 806_250_000]
    assert found.get_column("intensity").to_list()[0].endswith("PUE 1.2, scope node, host 0.25 of GPU")


def test_embodied_carbon_is_that_of_the_time_held_over_the_life():
    # 1,752 kg for 8 GPUs over 4 years of 8,760 h are 6.25 g a GPU-hour; half of it for half an hour
    lines = [{"model": "H100-80GB", "kg": 1752, "gpus": 8, "years": 4}]
    found = carbon(usage(None, NS // 2), usage(None, NS - NS // 2, holder="b", account="idle"), embodied=lines)
    assert found.get_column("embodied_ug").to_list() == [3_125_000, 3_125_000]
    assert found.get_column("carbon_ug").to_list() == [None, None]


def test_embodied_carbon_is_found_by_name_by_key_or_for_any_model():
    lines = [{"model": "Tesla T4", "kg": "8.76", "years": 1}, {"model": "*", "kg": "17.52", "years": 1}]
    found = carbon(usage(), usage(gpu_uuid="GPU-2", gpu_model="Tesla T4"), embodied=lines).sort("gpu_uuid")
    assert found.get_column("embodied_ug").to_list() == [2_000_000, 1_000_000]
    assert carbon(usage(), embodied=lines[:1]).get_column("embodied_ug").to_list() == [None]


def test_a_usage_row_with_several_charges_bears_its_grams_once():
    charges = [
        *cost_of([usage()], charge="usage", list_nano_usd=5),
        *cost_of([usage()], charge="credit", list_nano_usd=None),
        *cost_of([usage()], charge="tax", list_nano_usd=None),
    ]
    found = carbon(usage(), cost=charges)
    assert dict(found.select("charge", "carbon_ug").iter_rows()) == {"usage": 430_000_000, "credit": None, "tax": None}


def test_a_usage_row_of_two_energy_methods_and_prices_is_one_figure():
    rows = [usage(KWH // 2), usage(KWH // 2, energy_method="idle_unknown"), usage(0, price_id="q")]
    found = carbon(*rows, cost=cost_of([usage(), usage(price_id="q")]))
    assert found.get_column("carbon_ug").to_list() == [430_000_000, None]


def test_cost_that_no_device_bears_has_no_grams():
    shared = usage(gpu_uuid="", node="", account="shared", holder="")
    found = carbon(usage(), cost=cost_of([usage(), shared]))
    assert found.get_column("carbon_ug").to_list() == [430_000_000, None]


def test_two_instances_that_bore_one_name_within_the_hour_are_apart():
    rows = [usage(KWH, instance_id="i-1"), usage(2 * KWH, instance_id="i-2")]
    assert grams(*rows) == [430, 860]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 3 * 10**9), st.integers(0, NS)), min_size=1, max_size=8),
    st.integers(1, 2_000_000),
    st.integers(1000, 5000),
    st.integers(1, 10**7),
)
def test_the_rows_of_a_devices_hour_add_up_to_its_grams_rounded_once(amounts, mg, pue, grams_embodied):
    rows = [usage(mj, ns, holder=f"h{place}") for place, (mj, ns) in enumerate(amounts)]
    found = carbon(
        *rows,
        table=[RegionIntensity("gcp", "us-central1", "USA", mg, 2023, "country-mix", date(2026, 1, 1))],
        pue=f"{pue / 1000:.3f}",
        embodied=[{"kg": f"{grams_embodied / 1000:.3f}", "gpus": 8, "years": "3.5"}],
    )
    energy, time = (sum(column) for column in zip(*amounts, strict=True))
    assert found.get_column("carbon_ug").sum() == round(Fraction(energy * mg * pue, KWH))
    life = Fraction(7, 2) * 8760 * NS * 8
    assert found.get_column("embodied_ug").sum() == round(Fraction(time * grams_embodied * 10**6) / life)


@settings(max_examples=25)
@given(st.permutations(range(5)))
def test_the_order_of_rows_decides_nothing(order):
    rows = [usage(KWH // 7 + place, holder=f"h{place}") for place in range(5)]
    by_holder = carbon(*rows).select("holder", "carbon_ug").sort("holder")
    again = carbon(*[rows[place] for place in order]).select("holder", "carbon_ug").sort("holder")
    assert again.equals(by_holder)


def test_a_year_of_a_hundred_thousand_gpus_does_not_wrap():
    hour = 700 * 3600 * 1000 * 8760 * 100_000
    found = carbon(usage(hour), intensity_g_per_kwh=[{"g_per_kwh": 1}])
    # 700 W x 8,760 h x 100,000 = 613,200,000 kWh
    assert found.get_column("carbon_ug").to_list() == [613_200_000 * 1_000_000]


def test_a_series_that_grows_is_read_again_and_one_that_breaks_stands(tmp_path, caplog):
    file = tmp_path / "grid.csv"
    file.write_text("hour_utc,g_per_kwh\n2026-11-01T05:00:00Z,300\n", encoding="utf-8")
    known = Carbon.read(CarbonSettings.model_validate({"series": [{"file": "grid.csv"}]}), tmp_path)
    before = known.days()
    assert list(before) == ["2026-11-01"]
    file.write_text("hour_utc,g_per_kwh\n2026-11-01T05:00:00Z,300\n2026-11-02T05:00:00Z,12\n", encoding="utf-8")
    known.refresh()
    grown = known.days()
    assert grown.pop("2026-11-02")
    assert grown == before
    file.write_text("hour_utc,g_per_kwh\n2026-11-01T05:00:00Z,three\n", encoding="utf-8")
    for _ in range(2):
        known.refresh()
    assert len(known.series[0]) == 2
    (warned,) = (record.getMessage() for record in caplog.records)
    assert "grid.csv, line 2, g_per_kwh: found 'three'" in warned
    assert warned.endswith("what it said before still counts")
    file.unlink()
    known.refresh()
    assert len(known.series[0]) == 2


def test_the_configured_series_are_read_from_the_configurations_folder(tmp_path):
    (tmp_path / "grid.csv").write_text("hour_utc,g_per_kwh\n2026-11-01T05:00:00Z,300\n", encoding="utf-8")
    settings = CarbonSettings.model_validate({"series": [{"file": "grid.csv"}]})
    assert Carbon.read(settings, tmp_path).series == [(HourIntensity(HOUR, 300_000),)]
    with pytest.raises(Misconfigured, match="cannot be read"):
        Carbon.read(settings, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"scope": "node"}, "scope node and host_ratio belong together"),
        ({"host_ratio": "0.5"}, "scope node and host_ratio belong together"),
        ({"pue": "0.9"}, "greater than or equal to 1"),
        ({"intensity_g_per_kwh": [{"g_per_kwh": 0}]}, "greater than 0"),
        ({"country": "Germany"}, "pattern"),
        ({"embodied": [{"kg": 1, "years": 4}, {"kg": 2, "years": 4}]}, "two lines for '\\*'"),
        ({"offsets": 1}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, why):
    with pytest.raises(ValidationError, match=why):
        CarbonSettings.model_validate(settings)


def test_the_rows_of_cost_keep_their_places_and_all_else_that_they_hold():
    rows = [usage(holder=holder, list_nano_usd=place) for place, holder in enumerate("cab")]
    given = cost_of(rows[:1], list_nano_usd=7) + cost_of(rows[1:], list_nano_usd=9)
    found = carbon(*rows, cost=given)
    assert found.drop("carbon_ug", "embodied_ug", "intensity").equals(
        frame(COST, given).drop("carbon_ug", "embodied_ug", "intensity").collect()
    )
    assert found.get_column("holder").to_list() == ["c", "a", "b"]
