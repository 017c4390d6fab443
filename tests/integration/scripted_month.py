"""A month of a small fleet, as a script: who lived when, who held what, what each agent says at any moment.

Everything follows from this file, from the moment asked about, and from draws that are seeded by what they are drawn
for, so that the agents' journals can be served again and again and the truth be worked out apart from the ledger.
"""

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ledger.hours import (
    Amount,
    CellKey,
    DeviceHour,
    HolderKey,
    HolderNote,
    HourBook,
    NodeNote,
    PriceNote,
    RowKey,
    WorkKey,
    to_json,
)

HOUR = timedelta(hours=1)
NS = 10**9
MIB = 1 << 20


def feb(day, hour=0, minute=0, second=0):
    return datetime(2026, 2, day, hour, minute, second, tzinfo=UTC)


def mar(day, hour=0, minute=0):
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


START, END = feb(1), mar(1)
REGION, ZONE = "eu-west-1", "eu-west-1a"
P5, G5, ODD, CPU = "p5.48xlarge", "g5.12xlarge", "x9.8xlarge", "m7i.large"
MODEL = {P5: "NVIDIA H100 80GB HBM3", G5: "NVIDIA A10G", ODD: "Prototype GPU", "": "NVIDIA L40S"}
GPUS = {P5: 8, G5: 4, ODD: 2, "": 2}
SHAPES = {P5: (192, 2_097_152), G5: (48, 196_608)}
"""vCPUs and MiB as EC2 tells them; of the prototype it knows nothing."""
PRICE_ID = "bundled/agent's own"


@dataclass(frozen=True)
class Instance:
    """A machine from its start to its end."""

    node: str
    id: str
    type: str
    began: datetime
    ended: datetime
    capacity: str = "on_demand"
    witness: str = "event"  # event, api, host, or bill where nobody else knows of it
    agent_after: timedelta | None = timedelta(0)  # from its start until its agent answers; None: it has none
    away: tuple = ()  # (from, to) in which the agent is dead

    @property
    def gpus(self):
        return GPUS[self.type]

    @property
    def model(self):
        return MODEL[self.type]

    def uuid(self, index):
        return f"GPU-{self.id[-6:] or self.node}-{index}"

    def hours(self):
        hour = self.began.replace(minute=0, second=0)
        while hour < self.ended:
            yield hour
            hour += HOUR

    def existed_ns(self, hour):
        return overlap_ns((self.began, self.ended), (hour, hour + HOUR))

    def answers(self, now):
        """Whether its agent can be asked."""
        if self.agent_after is None or not self.began + self.agent_after <= now < self.ended:
            return False
        return not any(gone <= now < back for gone, back in self.away)


BURSTS = tuple(
    Instance(
        f"burst-{n}", f"i-0000000000000b{n:03}", G5, began, began + timedelta(minutes=12), "spot", agent_after=after
    )
    for n, (began, after) in enumerate(
        [
            (feb(2, 4, 3), None),
            (feb(4, 22, 54), timedelta(minutes=1)),  # over the end of an hour
            (feb(9, 13, 0), timedelta(minutes=1)),
            (feb(13, 17, 48), timedelta(minutes=1)),  # over the end of an hour, to the second
            (feb(17, 23, 48), timedelta(minutes=1)),  # pushes its hour when it is told to end
            (feb(26, 6, 6, 6), timedelta(minutes=2)),
            (feb(28, 23, 50), timedelta(minutes=1)),  # over the end of the month, but for ten minutes
        ]
    )
)
TRAIN_1 = Instance("train-1", "i-0000000000000a001", P5, feb(1), END, "reserved")
TRAIN_2 = Instance("train-2", "i-0000000000000a002", P5, feb(1, 0, 0, 1), END, away=((feb(10, 3, 20), feb(10, 6, 40)),))
SERVE_1 = Instance("serve-1", "i-0000000000000a003", G5, feb(1, 0, 5), END, agent_after=timedelta(minutes=2))
SERVE_2 = Instance("serve-2", "i-0000000000000a004", G5, feb(3, 7, 12, 30), feb(12, 18, 45))
SPOT_A = Instance(
    "spot-1", "i-0000000000000a005", G5, feb(1, 5, 10), feb(1, 5, 22), "spot", agent_after=timedelta(minutes=1)
)
SPOT_B = Instance(
    "spot-1", "i-0000000000000a006", G5, feb(1, 5, 30), feb(1, 5, 42), "spot", agent_after=timedelta(minutes=1)
)
SPOT_2 = Instance("spot-2", "i-0000000000000a007", G5, feb(7, 11, 20), feb(9, 2, 33), "spot")
LOST = Instance("lost-1", "i-0000000000000a008", G5, feb(20, 9, 30), END, witness="api", agent_after=None)
GHOST = Instance(
    "i-0000000000000a009", "i-0000000000000a009", P5, feb(17, 2), feb(17, 9), witness="bill", agent_after=None
)
VANISH = Instance("vanish-1", "i-0000000000000a010", G5, feb(11, 20, 5, 10), feb(12, 10, 17, 40))
FREE = Instance("free-1", "i-0000000000000a011", G5, feb(22, 6), feb(23, 6))
ODD_1 = Instance("odd-1", "i-0000000000000a012", ODD, feb(24, 0, 15), feb(24, 12, 45))
METAL = Instance("metal-1", "", "", feb(1), END, "", witness="host")
INSTANCES = (
    *(TRAIN_1, TRAIN_2, SERVE_1, SERVE_2, SPOT_A, SPOT_B, SPOT_2, LOST, GHOST, VANISH, FREE, ODD_1, METAL),
    *BURSTS,
)
CPU_ID = "i-0000000000000c001"
NODES = tuple(dict.fromkeys(each.node for each in INSTANCES if each.agent_after is not None))

