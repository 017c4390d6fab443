"""Where bills lie: a directory, or a bucket. Lists what is there and fetches it; decides nothing."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol, cast

from collectors.aws_client import Client, errors_of, pages
from collectors.errors import Unavailable

SUFFIXES = (".csv", ".gz", ".parquet", ".json")
"""Of what is looked at; all else beside the bills is left alone."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object, as it was when it was listed."""

    name: str
    """Path below the shelf, with slashes."""
    size: int
    mark: str
    """Changes with the content: sha256 of a file, ETag of an object."""
    modified: datetime


class Shelf(Protocol):
    """A place that bills are delivered to."""

    def listing(self) -> Sequence[Stored]:
        """All objects, by name.

        Raises:
            Unavailable: it cannot be listed now; the message has the remedy.
        """
        ...

    def fetch(self, stored: Stored, folder: Path) -> Path:
        """The object as a local file, below ``folder`` if it has to be copied.

        Raises:
            Unavailable: it cannot be read now, or is another one by now.
        """
        ...


@dataclass(slots=True)
class Directory:
    """A directory with all below it, or one file."""

    root: Path
    _marks: dict[tuple[str, int, int], str] = field(default_factory=dict[tuple[str, int, int], str])
    """sha256 by path, size and time of change, so that a file is read once."""

    def listing(self) -> Sequence[Stored]:
        """As :class:`Shelf`."""
        try:
            return sorted((self._stored(path) for path in self._paths()), key=lambda stored: stored.name)
        except OSError as error:
            raise Unavailable(f"bills in {self.root}: {error}; check bills.sources and who may read it") from error

    def fetch(self, stored: Stored, folder: Path) -> Path:  # noqa: ARG002  (nothing needs to be copied)
        """As :class:`Shelf`."""
        path = self._path(stored.name)
        try:
            if self._stored(path).mark == stored.mark:
                return path
        except OSError as error:
            raise Unavailable(f"bill {path}: {error}; it is read again") from error
        raise Unavailable(f"bill {path} is being written; it is read again")

    def _paths(self) -> Iterator[Path]:
        if self.root.is_file():
            return iter([self.root])
        if not self.root.is_dir():
            raise FileNotFoundError(f"there is no {self.root}")
        found = (path for path in self.root.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())
        return (path for path in found if not any(part.startswith(".") for part in path.relative_to(self.root).parts))

    def _path(self, name: str) -> Path:
        return self.root if self.root.is_file() else self.root / name

    def _stored(self, path: Path) -> Stored:
        facts = path.stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns)
        if key not in self._marks:
            with path.open("rb") as file:
                self._marks[key] = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.name if path == self.root else path.relative_to(self.root).as_posix()
        return Stored(name, facts.st_size, self._marks[key], datetime.fromtimestamp(facts.st_mtime, UTC))


class _S3(Client, Protocol):
    def get_object(self, **parameters: object) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix in an S3 bucket."""

    client: Client
    bucket: str
    prefix: str
    region: str

    def listing(self) -> Sequence[Stored]:
        """As :class:`Shelf`."""
        what = ("s3", self.region, f"s3:ListBucket on {self.bucket}")
        found = pages(self.client, "list_objects_v2", what, Bucket=self.bucket, Prefix=self.prefix)
        each = (entry for page in found for entry in page.get("Contents", ()))
        return sorted((_stored(entry) for entry in each if entry["Key"].endswith(SUFFIXES)), key=lambda s: s.name)

    def fetch(self, stored: Stored, folder: Path) -> Path:
        """As :class:`Shelf`."""
        target = folder / hashlib.sha256(stored.name.encode()).hexdigest()[:16]
        with errors_of("s3", self.region, f"s3:GetObject on {self.bucket}/{stored.name}"):
            answer = cast("_S3", self.client).get_object(Bucket=self.bucket, Key=stored.name, IfMatch=stored.mark)
            body = cast("IO[bytes]", answer["Body"])
            with body, target.open("wb") as file:
                shutil.copyfileobj(body, file, 1 << 20)
        if target.stat().st_size != stored.size:
            raise Unavailable(f"s3://{self.bucket}/{stored.name} came with another size than it has; it is read again")
        return target


def _stored(entry: dict[str, Any]) -> Stored:
    return Stored(entry["Key"], entry["Size"], entry["ETag"].strip('"'), entry["LastModified"])
