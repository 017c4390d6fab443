"""What is typed to import a ledger, and what it says at the end."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.config import Config
from cli.ledger_import import dimensions, moment
from cli.ledger_import_run import ESTIMATES, told
from collectors.errors import Misconfigured
from collectors.kube_owners import dimensions_of
from ledger.prometheus_import import Imported
from ledger.prometheus_sums import EstimateSums

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
HOURS = [datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=at) for at in range(24)]
NOTHING = EstimateSums(0, 0, 0, 0, 0, None, None, 0)


@pytest.mark.parametrize(
    ("said", "when"),
    [
        ("30d", NOW - timedelta(days=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T01:30:00+01:00", datetime(2026, 11, 1, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_so_long_ago_or_a_date(said, when):
    assert moment("--since", said, NOW) == when


@pytest.mark.parametrize("said", ["yesterday", "30", "-1d", "30 d", "2026-13-01", "", "9999999d", "99999999999999w"])
def test_another_time_is_refused_with_what_is_allowed(said):
    with pytest.raises(Misconfigured, match=r"--since: found '.*', allowed: 30d, 12h, 2w, 2026-11-22 or a time"):
        moment("--since", said, NOW)


def test_a_label_that_is_typed_counts_before_those_configured():
    grouped = dimensions(Config(), "cost-team", None)
    assert dimensions_of(grouped, {"team": "red", "cost-team": "blue", "env": "prod"}, "ml") == {
        "team": "blue",
        "environment": "prod",
    }
    assert dimensions_of(grouped, {"team": "red"}, "ml")["team"] == "red"


def test_the_end_names_nodes_that_were_refused_and_counts_those_beyond_ten():
    why = {f"n{each:02}": f"node n{each:02} of cluster two is refused: ..." for each in range(12)}
    lines = told(Imported(made=24, refused=why), NOTHING, HOURS)
    assert lines[1] == "node n00 of cluster two is refused: ..."
    assert lines[11:] == ["and 2 more nodes for the same reason"]


def test_the_end_tells_sums_and_that_they_are_estimates():
    sums = EstimateSums(24, 14, 112, 2688.0, 12.5, 1234.56, 8064.0, 100.0)
    text = "\n".join(told(Imported(made=20, known=3, empty=1, measured=5), sums, HOURS))
    assert text == (
        "20 hours imported, 3 known before, 1 without a sample (2026-11-01 00:00 to 2026-11-01 23:59 UTC)\n"
        "5 node-hours left alone: an agent measured them\n\n"
        "hours        24\n"
        "nodes        14\n"
        "GPUs         112\n"
        "GPU-hours    2,688.0, 12.5 GPU-hours unobserved\n"
        "by list      $8,064.00, 100.0 GPU-hours without a price\n"
        "energy       1,234.6 kWh\n\n" + ESTIMATES
    )


def test_what_is_not_known_is_a_dash():
    lines = told(Imported(made=24), EstimateSums(24, 1, 1, 24, 0, None, None, 24), HOURS)
    assert "by list      -, 24.0 GPU-hours without a price" in lines
    assert "energy       -" in lines


def test_where_there_is_nothing_it_says_what_to_look_at():
    assert told(Imported(empty=24), NOTHING, HOURS)[-1] == (
        "No series of dcgm-exporter in these hours: is it scraped, and is this the right Prometheus?"
    )
