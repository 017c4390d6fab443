"""The cap of a family: what passes it is folded into one series per device, account and method, sums unchanged.

A counter that Prometheus has seen must not fall, and nothing may be counted twice. So a series once shown stays shown
while it is there, and one once folded stays folded; only new ones compete for what room is left, the largest first.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from exporters.exposition import Labels
from exporters.metric import HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS

OTHER: Final = "__other__"
"""The holder of what was folded."""
OTHER_HOLDER: Final[Mapping[tuple[str, ...], Labels]] = {
    HOST_HOLDER_LABELS: ("", OTHER),
    KUBERNETES_HOLDER_LABELS: ("", OTHER, ""),
}
"""Holder label values of a folded series, by the names of the holder labels."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A family within its cap."""

    series: Mapping[Labels, int]
    """What to show: the series kept, and the folded ones under :data:`OTHER`."""
    hidden: AbstractSet[Labels]
    """The series that were folded."""
    holders: int
    """How many holders have a folded series."""


def fold(
    series: Mapping[Labels, int],
    cap: int,
    *,
    holder_labels: tuple[str, ...] = HOST_HOLDER_LABELS,
    before: Folded | None = None,
) -> Folded:
    """Keep at most ``cap`` series and fold the rest.

    Args:
        series: amounts in integers by label values, of which the last are the holder's. Not to be changed afterwards.
        cap: the most series of holders. What nobody holds, and the folded series, come on top: at most one each per
            combination of the other labels.
        holder_labels: the names of the holder labels.
        before: what the last call for this family gave, so that no series goes back and forth.

    Returns:
        Series whose sums over each combination of the labels before the holder's are those of ``series``, exactly.
    """
    hidden_before = before.hidden if before else frozenset[Labels]()
    if len(series) <= cap and not hidden_before:
        return Folded(series, frozenset(), 0)
    width = len(holder_labels)
    hidden = _hidden(series, cap, ("",) * width, before)
    kept = {labels: amount for labels, amount in series.items() if labels not in hidden}
    other = OTHER_HOLDER[holder_labels]
    for labels in hidden:
        target = labels[:-width] + other
        kept[target] = kept.get(target, 0) + series[labels]
    return Folded(kept, hidden, len({labels[-width:] for labels in hidden}))


def _hidden(series: Mapping[Labels, int], cap: int, nobody: Labels, before: Folded | None) -> AbstractSet[Labels]:
    shown_before: Mapping[Labels, int] = before.series if before else {}
    hidden_before = before.hidden if before else frozenset[Labels]()

    def rank(labels: Labels) -> tuple[bool, int, Labels]:
        return labels not in shown_before, -series[labels], labels

    hidden = {labels for labels in hidden_before if labels in series}
    held = [labels for labels in series if labels not in hidden and labels[-len(nobody) :] != nobody]
    if len(held) > cap:
        hidden.update(sorted(held, key=rank)[cap:])
    return hidden
