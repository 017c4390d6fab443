"""Draws the state of a node as tables for the terminal. Pure: state in, picture out."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.figures import (
    ABSENT,
    dollars,
    dollars_per_hour,
    duration,
    energy,
    gpu_time,
    or_absent,
    percent,
    size,
    watts,
)
from exporters.state import AccountSumState, ActivityState, DeviceState, HolderState, InstanceState, NodeState

_STALE_INTERVALS = 3
_SHOWN_HOLDERS = 4
_MODEL_COLUMNS, _HOLDER_COLUMNS = 16, 14
_GIB = 1 << 30


def picture(state: NodeState) -> RenderableType:
    """The whole screen."""
    return Group(*_head(state), _devices(state["devices"]), *_accounts(state["totals"]["accounts"]))


def lost(url: str, why: str) -> RenderableType:
    """What stands there when nobody answers: no figures, since none are current."""
    return Text(f"{url}: no figures. {why}", style="bold red")


def _head(state: NodeState) -> Iterator[RenderableType]:
    if state["simulated"]:
        yield Text(" SIMULATED: no figure here was measured ", style="black on yellow")
    totals = state["totals"]
    parts = [
        escape(state["node"]),
        f"driver {escape(state['driver_version'])}" if state["driver_version"] else "no driver",
        f"{len(state['devices'])} GPUs",
        or_absent(watts, totals["power_watts"]),
        or_absent(dollars_per_hour, totals["usd_per_hour"]),
        escape(state["now_utc"]),
    ]
    yield Text.from_markup("[bold]" + "[/]  ".join(parts[:1]) + "[/]  " + "  ".join(parts[1:]))
    yield from (Text(line, style="bold red") for line in _warnings(state))


def _warnings(state: NodeState) -> Iterator[str]:
    if state["message"]:
        yield state["message"]
    age = state["sweep_age_seconds"]
    if age is None:
        yield "No sweep has finished yet: there are no readings."
    elif age > _STALE_INTERVALS * state["interval_seconds"]:
        yield f"STALE: the last sweep ended {duration(age)} ago; these figures are not current."
    if state["interval_stretched"]:
        yield f"Over its CPU budget: sweeping every {state['interval_seconds']:g} s."
    for collector in state["collectors"]:
        if not collector["up"]:
            yield f"{collector['collector']}: {collector['message'] or 'not up'}"


def _devices(devices: Sequence[DeviceState]) -> RenderableType:
    if not devices:
        return Text("No GPUs.", style="yellow")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("GPU", justify="right", no_wrap=True)
    table.add_column("Model", overflow="ellipsis", no_wrap=True, max_width=_MODEL_COLUMNS)
    for heading in ("Busy", "SM", "Power", "Memory", "Temp", "Price"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Held by", overflow="fold", min_width=_HOLDER_COLUMNS)
    for device in devices:
        table.add_row(*_device(device))
        for instance in device["instances"]:
            table.add_row(*_instance(instance, device["holders"]))
    return table


def _device(device: DeviceState) -> list[str]:
    whole = [holder for holder in device["holders"] if holder["mig"] is None]
    limit = device["power_limit_watts"]
    drawn = device["power_watts"]
    power = ABSENT if drawn is None else f"{drawn:.0f}/{limit:.0f} W" if limit is not None else watts(drawn)
    return [
        str(device["index"]),
        escape(device["name"].removeprefix("Simulated ").removeprefix("NVIDIA ")),
        *_activity(device["activity"]),
        power,
        _memory(device["memory_used_bytes"], device["memory_total_bytes"]),
        or_absent(lambda celsius: f"{celsius:.0f} °C", device["temperature_celsius"]),
        ("≈" if device["price_estimate"] else "") + or_absent(dollars_per_hour, device["usd_per_hour"]),
        "\n".join([*_troubles(device), _holders(whole, bool(device["instances"]))]).strip(),
    ]


def _instance(instance: InstanceState, holders: Sequence[HolderState]) -> list[str]:
    own = [holder for holder in holders if holder["mig"] == instance["mig"]]
    memory = _memory(instance["memory_used_bytes"], instance["memory_total_bytes"])
    return ["", f"└ {escape(instance['profile'])}", *_activity(instance["activity"]), "", memory, "", "", _holders(own)]


def _troubles(device: DeviceState) -> Iterator[str]:
    if not device["healthy"]:
        message = escape(device["health_message"] or "does not answer")
        yield f"[bold red]{message}[/] (last reading {or_absent(duration, device['age_seconds'])} ago)"
    if device["flags"]:
        yield f"[yellow]cannot be true: {escape(', '.join(device['flags']))}[/]"


def _activity(activity: ActivityState) -> tuple[str, str]:
    return or_absent(percent, activity["duty_cycle"]), or_absent(percent, activity["sm"])


def _memory(used: int | None, total: int | None) -> str:
    if used is None:
        return ABSENT
    return size(used) if total is None else f"{used / _GIB:.1f}/{total / _GIB:.0f} GiB"


def _holders(holders: Sequence[HolderState], has_instances: bool = False) -> str:  # noqa: FBT001, FBT002  (private, one caller)
    if not holders:
        return "" if has_instances else "[dim]nobody[/]"
    shown = [_holder(holder) for holder in holders[:_SHOWN_HOLDERS]]
    more = len(holders) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _holder(holder: HolderState) -> str:
    share = f" {percent(holder['share_ratio'])}" if holder["share_ratio"] is not None else ""
    return f"{holder['kind']} {escape(holder['name'])}{share}"


def _accounts(accounts: Sequence[AccountSumState]) -> Iterator[RenderableType]:
    if not accounts:
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("Account")
    for heading in ("GPU time", "Energy", "List cost"):
        table.add_column(heading, justify="right")
    for row in accounts:
        joules, usd = or_absent(energy, row["joules"]), or_absent(dollars, row["usd"])
        table.add_row(row["account"], gpu_time(row["gpu_seconds"]), joules, usd)
    yield Text()
    yield table
