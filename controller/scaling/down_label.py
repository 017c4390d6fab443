"""A second witness of what was put down, for kinds whose annotations go back in time; their one lever is ``replicas``.

``kubectl rollout undo`` gives a Deployment the annotations of an older revision, and the Deployment's controller copies
them to each revision and never takes one away. So the record may go, or one of a former night may come in its place,
while the replicas stay where they were put. Labels stay. One names when the record was decided on, what was found and
what was put: a record of another moment is not believed, and where it is missing it is made again from the label.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from controller.scaling.kinds.commands import DOWN, LABELLED
from controller.scaling.model import Seen
from controller.scaling.record import RECORD, BrokenRecord, Record, read_record

_LABEL = re.compile(r"(?P<was>\d{1,9}|none)-(?P<put>\d{1,9}|none)-(?P<at>\d{1,15})")
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _BEGIN) // _MILLISECOND


def label_of(record: Record) -> str:
    """Such as ``3-0-1795464000000``: replicas as found, as put, and the moment in milliseconds since 1970."""
    was, put = (levers["replicas"] for levers in (record.was, record.put))
    return f"{'none' if was is None else was}-{'none' if put is None else put}-{_moment(record)}"


def believed(seen: Seen) -> Seen:
    """The object with the record that its label speaks of, and no other.

    A record without a label is that of a former revision. A record that cannot be read stands as it is: somebody
    edited it, and it is told.
    """
    written, label = seen.annotations.get(RECORD), seen.labels.get(DOWN)
    if seen.ref.kind not in LABELLED or written is label is None:
        return seen
    try:
        record = None if written is None else read_record(written, seen)
    except BrokenRecord:
        return seen
    if label is None:
        return replace(seen, annotations={key: seen.annotations[key] for key in seen.annotations if key != RECORD})
    said = _LABEL.fullmatch(label)
    if said is None or int(said["at"]) > _LAST:  # edited by hand: the record alone says what was
        return seen
    made = _remade(seen, said)
    # a size that changed in the same down has the moment of the first, and is another put; where that change was cut
    # before its replicas were written, the record of the first is right
    if record is not None and _moment(record) == _moment(made) and record.put in (made.put, seen.levers):
        return seen
    return replace(seen, annotations={**seen.annotations, RECORD: made.write()})


def is_remade(record: Record) -> bool:
    """Whether it tells no more than a label can."""
    return record.generation == 0


def _remade(seen: Seen, said: re.Match[str]) -> Record:
    was, put = ({"replicas": None if said[side] == "none" else int(said[side])} for side in ("was", "put"))
    # of the lowest generation: that nothing was written since cannot be told
    at = _BEGIN + int(said["at"]) * _MILLISECOND
    return Record(seen.ref.kind, was, put, generation=0, policy="", at=at, window=None)


def _moment(record: Record) -> int:
    return (record.at - _BEGIN) // _MILLISECOND