STEPS = (
    *(feb(1, 0, 20), feb(1, 5, 15), feb(1, 5, 35), feb(1, 5, 42)),
    *(feb(5, 10), feb(6, 2), feb(8, 6, 20), feb(10, 3, 10), feb(10, 5, 50)),
    *(feb(12, 10, 10), feb(12, 10, 40), feb(18), feb(20, 12), feb(22, 12, 5), feb(24, 12, 30)),
    *(END, mar(1, 1), mar(3, 9), mar(8, 9), mar(14, 9), mar(20, 9)),
)
"""When the controller works; between most of them it is away for days."""
PRICED = (feb(1, 5, 15), feb(12, 10, 40), feb(18), END)
"""Those of them at which it asks for prices."""
PUSHES = ((SPOT_B, feb(1, 5, 42)), (BURSTS[4], feb(18)))
"""Who sends its open hour when it is told to end, and when."""
REVISED = {(TRAIN_2, feb(5, hour)): feb(6, 1) for hour in (4, 5, 6)}
"""Hours that are closed a second time, and when: after the controller booked them."""


@dataclass(frozen=True)
class Job:
    """A holder of some devices for some time."""

    instances: tuple
    devices: range
    pod: str
    team: str
    began: datetime = START
    ended: datetime = END
    run: str = ""
    share: int | None = None  # of a shared device, in thousandths

    @property
    def holder(self):
        return f"ml/{self.pod}/main"


JOBS = (
    Job((TRAIN_1,), range(6), "llm-a", "research", ended=feb(19, 13, 37, 21), run="llm-a"),
    Job((TRAIN_1,), range(6), "llm-b", "search", began=feb(21, 8, 0, 5), run="llm-b"),
    Job((TRAIN_1,), range(6, 8), "dev-box", "platform"),
    Job((TRAIN_2,), range(8), "tune", "search", ended=feb(14, 9), run="tune"),
    Job((TRAIN_2,), range(4), "tune-2", "search", began=feb(14, 9), run="tune-2"),
    Job((SERVE_1,), range(1), "chat", "search", share=613),
    Job((SERVE_1,), range(1), "draft", "", share=387),
    Job((SERVE_1,), range(1, 2), "embed", ""),
    Job((SERVE_1,), range(2, 3), "asr", "voice"),
    Job((SERVE_2,), range(4), "batch", "voice"),
    Job((SPOT_A, SPOT_B, SPOT_2, *BURSTS), range(4), "sweep", "research", run="sweep-1"),
    Job((VANISH,), range(1), "notebook", "platform"),
    Job((FREE,), range(3), "poc", "platform"),
    Job((ODD_1,), range(2), "proto", "research"),
    Job((METAL,), range(1), "sim", "physics"),
)


def overlap_ns(one, other):
    return max(0, int((min(one[1], other[1]) - max(one[0], other[0])).total_seconds())) * NS


def closes(instance, hour, revision):
    """When that revision of an hour is closed; None: never."""
    if revision == 2:
        return REVISED.get((instance, hour))
    at = hour + HOUR + timedelta(seconds=30)
    back = [until for gone, until in instance.away if gone < at <= until]
    at = back[0] + timedelta(seconds=30) if back else at
    # the last hour of a machine that stays on is closed after the month
    return at if at < instance.ended or instance.ended == END else None


def journal(node, now):
    """What is served for a node: its instance, the documents' change numbers, and the open hours' upper end."""
    alive = serving(node, now)
    return None if alive is None else _served(alive, now)


def serving(node, now):
    """The instance whose agent answers for a node; None: none does."""
    alive = (each for each in INSTANCES if each.node == node and (each.answers(now) or _lingers(each, now)))
    return next(alive, None)


def _lingers(instance, now):
    """Machines that were there to the end answer a little longer, so that their last hour is closed."""
    return instance.ended == END <= now < END + 2 * HOUR and instance.agent_after is not None


def _served(instance, now):
    closings = sorted(
        (at, hour, revision)
        for hour in instance.hours()
        if hour + HOUR > instance.began + instance.agent_after
        for revision in (1, 2)
        if (at := closes(instance, hour, revision)) is not None and at <= now
    )
    newest = {hour: (revision, change) for change, (_, hour, revision) in enumerate(closings, 1)}
    closed = [(hour, *newest[hour]) for hour in sorted(newest) if hour >= now - timedelta(days=14)]
    unclosed = [hour for hour in instance.hours() if hour not in newest and hour < now < instance.ended]
    first = instance.began + instance.agent_after
    return instance, closed, [hour for hour in unclosed if hour + HOUR > first], len(closings)


