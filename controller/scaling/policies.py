"""What is wished of a workload now: from the clock, the configuration and annotations, and from nothing else.

The order in which is asked, each time the workload's own annotation before its namespace's:

1. Something that is not understood: nothing is done.
2. ``exclude``, ``exclude-until``: nothing is wished.
3. ``force``: up or down.
4. Windows.

After both, each time, the first policy of the configuration that concerns the workload.

What annotations do not say (size, grace, priority, ...) is taken from below, in the end from the first policy that
concerns the workload. So a restart changes nothing, and neither does a missed look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

from controller.scaling.annotation_values import read_moment
from controller.scaling.down_times import Answer, DownTimes, Timeline
from controller.scaling.label_selector import Term, fits, parse_selector
from controller.scaling.model import ZERO, DownOptions, NamespaceSeen, Ref, Seen, Size, Wish, Wished
from controller.scaling.policy_annotations import read_annotations
from controller.scaling.said import NOTHING_SAID, Said, Timed
from controller.scaling.schedule_settings import SchedulePolicy, ScheduleSettings
from controller.scaling.turns import first, turn
from controller.time_windows import known_zone, parse

_UNCONCERNED = "no policy concerns it"
_MOST_NAMESPACES = 20_000
_MOST_TURNS = 20_000
_DAY = timedelta(days=1)
_NO_ANSWER = Answer(None, None, None)


@dataclass(frozen=True, slots=True, eq=False)
class _Policy:
    """A policy of the configuration, read."""

    name: str
    settings: SchedulePolicy
    selector: tuple[Term, ...]
    kinds: frozenset[str]
    timed: Timed
    size: Size
    options: DownOptions
    exclude_until: datetime | None
    excluded: str = ""
    """The pattern by which it leaves a workload alone; empty: it does not."""
    excluding: tuple[tuple[str, "_Policy"], ...] = ()
    """Its patterns, each with the same policy as it stands to a workload that has it."""

    def concerns(self, subject: Seen, gpus: int) -> bool:
        """All but the namespace."""
        return (
            (gpus > 0 or not self.settings.gpu_only)
            and (not self.kinds or subject.ref.kind in self.kinds)
            and (not self.selector or fits(self.selector, subject.labels))
        )

    def towards(self, ref: Ref) -> "_Policy":
        """The policy as it stands to one workload that it concerns."""
        if not self.excluding:
            return self
        name = f"{ref.namespace}/{ref.name}"
        return next((policy for pattern, policy in self.excluding if fnmatchcase(name, pattern)), self)

    def exclusion(self, now: datetime) -> tuple[str, Answer] | None:
        """Why nothing is wished by it, and until when."""
        if self.excluded:
            return f"excluded ({self.excluded})", _NO_ANSWER
        if self.exclude_until is not None and now < self.exclude_until:
            return f"excluded until {self.exclude_until.isoformat()}", Answer(None, None, self.exclude_until)
        return None

    def answer(self, now: datetime, *, excludes: bool, forces: bool) -> Answer:
        """What it alone would wish, with its exclusions and its force or without."""
        if excludes and (exclusion := self.exclusion(now)) is not None:
            return exclusion[1]
        if forces and self.settings.force is not None:
            return Answer(self.settings.force == "down", None, None)
        return self.timed.timeline.at(now)


_Alike = tuple[_Policy, ...]
"""What workloads without annotations have in common whose wish is the same."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One workload at one moment."""

    subject: Seen
    own: Said
    above: Said
    """Of its namespace."""
    policies: tuple[_Policy, ...]
    """Those that concern it."""
    now: datetime

    @property
    def of_own(self) -> str:
        return f"annotation of {self.subject.ref}"

    @property
    def of_namespace(self) -> str:
        return f"annotation of {self.subject.ref.namespace}"

    @property
    def levels(self) -> tuple[tuple[str, Said], ...]:
        return (self.of_own, self.own), (self.of_namespace, self.above)

    @property
    def is_layered(self) -> bool:
        """Whether more than the windows of one schedule have a say."""
        return any(
            said.exclude is not None or said.exclude_until is not None or said.forces for _, said in self.levels
        ) or (bool(self.policies) and self.policies[0].exclude_until is not None)

    def edge(self, moment: datetime) -> datetime | None:
        """The first moment after one at which another answer may be given; ``None``: not within eight days."""
        timed = [self.policies[0].timed] if self.policies else []
        ends = [self.policies[0].exclude_until] if self.policies else []
        for _, said in self.levels:
            timed += [each for each in (said.times, said.exclude) if each is not None]
            timed += [force.timed for force in said.forces or ()]
            ends.append(said.exclude_until)
        turns = (each.timeline.at(moment).until for each in timed)
        return first([*turns, *(end for end in ends if end is not None and end > moment)])


