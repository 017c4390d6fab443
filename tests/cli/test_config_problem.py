from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cli.config_problem import allowed, explain
from cli.config_source import Sources


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Own(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["own"] = "own"
    usd: Decimal = Field(gt=0)


class Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["listed"]
    name: str = Field(min_length=1)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: Colour = Colour.RED
    split: Literal["a", "b"] = "a"
    limit: int | None = Field(default=None, ge=1)
    rows: list[Own] = []
    by_name: dict[str, Own] = {}
    either: Annotated[Own | Listed, Field(discriminator="kind")] | None = None
    address: str = Field(default="x:1", pattern=r"^.+:\d+$")
    pair: tuple[int, ...] = ()

    @field_validator("pair")
    @classmethod
    def _sorted(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(value):
            raise ValueError("must ascend")
        return value

    @model_validator(mode="after")
    def _agree(self) -> "Model":
        if self.limit == 13:
            raise ValueError("limit 13 is not for red")
        return self


def explained(values) -> str:
    sources = Sources(values=values, origins={(key,): f"f:{line}" for line, key in enumerate(values, start=1)})
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(values)
    return explain(caught.value, sources, Model)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"colour": "green"}, 'f:1: colour: found "green", allowed: one of red, blue'),
        ({"split": "c"}, 'f:1: split: found "c", allowed: one of a, b'),
        ({"limit": 0}, "f:1: limit: found 0, allowed: a whole number at least 1 or null"),
        ({"rows": [{"usd": 1}, {"usd": 0}]}, "f:1: rows[1].usd: found 0, allowed: a number greater than 0"),
        (
            {"rows": [{"kid": 1}]},
            "f:1: rows[0].kid: no such key; did you mean kind? Allowed: kind, usd (and 1 more after this one)",
        ),
        ({"rows": [{}]}, "f:1: rows[0].usd: is missing, allowed: a number greater than 0"),
        ({"rows": [{"usd": 1, "kid": 1}]}, "f:1: rows[0].kid: no such key; did you mean kind? Allowed: kind, usd"),
        ({"by_name": {"x": {"usd": -1}}}, "f:1: by_name.x.usd: found -1, allowed: a number greater than 0"),
        ({"either": {"kind": "listed", "name": ""}}, 'f:1: either.name: found "", allowed: text, not empty'),
        ({"address": "x"}, 'f:1: address: found "x", allowed: text that matches ^.+:\\d+$'),
        ({"pair": [2, 1]}, "f:1: pair: found [2, 1]: must ascend"),
        ({"limit": 13}, "limit 13 is not for red"),
        ({"rows": 3}, "f:1: rows: found 3, allowed: a list, each item a mapping with the keys kind, usd"),
        ({"colour": "g" * 99}, 'f:1: colour: found "' + "g" * 59 + "..., allowed: one of red, blue"),
    ],
)
def test_problem_is_told_in_one_line(values, line):
    assert explained(values) == line


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"type": "boolean"}, "true or false"),
        ({"type": "array"}, "a list"),
        ({"type": "object"}, "a mapping"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "a mapping, each value a number"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "a number greater than 0 and less than 1"),
        ({"const": "x"}, '"x"'),
        ({}, "any value"),
        ({"type": "string", "format": "date"}, "a day (YYYY-MM-DD)"),
    ],
)
def test_schema_is_told_in_words(node, words):
    assert allowed(node, {}) == words
