from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import price_list
from collectors.cloud_metadata import CloudIdentity
from collectors.errors import Misconfigured
from collectors.price_list import PriceRow
from collectors.readings import DeviceFacts
from ledger.price_book import PriceBook
from ledger.price_settings import PriceSettings

H100 = DeviceFacts("GPU-1", 0, "NVIDIA H100 80GB HBM3")
T4 = DeviceFacts("GPU-2", 0, "Tesla T4")
UNKNOWN = DeviceFacts("GPU-3", 0, "NVIDIA H900")
P5 = CloudIdentity("aws", "i-0123456789abcdef0", "p5.48xlarge", "us-east-1", "us-east-1a", "on_demand", None)
G4DN = replace(P5, instance_type="g4dn.12xlarge")
N1 = CloudIdentity("gcp", "1", "n1-highmem-16", "us-central1", "us-central1-a", "on_demand", None)
DAY = "2026-11-01"
BUNDLED = price_list.load()


def row(provider="aws", *, region="us-east-1", usd="55.04", gpus=8, capacity="on_demand", day="2026-02-09", **more):
    nano = int(Decimal(usd) * 10**9)
    offer = {"instance_type": "p5.48xlarge", "gpu_model": "H100-80GB", "source": "a-list"} | more
    return PriceRow(
        provider=provider,
        region=region,
        gpu_count=gpus,
        capacity_type=capacity,
        nano_usd_per_hour=nano,
        as_of=date.fromisoformat(day),
        **offer,
    )


def price(identity=None, device=H100, rows=BUNDLED, gpus=8, index=0, **settings):
    return PriceBook(PriceSettings.model_validate(settings), rows, identity, gpus).price_for(device, index)


def test_an_instance_in_the_list_has_its_list_price_split_over_its_gpus():
    found = price(P5)
    assert found.nano_usd_per_gpu_hour == 6_880_000_000
    assert found.source == "bundled:aws-us-east-1-2026-02"
    assert (found.as_of, found.capacity_type, found.basis) == (date(2026, 2, 9), "on_demand", "list")
    assert (found.estimate, found.note) == (False, "")


def test_the_id_of_a_price_names_source_offer_date_and_figure():
    assert price(P5).price_id == (
        "bundled:aws-us-east-1-2026-02/aws/us-east-1/p5.48xlarge/on_demand@2026-02-09=6880000000n"
    )


def test_the_gpus_of_a_node_add_up_to_its_price_where_it_cannot_be_split_evenly():
    rows = [row(usd="0.800000003")]
    book = PriceBook(PriceSettings(), rows, P5, 8)
    shares = [book.price_for(H100, index).nano_usd_per_gpu_hour for index in range(8)]
    assert shares == [100_000_001] * 3 + [100_000_000] * 5


@given(
    st.decimals(min_value="0.001", max_value=1000, places=9),
    st.integers(min_value=1, max_value=16),
    st.sampled_from(["node", "instance", "on_prem"]),
)
def test_whatever_prices_a_node_its_gpus_add_up_to_it(usd, gpus, kind):
    whole = {"usd_per_hour": usd, "gpus": gpus, "as_of": DAY}
    on_prem = {"years": 1, "mean_watts": 0, "tariff_usd_per_kwh": 0, "gpus": gpus, "as_of": DAY}
    settings = {
        "node": {"node": whole},
        "instance": {"instances": [whole | {"instance_type": "p5.48xlarge"}]},
        "on_prem": {"on_prem": [on_prem | {"capital_usd": usd * 8760}]},
    }[kind]
    book = PriceBook(PriceSettings.model_validate(settings), (), None if kind == "on_prem" else P5, gpus)
    shares = [book.price_for(H100, index) for index in range(gpus)]
    assert sum(share.nano_usd_per_gpu_hour for share in shares) == int(usd * 10**9)


def test_a_gpu_that_was_lost_leaves_the_share_of_the_others_as_it_was():
    assert price(P5, gpus=7) == price(P5, gpus=8)


def test_more_gpus_than_the_instance_has_get_no_instance_price():
    assert price(P5, gpus=9, fallback="none") is None


def test_a_gpu_of_another_model_does_not_get_the_instances_price():
    assert price(P5, device=T4, fallback="none") is None


def test_gpus_that_nobody_measured_have_the_price_of_their_machine_type_where_it_has_one_set():
    unnamed = DeviceFacts("", 0, "")
    assert price(P5, unnamed).nano_usd_per_gpu_hour == price(P5).nano_usd_per_gpu_hour
    several = [row(gpus=8), row(gpus=8, gpu_model="A100-80GB")]
    assert price(P5, unnamed, rows=several) is None


def test_a_machine_type_with_several_sets_of_gpus_needs_the_number_of_the_row():
    assert price(N1, device=T4, gpus=2).nano_usd_per_gpu_hour == 825_000_000
    assert price(N1, device=T4, gpus=1, fallback="none") is None


