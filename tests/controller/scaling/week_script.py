"""A week of a cluster in Berlin, 19 to 26 October 2026, written down by hand: who runs what, what people and tools do,
what the scaler is expected to do at which second, and what that saves.

Nothing here is worked out by what it is held against: local time is turned into UTC by the two offsets of that week,
and the savings are integers of seconds times GPUs. Wednesday is a holiday; the clocks go back on Sunday at three.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

CLUSTER = "berlin"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Next")
"""``Next`` is the Monday after."""
_MONDAY = datetime(2026, 10, 19, tzinfo=UTC)
_WINTER = (6, 3)
"""From Sunday at three on, where three is still the same hour's begin."""


def at(said: str) -> datetime:
    """Such as ``Mon 20:00:05`` of Berlin's clocks; of the hour that Sunday has twice none is said."""
    day, _, time = said.partition(" ")
    hour, minute, second = (int(part) for part in (f"{time}:00" if time.count(":") == 1 else time).split(":"))
    ahead = 1 if (DAYS.index(day), hour) >= _WINTER else 2
    return _MONDAY + timedelta(days=DAYS.index(day), hours=hour - ahead, minutes=minute, seconds=second)


BEGIN, END = at("Mon 08:00"), at("Next 09:00")

_POLICIES = (
    {"name": "experiments", "namespaces": ["lab"], "labels": "experiment=yes", "down": "Mon-Sun 20:00-07:00"},
    {
        "name": "dev-nights",
        "namespaces": ["dev-*"],
        "up": "Mon-Fri 07:00-20:00",
        "holidays": ["2026-10-21"],
    },
    {"name": "training-nights", "namespaces": ["training"], "kinds": ["Job"], "up": "Mon-Fri 07:00-20:00"},
    {"name": "serving-floor", "namespaces": ["serving"], "labels": "floor=one", "down": "22:00-06:00", "to": 1},
    {"name": "serving-off", "namespaces": ["serving"], "down": "22:00-06:00", "idle_minutes": 10},
)
SETTINGS = {"enabled": True, "dry_run": False, "timezone": "Europe/Berlin", "policies": _POLICIES}
WITHOUT_EXPERIMENTS = {**SETTINGS, "policies": _POLICIES[1:]}


@dataclass(frozen=True)
class Pool:
    """Nodes of one kind."""

    gpus: int
    capacity: str
    nano_usd_per_gpu_second: int


POOLS = {
    "serving": Pool(8, "reserved", 1_000_000),
    "shared": Pool(8, "reserved", 1_000_000),
    "lone": Pool(1, "reserved", 1_000_000),
    "single": Pool(1, "on_demand", 2_000_000),
    "double": Pool(2, "on_demand", 3_000_000),
    "spotty": Pool(2, "spot", 1_500_000),
}
"""Those that are not reserved end ten minutes after their last GPU pod, and begin anew when one needs them."""
EMPTY_SECONDS = 600
REACTS_SECONDS = 15
"""After so long HPA and KEDA do what their objects say."""


@dataclass(frozen=True)
class Runs:
    """A workload whose pods hold a GPU each."""

    kind: str
    name: str
    replicas: int
    pool: str
    ready_seconds: int
    """From a pod's begin."""
    labels: dict = field(default_factory=dict)
    annotations: dict = field(default_factory=dict)


NOTEBOOK = Runs("Deployment", "dev-nlp/notebook-api", 1, "single", 240)
INDEXER = Runs("StatefulSet", "dev-nlp/indexer", 2, "double", 600)
RECREATED = Runs("Deployment", "dev-nlp/recreated", 1, "shared", 120)
DELETED = Runs("Deployment", "dev-nlp/deleted", 1, "shared", 120)
OLD_NAME = Runs("Deployment", "dev-nlp/old-name", 1, "shared", 120)
PLAYGROUND = Runs("Deployment", "dev-nlp/playground", 2, "shared", 120)
RACK = Runs("Deployment", "lab/rack", 1, "shared", 120, {"experiment": "yes"})
LABELER = Runs(
    "Deployment", "vision/labeler", 1, "lone", 60, {}, {"downscaler/uptime": "Mon-Fri 08:00-18:00 Europe/Berlin"}
)
CHAT = Runs("Deployment", "serving/chat", 4, "serving", 180, {"floor": "one"})
EMBED = Runs("Deployment", "serving/embed", 2, "serving", 180)
WEB = Runs(
    "Deployment",
    "serving/web",
    2,
    "serving",
    120,
    {},
    {"argocd.argoproj.io/tracking-id": "web:apps/Deployment:serving/web"},
)
FINETUNE = Runs("Job", "training/finetune", 2, "spotty", 300, {}, {"wattledger.io/checkpoint": "true"})
AT_BEGIN = (NOTEBOOK, INDEXER, RECREATED, DELETED, OLD_NAME, PLAYGROUND, RACK, LABELER, CHAT, EMBED, WEB)
CHAT_BOUNDS = (2, 6)
CHAT_DESIRED = 4
"""Replicas that its HPA would have by its metric."""
EMBED_PAUSED = "2"
"""A pause that its user had set."""

