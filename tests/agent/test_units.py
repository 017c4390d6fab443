from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.holdings import Allocation, Holdings
from agent.units import UnitBuilder, activity_ppm
from collectors.clock import NS_PER_SECOND
from collectors.holder import NOBODY, Holder
from collectors.readings import Activity, DeviceSweep, MigFacts, ProcessReading, ShareSample
from ledger.accounts import Method
from tests.agent.readings import reading, sweep

A, B, DAEMON = Holder("container", "a"), Holder("slurm", "7"), Holder("system", "nv-hostengine")
HOLDERS = {1: A, 2: B, 3: A, 9: DAEMON}


def build(*sweeps, hold_seconds=60, implausible=False, **holdings):
    builder = UnitBuilder(hold_seconds * NS_PER_SECOND)
    return [builder.build(each, Holdings(HOLDERS, **holdings), implausible=implausible) for each in sweeps][-1]


def claims(unit):
    return {claim.holder: (claim.weight, claim.replicas) for claim in unit.claims}


def test_one_holder_has_the_device_to_itself():
    (unit,), uses = build(sweep(pids=[1, 3], activity=0.5))

    assert (unit.method, unit.activity_ppm) == (Method.EXCLUSIVE, 500_000)
    assert claims(unit) == {A: (1, 1)}
    assert [(use.holder, use.memory_bytes, use.used_share) for use in uses] == [(A, 2 << 30, 1.0)]


def test_sm_samples_share_active_time_where_there_are_any():
    samples = (ShareSample(1, 0, 0.6), ShareSample(2, 0, 0.2))

    (unit,), _ = build(sweep(pids=[1, 2], activity=0.8, share_samples=samples))

    assert (unit.method, claims(unit)) == (Method.SM, {A: (600, 1), B: (200, 1)})


def test_an_interval_without_samples_is_shared_by_those_of_the_last_minute():
    samples = (ShareSample(1, 0, 0.6), ShareSample(2, 0, 0.2))

    (unit,), _ = build(sweep(0, pids=[1, 2], share_samples=samples), sweep(1, pids=[1, 2], activity=0.5))

    assert (unit.method, claims(unit)) == (Method.SM, {A: (600, 1), B: (200, 1)})


def test_memory_shares_where_no_sm_samples_are_to_be_had():
    big = ProcessReading(1, "compute", 3 << 30)
    small = ProcessReading(2, "compute", 1 << 30)

    (unit,), _ = build(sweep(processes=(big, small), activity=0.5))

    assert (unit.method, claims(unit)) == (Method.MEMORY, {A: (3072, 1), B: (1024, 1)})


def test_equal_parts_where_nothing_tells_more():
    blind = tuple(ProcessReading(pid, "compute") for pid in (1, 2))

    (unit,), _ = build(sweep(processes=blind, activity=0.5))

    assert (unit.method, claims(unit)) == (Method.EQUAL, {A: (1, 1), B: (1, 1)})


def test_the_method_changes_only_after_another_has_held_for_the_hold_time():
    samples = (ShareSample(1, 0, 0.5),)
    shared = [sweep(t, pids=[1, 2], activity=0.5) for t in (0, 60)]
    shared += [sweep(t, pids=[1, 2], activity=0.5, share_samples=samples) for t in (61, 100, 120)]
    later = sweep(121, pids=[1, 2], activity=0.5, share_samples=samples)

    assert build(*shared)[0][0].method is Method.MEMORY
    assert build(*shared, later)[0][0].method is Method.SM


def test_a_daemon_beside_a_holder_takes_nothing_unless_samples_show_its_work():
    (quiet,), _ = build(sweep(pids=[1, 9], activity=0.5))
    (working,), _ = build(sweep(pids=[1, 9], activity=0.5, share_samples=(ShareSample(9, 0, 0.1),)))

    assert claims(quiet) == {A: (1, 1), DAEMON: (0, 1)}
    assert claims(working) == {A: (0, 1), DAEMON: (100, 1)}


def test_what_the_mps_server_does_is_the_work_of_those_who_hold_the_device():
    server = Holder("system", "nvidia-cuda-mps-server")
    held = {"GPU-1": (Allocation(A, 2), Allocation(B))}
    work = sweep(pids=[8], activity=0.5, share_samples=(ShareSample(8, 0, 0.5),))
    builder = UnitBuilder(60 * NS_PER_SECOND)

    (unit,), _ = builder.build(work, Holdings({8: server}, allocated=held), implausible=False)

    assert {h: claim for h, claim in claims(unit).items() if h != server} == {A: (2, 2), B: (1, 1)}
    assert claims(unit)[server][0] == 0
    assert unit.method is Method.REQUESTED


