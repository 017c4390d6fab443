"""Classes of readings are as good as frozen dataclasses, but for what only the type checkers refuse."""

from dataclasses import FrozenInstanceError, field, fields, replace
from dataclasses import dataclass as real_dataclass

import pytest

from collectors import readings
from collectors.quick_dataclass import dataclass


def made(decorator):
    @decorator(frozen=True, slots=True)
    class Point:
        x: int
        y: float | None = None
        more: tuple[int, ...] = field(default_factory=tuple)

    return Point


@pytest.mark.parametrize("decorator", [dataclass, real_dataclass])
def test_they_are_equal_by_value_with_a_hash_and_can_be_replaced(decorator):
    point = made(decorator)
    assert point(1, 2.0) == point(1, 2.0) != point(1)
    assert hash(point(1, 2.0)) == hash(point(1, 2.0))
    assert replace(point(1), y=3.0) == point(1, 3.0)
    assert [each.name for each in fields(point)] == ["x", "y", "more"]
    assert not hasattr(point(1), "__dict__")


def test_writing_a_field_is_for_the_type_checkers_to_refuse():
    with pytest.raises(FrozenInstanceError):
        made(real_dataclass)(1).x = 2
    made(dataclass)(1).x = 2


def test_a_reading_can_stand_in_a_set():
    assert len({readings.ProcessReading(1, "compute"), readings.ProcessReading(1, "compute")}) == 1


@pytest.mark.parametrize("asked", [{"frozen": False, "slots": True}, {"frozen": True, "slots": False}])
def test_it_stands_for_nothing_else(asked):
    with pytest.raises(ValueError, match=r"take dataclasses\.dataclass for any other class"):
        dataclass(**asked)