WORKS = tuple((at(f"{day} 09:00"), at(f"{day} 17:00")) for day in ("Mon", "Tue", "Wed", "Thu", "Fri"))
"""When GPUs of Deployments and StatefulSets work."""
TRAINS = ((at("Fri 09:00"), at("Fri 23:00")), (at("Next 06:58"), END))
EVALUATES = tuple((at(f"{day} 22:00"), at(f"{after} 02:00")) for day, after in pairwise(DAYS[:5]))
"""When a pod that no policy concerns holds the GPU of ``vision/labeler``."""

TRACE = {
    "dev-nlp/notebook-api": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:02:00 finish
        Tue 20:00:05 down | Thu 06:55:00 restore | Thu 06:59:00 finish
        Thu 20:00:05 down | Fri 06:55:00 restore | Fri 06:59:00 finish
        Fri 20:00:05 down | Next 06:55:00 restore | Next 06:59:00 finish""",
    "dev-nlp/indexer": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:05:00 late | Tue 07:08:00 finish
        Tue 20:00:05 down | Thu 06:48:00 restore | Thu 06:58:00 finish
        Thu 20:00:05 down | Fri 06:48:00 restore | Fri 06:58:00 finish
        Fri 20:00:05 down | Next 06:48:00 restore | Next 06:58:00 finish""",
    "dev-nlp/recreated": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:00:00 finish
        Tue 20:00:05 down | Tue 23:00:00 give_way | Tue 23:00:00 young | Tue 23:15:00 telemetry | Tue 23:30:05 down
        Thu 06:58:00 restore | Thu 07:00:00 finish
        Thu 20:00:05 down | Fri 06:58:00 restore | Fri 07:00:00 finish
        Fri 20:00:05 down | Next 06:58:00 restore | Next 07:00:00 finish""",
    "dev-nlp/deleted": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:00:00 finish
        Tue 20:00:05 down | Wed 12:00:00 give_way""",
    "dev-nlp/old-name": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:00:00 finish
        Tue 20:00:05 down | Wed 15:00:00 give_way""",
    "dev-nlp/new-name": """
        Thu 06:58:00 restore | Thu 07:00:00 finish
        Thu 20:00:05 down | Fri 06:58:00 restore | Fri 07:00:00 finish
        Fri 20:00:05 down | Next 06:58:00 restore | Next 07:00:00 finish""",
    "dev-nlp/playground": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:00:00 finish
        Tue 20:00:05 down | Thu 06:58:00 restore | Thu 07:00:00 finish
        Thu 20:00:05 down | Fri 06:58:00 give_way
        Fri 20:00:05 down | Next 06:58:00 restore | Next 07:00:00 finish""",
    "lab/rack": """
        Mon 20:00:05 down | Tue 06:58:00 restore | Tue 07:00:00 finish
        Tue 20:00:05 down | Wed 06:58:00 restore | Wed 07:00:00 finish
        Wed 20:00:05 down | Thu 06:58:00 restore | Thu 07:00:00 finish
        Thu 20:00:05 down | Thu 23:00:00 restore | Thu 23:02:00 finish""",
    "vision/labeler": """
        Mon 18:00:05 down | Tue 07:58:00 restore | Tue 07:59:00 finish
        Tue 18:00:05 down | Wed 07:58:00 restore | Wed 07:59:00 finish
        Wed 18:00:05 down | Thu 07:58:00 restore | Thu 07:59:00 finish
        Thu 18:00:05 down | Fri 07:58:00 restore | Fri 07:59:00 finish
        Fri 18:00:05 down | Next 07:58:00 restore | Next 07:59:00 finish""",
    "serving/chat": """
        Mon 22:00:05 down | Tue 05:58:00 restore | Tue 06:01:15 finish
        Tue 22:00:05 down | Wed 05:56:00 restore | Wed 05:59:15 finish
        Wed 22:00:05 down | Thu 05:56:00 restore | Thu 05:59:15 finish
        Thu 22:00:05 down | Fri 05:56:00 restore | Fri 05:59:15 finish
        Fri 22:00:05 down | Sat 05:56:00 restore | Sat 05:59:15 finish
        Sat 22:00:05 down | Sun 05:56:00 restore | Sun 05:59:15 finish
        Sun 22:00:05 down | Next 05:56:00 restore | Next 05:59:15 finish""",
    "serving/embed": """
        Mon 22:00:05 down | Tue 05:58:00 restore | Tue 06:01:15 finish
        Tue 22:00:05 down | Wed 05:56:00 restore | Wed 05:59:15 finish
        Wed 22:00:05 down | Thu 05:56:00 restore | Thu 05:59:15 finish
        Thu 22:00:05 down | Fri 05:56:00 restore | Fri 05:59:15 finish
        Fri 22:00:05 down | Sat 05:56:00 restore | Sat 05:59:15 finish
        Sat 22:00:05 down | Sun 05:56:00 restore | Sun 05:59:15 finish
        Sun 22:00:05 down | Next 05:56:00 restore | Next 05:59:15 finish""",
    "serving/web": """
        Mon 22:00:05 down | Tue 05:58:00 restore | Tue 06:00:00 finish
        Tue 22:00:05 down | Tue 22:20:00 telemetry | Tue 22:30:05 down | Tue 23:30:00 contested | Wed 05:58:00 finish
        Wed 22:00:05 down | Thu 05:58:00 restore | Thu 06:00:00 finish
        Thu 22:00:05 down | Fri 05:58:00 restore | Fri 06:00:00 finish
        Fri 22:00:05 down | Sat 05:58:00 restore | Sat 06:00:00 finish
        Sat 22:00:05 down | Sun 05:58:00 restore | Sun 06:00:00 finish
        Sun 22:00:05 down | Next 05:58:00 restore | Next 06:00:00 finish""",
    "training/finetune": """
        Fri 20:00:00 activity | Fri 23:30:05 down
        Next 06:58:00 restore | Next 07:03:00 finish""",
}
"""By workload what is done, and by which guard it is kept up. A down is done five seconds after its window begins:
agents are asked once more in between. Restores begin two minutes before the window ends, or a quarter more than the
slowest of them took; the scaler looks each minute then."""

