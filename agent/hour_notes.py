"""What the journal says of holders and node beside their figures: facts as they were last seen in each hour.

Owns the look at new and known holders; must never touch an amount. A fact that changes replaces the former one in the
open hour, so an edit of a label splits no row. What is not known any more leaves the last that was.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import cast

from agent.books import Books
from agent.entry import Entry, NoteRow
from agent.installation import HolderFacts
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder, HolderKind
from collectors.host import HostReading
from ledger.hours import HolderKey, HolderNote, HourBook, NodeNote

_log = logging.getLogger(__name__)

REFRESH_NS = 15 * NS_PER_SECOND
"""A changed label stands in the open hour after so long at most."""
MOST_HOLDERS = 2048
"""Most holders of one hour that are noted."""
_MOST_CHARS = 253
_POD_PARTS = 3

Sizes = tuple[int, int, int]


@dataclass(slots=True)
class HourNotes:
    """Keeps the notes of the open hours in step with what is known."""

    facts: Callable[[Holder], HolderFacts | None]
    """Who a holder is beyond its name."""
    node: Callable[[], NodeNote]
    """What the node is, as far as the machine itself does not tell."""
    _looked: dict[int, Sizes] = field(default_factory=dict[int, Sizes])
    """How many rows each open hour had when its holders were last looked at."""
    _due_ns: int = 0
    _full: set[int] = field(default_factory=set[int])

    def learnt(self, books: Books, current_s: int, now_ns: int, host: HostReading | None) -> Entry | None:
        """What is not in the books' open hours yet; ``None`` where there is nothing new.

        Cheap where no row is new: what is known already is looked at again every :data:`REFRESH_NS`.

        Args:
            books: with all rows of the hours.
            current_s: the hour that is now.
            now_ns: monotonic time.
            host: the host as it was last read.
        """
        due = now_ns >= self._due_ns
        sizes = {hour_s: (len(book.rows), len(book.work), len(book.latency)) for hour_s, book in books.hours.items()}
        if not due and sizes == self._looked:
            return None
        self._due_ns = now_ns + REFRESH_NS if due else self._due_ns
        self._looked, self._full = sizes, self._full & sizes.keys()
        entry = Entry(now_ns)
        node = self._node(books, host)
        for hour_s, book in books.hours.items():
            current = hour_s == current_s
            entry.notes.extend(self._fresh(book, refresh=current and due))
            told = _kept(book.node_facts, node)
            if book.node_facts is None or (current and told != book.node_facts):
                entry.node_facts[hour_s] = told
        return entry if entry.notes or entry.node_facts else None

    def _node(self, books: Books, host: HostReading | None) -> NodeNote:
        return replace(
            self.node(),
            gpu_count=len(books.bases) or None,
            vcpus=None if host is None else host.cpu_count,
            memory_bytes=None if host is None else host.memory_total_bytes,
            booted_s=_booted_s(books),
        )

    def _fresh(self, book: HourBook, *, refresh: bool) -> Iterator[NoteRow]:
        room = MOST_HOLDERS - len(book.holders)
        for key in sorted(_holders(book)):
            known = book.holders.get(key)
            if known is not None and not refresh:
                continue
            note = note_of(key, self.facts(Holder(cast("HolderKind", key.holder_kind), key.holder)), known)
            if note is None or note == known:
                continue
            if known is None:
                room -= 1
                if room < 0:
                    self._tell_full(book.hour_s)
                    continue
            yield NoteRow(book.hour_s, key, note)

    def _tell_full(self, hour_s: int) -> None:
        if hour_s not in self._full:
            self._full.add(hour_s)
            _log.warning("more than %d holders in one hour: the journal names the others only", MOST_HOLDERS)


def note_of(key: HolderKey, facts: HolderFacts | None, known: HolderNote | None = None) -> HolderNote | None:
    """The note of a holder; ``None`` where nothing is known beyond its name.

    Args:
        key: the holder.
        facts: what is known now; ``None``: nothing, or nothing any more.
        known: the note so far.
    """
    if facts is None:
        return known or _by_name(key)
    kind, _, workload = facts.workload.partition("/")
    own = {name: _cut(value) for name, value in facts.dimensions.items()}
    note = replace(
        _by_name(key) or HolderNote(),
        workload_kind=_cut(kind if workload else ""),
        workload=_cut(workload or kind),
        pod_uid=_cut(facts.pod_uid),
        team=own.pop("team", ""),
        environment=own.pop("environment", ""),
        requested_devices=facts.requested_devices,
        dimensions=own,
    )
    if facts.run:
        note = replace(note, run=_cut(facts.run))
    if known is not None and note.requested_devices is None and note.pod_uid == known.pod_uid:
        note = replace(note, requested_devices=known.requested_devices)
    return note


def _by_name(key: HolderKey) -> HolderNote | None:
    parts = key.holder.split("/")
    if key.holder_kind == "pod" and len(parts) == _POD_PARTS:
        return HolderNote(namespace=parts[0], pod=parts[1], container=parts[2])
    if key.holder_kind == "slurm":
        return HolderNote(run=key.holder.partition(".")[0])
    return None


def _holders(book: HourBook) -> Collection[HolderKey]:
    cells: Iterable[tuple[str, str]] = ((key.cell.holder_kind, key.cell.holder) for key in book.rows)
    return {
        *(HolderKey(*holder) for holder in set(cells) if holder[1]),
        *(HolderKey(key.holder_kind, key.holder) for key in book.work),
        *(HolderKey(key.holder_kind, key.holder) for key in book.latency),
    }


def _booted_s(books: Books) -> int | None:
    """By the clock that counts from the boot; a simulated machine, whose clock counts from the epoch, has no boot."""
    offset_ns = books.segments[-1][1]
    return offset_ns // NS_PER_SECOND or None


def _kept(former: NodeNote | None, now: NodeNote) -> NodeNote:
    """What is known now, and of the rest what was known before: a cloud that does not answer changes no node."""
    if former is None:
        return now
    known = {name: value for name, value in asdict(now).items() if value not in {"", None}}
    return replace(former, **known)


def _cut(said: str) -> str:
    return said[:_MOST_CHARS]
