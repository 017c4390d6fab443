from dataclasses import replace

from agent.accountant import DeviceView
from agent.flops import FlopMeter
from agent.units import HolderUse
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import Activity, DeviceSweep, MigFacts
from tests.agent.readings import reading

A, B = Holder("container", "a"), Holder("container", "b")
PEAK = 1000


def use(holder, mig=""):
    return HolderUse(holder, mig, None, 1.0)


def view(*uses, tensor=0.5, seconds=2, instances=()):
    device = reading(activity=Activity(tensor=tensor))
    return DeviceView(DeviceSweep(device, instances), uses, interval_ns=seconds * NS_PER_SECOND)


def meter(*views, peak=PEAK):
    made = FlopMeter(lambda _: peak)
    made.observe(views)
    return made


def test_a_holder_that_has_a_device_alone_did_activity_times_peak_times_time():
    made = meter(view(use(A)), view(use(A), tensor=0.25))
    assert made.take(A) == 1500


def test_of_a_shared_device_and_of_one_that_is_not_understood_nothing_is_said():
    made = meter(view(use(A), use(B)), view(use(B), use(None)))
    assert (made.take(A), made.take(B)) == (None, None)


def test_what_is_not_measured_or_not_published_is_not_said_until_the_next_time():
    assert meter(view(use(A)), peak=None).take(A) is None
    made = meter(view(use(A)), view(use(A), tensor=None))
    assert made.take(A) is None
    made.observe([view(use(A))])
    assert made.take(A) == 2000


def test_a_mig_instance_has_its_slices_part_of_the_peak():
    whole = reading(activity=Activity(tensor=0.5))
    parts = tuple(replace(whole, mig=MigFacts(f"MIG-{n}", n, 0, f"{n}g", n, 7)) for n in (3, 4))
    made = meter(view(use(A, "MIG-3"), use(B, "MIG-4"), tensor=None, instances=parts, seconds=7))
    assert (made.take(A), made.take(B)) == (1500, 2000)


def test_after_a_gap_nothing_is_added():
    made = meter(view(use(A)))
    made.observe([view(use(A), seconds=0)])
    assert made.take(A) == 1000


def test_holders_that_are_no_more_are_forgotten():
    made = meter(view(use(A)), view(use(B)))
    made.keep({B})
    assert (made.take(A), made.take(B)) == (None, 1000)
