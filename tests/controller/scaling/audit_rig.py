"""Tasks as an engine makes them, and a ledger that can be told to fail or to hang."""

import threading
from datetime import UTC, datetime, timedelta

from controller.scaling.act import Task
from controller.scaling.decide import Step
from controller.scaling.model import NamespaceSeen, PodSeen, Readiness, Ref, Seen, Wish, Workload
from controller.scaling.record import RECORD, Record

EVENING = datetime(2026, 11, 2, 20, tzinfo=UTC)
MORNING = EVENING + timedelta(hours=11)
CHAT = Ref("Deployment", "ml", "chat")


def seen(ref=CHAT, *, record=None, **levers):
    annotations = {} if record is None else {RECORD: record.write()}
    return Seen(
        ref,
        f"uid-{ref.name}",
        "7",
        3,
        EVENING - timedelta(days=3),
        levers or {"replicas": 3},
        Readiness(3, 3),
        annotations=annotations,
        gpus_per_pod=2,
    )


def record(at=EVENING, *, restoring=None, was=3, put=0, window=EVENING):
    return Record("Deployment", {"replicas": was}, {"replicas": put}, 3, "nights", at, window, restoring=restoring)


def pods(ref, count=3):
    return tuple(
        PodSeen(ref.namespace, f"{ref.name}-{n}", f"u{n}", ref, "a", "Running", ready=True, gpus=2, created=EVENING)
        for n in range(count)
    )


def down(ref=CHAT, now=EVENING, *, lever=None, dry_run=False, recorded=False, at=None):
    subject = seen(ref)
    wish = Wish("down", "the night began", "nights", window=EVENING, until=MORNING, priority=2, dry_run=dry_run)
    step = Step("down", wish.why, {"replicas": 0}, record(at or now), recorded=recorded)
    return Task(Workload(subject, lever or subject, NamespaceSeen(ref.namespace), pods(ref)), wish, step, None)


def restore(ref=CHAT, now=MORNING, *, recorded=False, since=None):
    subject = seen(ref, record=record(), replicas=0)
    wish = Wish("up", "the night is over", dry_run=False)
    step = Step("restore", wish.why, {"replicas": 3}, record(restoring=since or now), recorded=recorded)
    return Task(Workload(subject, subject, NamespaceSeen(ref.namespace)), wish, step, None)


def finish(ref=CHAT):
    subject = seen(ref, record=record(restoring=MORNING))
    wish = Wish("up", "the night is over", dry_run=False)
    return Task(Workload(subject, subject, NamespaceSeen(ref.namespace), pods(ref)), wish, Step("finish", "back"), None)


class Ledger:
    """Takes rows, or raises, or does not answer until it is let go."""

    def __init__(self):
        self.batches = []
        self.error = None
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()

    def __call__(self, rows):
        self.asked.set()
        self.answers.wait(60)
        if self.error is not None:
            raise self.error
        self.batches.append(list(rows))

    @property
    def rows(self):
        return [row for batch in self.batches for row in batch]
