"""What a look leaves behind, in figures."""

from controller.scaling.follow_up import gpus_put_down, put_down
from tests.controller.scaling.engine_rig import INSIDE, REGISTRY, make_engine, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer

KINDS = ("Deployment", "CronJob", "ScaledJob", "Job")


def test_gpus_that_are_down_are_those_that_were_held():
    server = ToyServer(REGISTRY, follow=become_ready)
    for kind in KINDS:
        server.add(kind, OBJECTS[kind])
    assert gpus_put_down(put_down(seen for kind in KINDS for seen in server.objects_of(kind))) == {}
    settle(make_engine(server), INSIDE)
    down = put_down(seen for kind in KINDS for seen in server.objects_of(kind))
    assert {seen.ref.kind for seen in down} == set(KINDS)
    (job,) = server.objects_of("Job")
    # three replicas of two GPUs, and the Job; a CronJob or ScaledJob holds what its runs hold, which nobody counted
    assert gpus_put_down(down) == {("team-a",): 3 * 2 + job.gpus_per_pod}