def test_who_is_not_seen_to_work_takes_no_active_time_from_one_who_is():
    blind = (ProcessReading(1, "compute", None),)
    held = {"GPU-1": (Allocation(A), Allocation(B))}

    (unit,), _ = build(sweep(processes=blind, activity=0.5), allocated=held)

    assert (unit.method, claims(unit)) == (Method.EQUAL, {A: (1, 1), B: (0, 1)})


def test_active_time_after_the_last_process_ended_goes_to_those_who_held_before():
    (unit,), uses = build(sweep(0, pids=[1]), sweep(1, activity=0.3))

    assert claims(unit) == {A: (1, 0)}
    assert uses == ()


def test_a_process_nobody_can_explain_is_a_claim_by_nobody():
    (unit,), uses = build(sweep(pids=[77], activity=0.3))

    assert claims(unit) == {None: (1, 1)}
    assert uses[0].holder is None


def test_an_unreadable_process_list_means_somebody_unknown_not_nobody():
    (unit,), _ = build(sweep(activity=0.3, processes_known=False))

    assert claims(unit) == {None: (1, 1)}


def test_work_in_an_engine_counts_as_activity():
    assert activity_ppm(Activity(duty_cycle=0.1, encoder=0.7)) == 700_000
    assert activity_ppm(Activity(graphics=0.25)) == 250_000


def test_without_duty_cycle_or_graphics_activity_is_not_known():
    assert activity_ppm(Activity(encoder=0.7, dram=0.1)) is None


def instance(uuid, slices, **more):
    return replace(reading(**more), mig=MigFacts(uuid, 1, 0, f"{slices}g", slices, 7), energy_mj=None)


def test_mig_instances_are_units_and_what_is_between_them_is_one_too():
    parts = (instance("MIG-1", 3, pids=[1], activity=0.5), instance("MIG-2", 2, activity=Activity()))

    units, uses = build(DeviceSweep(reading(activity=Activity(), mig_enabled=True), parts))

    assert [(unit.mig, unit.slices, unit.activity_ppm) for unit in units] == [
        ("MIG-1", 3, 500_000),
        ("MIG-2", 2, None),
        ("", 2, None),
    ]
    assert units[0].method is Method.MIG_SLICES
    assert [(use.holder, use.mig) for use in uses] == [(A, "MIG-1")]


def test_slices_that_no_profile_can_use_are_told_apart_from_those_that_one_could_take():
    parts = (instance("MIG-1", 3), instance("MIG-2", 1))

    def between(stranded, **more):
        units, _ = build(DeviceSweep(reading(), parts, stranded), **more)
        return [(unit.slices, unit.method) for unit in units if not unit.mig]

    assert between(1) == [(2, Method.MIG_SLICES), (1, Method.STRANDED)]
    assert between(3) == between(9) == [(3, Method.STRANDED)]
    assert between(0) == between(None) == [(3, Method.MIG_SLICES)]
    assert between(1, implausible=True) == [(3, Method.MIG_SLICES)]


def test_a_fully_cut_device_has_nothing_between_its_instances():
    units, _ = build(DeviceSweep(reading(), (instance("MIG-1", 7),)))

    assert [unit.mig for unit in units] == ["MIG-1"]


def test_a_flagged_reading_marks_every_unit():
    units, _ = build(DeviceSweep(reading(), (instance("MIG-1", 3),)), implausible=True)

    assert all(unit.implausible for unit in units)


def test_an_allocated_device_is_held_though_no_process_is_on_it():
    (unit,), uses = build(sweep(), allocated={"GPU-1": (Allocation(A),)})

    assert claims(unit) == {A: (1, 1)}
    assert [(use.holder, use.memory_bytes) for use in uses] == [(A, None)]


def test_a_process_without_an_allocation_takes_only_what_it_works():
    (unit,), _ = build(sweep(pids=[1, 2], activity=0.5), allocated={"GPU-1": (Allocation(A),)})

    assert claims(unit) == {A: (1024, 1), B: (1024, 0)}


def test_where_the_kubelet_gave_a_device_to_nobody_it_is_held_by_nobody():
    (unit,), _ = build(sweep(), allocated={})

    assert unit.claims == ()


