from datetime import date

from cli.node_prices import NodePrices
from collectors.cloud_metadata import CloudIdentity
from collectors.readings import DeviceFacts
from ledger.price_settings import NodePrice, PriceSettings

DEVICES = [DeviceFacts(f"GPU-{n}", n, "NVIDIA H100 80GB HBM3") for n in range(3)]


def prices(**settings):
    return NodePrices(PriceSettings(**settings), lambda: DEVICES)


def test_the_gpus_of_a_node_add_up_to_its_price():
    node = prices(node=NodePrice(usd_per_hour="10", as_of=date(2026, 1, 1)))

    found = [node.of(device).nano_usd_per_gpu_hour for device in DEVICES]

    assert sum(found) == 10_000_000_000
    assert found == [3_333_333_334, 3_333_333_333, 3_333_333_333]


def test_a_price_is_asked_once_and_kept():
    node = prices()

    assert node.of(DEVICES[0]) is node.of(DEVICES[0])


def test_a_node_that_turns_out_to_be_an_instance_is_priced_as_one():
    node = prices()
    assert node.of(DEVICES[0]).estimate
    node.identify(
        CloudIdentity("aws", "i-0123456789abcdef0", "p5.48xlarge", "us-east-1", "us-east-1a", "on_demand", None)
    )

    assert not node.of(DEVICES[0]).estimate


def test_an_unknown_identity_changes_nothing():
    node = prices()
    before = node.of(DEVICES[0])
    node.identify(None)

    assert node.of(DEVICES[0]) is before


def test_a_model_that_nobody_sells_has_no_price():
    assert prices().noted(DeviceFacts("GPU-9", 9, "Unheard Of 9000")) is None
