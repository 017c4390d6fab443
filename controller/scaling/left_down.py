"""What a former controller put down and nobody brings back, since schedules are not enabled any more."""

import logging

from collectors.clock import Clock
from collectors.errors import SourceError
from collectors.kube_api import KubeApi
from collectors.kube_json import JsonObject, strings
from controller.scaling.kinds.commands import DOWN
from controller.scaling.model import Ref
from controller.scaling.one_look import OneLook
from controller.scaling.queue_mark import MARK
from controller.scaling.record import RECORD
from controller.scaling.registry import KINDS

_log = logging.getLogger(__name__)


def is_marked(item: JsonObject) -> bool:
    """Whether an object may bear something of ours that is to be taken back."""
    annotations = strings(item, "metadata", "annotations")
    return RECORD in annotations or MARK in annotations or DOWN in strings(item, "metadata", "labels")


def tell_left_down(api: KubeApi, clock: Clock, namespace: str = "") -> tuple[Ref, ...]:
    """Look once and warn, with the command that brings everything back; what is down, or has bounds that were moved.

    A kind that may not be listed is passed over: who never enabled schedules gave no right to.
    """
    try:
        view = OneLook(api, KINDS, clock, namespace).objects(is_marked).view
    except SourceError as error:
        _log.info("whether schedules left anything down is not known: %s", error)
        return ()
    down = sorted(
        seen.ref
        for kind in KINDS
        for seen in view.objects(kind.name)
        if not seen.annotations.keys().isdisjoint((RECORD, MARK))
    )
    if down:
        _log.warning(
            "schedule.enabled is false, and %d objects are still down, or scaled by queue, from when it was true, "
            "such as %s: bring them back with `wattledger schedule restore --all`",
            len(down),
            down[0],
        )
    return tuple(down)
