from datetime import date
from decimal import Decimal

import pytest
import yaml
from pydantic import ValidationError

from ledger.price_settings import OnPremPrice, PriceSettings

DAY = "2026-11-01"
NODE = {"usd_per_hour": "12.5", "as_of": DAY}
MODEL = {"model": "T4", "usd_per_gpu_hour": "0.3", "as_of": DAY}
INSTANCE = {"instance_type": "p5.48xlarge", "usd_per_hour": 40, "gpus": 8, "as_of": DAY}
ON_PREM = {
    "capital_usd": 240_000,
    "gpus": 8,
    "years": 4,
    "mean_watts": 6000,
    "pue": 1.3,
    "tariff_usd_per_kwh": 0.12,
    "operations_share": 0.25,
    "as_of": DAY,
}


def test_the_defaults_are_these():
    assert PriceSettings().model_dump() == {
        "node": None,
        "instances": (),
        "models": (),
        "on_prem": (),
        "fallback": "market_median",
        "stale_after_days": 120,
        "cloud_identity": "auto",
        "node_split": "equal",
        "live": {
            "aws": "auto",
            "interval_hours": 6,
            "stale_after_hours": 36,
            "attempts": 4,
            "pricing_url": "",
            "ec2_url": "",
            "instances": "auto",
            "instances_minutes": 5,
            "cloudtrail_url": "",
        },
    }
    room = OnPremPrice.model_validate(ON_PREM | {"pue": 1.5, "operations_share": 0, "gpus": 1})
    bare = {key: value for key, value in ON_PREM.items() if key not in ("pue", "operations_share", "gpus")}
    assert OnPremPrice.model_validate(bare) == room


def test_money_in_yaml_is_read_exactly():
    text = f"node: {{usd_per_hour: 21.957642, as_of: {DAY}}}"
    settings = PriceSettings.model_validate(yaml.safe_load(text))
    assert settings.node.usd_per_hour == Decimal("21.957642")
    assert settings.node.as_of == date(2026, 11, 1)


def test_on_prem_is_capital_over_years_and_power_with_operations_on_both():
    # 240000 / (4 x 8760) = 6.849315...; 6 kW x 1.3 x 0.12 = 0.936; x 1.25 = 9.73164383561...
    assert OnPremPrice.model_validate(ON_PREM).nano_usd_per_hour() == 9_731_643_836


def test_on_prem_is_rounded_once_half_to_even():
    exact = {"capital_usd": "0.00013139999562", "years": 1, "mean_watts": 0, "tariff_usd_per_kwh": 0, "as_of": DAY}
    # 0.00013139999562 / 8760 = 14.9999995 nano-dollars
    assert OnPremPrice.model_validate(exact).nano_usd_per_hour() == 15
    half = exact | {"capital_usd": "0.00012702"}
    assert OnPremPrice.model_validate(half).nano_usd_per_hour() == 14


@pytest.mark.parametrize("wrong", [0, -1, "0.00001", "nan", "inf", 100_001, "1.2345678901", "a lot", None])
@pytest.mark.parametrize(
    ("section", "key", "line"),
    [("node", "usd_per_hour", NODE), ("instances", "usd_per_hour", INSTANCE), ("models", "usd_per_gpu_hour", MODEL)],
)
def test_a_price_of_zero_or_below_or_beyond_reason_is_refused_by_its_place(section, key, line, wrong):
    changed = line | {key: wrong}
    with pytest.raises(ValidationError) as refused:
        PriceSettings.model_validate({section: changed if section == "node" else [changed]})
    place = refused.value.errors()[0]["loc"]
    assert (place[0], place[-1]) == (section, key)


@pytest.mark.parametrize("key", ["usd_per_hour", "as_of"])
def test_a_price_without_figure_or_date_is_refused(key):
    with pytest.raises(ValidationError, match="Field required"):
        PriceSettings.model_validate({"node": {name: value for name, value in NODE.items() if name != key}})


@pytest.mark.parametrize(
    "changes",
    [
        {"capital_usd": -1},
        {"years": 0},
        {"mean_watts": -5},
        {"pue": 0.9},
        {"tariff_usd_per_kwh": -0.1},
        {"operations_share": -0.1},
        {"gpus": 0},
        {"utilisation": 0.5},
    ],
)
def test_an_on_prem_figure_that_cannot_be_is_refused(changes):
    with pytest.raises(ValidationError) as refused:
        OnPremPrice.model_validate(ON_PREM | changes)
    assert refused.value.errors()[0]["loc"] == tuple(changes)


def test_on_prem_figures_that_come_to_nothing_are_refused_with_the_remedy():
    with pytest.raises(ValidationError, match="comes to 0: capital_usd or mean_watts with tariff_usd_per_kwh"):
        OnPremPrice.model_validate(ON_PREM | {"capital_usd": 0, "tariff_usd_per_kwh": 0})


@pytest.mark.parametrize(
    ("section", "line"), [("instances", INSTANCE), ("models", MODEL), ("on_prem", ON_PREM | {"model": "T4"})]
)
def test_two_prices_for_one_thing_are_refused(section, line):
    with pytest.raises(ValidationError, match=f"{section}: two prices for"):
        PriceSettings.model_validate({section: [line, line]})


def test_a_spot_price_may_stand_beside_another():
    lines = [INSTANCE, INSTANCE | {"capacity_type": "spot", "usd_per_hour": 15}]
    assert len(PriceSettings.model_validate({"instances": lines}).instances) == 2


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        PriceSettings.model_validate({"fall_back": "none"})
