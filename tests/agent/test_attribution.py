import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attribution import PPM, Claim, Interval, Unit, attribute
from collectors.holder import NOBODY, Holder
from ledger.accounts import Account, EnergyMethod, Method

A, B = Holder("container", "a"), Holder("container", "b")
DAEMON = Holder("system", "nv-hostengine")
SECOND = 1_000_000_000


def unit(activity_ppm, *claims, mig="", slices=1, method=Method.EXCLUSIVE, implausible=False):
    return Unit(mig, slices, activity_ppm, claims, method, implausible)


def split(*units, duration_ns=SECOND, energy_mj=None, idle_mw=None):
    return attribute(Interval(duration_ns, energy_mj, units, idle_mw))


def amounts(shares):
    return {(share.mig, share.holder.name, share.account): (share.gpu_ns, share.energy_mj) for share in shares}


claims = st.lists(
    st.builds(
        Claim,
        st.sampled_from([A, B, Holder("slurm", "7.0"), DAEMON, None]),
        st.integers(0, 1000),
        st.integers(0, 3),
    ),
    max_size=4,
    unique_by=lambda claim: claim.holder,
).map(tuple)
units = st.lists(
    st.builds(
        Unit,
        st.sampled_from(["", "MIG-1"]),
        st.integers(1, 7),
        st.none() | st.integers(0, PPM),
        claims,
        st.sampled_from([Method.SM, Method.EXCLUSIVE]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
).map(tuple)


@given(st.integers(0, 10**14), st.none() | st.integers(0, 10**9), units, st.none() | st.integers(0, 10**6))
def test_shares_add_up_to_the_interval_and_to_its_energy(duration_ns, energy_mj, parts, idle_mw):
    shares = attribute(Interval(duration_ns, energy_mj, parts, idle_mw))

    assert sum(share.gpu_ns for share in shares) == duration_ns
    assert sum(share.energy_mj for share in shares) == (energy_mj or 0)
    assert all(share.gpu_ns >= 0 and share.energy_mj >= 0 for share in shares)


@given(st.integers(0, 10**12), units)
def test_what_cannot_be_measured_is_never_idle_nor_active(duration_ns, parts):
    blind = tuple(part._replace(activity_ppm=None) for part in parts)

    accounts = {share.account for share in attribute(Interval(duration_ns, None, blind, None))}

    assert not accounts & {Account.ACTIVE, Account.IDLE}


@given(units)
def test_a_reading_that_cannot_be_true_is_never_active(parts):
    false = tuple(part._replace(implausible=True) for part in parts)

    assert Account.ACTIVE not in {share.account for share in attribute(Interval(SECOND, 1, false, 0))}


def test_held_time_is_active_by_activity_and_idle_for_the_rest():
    shares = split(unit(250_000, Claim(A, 1)))

    assert amounts(shares) == {
        ("", "a", Account.ACTIVE): (250_000_000, 0),
        ("", "a", Account.IDLE): (750_000_000, 0),
    }


def test_nobody_holding_is_unallocated_and_work_without_holder_unattributed():
    shares = split(unit(100_000))

    assert amounts(shares) == {
        ("", "", Account.UNATTRIBUTED): (100_000_000, 0),
        ("", "", Account.UNALLOCATED): (900_000_000, 0),
    }


def test_several_holders_share_active_time_by_weight_and_idle_time_by_replicas():
    shares = split(unit(500_000, Claim(A, 3), Claim(B, 1, replicas=3), method=Method.SM))

    assert amounts(shares) == {
        ("", "a", Account.ACTIVE): (375_000_000, 0),
        ("", "b", Account.ACTIVE): (125_000_000, 0),
        ("", "a", Account.IDLE): (125_000_000, 0),
        ("", "b", Account.IDLE): (375_000_000, 0),
    }


def test_a_process_nobody_can_explain_is_unattributed_whatever_it_does():
    assert amounts(split(unit(400_000, Claim(None, 1)))).keys() == {("", "", Account.UNATTRIBUTED)}


def test_a_daemon_takes_its_active_time_and_leaves_the_rest_unallocated():
    shares = split(unit(10_000, Claim(DAEMON, 1)))

    assert amounts(shares) == {
        ("", "nv-hostengine", Account.SYSTEM): (10_000_000, 0),
        ("", "", Account.UNALLOCATED): (990_000_000, 0),
    }


def test_held_without_activity_is_unmeasured_equally():
    shares = split(unit(None, Claim(A, 9), Claim(B, 1), method=Method.MEMORY))

    assert amounts(shares) == {
        ("", "a", Account.UNMEASURED): (500_000_000, 0),
        ("", "b", Account.UNMEASURED): (500_000_000, 0),
    }
    assert {share.method for share in shares} == {Method.EQUAL}


def test_idle_joules_are_idle_power_times_idle_time():
    shares = split(unit(250_000, Claim(A, 1)), energy_mj=300_000, idle_mw=80_000)

    assert amounts(shares) == {
        ("", "a", Account.ACTIVE): (250_000_000, 240_000),
        ("", "a", Account.IDLE): (750_000_000, 60_000),
    }
    assert {share.energy_method for share in shares} == {EnergyMethod.IDLE_SPLIT}


def test_idle_joules_never_pass_the_delta():
    shares = split(unit(250_000, Claim(A, 1)), energy_mj=10, idle_mw=80_000)

    assert amounts(shares)["", "a", Account.IDLE] == (750_000_000, 10)


def test_all_energy_is_active_until_idle_power_is_learnt():
    shares = split(unit(250_000, Claim(A, 1)), energy_mj=300_000)

    assert amounts(shares)["", "a", Account.IDLE] == (750_000_000, 0)
    assert {share.energy_method for share in shares} == {EnergyMethod.IDLE_UNKNOWN}


def test_where_nothing_was_active_the_whole_delta_is_idle():
    shares = split(unit(0, Claim(A, 1)), energy_mj=70_000)

    assert amounts(shares) == {("", "a", Account.IDLE): (SECOND, 70_000)}


def test_mig_instances_own_their_slices_of_the_device():
    shares = split(
        unit(1_000_000, Claim(A, 1), mig="MIG-1", slices=3, method=Method.MIG_SLICES),
        unit(None, mig="", slices=4, method=Method.MIG_SLICES),
        duration_ns=7 * SECOND,
    )

    assert amounts(shares) == {
        ("MIG-1", "a", Account.ACTIVE): (3 * SECOND, 0),
        ("", "", Account.UNALLOCATED): (4 * SECOND, 0),
    }


def test_mig_energy_above_idle_goes_by_slices_times_activity():
    shares = split(
        unit(1_000_000, Claim(A, 1), mig="MIG-1", slices=1),
        unit(500_000, Claim(B, 1), mig="MIG-2", slices=2),
        unit(None, slices=4),
        energy_mj=270_000,
        idle_mw=70_000,
    )

    energy = {name: sum(s.energy_mj for s in shares if s.holder.name == name) for name in ("a", "b", "")}
    assert energy == {"a": 110_000, "b": 120_000, "": 40_000}
    assert {share.energy_method for share in shares} == {EnergyMethod.MIG_ACTIVITY}


def test_mig_energy_without_activity_goes_to_held_slices_and_says_so():
    shares = split(
        unit(None, Claim(A, 1), mig="MIG-1", slices=1),
        unit(None, mig="MIG-2", slices=2),
        unit(None, slices=4),
        energy_mj=270_000,
        idle_mw=70_000,
    )

    assert amounts(shares)["MIG-1", "a", Account.UNMEASURED] == (142_857_143, 210_000)
    assert {share.energy_method for share in shares} == {EnergyMethod.MIG_SLICES}


def test_unknown_energy_is_named_so():
    assert {share.energy_method for share in split(unit(0, Claim(A, 1)))} == {EnergyMethod.NONE}


@pytest.mark.parametrize("claim", [Claim(A, 1), Claim(B, 1)])
def test_a_holder_that_is_gone_takes_only_what_it_worked(claim):
    gone = claim._replace(replicas=0)

    shares = split(unit(200_000, gone))

    assert amounts(shares) == {
        ("", claim.holder.name, Account.ACTIVE): (200_000_000, 0),
        ("", NOBODY.name, Account.UNALLOCATED): (800_000_000, 0),
    }


@given(
    st.integers(1, 10**12),
    st.none() | st.integers(0, 10**9),
    st.integers(0, PPM),
    st.none() | st.integers(0, 10**6),
    st.sampled_from(["", "MIG-1"]),
)
def test_one_holder_gets_what_it_gets_beside_a_daemon_that_does_nothing(duration_ns, energy_mj, active, idle_mw, mig):
    rest = unit(None, mig="MIG-2", slices=2) if mig else None

    def shares(*claims):
        parts = [unit(active, *claims, mig=mig, slices=3), *([rest] if rest else [])]
        return split(*parts, duration_ns=duration_ns, energy_mj=energy_mj, idle_mw=idle_mw)

    assert shares(Claim(A, 1, 1)) == shares(Claim(A, 1, 1), Claim(DAEMON, 0, 0))
