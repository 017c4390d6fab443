"""The columns of the table ``audit``."""

import polars as pl
from polars.datatypes import DataTypeClass

_TIME = pl.Datetime("us", "UTC")

AUDIT_COLUMNS: dict[str, pl.DataType | DataTypeClass] = {
    "day": pl.Date,  # UTC day of at_utc
    "at_utc": _TIME,
    "id": pl.String,  # of one action: its intent and its results share it
    "phase": pl.String,  # intent or result
    "actor": pl.String,  # who acts: this controller, or whom it saw act
    "action": pl.String,  # down, raise, restore, finish, give_way, contested, broken, tell_owner ...
    "cluster": pl.String,
    "kind": pl.String,
    "namespace": pl.String,
    "name": pl.String,
    "uid": pl.String,
    "through": pl.String,  # kind and name of what was written for it, such as its autoscaler; empty: itself
    "policy": pl.String,
    "window": _TIME,  # when the window began that the action is of; null: of none
    "until": _TIME,  # when it ends; null: not known
    "before": pl.String,  # JSON of the levers as they were found; empty: not known
    "after": pl.String,  # as they are to be, or were left
    "dry_run": pl.Boolean,  # nothing was written to the cluster
    "result": pl.String,  # done, conflict, gone, forbidden, refused or unknown; empty for an intent
    "reason": pl.String,  # for people; of a refusal it begins with the guard's name
    "gpus": pl.Int32,  # that the workload's pods held; null: not known
    "priority": pl.Int32,
}