def answer(node, now, since_change=None):
    """The body of ``/v1/hours`` of that node's agent, as JSON text; None: it does not answer."""
    served = journal(node, now)
    if served is None:
        return None
    instance, closed, unclosed, last = served
    documents = [
        _document(instance, hour, revision, None, change)
        for hour, revision, change in closed
        if since_change is None or change > since_change
    ]
    documents += [_document(instance, hour, 0, now) for hour in unclosed]
    return f'{{"node":"{node}","source":"nvml","change":{last},"hours":[{",".join(documents)}]}}'


def pushed(now):
    """Node and documents of those that are told to end at that moment."""
    for instance, at in PUSHES:
        if at == now:
            hour = (instance.ended - timedelta(seconds=1)).replace(minute=0, second=0)
            yield instance.node, _document(instance, hour, 0, instance.ended)


_KEPT = {}


def _document(instance, hour, revision, upto, change=None):
    key = instance.id, instance.node, hour, revision, upto, change
    if key not in _KEPT:
        facts = {"node": instance.node, "source": "nvml", "closed": upto is None}
        more = {"change": change} if upto is None else {"booked_ns": overlap_ns((hour, upto), (hour, hour + HOUR))}
        _KEPT[key] = json.dumps({**facts, **more, **to_json(book(instance, hour, revision, upto))})
    return _KEPT[key]


def book(instance, hour, revision, upto):
    """An hour as its agent has it, up to a moment where it is open."""
    end = min(upto or hour + HOUR, hour + HOUR, instance.ended)
    seen = max(hour, instance.began + instance.agent_after), end
    made = HourBook(int(hour.timestamp()), revision, node_facts=_facts(instance))
    if instance.type in (P5, G5):
        made.prices[PRICE_ID] = PriceNote(12_290_000_000, "bundled:list", "2025-10-01", "on_demand", estimate=False)
    for index in range(instance.gpus):
        _device(made, instance, index, seen, revision)
    for job in JOBS:
        if instance in job.instances and overlap_ns((job.began, job.ended), seen):
            key = HolderKey("pod", job.holder)
            made.holders[key] = HolderNote(
                "Job" if job.run else "Deployment",
                job.pod,
                "ml",
                job.pod,
                "main",
                f"uid-{job.pod}",
                job.team,
                "prod",
                job.run,
                requested_devices=len(job.devices),
                dimensions={"cost_center": f"cc-{job.team}"},
            )
            made.work[WorkKey(*key, "", "", "steps")] = overlap_ns((job.began, job.ended), seen) // (7 * NS)
    return made


def _facts(instance):
    shape = SHAPES.get(instance.type, (None, None))
    return NodeNote(
        instance.node,
        "eu",
        "aws" if instance.id else "",
        REGION if instance.id else "",
        ZONE if instance.id else "",
        instance.id,
        instance.type,
        instance.capacity,
        instance.gpus,
        shape[0],
        shape[1] and shape[1] * MIB,
        int(instance.began.timestamp()),
    )


def _device(made, instance, index, seen, revision):
    uuid = instance.uuid(index)
    draw = random.Random(f"{uuid}/{made.hour_s}/{revision}")
    figures = made.devices.setdefault(uuid, DeviceHour(instance.model, 0, 0))
    jobs = [job for job in JOBS if instance in job.instances and index in job.devices]
    edges = sorted(
        {*seen, *(at for job in jobs for at in (job.began, job.ended)), *(t for gap in instance.away for t in gap)}
    )
    for piece in pairwise(edge for edge in edges if seen[0] <= edge <= seen[1]):
        for (kind, holder, account, method), ns in _accounts(jobs, instance, piece, draw):
            energy = {"unobserved": "interpolated"}.get(account, "idle_split")
            key = RowKey(CellKey(uuid, "", kind, holder, account, method), energy, PRICE_ID if made.prices else "")
            amount = made.rows.setdefault(key, Amount())
            mj = ns * draw.randrange(60, 700) // 10**6
            amount.gpu_ns += ns
            amount.energy_mj += mj
            figures.accounted_ns += ns
            figures.energy_mj += mj


def _accounts(jobs, instance, piece, draw):
    """Whose and under which account a stretch of a device's time is."""
    left = overlap_ns(piece, piece)
    holding = [job for job in jobs if overlap_ns((job.began, job.ended), piece)]
    if any(overlap_ns(gap, piece) for gap in instance.away):
        yield ("", "", "unobserved", "interpolated"), left
        return
    if not holding:
        yield ("", "", "unallocated", "exclusive"), left
    for job in holding:
        held = left if job is holding[-1] else left * job.share // 1000
        left -= held
        active = min(held, held * draw.randrange(1001) // 1000 + draw.randrange(1000))
        method = "exclusive" if job.share is None else "sm"
        yield ("pod", job.holder, "active", method), active
        yield ("pod", job.holder, "idle", method), held - active