PEOPLE = {
    "Tue 22:20": "argocd heals web",
    "Tue 22:45": "the controller restarts",
    "Tue 23:00": "recreated is made anew with two replicas",
    "Tue 23:30": "argocd heals web",
    "Wed 12:00": "deleted is deleted",
    "Wed 15:00": "old-name becomes new-name",
    "Thu 21:30": "playground is set to one",
    "Thu 23:00": "the controller restarts without experiments",
    "Fri 09:00": "finetune begins",
}


def expected() -> list[tuple[datetime, str, str]]:
    """The trace in the order of time."""
    said = ((name, part.strip()) for name, text in TRACE.items() for part in text.replace("\n", "|").split("|"))
    lines = ((name, *part.rpartition(" ")) for name, part in said if part)
    return sorted((at(moment), name, what) for name, moment, _, what in lines)


@dataclass(frozen=True)
class Saving:
    """Of one workload over the week."""

    gpus: int
    """That it held in the hour before."""
    downs: tuple[tuple[str, str], ...]
    """From when to when it was down."""
    price: int
    """Nano-dollars of a GPU-second."""
    held: int = 0
    """GPU-seconds of these in which it held all the same."""
    cash_of: int = 0
    """GPU-seconds that were not paid for."""

    @property
    def freed(self) -> int:
        """GPU-seconds."""
        return sum(self.gpus * seconds(*down) for down in self.downs) - self.held


