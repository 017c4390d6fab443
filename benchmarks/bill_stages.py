"""The parts of ``benchmarks.bills``, each run in a process of its own; prints what it measured as JSON."""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from benchmarks.bill_world import KINDS, lines_of, node_hours
from collectors.bill_file import open_bill
from collectors.bill_files import Deliveries
from collectors.bill_shelf import Directory
from ledger.bill_intake import BillIntake, Source
from ledger.charge_lines import Reading
from ledger.charges import stage
from ledger.fx import Rates
from ledger.store import Store
from ledger.tables import CHARGES

STEP = 500_000
NODE_HOURS = "node_hours.parquet"

_SQL = """
COPY (
    SELECT bill.*, node_hours.node
    FROM (
        SELECT
            BillingAccountId, SubAccountId, ProviderName, RegionId, AvailabilityZone, ServiceName, ServiceCategory,
            SkuPriceId, ResourceId, ChargeCategory, ChargeClass, PricingCategory, CommitmentDiscountId,
            ChargeDescription, PricingQuantity, PricingUnit, BillingCurrency, Tags,
            strptime(BillingPeriodStart, '%Y-%m-%dT%H:%M:%SZ') AS billing_start,
            strptime(ChargePeriodStart, '%Y-%m-%dT%H:%M:%SZ') AS period_start,
            strptime(ChargePeriodEnd, '%Y-%m-%dT%H:%M:%SZ') AS period_end,
            regexp_extract(ResourceId, '^(i-[0-9a-z]+)$', 1) AS instance_id,
            regexp_extract(ChargeDescription, '([a-z0-9-]+\\.[a-z0-9]+) Instance', 1) AS instance_type,
            ListCost::DECIMAL(38, 18) AS list_usd,
            BilledCost::DECIMAL(38, 18) AS billed_usd,
            EffectiveCost::DECIMAL(38, 18) AS effective_usd
        FROM {source}
    ) AS bill
    LEFT JOIN read_parquet('{hours}') AS node_hours
        ON node_hours.instance_id = bill.instance_id AND node_hours.hour_utc = bill.period_start
) TO '{target}' (FORMAT parquet)
"""
_SUMS = """
SELECT
    (SELECT count(*) FROM read_parquet('{target}')),
    (SELECT count(*) FROM read_parquet('{target}') WHERE node IS NOT NULL),
    (SELECT count(*) FROM (SELECT DISTINCT node, period_start FROM read_parquet('{target}') WHERE node IS NOT NULL)),
    (SELECT sum(round(effective_usd * 1000000000)) FROM read_parquet('{target}') WHERE node IS NOT NULL)
"""


def generate(root: Path, form: str, lines: int) -> dict[str, object]:
    """The files of a bill of so many lines, and the node-hours."""
    folder = root / "bills"
    folder.mkdir(parents=True)
    node_hours().write_parquet(root / NODE_HOURS)
    parts = range(0, lines, STEP)
    if form == "csv":
        with (folder / "focus.csv").open("wb") as file:
            for first in parts:
                lines_of(first, min(first + STEP, lines)).collect().write_csv(file, include_header=first == 0)
    else:
        frames = pl.concat([lines_of(first, min(first + STEP, lines)) for first in parts])
        frames.sink_parquet(folder / "focus.parquet")
    return {"bytes": sum(path.stat().st_size for path in folder.iterdir())}


def ours(root: Path, form: str) -> dict[str, object]:
    """Taken in and booked as the controller does it, then summed by node-hour."""
    del form
    store = Store(str(root / f"ledger-{time.monotonic_ns()}"))
    intake = BillIntake(store, root / "scratch", lambda: datetime.now(UTC))
    started, cpu_started = time.perf_counter(), time.process_time()
    taken = intake.take([Source(Deliveries("bench", Directory(root / "bills")), Reading(Rates({})))])
    booked, cpu_booked = time.perf_counter(), time.process_time()
    if taken.refused or taken.unavailable:
        raise SystemExit(f"{taken.refused} {taken.unavailable}")
    hours = pl.scan_parquet(root / NODE_HOURS)
    charges = store.scan(CHARGES).filter(pl.col("category") != "rounding")
    sums = (
        charges.filter(pl.col("instance_id") != "")
        .with_columns(hour_utc=pl.col("period_start").dt.truncate("1h"))
        .join(hours, on=["instance_id", "hour_utc"])
        .group_by("node", "hour_utc")
        .agg(nano_usd=pl.col("effective_nano_usd").cast(pl.Int128).sum().cast(pl.Int64), lines=pl.len())
        .collect(engine="streaming")
    )
    sums.write_parquet(root / "node_hour_sums.parquet")
    matched, cpu_matched = time.perf_counter(), time.process_time()
    return {
        "parts": {"read, checked and booked": booked - started, "matched": matched - booked},
        "seconds": matched - started,
        "cpu_parts": {"read, checked and booked": cpu_booked - cpu_started, "matched": cpu_matched - cpu_booked},
        "cpu_seconds": cpu_matched - cpu_started,
        "threads": pl.thread_pool_size(),
        "lines": charges.select(pl.len()).collect().item(),
        "matched": sums["lines"].sum(),
        "node_hours": sums.height,
        "nano_usd": sums["nano_usd"].sum(),
    }


def read(root: Path, form: str) -> dict[str, object]:
    """Read, checked and staged alone: what that holds in memory."""
    del form
    with tempfile.TemporaryDirectory(dir=root) as folder:
        files = [open_bill(path, path.name) for path in (root / "bills").iterdir()]
        started = time.perf_counter()
        staged = stage(files, Reading(Rates({})), Path(folder))
        staged.rows(dict.fromkeys(staged.months, "bill"), coded=True).sink_parquet(root / "staged.parquet")
        return {"seconds": time.perf_counter() - started}


def duckdb(root: Path, form: str) -> dict[str, object]:
    """The same join, copied to Parquet."""
    import duckdb as peer  # noqa: PLC0415  (ours must not have it in its memory)

    files, target = root / "bills", root / "duckdb.parquet"
    reading = (
        "read_csv('{}/*.csv', all_varchar=true, nullstr=['NULL', ''])" if form == "csv" else "read_parquet('{}/*')"
    )
    started, cpu_started = time.perf_counter(), time.process_time()
    with peer.connect(config={"threads": pl.thread_pool_size()}) as connection:
        connection.execute(_SQL.format(source=reading.format(files), hours=root / NODE_HOURS, target=target))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        row = connection.execute(_SUMS.format(target=target)).fetchall()[0]
    told = dict(zip(("lines", "matched", "node_hours", "nano_usd"), map(int, row), strict=True))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, **told}


PARTS: dict[str, Callable[..., dict[str, object]]] = {"ours": ours, "read": read, "duckdb": duckdb}


def main() -> None:
    name, root, form, *more = sys.argv[1:]
    told = generate(Path(root), form, int(more[0])) if name == "generate" else PARTS[name](Path(root), form)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**told, "peak_mib": peak, "kinds": KINDS}))


if __name__ == "__main__":
    main()
