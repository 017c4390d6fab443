"""The configured sources as the intake reads them."""

from pathlib import Path

from collectors.aws_client import client
from collectors.bill_files import Deliveries
from collectors.bill_shelf import SUFFIXES, Bucket, Directory, Shelf
from ledger.bill_intake import Source
from ledger.bill_settings import BillSettings, BillSource
from ledger.charge_lines import Reading


def sources_of(settings: BillSettings) -> list[Source]:
    """One for each that is configured; made once, since each remembers what it has read.

    Raises:
        Misconfigured: a bucket is configured, and boto3 is not installed.
    """
    rates = settings.rate_table()
    return [
        Source(
            deliveries=Deliveries(source.name, _shelf(source)),
            reading=Reading(rates, source.timestamps or None),
            complete=dict(source.complete),
            billing_account=source.billing_account,
        )
        for source in settings.sources
    ]


def _shelf(source: BillSource) -> Shelf:
    if not source.path.startswith("s3://"):
        return Directory(Path(source.path))
    bucket, _, prefix = source.path.removeprefix("s3://").partition("/")
    if prefix and not prefix.endswith(("/", *SUFFIXES)):
        prefix += "/"  # or a folder whose name goes on would be read as well
    made = client("s3", source.region, endpoint_url=source.endpoint_url or None)
    return Bucket(made, bucket, prefix, source.region)
