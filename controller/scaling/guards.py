"""The guards: each looks at one thing for which a workload must not be put down now, and says it in figures.

Pure: all that a guard looks at is in what it is asked. Only downs are asked about; what comes back is never held up
here. A guard that does not know refuses.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from controller.scaling.kinds.notebook import losses_now
from controller.scaling.model import (
    Activity,
    DownOptions,
    NodeSeen,
    PodSeen,
    Queue,
    Ref,
    Refusal,
    Wish,
    Workload,
)
from controller.scaling.policy_annotations import ALLOW_STATE_LOSS, EXCLUDE_UNTIL
from controller.scaling.protected import why_protected

MOST_AGE_SECONDS = 600.0
"""Figures of GPUs older than this tell nothing of now."""
_LEAST_AGE_SECONDS = 60.0
_SLACK_SECONDS = 60.0
"""A stretch that is longer than was asked for by this much is said to be."""


@dataclass(frozen=True, slots=True)
class GuardAsk:
    """All that guards look at."""

    workload: Workload
    wish: Wish
    now: datetime
    activity: Activity | None = None
    """``None``: of a pod that holds GPUs nothing is known."""
    queue: Queue | None = None
    serves: bool = False
    """Whether one of its pods is known to serve; a queue that is not known is then no empty one."""
    telemetry_known: bool = True
    """Whether any agent was heard lately."""
    telemetry_gap: str = ""
    """Of which pod nothing is known, where ``activity`` is ``None``."""
    telemetry_silent: str = ""
    """Which of its nodes gave no figures when it was asked just before, and why."""
    queue_gap: str = ""
    """Of which pod no queue is known, and why."""
    gpu_pods: Mapping[str, Sequence[PodSeen]] = field(default_factory=dict[str, Sequence[PodSeen]])
    """Node to the GPU pods on it that will stay, and those of this workload; see :func:`pods_that_stay`."""
    nodes: Mapping[str, NodeSeen] = field(default_factory=dict[str, NodeSeen])
    scarce: Collection[str] = ()
    """Instance types that were seen out of capacity."""
    told_at: datetime | None = None
    """When the owner was told of this down; ``None``: not yet."""
    snoozed_until: datetime | None = None
    """Until when the owner asked for it to stay up."""
    own_namespace: str = ""
    protected_namespaces: Collection[str] = ()
    """Further ones, or shell patterns of them."""

    @property
    def options(self) -> DownOptions:
        """The policy's."""
        return self.wish.options

    @property
    def minutes(self) -> int:
        """For so long its GPUs must not have worked."""
        return max(1, self.options.idle_minutes)


Guard = Callable[[GuardAsk], str]
"""Why a down is refused; empty: it is not."""


def refusals(ask: GuardAsk) -> tuple[Refusal, ...]:
    """Every reason for which this down must not happen now, in the order of :data:`GUARDS`.

    None for any other wish: what comes back waits for no guard.
    """
    if ask.wish.wished != "down":
        return ()
    said = ((name, guard(ask)) for name, guard in GUARDS.items())
    return tuple(Refusal(name, why) for name, why in said if why)


def not_applicable(ask: GuardAsk) -> tuple[str, ...]:
    """Guards that have nothing to look at of this workload: they say neither yes nor no."""
    without = {
        "telemetry": not ask.workload.gpus and ask.workload.subject.scales is None,
        "activity": not ask.workload.gpus,
        "queue": ask.queue is None and not ask.serves,
        "last_on_node": not ask.workload.gpus,
        "owner_told": not ask.options.tell_owner_minutes,
    }
    return tuple(name for name in GUARDS if without.get(name, False))


def pods_that_stay(pods: Iterable[PodSeen], down: Collection[Ref] = ()) -> dict[str, list[PodSeen]]:
    """Node to its GPU pods, for :attr:`GuardAsk.gpu_pods`.

    Args:
        pods: all that are seen.
        down: workloads that are put down already, or by this same run before: their pods keep no node.
    """
    staying: dict[str, list[PodSeen]] = {}
    for pod in pods:
        if pod.gpus and pod.node and pod.phase not in {"Succeeded", "Failed"} and pod.workload not in down:
            staying.setdefault(pod.node, []).append(pod)
    return staying