def seconds(begin: str, end: str) -> int:
    """Between two moments."""
    return (at(end) - at(begin)) // timedelta(seconds=1)


def _ended(gpus: int, downs: tuple[tuple[str, str], ...]) -> int:
    """Of a workload that was alone on nodes that end ten minutes after it."""
    return sum(gpus * (seconds(*down) - EMPTY_SECONDS) for down in downs)


def _nights(begin: str, first: str, later: str) -> tuple[tuple[str, str], ...]:
    """Each night of the week."""
    return tuple((f"{day} {begin}", f"{after} {first if day == 'Mon' else later}") for day, after in pairwise(DAYS))


def _office(first: str, later: str) -> tuple[tuple[str, str], ...]:
    """The nights of who rests over the holiday and the weekend."""
    return (
        ("Mon 20:00:05", f"Tue {first}"),
        ("Tue 20:00:05", f"Thu {later}"),
        ("Thu 20:00:05", f"Fri {later}"),
        ("Fri 20:00:05", f"Next {later}"),
    )


_NOTEBOOK, _INDEXER = _office("06:58:00", "06:55:00"), _office("06:58:00", "06:48:00")
_PLAIN = _office("06:58:00", "06:58:00")
SAVINGS = {
    "dev-nlp/notebook-api": Saving(1, _NOTEBOOK, 2_000_000, cash_of=_ended(1, _NOTEBOOK)),
    "dev-nlp/indexer": Saving(2, _INDEXER, 3_000_000, cash_of=_ended(2, _INDEXER)),
    # made anew with two, it held them from eleven to half past: in that hour the one of before is not freed, nor for
    # the two minutes on Thursday that two hold again for twice one; then both are freed
    "dev-nlp/recreated": Saving(1, (*_PLAIN, *_PLAIN[2:]), 1_000_000, held=3600 + 120),
    # what was deleted saves nothing from then on
    "dev-nlp/deleted": Saving(1, (_PLAIN[0], ("Tue 20:00:05", "Wed 12:00:00")), 1_000_000),
    "dev-nlp/old-name": Saving(1, (_PLAIN[0], ("Tue 20:00:05", "Wed 15:00:00")), 1_000_000),
    "dev-nlp/new-name": Saving(1, _PLAIN[2:], 1_000_000),
    # somebody runs one from half past nine on, and still after its down, for which two minutes count in that hour; on
    # Friday one is all there is
    "dev-nlp/playground": Saving(1, (*_PLAIN, *_PLAIN[:3]), 1_000_000, held=seconds("Thu 21:30", "Fri 06:58") - 120),
    "lab/rack": Saving(
        1,
        (
            ("Mon 20:00:05", "Tue 06:58"),
            ("Tue 20:00:05", "Wed 06:58"),
            ("Wed 20:00:05", "Thu 06:58"),
            ("Thu 20:00:05", "Thu 23:00"),
        ),
        1_000_000,
    ),
    # its node is paid for anyhow: what saves are the four hours of each of four nights in which another used the GPU
    "vision/labeler": Saving(
        1,
        (
            ("Mon 18:00:05", "Tue 07:58"),
            ("Tue 18:00:05", "Wed 07:58"),
            ("Wed 18:00:05", "Thu 07:58"),
            ("Thu 18:00:05", "Fri 07:58"),
            ("Fri 18:00:05", "Next 07:58"),
        ),
        1_000_000,
        cash_of=4 * 4 * 3600,
    ),
    # of four one stays; the three go 15 s late and come 15 s late, so nothing is held beyond
    "serving/chat": Saving(3, _nights("22:00:05", "05:58:00", "05:56:00"), 1_000_000),
    # both go 15 s late; what is late in the morning is no more than the whole
    "serving/embed": Saving(2, _nights("22:00:05", "05:58:00", "05:56:00"), 1_000_000, held=7 * 2 * 15),
    # put back from 22:20:00 to 22:30:05, and for good at 23:30
    "serving/web": Saving(
        2, _nights("22:00:05", "05:58:00", "05:58:00"), 1_000_000, held=2 * (605 + seconds("Tue 23:30", "Wed 05:58"))
    ),
}
"""By workload; the Job's work is only put off, and saves nothing."""
