"""What AWS asks in the scripted month: list and spot prices as they changed, and its answers at any moment."""

from datetime import timedelta
from fractions import Fraction

from tests.collectors.aws_server import product, shape, spot
from tests.integration.scripted_month import G5, NS, P5, REGION, SHAPES, ZONE, feb

DAY = timedelta(days=1)
CHANGE = feb(16)
ON_DEMAND = {P5: (("98.32", None),), G5: (("5.672", None), ("5.104000001", CHANGE))}
"""List prices of a whole instance, each until the next one's moment."""
SPOT = (
    ("2.1034", feb(1) - 2 * DAY),
    ("2.2517", feb(7, 18, 30)),
    ("1.9876", feb(8, 5, 10)),
    ("2.0101", feb(20)),
)


def list_price(instance, hour):
    """Nano-dollars an hour by list at the start of an hour; None: nobody has a price."""
    if instance.capacity == "spot":
        return _nano([usd for usd, since in SPOT if since <= hour][-1])
    known = [usd for usd, since in ON_DEMAND.get(instance.type, ()) if since is None or since <= hour]
    return _nano(known[-1]) if known else None


def _nano(usd):
    return int(Fraction(usd) * NS)


def offers(now):
    """What AWS answers at a moment: products, spot history, shapes."""
    products = {}
    for kind, prices in ON_DEMAND.items():
        usd, since = [each for each in prices if each[1] is None or each[1] <= now][-1]
        products[kind, REGION] = [product(usd, since=f"{since or feb(1) - 30 * DAY:%Y-%m-%dT%H:%M:%SZ}")]
    history = [spot(usd, f"{at:%Y-%m-%dT%H:%M:%SZ}", ZONE, G5) for usd, at in SPOT if at <= now]
    shapes = [
        shape(P5, *SHAPES[P5], 8, "H100", 81_559),
        shape(G5, *SHAPES[G5], 4, "A10G", 23_028),
    ]
    return products, history, shapes