def _protected(ask: GuardAsk) -> str:
    why = why_protected(ask.workload.subject, ask.own_namespace, ask.protected_namespaces)
    return f"it is never scaled, {why}; leave it out of the policy" if why else ""


def _deleting(ask: GuardAsk) -> str:
    return "it is being deleted; nothing is left to do" if ask.workload.subject.deleting else ""


def _finished(ask: GuardAsk) -> str:
    return "it is over; nothing is left to scale" if ask.workload.subject.finished else ""


def _young(ask: GuardAsk) -> str:
    created, grace = ask.workload.subject.created, ask.options.grace_seconds
    age = (ask.now - created).total_seconds()
    if age >= grace:
        return ""
    return (
        f"it was made {_span(max(0, age))} ago, at {_moment(created)}, and is left alone for {_span(grace)}; "
        "grace_minutes of its policy is how long"
    )


def _rollout(ask: GuardAsk) -> str:
    for seen in (ask.workload.subject, ask.workload.lever):
        if seen.readiness.rolling:
            ready = seen.readiness
            return (
                f"{seen.ref} is part of a rollout, or its status is older than its spec: {ready.ready} of "
                f"{ready.wanted} pods are ready; it goes down when the rollout is through, or is undone"
            )
    return ""


def _telemetry(ask: GuardAsk) -> str:
    if why := _hidden(ask.workload):
        return why
    if not ask.workload.gpus:
        return ""
    if ask.activity is None:
        whole = "" if ask.telemetry_known else ", nor of any other node"
        what = ask.telemetry_gap or "its pods"
        return (
            f"nothing is known of the GPUs of {what}{whole}, and the last {ask.minutes} minutes are to be known; see "
            "that the agent of that node answers"
        )
    return _stale(ask, ask.activity) or _unseen(ask, ask.activity)


def _hidden(workload: Workload) -> str:
    subject = workload.subject
    if workload.hides_pods:
        return (
            f"{subject.readiness.ready} of its pods are Ready by its status, and none that asks for GPUs is seen, so "
            "nothing is known of these; see that the controller may see pods, and that owners lead from them to it"
        )
    if subject.scales is None:
        return ""
    kind, name = subject.scales
    return (
        f"it scales {kind} {subject.ref.namespace}/{name}, which is not seen, so nothing is known of its GPUs; give "
        "the controller the right to see it, or leave it out of the policy if it is of no kind that can be scaled"
    )


def _stale(ask: GuardAsk, found: Activity) -> str:
    most = min(MOST_AGE_SECONDS, max(_LEAST_AGE_SECONDS, ask.minutes * 20.0))
    if found.age_seconds > most:
        return (
            f"the newest figures of its GPUs are {_span(found.age_seconds)} old, at most {_span(most)} are allowed; "
            "see that the agents of its nodes answer and their clocks are right"
        )
    if ask.telemetry_silent:
        return (
            f"it was to go down, but its GPUs could not be looked at once more, {ask.telemetry_silent}; the figures at "
            f"hand are {_span(found.age_seconds)} old; see that the agent of that node answers"
        )
    return ""


def _unseen(ask: GuardAsk, found: Activity) -> str:
    if found.covered_seconds < ask.minutes * 60:
        return (
            f"the figures of its GPUs go back {_span(found.covered_seconds)}, and the last {ask.minutes} minutes are "
            "to be known; wait, or lower the policy's idle_minutes"
        )
    known, threshold = found.active_ratio, ask.options.idle_activity_ratio
    if known <= threshold < known + found.unknown_ratio:
        return (
            f"for {_percent(found.unknown_ratio)} of the last {ask.minutes} minutes it is not known whether its GPUs "
            f"worked, beside {_percent(known)} in which they did; {_percent(threshold)} are allowed in all"
        )
    return ""


