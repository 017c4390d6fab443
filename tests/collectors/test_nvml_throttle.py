import pytest

from collectors.nvml_throttle import REASONS, reasons_of


@pytest.mark.parametrize(("bit", "name"), REASONS.items())
def test_each_bit_has_its_name(bit, name):
    assert reasons_of(bit) == {name}


def test_bits_add_up():
    assert reasons_of(0x24) == {"sw_power_cap", "sw_thermal"}


def test_no_bit_is_no_reason():
    assert reasons_of(0) == frozenset()


def test_a_bit_of_a_newer_driver_is_told_as_other():
    assert reasons_of(0x1_0000_0004) == {"sw_power_cap", "other"}
