"""Label selectors: what fits, and what is refused with the place marked."""

import pytest

from controller.scaling.label_selector import fits, parse_selector
from controller.time_windows import SpecRefused

LABELS = {"team": "nlp", "env": "dev", "app.kubernetes.io/name": "web", "empty": ""}


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("", True),
        ("team=nlp", True),
        ("team==nlp", True),
        ("team = vision", False),
        ("team!=nlp", False),
        ("missing!=nlp", True),
        ("env in (dev, test)", True),
        ("env notin (dev,test)", False),
        ("missing notin (dev)", True),
        ("missing in (dev)", False),
        ("team", True),
        ("!team", False),
        ("!missing", True),
        ("app.kubernetes.io/name=web, team=nlp, !missing", True),
        ("empty=", True),
        ("in=nlp", False),
    ],
)
def test_labels_fit_or_do_not(text, fitting):
    assert fits(parse_selector(text), LABELS) is fitting


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("team=nlp env", "team=nlp env"),
        ("a=b,,c", ",c"),
        ("a in b", "a in b"),
        ("a=b,", ","),
        ("a in (b c)", "a in (b c)"),
        ("=", "="),
    ],
)
def test_nonsense_is_refused_with_the_place_marked(text, marked):
    with pytest.raises(SpecRefused) as refused:
        parse_selector(text)
    *_, line, mark = str(refused.value).split("\n")
    assert line[mark.index("^") :][: mark.count("^")] == marked