class Policies:
    """All policies, read once; asked for each workload at each look."""

    def __init__(self, settings: ScheduleSettings) -> None:
        self.settings = settings
        self._policies = tuple(_read(policy, settings.timezone) for policy in settings.policies)
        self._of_namespace: dict[str, tuple[_Policy, ...]] = {}
        self._kinds = frozenset(settings.annotations.kinds)
        self._alike: tuple[datetime | None, dict[_Alike, Wish]] = (None, {})
        self._turns: dict[tuple[Said, Said, _Alike], tuple[datetime, datetime, datetime | None]] = {}
        """From when to when it holds what is known of when a wish turns."""

    def wish(self, subject: Seen, namespace: NamespaceSeen, gpus: int, now: datetime) -> Wish:
        """What is wished of a workload.

        Args:
            subject: the workload.
            namespace: that it is in.
            gpus: that its pods hold, or would.
            now: the time.
        """
        policies = tuple(each.towards(subject.ref) for each in self._in(namespace.name) if each.concerns(subject, gpus))
        own, above = self._said(subject, namespace)
        covered = above is not NOTHING_SAID and self._covers(subject, gpus)
        if own is NOTHING_SAID and not policies and not covered:
            return Wish("none", _UNCONCERNED, dry_run=self.settings.dry_run)
        if above is not NOTHING_SAID and not covered:
            above = _harmless(above, scaled=bool(policies))
        if own is not NOTHING_SAID or above is not NOTHING_SAID:
            return self._asked(_Case(subject, own, above, policies, now))
        if self._alike[0] != now:
            self._alike = (now, {})
        alike = self._alike[1]
        if policies not in alike:
            alike[policies] = self._asked(_Case(subject, own, above, policies, now))
        return alike[policies]

    def _asked(self, case: _Case) -> Wish:
        wish = self._at(case)
        if wish.wished == "unclear" or not case.is_layered:
            return wish
        key, now = (case.own, case.above, case.policies), case.now
        begin, end, until = self._turns.get(key, (now, now, None))
        if not begin <= now < end:
            until = turn(lambda moment: self._at(replace(case, now=moment)).wished, case.edge, now)
            if len(self._turns) >= _MOST_TURNS:
                self._turns.clear()
            self._turns[key] = now, first([case.edge(now), now + _DAY]) or now, until
        return replace(wish, until=until)

    def _at(self, case: _Case) -> Wish:
        return self._unclear(case) or self._excluded(case) or self._forced(case) or self._scheduled(case)

    def _said(self, subject: Seen, namespace: NamespaceSeen) -> tuple[Said, Said]:
        settings = self.settings.annotations
        if not settings.enabled:
            return NOTHING_SAID, NOTHING_SAID
        zone, theirs = self.settings.timezone, settings.downscaler
        above = read_annotations(namespace.annotations, zone, on_namespace=True, downscaler=theirs)
        return read_annotations(subject.annotations, above.timezone or zone, downscaler=theirs), above

    def _covers(self, subject: Seen, gpus: int) -> bool:
        """Whether windows on its namespace concern a workload."""
        return (gpus > 0 or not self.settings.annotations.gpu_only) and (
            not self._kinds or subject.ref.kind in self._kinds
        )

    def _in(self, namespace: str) -> tuple[_Policy, ...]:
        found = self._of_namespace.get(namespace)
        if found is None:
            if len(self._of_namespace) >= _MOST_NAMESPACES:
                self._of_namespace.clear()
            found = tuple(
                each
                for each in self._policies
                if _any(each.settings.namespaces, namespace) and not _any(each.settings.not_namespaces, namespace)
            )
            self._of_namespace[namespace] = found
        return found

    def _wish(self, case: _Case, wished: Wished, why: str, policy: str, answer: Answer = _NO_ANSWER) -> Wish:
        nearest = case.policies[0] if case.policies else None
        own, above = case.own, case.above
        options = nearest.options if nearest else DownOptions()
        grace = own.grace_seconds if own.grace_seconds is not None else above.grace_seconds
        if grace is not None or own.allow_state_loss:
            options = replace(
                options,
                grace_seconds=options.grace_seconds if grace is None else grace,
                allow_state_loss=bool(own.allow_state_loss),
            )
        priority = own.priority if own.priority is not None else above.priority
        dry_run = nearest.settings.dry_run if nearest else None
        return Wish(
            wished,
            why,
            policy,
            own.size or above.size or (nearest.size if nearest else ZERO),
            window=answer.began if wished == "down" else None,
            until=answer.until,
            priority=(nearest.settings.priority if nearest else 0) if priority is None else priority,
            dry_run=self.settings.dry_run if dry_run is None else dry_run,
            options=options,
            disagree=_lost(case),
        )

    def _unclear(self, case: _Case) -> Wish | None:
        for policy, said in case.levels:
            if said.unclear:
                return self._wish(case, "unclear", "; ".join(said.unclear), policy)
        return None

    def _excluded(self, case: _Case) -> Wish | None:
        for policy, said in case.levels:
            if said.exclude_until is not None and case.now < said.exclude_until:
                why = f"{policy}: excluded until {said.exclude_until.isoformat()}"
                return self._wish(case, "none", why, policy, Answer(None, None, said.exclude_until))
        for policy, said in case.levels:
            if said.exclude is not None:
                answer = said.exclude.timeline.at(case.now)
                if not answer.down:
                    return None
                why = f"{policy}: excluded ({said.exclude.wording})"
                return self._wish(case, "none", why, policy, answer)
        if case.policies and (exclusion := case.policies[0].exclusion(case.now)) is not None:
            return self._by_policy(case, "none", *exclusion)
        return None

    def _forced(self, case: _Case) -> Wish | None:
        for policy, said in case.levels:
            if said.forces is None:
                continue
            for force in said.forces:
                answer = force.timed.timeline.at(case.now)
                if answer.down:
                    return self._wish(
                        case, force.direction, f"{policy}: forced ({force.timed.wording})", policy, answer
                    )
            return None
        if case.policies and (way := case.policies[0].settings.force) is not None:
            return self._by_policy(case, way, f"forced ({way})", Answer(way == "down", None, None))
        return None

    def _by_policy(self, case: _Case, wished: Wished, why: str, answer: Answer) -> Wish:
        """What the first policy wishes before any windows are asked."""
        name = case.policies[0].name
        wish = self._wish(case, wished, f"{name}: {why}", name, answer)
        return _with_others(wish, answer, [each for each in _speakers(case) if each.name != name], case.now)

    def _scheduled(self, case: _Case) -> Wish:
        asked = _speakers(case)
        if not asked:
            return self._wish(case, "none", "nothing says when it is down", "")
        decides, *others = asked
        answer = decides.answer(case.now)
        wished: Wished = "none" if answer.down is None else "down" if answer.down else "up"
        wish = self._wish(case, wished, f"{decides.name}: {decides.wording}", decides.name, answer)
        return _with_others(wish, answer, others, case.now)


