"""One node: a device that a pod holds, one that two share, one that nobody holds."""

import pytest

from alerts.dcgm_compat import LABELS, dcgm_groups
from alerts.rule import render_yaml
from tests.alerts.promtool import check, constant, growing

pytestmark = pytest.mark.tool("promtool")
UTIL, USED, POWER, ENERGY = (
    f"DCGM_FI_DEV_{name}" for name in ("GPU_UTIL", "FB_USED", "POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION")
)


def device(number):
    at = {"node": "n1", "gpu_uuid": f"GPU-{number}"}
    return [
        constant("wattledger_gpu_info", 1, gpu=str(number), model="H100", driver="580", source="nvml", **at),
        constant("wattledger_gpu_utilization_ratio", 0.25 * (number + 1), mig="", source="nvml", **at),
        constant("wattledger_gpu_memory_used_bytes", 3 << 30, mig="", **at),
        constant("wattledger_gpu_power_watts", 300, scope="gpu", **at),
        constant("wattledger_gpu_power_watts", 500, scope="module", **at),
        growing("wattledger_gpu_energy_joules_total", 300, **at),
    ]


def share(number, pod, value, share="requested"):
    holder = {"namespace": "ml", "pod": pod, "container": "c"}
    return constant(
        "wattledger_holder_share_ratio", value, node="n1", gpu_uuid=f"GPU-{number}", mig="", share=share, **holder
    )


SERIES = [
    *(each for number in range(3) for each in device(number)),
    share(0, "chat", 1), share(1, "a", 0.5), share(1, "b", 0.5),
]  # fmt: skip


def labels(number, pod=""):
    values = dict(zip(LABELS, (str(number), f"GPU-{number}", "H100", "n1", "ml", pod, "c"), strict=True))
    return values if pod else {name: value for name, value in values.items() if name not in LABELS[-3:]}


EXPECTED = {
    UTIL: [(labels(0, "chat"), 25), (labels(1, "a"), 50), (labels(1, "b"), 50), (labels(2), 75)],
    USED: [(labels(0, "chat"), 3072), (labels(1, "a"), 3072), (labels(1, "b"), 3072), (labels(2), 3072)],
    POWER: [(labels(0, "chat"), 300), (labels(1, "a"), 300), (labels(1, "b"), 300), (labels(2), 300)],
    ENERGY: [(labels(0, "chat"), 180e6), (labels(1, "a"), 180e6), (labels(1, "b"), 180e6), (labels(2), 180e6)],
}


def test_devices_bear_the_names_units_and_labels_of_dcgm_exporter(tmp_path, require_tool):
    status, said = check(require_tool("promtool"), tmp_path, render_yaml("", dcgm_groups()), SERIES, EXPECTED)
    assert status == 0, said


def test_shares_that_are_shown_by_choice_change_nothing(tmp_path, require_tool):
    more = [*SERIES, share(0, "chat", 0.0, "used"), share(1, "a", 0.25, "used")]
    status, said = check(require_tool("promtool"), tmp_path, render_yaml("", dcgm_groups()), more, EXPECTED)
    assert status == 0, said


def test_a_device_that_does_not_answer_is_absent(tmp_path, require_tool):
    silent = [each for each in SERIES if "utilization" not in each["series"]]
    expected = {UTIL: [], POWER: EXPECTED[POWER]}
    status, said = check(require_tool("promtool"), tmp_path, render_yaml("", dcgm_groups()), silent, expected)
    assert status == 0, said