def test_the_nodes_own_region_comes_before_a_newer_price_of_another():
    rows = [row(), row(region="eu-west-1", usd="70", day="2026-05-01")]
    assert price(P5, rows=rows).nano_usd_per_gpu_hour == 6_880_000_000


def test_without_a_price_for_the_region_the_newest_of_another_is_an_estimate_that_says_so():
    rows = [row(region="*", usd="98.32", day="2025-03-07"), row()]
    found = price(replace(P5, region="eu-west-1"), rows=rows)
    assert (found.nano_usd_per_gpu_hour, found.estimate) == (6_880_000_000, True)
    assert found.note == "the list has no price for eu-west-1: this is that of us-east-1"


def test_a_spot_node_has_its_spot_price_where_one_is_published():
    rows = [row(), row(usd="16", capacity="spot")]
    found = price(replace(P5, capacity_type="spot"), rows=rows)
    assert (found.nano_usd_per_gpu_hour, found.capacity_type, found.estimate) == (2_000_000_000, "spot", False)


def test_a_spot_price_of_the_bundled_list_whose_region_is_not_named_is_an_estimate():
    found = price(replace(G4DN, capacity_type="spot"), device=T4, gpus=4)
    assert (found.nano_usd_per_gpu_hour, found.capacity_type, found.estimate) == (327_500_000, "spot", True)
    assert found.note == "the list has no price for us-east-1: this is that of a region that the list does not name"


def test_a_spot_node_without_a_published_spot_price_has_the_on_demand_list_price_called_that():
    found = price(replace(P5, capacity_type="spot"))
    assert (found.nano_usd_per_gpu_hour, found.capacity_type, found.estimate) == (6_880_000_000, "on_demand", True)
    assert found.note == "the node is spot, its price is not known: this is the on-demand list price"


def test_an_on_demand_node_never_has_a_spot_price():
    assert price(P5, rows=[row(usd="16", capacity="spot")], fallback="none") is None


def test_a_node_that_does_not_say_whether_it_is_spot_is_priced_on_demand_and_says_so():
    found = price(replace(P5, capacity_type=None))
    assert (found.capacity_type, found.note) == ("on_demand", "the node did not say whether it is spot")
    assert found.estimate


def test_a_bare_host_has_the_median_of_the_providers_as_an_estimate():
    rows = [
        row("aws", usd="48"),
        row("aws", region="*", usd="98.32", day="2025-03-07"),
        row("aws", usd="8", gpus=1, instance_type="p5.4xlarge"),
        row("azure", usd="80"),
        row("lambda", usd="2", gpus=1),
        row("lambda", usd="1", gpus=1, capacity="spot", instance_type="other"),
        row("oracle", usd="3", gpus=1, day="2024-10-24"),
        row("gcp", usd="1", gpus=1, gpu_model="T4"),
    ]
    found = price(None, rows=rows)
    # aws 7 (middle of 6 and 8; its older price is superseded), azure 10, lambda 2, oracle 3: middle of 3 and 7
    assert found.nano_usd_per_gpu_hour == 5_000_000_000
    assert (found.source, found.as_of) == ("bundled:median-of-4", date(2024, 10, 24))
    assert found.estimate
    assert "median of 4 providers" in found.note


def test_a_median_of_one_provider_says_that_it_is_one():
    found = price(None, rows=[row()])
    assert found.source == "bundled:median-of-1"
    assert "only provider" in found.note


def test_the_bundled_list_prices_a_bare_h100_within_reason():
    found = price(None)
    assert found.estimate
    assert 2_000_000_000 < found.nano_usd_per_gpu_hour < 8_000_000_000


def test_without_the_fallback_a_bare_host_has_no_price():
    assert price(None, fallback="none") is None


def test_a_model_that_is_not_known_has_no_price_rather_than_a_wrong_one():
    assert price(None, device=UNKNOWN) is None
    assert price(P5, device=UNKNOWN) is None


def test_a_gpu_that_nobody_sells_by_the_hour_has_no_price():
    assert price(None, device=DeviceFacts("GPU-4", 0, "NVIDIA GeForce RTX 5090")) is None


NODE = {"usd_per_hour": 24, "as_of": DAY, "capacity_type": "reserved"}
INSTANCE = {"instance_type": "p5.48xlarge", "usd_per_hour": 32, "gpus": 8, "as_of": DAY}
MODEL = {"model": "H100-80GB", "usd_per_gpu_hour": 5, "as_of": DAY}
ON_PREM = {"capital_usd": 35_040, "years": 4, "mean_watts": 0, "tariff_usd_per_kwh": 0, "as_of": DAY}


