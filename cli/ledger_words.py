"""An explanation in words and sums: each line can be checked with a pocket calculator."""

from collections.abc import Iterator

from collectors.clock import NS_PER_SECOND
from ledger.carbon import MJ_PER_KWH
from ledger.explanation import ChargeShare, Explanation, LineGroup, NodeHour, PriceUsed, RowExplained
from ledger.tables import NANO_PER_USD

_UG_PER_G = 1_000_000


def lines_of(told: Explanation) -> Iterator[str]:
    """The lines."""
    wanted = ", ".join(f"{name} {value}" for name, value in told.selected.items()) or "all rows"
    yield f"{told.hour:%Y-%m-%dT%H:%MZ}, {wanted}"
    for row in told.rows:
        yield ""
        yield from _row(row)
    yield ""
    if told.left_out:
        yield f"{told.left_out} more rows are not told (--rows)"
    yield f"together     list {_usd(told.list_nano_usd)}, by the bill {_usd(told.effective_nano_usd)}"
    if told.estimate_nano_usd:
        yield f"estimate     {_usd(told.estimate_nano_usd)} of it is list price, since no bill has come for it"
    if told.pending:
        yield "pending      the cost of this hour is being made again"
    read = ", ".join(f"{name} {version}" for name, version in told.versions.items() if version is not None)
    yield f"versions     {read}"


def _row(row: RowExplained) -> Iterator[str]:
    device = " ".join(part for part in (row.gpu_uuid, row.mig, f"({row.gpu_model})" if row.gpu_model else "") if part)
    yield f"{row.holder or 'nobody'}, {row.account}{f', {device}' if device else ''}"
    facts = ", ".join(
        f"{name} {value}" for name in ("namespace", "workload", "team", "run") if (value := getattr(row, name))
    )
    if facts:
        yield f"  who        {facts}"
    if row.node_hour is not None:
        yield f"  node       {_node(row.node_hour)}"
    if row.gpu_ns is not None:
        energy = (
            "energy not known"
            if row.energy_mj is None
            else f"{row.energy_mj / MJ_PER_KWH:.6f} kWh ({row.energy_method})"
        )
        yield f"  time       {_seconds(row.gpu_ns)} s of one GPU, method {row.method}; {energy}"
        yield from _price(row)
    for charge in row.charges:
        yield from _charge(row, charge)
    if row.effective_nano_usd is None:
        yield "  bill       none has come"
    if row.carbon_ug is not None:
        yield f"  carbon     {row.carbon_ug / _UG_PER_G:.3f} g: {row.intensity}"


def _node(hour: NodeHour) -> str:
    what = " ".join(
        part for part in (hour.instance_id, hour.instance_type, hour.capacity_type, hour.zone or hour.region) if part
    )
    return (
        f"{hour.node}{f' ({what})' if what else ''}, {hour.gpu_count} GPUs, existed {_seconds(hour.existed_ns)} s"
        f" by {hour.evidence}, {hour.state}, {hour.source}"
    )


def _price(row: RowExplained) -> Iterator[str]:
    price = row.price
    if price is None:
        yield "  price      none is known"
        return
    yield f"  price      {_usd(price.nano_usd_per_hour)}/h of {_whole(price)}: {_source(price)}"
    if row.node_hour is None or row.gpu_ns is None:
        return
    host = f" less {_usd(row.host_nano_usd)} of the host" if row.host_nano_usd else ""
    if price.of == "node":
        time = f"{_seconds(row.node_hour.existed_ns)} s / 3600 s"
    else:
        time = f"{_seconds(row.priced_gpu_ns)} s of GPUs / 3600 s"
    yield f"  list       {_usd(price.nano_usd_per_hour)} x {time}{host} = {_usd(row.priced_nano_usd)}"
    yield (f"             x {_seconds(row.gpu_ns)} s of {_seconds(row.priced_gpu_ns)} s = {_usd(row.list_nano_usd)}")


def _whole(price: PriceUsed) -> str:
    return "the node's GPUs" if price.of == "node" else "each GPU"


def _source(price: PriceUsed) -> str:
    dated = f" as of {price.as_of}" if price.as_of else ""
    estimate = ", an estimate" if price.estimate else ""
    note = f" ({price.note})" if price.note else ""
    return f"{price.source}{dated}{estimate}{note}; id {price.price_id}"


def _charge(row: RowExplained, charge: ChargeShare) -> Iterator[str]:
    where = "node-hour" if row.node_hour else "hour"
    whole = _usd(charge.node_hour_nano_usd)
    account = charge.billing_account or "none"
    yield f"  bill       {charge.charge} of account {account}, {charge.stack_layer}: {whole} for the {where}"
    for group in charge.lines:
        yield from _lines(group)
    if row.weights and row.gpu_ns is not None:
        unit = "list cost" if row.weighed_by == "list_nano_usd" else "GPU time"
        weight, weights = (
            _usd(each) if unit == "list cost" else f"{_seconds(each)} s" for each in (row.weight, row.weights)
        )
        yield f"             x {weight} of {weights} {unit} = {_usd(charge.effective_nano_usd)}"


def _lines(group: LineGroup) -> Iterator[str]:
    more = f" and {group.lines - len(group.ids)} more" if group.lines > len(group.ids) else ""
    span = f"{group.period_start:%Y-%m-%dT%H:%MZ} to {group.period_end:%Y-%m-%dT%H:%MZ}"
    what = ", ".join(part for part in (group.service, group.sku, group.pricing) if part)
    yield f"             {', '.join(group.ids)}{more}: {_usd(group.effective_nano_usd)}, {what}, {span}"
    if not group.weights_ns:
        yield "               no moment of that period was seen: it stays in its first hour"
    elif group.weight_ns != group.weights_ns:
        yield (
            f"               x {_seconds(group.weight_ns)} s of {_seconds(group.weights_ns)} s"
            f" = {_usd(group.part_nano_usd)}"
        )


def _seconds(ns: int) -> str:
    whole, rest = divmod(ns, NS_PER_SECOND)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")


def _usd(nano: int | None) -> str:
    """To the last nano-dollar; cents at least."""
    if nano is None:
        return "not known"
    whole, rest = divmod(abs(nano), NANO_PER_USD)
    digits = f"{rest:09}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}${whole}.{digits}"
