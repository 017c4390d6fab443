"""The week, from begin to end: the script's people act, the world goes on, and the scaler looks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from controller.scaling.model import Ref
from tests.controller.scaling import week_script as script
from tests.controller.scaling.week_books import keep_books
from tests.controller.scaling.week_process import Process
from tests.controller.scaling.week_world import World, ref_of

TICK = timedelta(seconds=5)
"""Between two looks that follow each other."""


class Week:
    """The week, played."""

    def __init__(self, server, root: str) -> None:
        self._server, self._root = server, root
        self.world = World(server)
        self._begun = 0
        self.process = self._begin(script.SETTINGS)
        self.looks = 0
        self.healed = 0
        self.written: set[Ref] = set()
        """Objects that the scaler wrote."""

    def play(self) -> None:
        """From begin to end."""
        moments, people = list(looks()), {script.at(said): what for said, what in script.PEOPLE.items()}
        now = script.BEGIN
        while moments or now < script.END:
            now = self._at(now, people.get(now))
            while moments and moments[0] <= now:
                moments.pop(0)
            played = self.world.next_moment()
            coming = [each for each in (moments[0] if moments else None, played) if each is not None]
            if not coming:
                break
            now = max(min(coming), now + TICK / 5)
        self.end()

    def _at(self, now: datetime, what: str | None) -> datetime:
        """Look until nothing comes of it; when that was."""
        if what is not None:
            self.world.now = now
            _DEEDS[what](self)
        while True:
            self.looks += 1
            if not self.process.look(now):
                return now
            now += TICK

    def restart(self, settings: dict) -> None:
        """The process is killed, and another begins."""
        self.end()
        self.process = self._begin(settings)

    def end(self) -> None:
        """The process ends."""
        self.process.end()
        self.written |= self.process.writes.written

    def _begin(self, settings: dict) -> Process:
        self._begun += 1
        return Process(self._server, self.world, self._root, settings, f"week-{self._begun}")

    def heal(self) -> None:
        """ArgoCD gives replicas back as Git has them."""
        self.healed += 1
        self.world.edit(ref_of("Deployment", script.WEB.name), {"spec": {"replicas": script.WEB.replicas}})

    def recreate(self) -> None:
        """A workload is deleted, and made anew as it is in a file."""
        self.world.delete(ref_of("Deployment", script.RECREATED.name))
        self.world.make(replace(script.RECREATED, replicas=2))

    def remove(self) -> None:
        """All is taken away again."""
        self.world.remove()

    def book(self) -> None:
        """The week's hours of all nodes, into the ledger, as agents serve them when they are closed."""
        keep_books(self.process.store, self.world.nodes, self.world.pods)


_DEEDS: dict[str, Callable[[Week], object]] = {
    "argocd heals web": Week.heal,
    "the controller restarts": lambda week: week.restart(script.SETTINGS),
    "recreated is made anew with two replicas": Week.recreate,
    "deleted is deleted": lambda week: week.world.delete(ref_of("Deployment", script.DELETED.name)),
    "old-name becomes new-name": lambda week: week.world.copied(ref_of("Deployment", script.OLD_NAME.name), "new-name"),
    "playground is set to one": lambda week: week.world.edit(
        ref_of("Deployment", script.PLAYGROUND.name), {"spec": {"replicas": 1}}
    ),
    "the controller restarts without experiments": lambda week: week.restart(script.WITHOUT_EXPERIMENTS),
    "finetune begins": lambda week: week.world.make(script.FINETUNE),
}


def looks() -> Iterator[datetime]:
    """Each quarter of an hour, each minute around mornings and where the Job is about to go down; and people's."""
    minute, quarter = timedelta(minutes=1), timedelta(minutes=15)
    mornings = [script.at(f"{day} {time}") for day in script.DAYS[1:] for time in ("06:00", "07:00", "08:00")]
    close = [(morning - 20 * minute, morning + 6 * minute) for morning in mornings]
    close.append((script.at("Fri 23:20"), script.at("Fri 23:40")))
    found = {script.at(said) for said in script.PEOPLE}
    found |= {script.BEGIN + n * quarter for n in range((script.END - script.BEGIN) // quarter + 1)}
    found |= {begin + n * minute for begin, end in close for n in range((end - begin) // minute)}
    yield from sorted(found)