def _activity(ask: GuardAsk) -> str:
    found, threshold = ask.activity, ask.options.idle_activity_ratio
    if not ask.workload.gpus or found is None or found.active_ratio <= threshold:
        return ""
    longer = found.covered_seconds > ask.minutes * 60 + _SLACK_SECONDS
    at_most = f"at most, told over {_span(found.covered_seconds)}, " if longer else ""
    return (
        f"its busiest GPU worked {at_most}{_percent(found.active_ratio)} of the last {ask.minutes} minutes, "
        f"{_percent(threshold)} are allowed (figures {_span(found.age_seconds)} old); it goes down once idle, or "
        "raise the policy's idle_activity_ratio"
    )


def _queue(ask: GuardAsk) -> str:
    if ask.queue is None:
        if not ask.serves:
            return ""
        what = ask.queue_gap or "its engines do not say"
        return f"it serves, and how many requests it has is not known: {what}; mend that, or name its page rightly"
    if ask.queue.running <= 0 and ask.queue.waiting <= 0:
        return ""
    return (
        f"{ask.queue.running:g} requests run and {ask.queue.waiting:g} wait, 0 are allowed (told "
        f"{_span(ask.queue.age_seconds)} ago); it goes down once its queue is empty"
    )


def _state_loss(ask: GuardAsk) -> str:
    seen = (ask.workload.subject, ask.workload.lever)
    losses = tuple(dict.fromkeys(loss for each in seen for loss in losses_now(each, ask.now)))
    if not losses or ask.options.allow_state_loss:
        return ""
    return (
        f'state would be lost: {"; ".join(losses)}; the annotation {ALLOW_STATE_LOSS}: "true" on the '
        "workload itself allows it"
    )


def _last_on_node(ask: GuardAsk) -> str:
    allowed = ask.options.may_empty_node
    if allowed or not ask.workload.gpus:
        return ""
    own = {pod.uid for pod in ask.workload.pods}
    going = _going(ask.workload, ask.wish)
    for node in sorted({pod.node for pod in ask.workload.pods if pod.gpus and pod.node}):
        pods = ask.gpu_pods.get(node, ())
        if any(pod.uid not in own for pod in pods) or len([pod for pod in pods if pod.uid in own]) > going:
            continue
        found = ask.nodes.get(node)
        instance_type = found.instance_type if found else ""
        if allowed is False:
            return (
                f"it is the last GPU workload on node {node}, and its policy says may_empty_node: false; it goes down "
                "once another runs there, or the policy says true"
            )
        if instance_type and instance_type in ask.scarce:
            return (
                f"it is the last GPU workload on node {node}, whose type {instance_type} was seen out of capacity: a "
                "node that is released may not come back; may_empty_node: true in the policy allows it"
            )
    return ""


def _going(workload: Workload, wish: Wish) -> int:
    """How many of its GPU pods a down takes, at most."""
    pods = len([pod for pod in workload.pods if pod.gpus])
    return pods - (0 if wish.size.is_zero else wish.size.of(pods))


def _owner_told(ask: GuardAsk) -> str:
    if ask.snoozed_until is not None and ask.now < ask.snoozed_until:
        return f"its owner asked for it to stay up until {_moment(ask.snoozed_until)}"
    minutes = ask.options.tell_owner_minutes
    if not minutes:
        return ""
    if ask.told_at is None:
        return f"its owner is told {minutes} minutes before, and was not told yet; tell_owner_minutes: 0 tells nobody"
    then = ask.told_at + timedelta(minutes=minutes)
    if ask.now >= then:
        return ""
    return (
        f"its owner was told at {_moment(ask.told_at)} and has {minutes} minutes: it goes down at {_moment(then)}, "
        f"unless the annotation {EXCLUDE_UNTIL} keeps it up"
    )


GUARDS: Mapping[str, Guard] = MappingProxyType(
    {
        "protected": _protected,
        "deleting": _deleting,
        "finished": _finished,
        "young": _young,
        "rollout": _rollout,
        "telemetry": _telemetry,
        "activity": _activity,
        "queue": _queue,
        "state_loss": _state_loss,
        "last_on_node": _last_on_node,
        "owner_told": _owner_told,
    }
)
"""Name, as in docs/guides/guards, to the guard; what never changes is asked first."""


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z"


def _span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:  # noqa: PLR2004  (two minutes)
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004  (two hours)


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.1f} %"
