"""Checks of what prices are made from: the cloud's word on this machine, the bundled list, the configuration."""

from collections import Counter
from collections.abc import Iterator

from cli.doctor_finding import Finding, Machine
from cli.figures import duration
from collectors.errors import SourceError
from collectors.price_list import load
from ledger.price import Price
from ledger.price_book import PriceBook

_OWN_PRICE = "set prices.node, prices.models or prices.on_prem to what you pay (`wattledger config --markdown`)"


def check_cloud(machine: Machine) -> Iterator[Finding]:
    """Which cloud, and which instance."""
    if machine.config.prices.cloud_identity == "off":
        yield Finding("cloud", "ok", "nobody is asked: prices.cloud_identity is off")
    elif machine.identity_error:
        yield Finding("cloud", "warn", machine.identity_error, f"or {_OWN_PRICE}")
    elif machine.identity is None:
        yield Finding("cloud", "ok", "in no cloud that is known by its firmware")
    else:
        found = machine.identity
        kind = found.capacity_type or "not told whether spot"
        yield Finding("cloud", "ok", f"{found.provider} {found.instance_type} in {found.zone or found.region}, {kind}")


def check_prices(machine: Machine) -> Iterator[Finding]:
    """The price of each GPU, its source and its age."""
    try:
        rows = load()
        book = PriceBook(machine.config.prices, rows, machine.identity, len(machine.devices))
    except SourceError as error:
        yield Finding("prices", "fail", str(error), "put it right; until then nothing is priced")
        return
    if not machine.devices:
        newest = max(row.as_of for row in rows)
        yield Finding("prices", "ok", f"{len(rows)} bundled prices, the newest of {newest}; no GPU to price")
        return
    priced = Counter((device.name, book.price_for(device, place)) for place, device in enumerate(machine.devices))
    for (model, price), count in priced.items():
        yield _price(machine, book, f"{count} x {model}", price)


def _price(machine: Machine, book: PriceBook, what: str, price: Price | None) -> Finding:
    if price is None:
        return Finding("prices", "warn", f"{what}: nobody gives a price, so dollars stay absent", _OWN_PRICE)
    now_ns = machine.clock.wall_ns()
    told = (
        f"{what}: ${price.usd_per_gpu_hour:.4f} a GPU-hour ({price.capacity_type}) by {price.source}, "
        f"as of {price.as_of} ({duration(price.age_seconds(now_ns))} old)"
    )
    if price.estimate:
        return Finding("prices", "warn", f"{told}; an estimate: {price.note}", _OWN_PRICE)
    if book.is_stale(price, now_ns):
        return Finding("prices", "warn", f"{told}; stale", "give a newer one by configuration, or upgrade wattledger")
    return Finding("prices", "ok", told)
