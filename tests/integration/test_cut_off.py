"""An agent whose API server is cut off for an hour, in simulated time: who is known goes on, and nobody gets what is
not his."""

import json
import threading
from collections import defaultdict

import pytest

from collectors.holder import NOBODY
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_pods import PodCache
from ledger.accounts import Account
from ledger.hours import from_json
from tests.collectors.kube_server import KubeServer
from tests.collectors.nvml_rig import DriverClock
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver
from tests.integration.agent_process import eventually
from tests.integration.played_hour import NAMESPACE, Grant, Play, Pod, Script, Stint, Worker
from tests.integration.played_patterns import SECOND, alone

pytestmark = pytest.mark.tool("gcc")

CUT, BACK, END = 100, 3700, 4000
"""The API server is away between the first two of these seconds."""
BEGUN, ENDED, RESTARTED = 1200.0, 1500.0, 2000.0
"""Meanwhile one pod begins, another ends, and the container of a third is restarted."""
ASKED_SECONDS = 15
"""The kubelet is asked this often at least."""
MISSED_SECONDS = 60
"""So long a pod keeps what it held that the kubelet names no more, while by all that is known it is still there."""
TRAIN, NEW, OLD = range(3)


class Restarted(Pod):
    """The same pod with another container id, of which only the API server could tell."""

    @property
    def container_id(self):
        return f"{self.number + 0xABC:064x}"


class Clock(DriverClock):
    """Threads that wait by it wait a moment of real time."""

    def wait(self, event, duration_ns):
        return event.wait(0.02)


