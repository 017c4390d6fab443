"""A ledger with a directory of bills beside it."""

from datetime import UTC, datetime

from collectors.bill_files import Deliveries
from collectors.bill_shelf import Directory
from ledger.bill_intake import BillIntake, Source
from ledger.charge_lines import Reading
from ledger.fx import Rates
from ledger.store import Store
from ledger.tables import BILLS, CHARGES
from tests.ledger.bill_rig import csv_of, folder

NANO = 10**9


class Books:
    """A ledger, a directory of bills, and the intake between them."""

    def __init__(self, root):
        self.root = root
        self.bills = folder(root / "bills")
        self.store = Store(str(root / "ledger"))
        self.now = datetime(2026, 11, 20, tzinfo=UTC)
        self.scratch = root / "scratch"
        self.shelf = Directory(self.bills)
        self.rates = {}
        self.complete = {}
        self.account = ""
        self.restart()

    def restart(self):
        self.intake = BillIntake(self.store, self.scratch, lambda: self.now)

    def put(self, name, *rows, **how):
        return csv_of(self.bills / name, *rows, **how)

    def take(self):
        reading = Reading(Rates(self.rates))
        return self.intake.take([Source(Deliveries("acme", self.shelf), reading, self.complete, self.account)])

    def charges(self):
        return self.store.scan(CHARGES).collect()

    def billed(self):
        return self.charges()["billed_nano_usd"].sum() / NANO

    def register(self):
        rows = self.store.scan(BILLS).sort("read_at", "state").collect()
        return rows.select("export", "state", "lines").rows()

    def changed(self, taken):
        return sorted(self.intake.changed(taken).rows())
