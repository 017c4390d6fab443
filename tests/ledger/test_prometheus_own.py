"""Hours of our own nodes out of what was scraped off their agents, held against the agents' own books."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import work_books
from exporters import catalogue_books, catalogue_gpu, catalogue_work
from exporters.metric import HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS
from ledger import prometheus_own
from ledger.hours import HolderKey, NodeNote, WorkKey
from ledger.prometheus_own import own_hours
from tests.ledger.scraped_agent import BEGIN, CHAT, HOUR, NOBODY, STEP, TRAIN, Scraped, ScrapedAgent

S = 10**9
HALF = (("A", CHAT, "active", 0.5), ("A", CHAT, "idle", 0.5))
FREE = (("A", NOBODY, "unallocated", 1.0),)
BUSY = (("A", TRAIN, "active", 1.0),)
AWAY = (("A", NOBODY, "unobserved", 1.0),)


def hour_of(*agents, number=0, **how):
    places = {agent.node: NodeNote(node=agent.node, instance_id="i-1") for agent in agents}
    return {each.node: each for each in own_hours(Scraped(*agents), BEGIN + number * HOUR, places, **how)}


def rows(hour, column="gpu_ns"):
    found = {}
    for key, amount in hour.book.rows.items():
        whose = key.cell.gpu_uuid, key.cell.holder, key.cell.account
        found[whose] = found.get(whose, 0) + getattr(amount, column)
    return found


def truth(agent, number, at=0):
    return {key[1:]: amounts[at] for key, amounts in agent.truth.items() if key[0] == number}


def near(told, slack):
    return {key: pytest.approx(value, abs=slack) for key, value in told.items()}


def two_hours(**how):
    """An hour long shared, then three quarters alone; the pod that left is retired ten minutes later."""
    agent = ScrapedAgent(begin=-600, **how)
    agent.run(600 + HOUR, *HALF)
    agent.run(600, *BUSY)
    agent.retire(CHAT)
    agent.run(2100, *BUSY)
    agent.run(900 + 600, *FREE)
    return agent


def test_an_hour_is_what_the_agents_own_books_say():
    agent = two_hours()
    for number in (0, 1):
        made = hour_of(agent, number=number)["n1"]
        assert rows(made) == near(truth(agent, number), 1000)
        assert rows(made, "energy_mj") == near(truth(agent, number, 1), 1)
        assert sum(rows(made).values()) == HOUR * S
        assert made.book.devices["A"].energy_mj == pytest.approx(100_000 * HOUR, abs=2)
        assert {key.cell.method for key in made.book.rows} == {"prometheus"}
        assert (made.source, made.closed, made.instance_id) == ("prometheus", True, "i-1")


def test_the_same_hour_again_is_the_same():
    agent = two_hours()
    assert hour_of(agent)["n1"].digest == hour_of(agent)["n1"].digest


def test_what_finished_holders_leave_behind_is_counted_once():
    agent = two_hours()
    assert any(("pod", "__finished__") in key for key in agent.samples)
    assert "__finished__" not in {holder for _, holder, _ in rows(hour_of(agent, number=1)["n1"])}


def test_folded_holders_stand_together_and_lose_nothing_when_they_finish():
    agent = ScrapedAgent(cap=1, begin=-600)
    both = (("A", CHAT, "active", 0.5), ("A", TRAIN, "active", 0.5))
    agent.run(600 + 1800, *both)
    agent.retire(TRAIN)
    agent.run(1800 + 600, *BUSY)
    told = rows(hour_of(agent)["n1"])
    assert told["A", "__other__", "active"] == pytest.approx((900 + 1800) * S, abs=1000)
    assert sum(told.values()) == HOUR * S


def test_a_node_that_began_within_the_hour_has_all_its_time_since():
    agent = ScrapedAgent(begin=1200)
    agent.run(2400 + 300, *HALF)
    assert sum(rows(hour_of(agent)["n1"]).values()) == 2400 * S


def test_what_was_counted_before_the_samples_begin_is_left_out():
    agent = ScrapedAgent(begin=-7 * HOUR)
    agent.run(7 * HOUR + 1800, *HALF, scraped=False)
    agent.run(1800 + 300, *HALF)
    assert sum(rows(hour_of(agent)["n1"]).values()) == (1800 - STEP) * S


def test_a_gap_of_the_scrapes_is_told_by_the_counters_beyond_it():
    agent = ScrapedAgent(begin=-600)
    agent.run(1200, *HALF)
    agent.run(1200, *BUSY, scraped=False)
    agent.run(2400, *HALF)
    assert rows(hour_of(agent)["n1"]) == near(truth(agent, 0), 1000)


def test_a_step_over_the_end_of_the_hour_counts_by_its_part_within():
    agent = ScrapedAgent(begin=-600)
    agent.run(600 + HOUR - 120, *HALF)
    agent.run(240, *HALF, scraped=False)
    agent.run(300, *HALF)
    assert sum(rows(hour_of(agent)["n1"]).values()) == HOUR * S


def test_pages_that_are_now_older_and_now_younger_lose_nothing():
    """Each tells what its last sweep saw: one counter that takes all of the time then gains more than passed."""
    agent = ScrapedAgent(begin=-600)
    agent.run(600 + HOUR + 300, *FREE)
    for key, points in agent.samples.items():
        agent.samples[key] = [(when + 0.9 * (at % 2), value) for at, (when, value) in enumerate(points)]
    assert rows(hour_of(agent)["n1"])["A", "", "unallocated"] in range(HOUR * S - S, HOUR * S + 1)


def test_time_that_a_page_without_a_sweep_did_not_tell_yet_comes_with_the_next_one():
    """An agent that starts again serves its books before its first sweep books for how long it was dead."""
    agent = ScrapedAgent(begin=-600)
    agent.run(600 + 1800, *FREE)
    agent.run(60, *AWAY, scraped=False)
    for points in agent.samples.values():
        points += [(points[-1][0] + STEP, points[-1][1]), (points[-1][0] + 2 * STEP, points[-1][1])]
    agent.run(1740 + 300, *FREE)
    assert rows(hour_of(agent)["n1"]) == near({("A", "", "unallocated"): 3540 * S, ("A", "", "unobserved"): 60 * S}, 9)


def test_a_reset_counts_from_nought_and_nothing_twice():
    agent = ScrapedAgent(begin=-600)
    agent.run(600 + 1800, *HALF)
    agent.reboot()
    agent.run(1800 + 300, *HALF)
    made = hour_of(agent)["n1"]
    assert rows(made) == near(truth(agent, 0), 1000)
    assert rows(made, "energy_mj") == near(truth(agent, 0, 1), 1)


def test_a_counter_that_falls_while_its_device_goes_on_counts_nothing():
    agent = two_hours()
    for key, points in agent.samples.items():
        if ("account", "idle") in key and ("pod", "chat-0") in key and "energy" in dict(key)["__name__"]:
            at = next(at for at, (when, _) in enumerate(points) if when == BEGIN + 1800)
            points[at] = points[at][0], points[at - 1][1] - 1
    told = rows(hour_of(agent)["n1"], "energy_mj")
    assert told["A", "ml/chat-0/server", "idle"] == pytest.approx(50_000 * HOUR, abs=1001)


def test_where_all_of_the_finished_was_dropped_no_reset_is_seen():
    agent = two_hours()
    for key in [key for key in agent.samples if ("pod", "__finished__") in key]:
        del agent.samples[key]
    assert rows(hour_of(agent, number=1)["n1"]) == near(truth(agent, 1), 1000)


def test_two_scrapers_of_one_agent_count_once():
    first, second = two_hours(more={"replica": "a"}), two_hours(more={"replica": "b"})
    second.samples = {key: [(when + 7, value) for when, value in points] for key, points in second.samples.items()}
    both = ScrapedAgent()
    both.samples = {**first.samples, **second.samples}
    assert rows(hour_of(both)["n1"]) == rows(hour_of(first)["n1"])


def test_an_agent_that_goes_on_under_another_address_goes_on():
    agent = ScrapedAgent(begin=-600, more={"instance": "old"})
    agent.run(600 + 1800, *HALF)
    agent.more["instance"] = "new"
    agent.run(1800 + 300, *HALF)
    assert sum(rows(hour_of(agent)["n1"]).values()) == HOUR * S


def test_time_that_came_late_is_no_more_than_passed():
    agent = ScrapedAgent(begin=-600)
    agent.run(600 + 1800, *HALF, ("B", NOBODY, "unallocated", 1.0))
    agent.run(HOUR, ("B", NOBODY, "unobserved", 1.0), scraped=False)
    agent.second -= HOUR
    agent.run(1800 + 300, *HALF, ("B", NOBODY, "unallocated", 1.0))
    told = rows(hour_of(agent)["n1"])
    assert told["B", "", "unobserved"] <= STEP * S
    assert told["B", "", "unobserved"] + told["B", "", "unallocated"] == HOUR * S


def test_holders_on_a_bare_host_and_those_that_are_no_pods():
    unit = ("unit", "ollama.service")
    for kubernetes in (False, True):
        agent = ScrapedAgent(begin=-600, kubernetes=kubernetes)
        agent.run(600 + HOUR, ("A", unit, "active", 0.5), ("A", NOBODY, "unallocated", 0.5))
        told = {(key.cell.holder_kind, key.cell.holder) for key in hour_of(agent)["n1"].book.rows}
        assert told == {unit, NOBODY}


def test_who_a_holder_is_comes_from_what_was_last_said_in_the_hour():
    agent = ScrapedAgent(begin=-600)
    agent.notes[CHAT] = {"workload": "Deployment/chat", "team": "red", "environment": "prod", "pod_uid": "u-1"}
    agent.run(1200, *HALF)
    agent.notes[CHAT] = {**agent.notes[CHAT], "team": "blue", "cost_centre": "42"}
    agent.run(HOUR - 600, *HALF)
    agent.notes[CHAT] = {**agent.notes[CHAT], "team": "green"}
    agent.run(300, *HALF)
    note = hour_of(agent)["n1"].book.holders[HolderKey(*CHAT)]
    assert (note.workload_kind, note.workload, note.team, note.environment) == ("Deployment", "chat", "blue", "prod")
    assert (note.namespace, note.pod, note.container, note.pod_uid) == ("ml", "chat-0", "server", "u-1")
    assert note.dimensions == {"cost_centre": "42"}


def test_work_is_what_its_counter_gained_and_a_new_one_began_since():
    agent = ScrapedAgent(begin=-600)
    agent.tokens[CHAT, "output_tokens"] = 1_000_000
    agent.run(1200, *HALF)
    agent.tokens[CHAT, "output_tokens"] += 500
    agent.tokens[TRAIN, "steps"] = 7
    agent.run(HOUR, *HALF)
    assert hour_of(agent)["n1"].book.work == {
        WorkKey(*CHAT, "m", "", "output_tokens"): 500,
        WorkKey(*TRAIN, "m", "", "steps"): 7,
    }


def test_a_node_without_a_sample_has_no_hour_and_others_do():
    agent, gone = two_hours(), ScrapedAgent("n2")
    assert list(hour_of(agent, gone)) == ["n1"]
    assert hour_of(agent, number=5) == {}


def test_nodes_are_asked_for_some_at_a_time():
    agents = [ScrapedAgent(f"n{number:02}.eu", begin=-60) for number in range(23)]
    for agent in agents:
        agent.run(HOUR, *HALF)
    api = Scraped(*agents)
    made = own_hours(api, BEGIN, {agent.node: NodeNote(node=agent.node) for agent in agents})
    assert len(made) == 23
    assert len(api.asked) == 3 * 6


def test_a_simulated_device_is_no_part_of_measured_books():
    agent = two_hours()
    simulated = ScrapedAgent()
    for key, points in agent.samples.items():
        simulated.samples[tuple((label, "simulated" if text == "nvml" else text) for label, text in key)] = points
    assert hour_of(simulated) == {}
    assert sum(rows(hour_of(simulated, simulated=True)["n1"]).values()) == HOUR * S


def test_names_and_labels_are_those_of_the_catalogue():
    books, work = catalogue_books, catalogue_work
    names = (
        (prometheus_own.SECONDS, books.ACCOUNT_GPU_SECONDS, {"gpu_uuid", "mig", "account", "method"}),
        (prometheus_own.ENERGY, books.ACCOUNT_ENERGY, {"gpu_uuid", "mig", "account"}),
        (prometheus_own.HOLDERS, books.HOLDER_INFO, {"workload", "team", "environment", "pod_uid"}),
        (prometheus_own.WORK, work.WORK, {"kind", "model"}),
        (prometheus_own.PHASES, work.PHASE_SECONDS, {"phase", "model"}),
        (prometheus_own.DEVICES, catalogue_gpu.GPU_INFO, {"gpu_uuid", "model", "source", "gpu", "driver"}),
    )
    for name, metric, labels in names:
        assert name == metric.name
        assert set(metric.labels) - {"<holder>"} == labels
    assert (prometheus_own.FINISHED, prometheus_own.OTHER) == (work_books.FINISHED, work_books.OTHER)
    assert {*HOST_HOLDER_LABELS, *KUBERNETES_HOLDER_LABELS} == set(prometheus_own._HOLDER_LABELS)


stretch = st.tuples(
    st.integers(1, 60),
    st.sampled_from([HALF, FREE, BUSY]),
    st.booleans(),
    st.sampled_from(["", "", "retire", "reboot"]),
)


def play(agent, stretches):
    """Whether every page was scraped."""
    whole = True
    for steps, cells, scraped, then in stretches:
        agent.run(steps * STEP, *cells, scraped=scraped)
        whole = whole and scraped
        if then == "retire":
            agent.run(600, *FREE)
            agent.retire(CHAT, TRAIN)
            agent.run(STEP, *FREE)
        elif then == "reboot":
            agent.run(2 * STEP, *cells)
            agent.reboot()
    return whole


@settings(max_examples=100)
@given(st.lists(stretch, min_size=1, max_size=6))
def test_hours_never_hold_more_than_was_and_hold_all_where_every_page_was_scraped(stretches):
    agent = ScrapedAgent()
    agent.scrape()
    whole = play(agent, stretches)
    for number in range(agent.second // HOUR + 1):
        made = hour_of(agent, number=number)
        told = rows(made["n1"]) if made else {}
        was = truth(agent, number)
        assert sum(told.values()) <= sum(was.values()) + 1000
        if whole:
            assert {key: ns for key, ns in was.items() if ns} == near(told, 10_000)