def most_minutes_of(settings: ScheduleSettings) -> int:
    """How far back any policy asks whether GPUs worked."""
    return max((DownOptions().idle_minutes, *(policy.idle_minutes for policy in settings.policies)))


def resolve(settings: ScheduleSettings, subject: Seen, namespace: NamespaceSeen, gpus: int, now: datetime) -> Wish:
    """What is wished of one workload; see :meth:`Policies.wish`, which is for many."""
    return Policies(settings).wish(subject, namespace, gpus, now)


def _read(policy: SchedulePolicy, default_zone: str) -> _Policy:
    read = _read_windows(policy, policy.timezone or default_zone)
    excluding = tuple((pattern, replace(read, excluded=pattern)) for pattern in policy.exclude)
    return replace(read, excluding=excluding) if excluding else read


def _read_windows(policy: SchedulePolicy, zone: str) -> _Policy:
    times = DownTimes(
        down=parse(policy.down, zone) if policy.down else None,
        up=parse(policy.up, zone) if policy.up else None,
        holidays=parse(",".join(policy.holidays), zone) if policy.holidays else None,
        kept_up=parse(",".join(policy.except_dates), zone) if policy.except_dates else None,
    )
    wording = f"down {policy.down}" if policy.down else f"up {policy.up}"
    if policy.holidays or policy.except_dates:
        wording += ", with its holidays and exceptions"
    to = policy.to
    return _Policy(
        name=policy.name,
        settings=policy,
        selector=parse_selector(policy.labels),
        kinds=frozenset(policy.kinds),
        timed=Timed(Timeline(times), wording),
        size=Size(to) if isinstance(to, int) else Size(percent=int(to.rstrip("%"))),
        options=DownOptions(
            grace_seconds=policy.grace_minutes * 60,
            idle_minutes=policy.idle_minutes,
            idle_activity_ratio=policy.idle_activity_ratio,
            may_empty_node=policy.may_empty_node,
            tell_owner_minutes=policy.tell_owner_minutes,
        ),
        exclude_until=read_moment(policy.exclude_until, known_zone(zone)) if policy.exclude_until else None,
    )


