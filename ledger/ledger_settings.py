"""Settings of the ledger: where it is and how long it keeps what. Credentials are never among them."""

from collections.abc import Mapping
from typing import Annotated, Self

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator

Days = Annotated[int, Field(ge=1, le=3650)]


class LedgerSettings(BaseModel):
    """Where the books are kept, and for how long in which detail."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    root: str = ""
    """An absolute directory, or `s3://bucket/prefix`. Empty: `ledger` in the data directory. Endpoint, region and
    credentials of a bucket come from the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` ...) or
    from a role."""
    roll_after_days: Days = 90
    """Hours become days this many days after the bill of their month was closed: until then it may be corrected."""
    history_days: Days = 35
    """For how many days a former version of a table can be read, and a report made again from it."""

    @field_validator("root")
    @classmethod
    def _is_a_place(cls, root: str) -> str:
        bucket = root.removeprefix("s3://").partition("/")[0] if root.startswith("s3://") else ""
        if root and not root.startswith("/") and not bucket and not _bears_credentials(root):
            raise ValueError("allowed: an absolute directory, or s3://bucket/prefix")
        return root.rstrip("/") or root

    @model_validator(mode="after")  # of the whole section, whose value is not shown
    def _bears_no_credentials(self) -> Self:
        if _bears_credentials(self.root):
            raise ValueError("root bears credentials: take them out, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return self


def ledger_root(settings: LedgerSettings, data_dir: str) -> str:
    """Where the ledger is: as configured, else under the data directory."""
    return settings.root or f"{data_dir.rstrip('/')}/ledger"


def storage_options(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the environment speaks of the bucket: every ``AWS_`` variable that is set."""
    return {name: value for name, value in environment.items() if name.startswith("AWS_") and value}


def _bears_credentials(root: str) -> bool:
    return "@" in root.partition("://")[2]
