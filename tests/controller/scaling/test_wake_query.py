"""Queries that wake a workload: what can be is taken, what cannot is refused with the reason."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.scaling.queue_settings import QueueScaling
from controller.scaling.wake_query import wake_query_refused

BASE = {"namespace": "ml", "name": "chat", "min_replicas": 0, "max_replicas": 4}


@pytest.mark.parametrize(
    "query",
    [
        'gateway_requests_in_flight{route="chat"}',
        "gateway_requests",
        "  rate(envoy_cluster_upstream_rq_total[5m]) ",
        'sum by (route) (increase(nginx_requests{route=~"chat|(rerank"}[2m] offset 1m))',
        "count_values without (pod) ('v', job:requests:rate5m)",
        'max_over_time({__name__="istio_requests_total", app="chat"}[5m:30s])',
        '{"istio.requests", app="chat"}',
        'gw{path="wattledger_queue_depth # )"}',
        "gw or vector(0)",
        "keda_http_pending{host='a\\'b'}\n  + on (host) group_left () other",
    ],
)
def test_what_a_gateway_counts_is_taken(query):
    assert wake_query_refused(query) == ""
    assert QueueScaling.model_validate({**BASE, "wake_query": query}).wake_query == query


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            'wattledger_queue_depth{namespace="ml"}',
            "wattledger_queue_depth comes from pods, or from agents beside them",
        ),
        ("gw + sum(wattledger_requests_running)", "wattledger_requests_running comes from pods"),
        ("wattledger:model:requests", "wattledger:model:requests comes from pods"),
        ('{__name__=~"wattledger_queue.*"}', "wattledger_... comes from pods"),
        ('{"wattledger_queue_depth", namespace="ml"}', "wattledger_... comes from pods"),
        ("vector(0)", "it names no metric"),
        ("1", "it names no metric"),
        ("1e3 + 0x1F * Inf", "it names no metric"),
        ("sum by (route) (vector(time()))", "it names no metric"),
        ("'gateway'", "it names no metric"),
        ("{}", "it names no metric"),
        ("sum((", r"'(' is not closed: '('"),
        ("sum(gw", "'(' is not closed: '(gw'"),
        ("gw) or vector(1", "')' closes nothing: ') or vector(1'"),
        ("gw{a='1')", "')' closes nothing"),
        ("gw[5m", "'[' is not closed"),
        ('gw{route="chat}', "a quote is not closed: '\"chat}'"),
        ("gw # of the gateway", "it has a comment, which would hide what follows: '# of the gateway'"),
    ],
)
def test_what_cannot_wake_is_refused_with_the_reason(query, said):
    assert said in wake_query_refused(query)
    with pytest.raises(ValidationError, match="wake_query"):
        QueueScaling.model_validate({**BASE, "wake_query": query})


PIECES = ["gw", "sum(", "(", ")", "{", "}", "[", "5m]", "'a'", '"b)"', "'", '"', "#", " "]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_what_is_taken_closes_all_that_it_opens(query):
    if wake_query_refused(query) == "":
        left = re.sub(r"""'[^']*'|"[^"]*\"""", "", query)
        left = re.sub(r"[^()\[\]{}'\"#]", "", left)
        for _ in query:
            left = re.sub(r"\(\)|\[\]|\{\}", "", left)
        assert left == ""
