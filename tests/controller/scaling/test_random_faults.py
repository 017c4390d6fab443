"""Real controller processes, killed and cut off at random: every object ends as its owner made it."""

from benchmarks.scaler_kills import play

RUNS = 30


def test_thirty_random_nights_leave_every_object_as_its_owner_made_it(api_server):
    """Of another seed than yesterday is ``python -m benchmarks.scaler_kills --runs 1000``."""
    tally = play(api_server, RUNS, seed=7)
    assert tally.runs == RUNS
    assert tally.kills.total() >= RUNS / 3
    assert tally.faults.total() >= RUNS
    assert tally.writes > RUNS * 10