def told(pod):
    """A pod as the API server has it."""
    status = {"name": "main", "containerID": f"containerd://{pod.container_id}"}
    return {
        "metadata": {"name": pod.name, "namespace": NAMESPACE, "uid": pod.uid},
        "spec": {"nodeName": "node", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }


def amounts(store):
    """(device, account, holder) to seconds, over closed hours and the open one."""
    found = defaultdict(float)
    closed = (from_json(json.loads(document)) for document in store.journal.documents())
    for hour in (*closed, *store.books.hours.values()):
        for key, amount in hour.rows.items():
            found[key.cell.gpu_uuid, key.cell.account, key.cell.holder] += amount.gpu_ns / SECOND
    return dict(found)


class Story:
    """The script, and what the books said at each turn of it."""

    def __init__(self, folder, driver):
        self.driver, self.folder = driver, folder
        self.train, self.new, self.old = (Pod(name, n) for n, name in enumerate(("train", "new", "old"), 1))
        self.pattern = alone([61, 5, 83, 40], seed=3)
        uuids = [device.uuid for device in driver.devices]
        self.script = Script(
            grants=[
                Grant(self.train, 0.0, END + 10, ids=(uuids[TRAIN],)),
                Grant(self.new, BEGUN, END + 10, ids=(uuids[NEW],)),
                Grant(self.old, 0.0, ENDED, ids=(uuids[OLD],)),
            ],
            stints=[
                self.stint(TRAIN, 0.0, RESTARTED, self.train),
                self.stint(TRAIN, RESTARTED, END + 10, Restarted("train", 1)),
                self.stint(NEW, BEGUN, END + 10, self.new),
                self.stint(OLD, 0.0, ENDED, self.old),
            ],
        )
        self.books = {}

    def stint(self, device, begin, end, pod):
        return Stint(device, begin, end, self.pattern, {"main": Worker(1000 + int(begin) + device, pod)})

    def play(self, pods, until_s):
        if not hasattr(self, "agent"):
            self.agent = Play(self.folder, self.driver, {}, self.script, pods)
        self.agent.play(until_s)
        self.books[until_s] = amounts(self.agent.store)

    def true_seconds(self, device, begin, end):
        stints = [each for each in self.script.stints if each.device == device]
        return sum(each.active_ns("main", [(begin, end)]) for each in stints) / SECOND

    def gained(self, device, account, holder, begin, end):
        key = self.driver.device(device).uuid, account, holder if isinstance(holder, str) else holder.holder.name
        return self.books[end].get(key, 0.0) - self.books[begin].get(key, 0.0)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    folder, stop = tmp_path_factory.mktemp("cut"), threading.Event()
    server = KubeServer()
    port = int(server.url.rpartition(":")[2])
    with FakeDriver.create(folder, [profiles.h100()] * 3, start_ns=5000 * SECOND) as driver, driver.load_into_pynvml():
        for device in driver.devices:
            device.utilization_window(1000)
            device.set(sm_clock_mhz=device.profile.max_clocks_mhz[0])
        made = Story(folder / "data", driver)
        server.set(told(made.train), told(made.old))
        pods = PodCache(KubeApi(KubeEndpoint(server.url), timeout_seconds=5), "node", Clock(driver))
        thread = pods.start(stop)
        try:
            eventually("the pods are known", lambda: len(pods.pods()) == 2)
            made.play(pods, CUT)
            server.close()
            eventually("the API server is missed", lambda: pods.health().error)
            made.play(pods, BACK)
            made.said = pods.health().error
            server = KubeServer(port=port)
            server.set(told(Restarted("train", 1)), told(made.new))
            server.forget()  # what the agent saw last is too old to go on from
            eventually("it is heard again", lambda: pods.health().error is None and pods.by_name(NAMESPACE, "new"))
            made.play(pods, END)
        finally:
            stop.set()
            server.close()
            thread.join(10)
        made.agent.die()
        yield made


def test_it_is_told_that_the_api_server_is_away(story):
    assert "does not answer" in story.said


@pytest.mark.parametrize(("begin", "end"), [(CUT, BACK), (BACK, END)])
def test_a_pod_that_was_known_goes_on_to_the_nanosecond_even_in_a_container_of_another_id(story, begin, end):
    active = story.true_seconds(TRAIN, begin, end)

    assert story.gained(TRAIN, Account.ACTIVE, story.train, begin, end) == pytest.approx(active, abs=1e-5)
    assert story.gained(TRAIN, Account.IDLE, story.train, begin, end) == pytest.approx(end - begin - active, abs=1e-5)


def test_what_a_pod_does_that_nobody_told_of_is_unattributed_and_what_it_holds_is_its_own(story):
    active = story.true_seconds(NEW, BEGUN, BACK)

    unattributed = story.gained(NEW, Account.UNATTRIBUTED, NOBODY.name, CUT, BACK)
    assert active <= unattributed <= active + ASKED_SECONDS
    idle = story.gained(NEW, Account.IDLE, story.new, CUT, BACK)
    resting = BACK - BEGUN - active
    assert resting - ASKED_SECONDS <= idle <= resting + 1 + 1e-5  # the sweep's second before it may count as held
    assert story.gained(NEW, Account.ACTIVE, story.new, CUT, BACK) == 0


def test_once_the_api_server_is_back_the_pod_gets_what_it_does(story):
    active = story.true_seconds(NEW, BACK, END)

    assert story.gained(NEW, Account.ACTIVE, story.new, BACK, END) == pytest.approx(active, abs=1e-5)
    assert story.gained(NEW, Account.UNATTRIBUTED, NOBODY.name, BACK, END) == 0


def test_a_pod_that_the_kubelet_names_no_more_lets_go_of_its_device_within_a_minute(story):
    held = sum(story.gained(OLD, account, story.old, CUT, BACK) for account in (Account.ACTIVE, Account.IDLE))

    assert ENDED - CUT <= held <= ENDED - CUT + MISSED_SECONDS + ASKED_SECONDS
    free = story.gained(OLD, Account.UNALLOCATED, NOBODY.name, CUT, BACK)
    assert free == pytest.approx(BACK - CUT - held, abs=1e-5)


def test_the_books_add_up_and_nobody_else_is_in_them(story):
    place = {device.uuid: number for number, device in enumerate(story.driver.devices)}
    found = {(place[uuid], holder) for uuid, _, holder in story.books[END] if holder}

    for uuid in place:
        assert sum(each for (device, *_), each in story.books[END].items() if device == uuid) == pytest.approx(END)
    assert found == {(TRAIN, story.train.holder.name), (NEW, story.new.holder.name), (OLD, story.old.holder.name)}
