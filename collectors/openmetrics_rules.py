"""What OpenMetrics 1.0 asks of samples beyond their syntax, by the type of their family.

Owns the rules on values, on reserved labels, on exemplars and on the samples of one point in time together; knows no
lines and no pages. Source of each rule: the specification's chapters "Metric Types" and "Text format".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from collectors.openmetrics_families import FamilySample
from collectors.openmetrics_grammar import LineSyntaxError, read_number

_WITH_EXEMPLARS = frozenset({("counter", "_total"), ("histogram", "_bucket"), ("gaugehistogram", "_bucket")})
_COUNT_SUFFIXES = {"histogram": ("_count", "_sum"), "gaugehistogram": ("_gcount", "_gsum")}


def reserved_label(family: str, kind: str) -> str | None:
    """The label that tells the samples of one metric apart, and so is no part of the metric's identity."""
    return {"histogram": "le", "gaugehistogram": "le", "summary": "quantile", "stateset": family}.get(kind)


def check_sample(family: str, kind: str, sample: FamilySample) -> None:
    """Hold one sample against its type.

    Raises:
        LineSyntaxError: its value, reserved label or exemplar is not allowed there.
    """
    suffix = sample.name[len(family) :]
    if sample.exemplar is not None and (kind, suffix) not in _WITH_EXEMPLARS:
        raise LineSyntaxError(f"found an exemplar on {sample.name} of type {kind}; allowed: on _total and _bucket")
    check = _SAMPLE_CHECKS.get((kind, suffix))
    if check is not None:
        check(family, sample)


def check_point(family: str, kind: str, samples: Sequence[FamilySample]) -> None:
    """Hold all samples of one metric at one time against each other.

    Raises:
        LineSyntaxError: something is missing, out of order, or does not agree.
    """
    if kind == "counter" and all(sample.name != f"{family}_total" for sample in samples):
        raise LineSyntaxError(f"counter {family} has no {family}_total; each point needs one")
    if kind in _COUNT_SUFFIXES:
        _check_histogram(family, kind, samples)


def _check_total(_family: str, sample: FamilySample) -> None:
    if not sample.value >= 0:
        raise LineSyntaxError(f"{sample.name} is {sample.value}; allowed: zero or more, never NaN")


def _check_count(family: str, sample: FamilySample) -> None:
    _check_total(family, sample)
    if not sample.value.is_integer():
        raise LineSyntaxError(f"{sample.name} is {sample.value}; allowed: a whole number")


def _check_number(_family: str, sample: FamilySample) -> None:
    if math.isnan(sample.value):
        raise LineSyntaxError(f"{sample.name} is NaN; allowed: a number")


def _check_created(_family: str, sample: FamilySample) -> None:
    if not math.isfinite(sample.value):
        raise LineSyntaxError(f"{sample.name} is {sample.value}; allowed: a time in seconds")


def _check_bucket(family: str, sample: FamilySample) -> None:
    _check_count(family, sample)
    bound = _bound(sample)
    if sample.exemplar is not None and not sample.exemplar.value <= bound:
        raise LineSyntaxError(f"found exemplar {sample.exemplar.value} in the bucket up to {bound}")


def _check_quantile(_family: str, sample: FamilySample) -> None:
    text = sample.labels.get("quantile")
    if text is None:
        raise LineSyntaxError(f'{sample.name} of a summary has no label quantile; allowed: quantile="0" to "1"')
    if not 0 <= read_number(text, "quantile") <= 1:
        raise LineSyntaxError(f"quantile is {text}; allowed: 0 to 1")
    if sample.value < 0:
        raise LineSyntaxError(f"{sample.name} is {sample.value}; allowed: zero or more, or NaN")


def _check_info(_family: str, sample: FamilySample) -> None:
    if sample.value != 1:
        raise LineSyntaxError(f"{sample.name} is {sample.value}; allowed: 1")


def _check_state(family: str, sample: FamilySample) -> None:
    if family not in sample.labels:
        raise LineSyntaxError(f"state set {family} has a sample without its label {family}")
    if sample.value not in (0, 1):
        raise LineSyntaxError(f"{sample.name} is {sample.value}; allowed: 0 or 1")


_SAMPLE_CHECKS: Mapping[tuple[str, str], Callable[[str, FamilySample], None]] = {
    ("counter", "_total"): _check_total,
    ("counter", "_created"): _check_created,
    ("histogram", "_bucket"): _check_bucket,
    ("histogram", "_count"): _check_count,
    ("histogram", "_sum"): _check_total,
    ("histogram", "_created"): _check_created,
    ("gaugehistogram", "_bucket"): _check_bucket,
    ("gaugehistogram", "_gcount"): _check_count,
    ("gaugehistogram", "_gsum"): _check_number,
    ("summary", ""): _check_quantile,
    ("summary", "_count"): _check_count,
    ("summary", "_sum"): _check_total,
    ("summary", "_created"): _check_created,
    ("info", "_info"): _check_info,
    ("stateset", ""): _check_state,
}


def _bound(bucket: FamilySample) -> float:
    """The upper bound of a bucket."""
    text = bucket.labels.get("le")
    if text is None:
        raise LineSyntaxError(f'{bucket.name} has no label le; allowed: le="a number" or le="+Inf"')
    bound = read_number(text, "le")
    if math.isnan(bound) or (math.isinf(bound) and text not in ("+Inf", "-Inf")):
        raise LineSyntaxError(f"le is {text}; allowed: a decimal number or +Inf")
    return bound


def _check_histogram(family: str, kind: str, samples: Sequence[FamilySample]) -> None:
    buckets = [(_bound(sample), sample.value) for sample in samples if sample.name == f"{family}_bucket"]
    if not buckets or buckets[-1][0] != math.inf:
        raise LineSyntaxError(f'{kind} {family} has no last bucket le="+Inf"; each point needs one')
    for (bound, value), (next_bound, next_value) in pairwise(buckets):
        if next_bound <= bound:
            raise LineSyntaxError(f"bucket {next_bound} of {family} follows {bound}; allowed: growing bounds")
        if next_value < value:
            raise LineSyntaxError(f"bucket {next_bound} of {family} holds {next_value}, less than {value} before it")
    _check_count_and_sum(family, kind, samples, buckets)


def _check_count_and_sum(
    family: str, kind: str, samples: Sequence[FamilySample], buckets: Sequence[tuple[float, float]]
) -> None:
    values = {sample.name.removeprefix(family): sample.value for sample in samples}
    count_suffix, sum_suffix = _COUNT_SUFFIXES[kind]
    count, total = values.get(count_suffix), values.get(sum_suffix)
    if (count is None) != (total is None):
        raise LineSyntaxError(f"{kind} {family} has one of {count_suffix} and {sum_suffix}; allowed: both or none")
    if count is None or total is None:
        return
    if count != buckets[-1][1]:
        raise LineSyntaxError(f"{family}{count_suffix} is {count}, the bucket +Inf {buckets[-1][1]}; they must agree")
    has_negative_bounds = buckets[0][0] < 0
    if kind == "histogram" and has_negative_bounds:
        raise LineSyntaxError(f"histogram {family} has a sum beside buckets below zero; allowed: no sum then")
    if total < 0 and not has_negative_bounds:
        raise LineSyntaxError(f"{family}{sum_suffix} is {total} and no bucket is below zero; allowed: zero or more")