def test_replicas_share_idle_time_and_those_nobody_holds_are_unallocated():
    shared = {"GPU-1": (Allocation(A, 2), Allocation(B))}

    (unit,), uses = build(sweep(pids=[1, 2], activity=0.5), allocated=shared, replicas={"GPU-1": 4})

    assert claims(unit) == {A: (1024, 2), B: (1024, 1), NOBODY: (0, 1)}
    assert {use.holder: use.requested_share for use in uses} == {A: 0.5, B: 0.25}


def test_one_replica_of_several_holds_only_its_part():
    (unit,), _ = build(sweep(pids=[1], activity=0.5), allocated={"GPU-1": (Allocation(A),)}, replicas={"GPU-1": 4})

    assert claims(unit) == {A: (1, 1), NOBODY: (0, 3)}


def test_while_the_kubelet_does_not_tell_what_no_process_explains_is_unattributed():
    (empty,), _ = build(sweep(activity=0.5), allocated={}, unknown=True)
    (busy,), _ = build(sweep(pids=[1], activity=0.5), allocated={}, unknown=True)

    assert claims(empty) == {None: (1, 1)}
    assert claims(busy) == {A: (1, 1)}


def test_where_more_was_given_than_is_understood_a_free_part_is_unattributed():
    (free,), _ = build(sweep(), allocated={}, more_given=True)
    (held,), _ = build(sweep(), allocated={"GPU-1": (Allocation(A),)}, more_given=True)

    assert claims(free) == {None: (1, 1)}
    assert claims(held) == {A: (1, 1)}


def test_a_device_held_by_somebody_unknown_gives_its_idle_time_to_nobody_named():
    (unit,), _ = build(sweep(pids=[1], activity=0.5), allocated={"GPU-1": (Allocation(None),)})

    assert claims(unit) == {A: (1024, 0), None: (0, 1)}


def test_a_mig_instance_is_held_by_its_own_uuid():
    parts = (instance("MIG-1", 3, activity=0.5), instance("MIG-2", 4, activity=0.5))

    units, _ = build(DeviceSweep(reading(), parts), allocated={"MIG-2": (Allocation(B),)})

    assert [claims(unit) for unit in units] == [{}, {B: (1, 1)}]


processes = st.lists(
    st.builds(ProcessReading, st.sampled_from([1, 2, 3, 8, 9]), st.just("compute"), st.sampled_from([None, 1 << 30])),
    max_size=3,
    unique_by=lambda process: process.pid,
).map(tuple)
moments = st.lists(
    st.tuples(
        processes,
        st.sampled_from([0.0, 0.5, None]),
        st.booleans(),
        st.sampled_from([(), (), (), (ShareSample(1, 0, 0.6),), (ShareSample(9, 0, 0.2),)]),
        st.sampled_from(
            [
                {},
                {},
                {"allocated": {}},
                {"allocated": {"GPU-1": (Allocation(A),)}},
                {"allocated": {"GPU-1": (Allocation(A), Allocation(B))}, "replicas": {"GPU-1": 4}},
                {"allocated": {}, "unknown": True},
                {"allocated": {}, "more_given": True},
            ]
        ),
        st.integers(1, 3),
    ),
    max_size=25,
)


@given(moments)
def test_what_is_remembered_of_a_unit_is_what_is_worked_out_anew(several):
    remembering, forgetful = UnitBuilder(NS_PER_SECOND), UnitBuilder(NS_PER_SECOND)
    seconds = 0
    for on_it, activity, known, samples, holdings, times in several:
        for _ in range(times):
            seconds += 1
            now = sweep(seconds, processes=on_it, activity=activity, processes_known=known, share_samples=samples)
            for memory in forgetful._memories.values():
                memory.plan = None
            told = Holdings(dict(HOLDERS), **holdings)
            assert remembering.build(now, told, implausible=False) == forgetful.build(now, told, implausible=False)


def test_a_holder_that_ended_leaves_what_is_remembered():
    builder = UnitBuilder(NS_PER_SECOND)
    for seconds in range(3):
        builder.build(sweep(seconds, pids=[1], activity=0.5), Holdings(HOLDERS), implausible=False)

    (unit,), uses = builder.build(sweep(3, pids=[2], activity=0.5), Holdings(HOLDERS), implausible=False)

    assert claims(unit) == {B: (1, 1)}
    assert [use.holder for use in uses] == [B]


def test_uses_that_stay_are_the_same_ones():
    builder = UnitBuilder(NS_PER_SECOND)
    told = [builder.build(sweep(n, pids=[1], activity=0.5), Holdings(HOLDERS), implausible=False)[1] for n in range(3)]

    assert told[1] is told[2]