def _harmless(above: Said, *, scaled: bool) -> Said:
    """What a namespace says to a workload that its windows do not concern: nothing that would put it down."""
    forces = above.forces
    if forces is not None and not scaled:
        forces = tuple(force for force in forces if force.direction == "up")
    return replace(above, times=None, size=None, forces=forces)


class _Speaker(NamedTuple):
    """Whoever says when a workload is down."""

    name: str
    wording: str
    answer: Callable[[datetime], Answer]
    size: Size | None
    """That a policy would have."""


def _speakers(case: _Case) -> list[_Speaker]:
    """Who decides first. Of the topics that annotations speak of policies have no say."""
    levels = [(policy, said.times) for policy, said in case.levels]
    said = [_Speaker(policy, times.wording, times.timeline.at, None) for policy, times in levels if times is not None]
    excludes = all(said.exclude is None for _, said in case.levels)
    forces = all(said.forces is None for _, said in case.levels)
    return [
        *said,
        *(
            _Speaker(each.name, each.timed.wording, partial(each.answer, excludes=excludes, forces=forces), each.size)
            for each in case.policies
        ),
    ]


def _with_others(wish: Wish, answer: Answer, others: Sequence[_Speaker], now: datetime) -> Wish:
    """The wish with whoever would have it otherwise."""
    otherwise = [
        each.name
        for each in others
        if _differs(answer, wish.size, each.answer(now), wish.size if each.size is None else each.size)
    ]
    return replace(wish, disagree=(*wish.disagree, *otherwise)) if otherwise else wish


def _differs(answer: Answer, size: Size, other: Answer, other_size: Size) -> bool:
    return answer.down != other.down or (answer.down is True and size != other_size)


def _lost(case: _Case) -> tuple[str, ...]:
    """Annotations that another one on the same object stands above."""
    return tuple(f"{key} in {policy}" for policy, said in case.levels for key in said.disagree)


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