def test_the_configuration_goes_from_node_to_instance_to_model_and_before_the_list():
    everything = {"node": NODE, "instances": [INSTANCE], "models": [MODEL]}
    found = []
    for closest in ("node", "instances", "models"):
        found.append(price(P5, **everything).nano_usd_per_gpu_hour)
        del everything[closest]
    found.append(price(P5, **everything).nano_usd_per_gpu_hour)
    assert found == [3 * 10**9, 4 * 10**9, 5 * 10**9, 6_880_000_000]


def test_a_configured_price_says_that_it_is_one():
    found = price(P5, node=NODE)
    assert (found.source, found.capacity_type, found.estimate) == ("config", "reserved", False)
    assert found.price_id == "config/node/reserved@2026-11-01=3000000000n"


def test_a_nodes_price_is_split_over_the_gpus_it_was_bought_with():
    assert price(None, gpus=3, node=NODE | {"gpus": 8}).nano_usd_per_gpu_hour == 3 * 10**9
    assert price(None, gpus=3, node=NODE).nano_usd_per_gpu_hour == 8 * 10**9


def test_a_nodes_price_for_fewer_gpus_than_it_has_is_refused_with_the_remedy():
    with pytest.raises(Misconfigured, match=r"prices\.node\.gpus is 4, but the node has 8 GPUs: .*leave gpus out"):
        price(P5, node=NODE | {"gpus": 4})


def test_a_gpu_past_those_that_the_node_was_bought_with_costs_nothing_more():
    assert price(None, gpus=8, index=8, node=NODE) is None


def test_the_regions_own_line_comes_before_that_for_all_regions():
    lines = [INSTANCE, INSTANCE | {"region": "us-east-1", "usd_per_hour": 16}]
    assert price(P5, instances=lines).nano_usd_per_gpu_hour == 2 * 10**9
    assert price(replace(P5, region="eu-west-1"), instances=lines).nano_usd_per_gpu_hour == 4 * 10**9


def test_an_instances_price_does_not_reach_another_instance_or_a_bare_host():
    assert price(G4DN, instances=[INSTANCE], fallback="none") is None
    assert price(None, instances=[INSTANCE], fallback="none") is None


@pytest.mark.parametrize("section", ["instances", "models"])
@pytest.mark.parametrize(("node", "nano"), [("spot", 10**9), ("on_demand", 4 * 10**9), (None, 4 * 10**9)])
def test_a_configured_spot_price_is_for_spot_nodes(section, node, nano):
    instances = [INSTANCE | {"usd_per_hour": 8, "capacity_type": "spot"}, INSTANCE]
    models = [
        MODEL | {"usd_per_gpu_hour": 1, "capacity_type": "spot"},
        MODEL | {"usd_per_gpu_hour": 4, "capacity_type": "reserved"},
    ]
    lines = {"instances": instances, "models": models}[section]
    assert price(replace(P5, capacity_type=node), **{section: lines}).nano_usd_per_gpu_hour == nano


def test_a_models_price_may_name_it_as_the_driver_does():
    found = price(None, device=UNKNOWN, models=[MODEL | {"model": "NVIDIA H900"}])
    assert found.nano_usd_per_gpu_hour == 5 * 10**9


def test_a_gpu_of_ones_own_costs_its_flat_price_and_says_from_what():
    found = price(None, on_prem=[ON_PREM])
    assert (found.nano_usd_per_gpu_hour, found.source, found.capacity_type) == (10**9, "on_prem", "on_prem")
    assert found.note == "capital over 4 years, 0 W and PUE 1.5 as configured"


def test_every_server_of_a_kind_costs_the_same_where_a_host_holds_two():
    book = PriceBook(PriceSettings.model_validate({"on_prem": [ON_PREM | {"gpus": 4}]}), (), None, 8)
    shares = [book.price_for(H100, index).nano_usd_per_gpu_hour for index in range(8)]
    assert sum(shares) == 2 * 10**9


def test_a_models_own_on_prem_line_comes_before_that_for_all():
    lines = [ON_PREM, ON_PREM | {"model": "T4", "capital_usd": 3504}]
    assert price(None, device=T4, on_prem=lines).nano_usd_per_gpu_hour == 10**8
    assert price(None, device=UNKNOWN, on_prem=lines).nano_usd_per_gpu_hour == 10**9


def test_a_machine_in_a_cloud_is_not_priced_as_ones_own():
    assert price(P5, on_prem=[ON_PREM]).source == "bundled:aws-us-east-1-2026-02"


def test_a_price_is_stale_when_older_than_the_settings_allow():
    settings = PriceSettings.model_validate({"node": NODE, "stale_after_days": 10})
    book = PriceBook(settings, (), None, 8)
    found = book.price_for(H100, 0)
    day = 24 * 3600 * 10**9
    began = 1_793_491_200 * 10**9
    assert not book.is_stale(found, began + 10 * day)
    assert book.is_stale(found, began + 10 * day + 10**9)
