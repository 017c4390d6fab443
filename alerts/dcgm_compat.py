"""Recording rules for boards and autoscalers made for dcgm-exporter: its names and labels, from our metrics.

Owns the translation. Whole devices only: what dcgm-exporter tells per MIG instance has other labels there. The energy
counter begins with the books, not with the driver, so its rate is the same and its value is not.
"""

from alerts.rule import Group, Record
from exporters import catalogue_books as books
from exporters import catalogue_gpu as gpu

DEVICES = "wattledger:dcgm_labels:info"
LABELS = ("gpu", "UUID", "modelName", "Hostname", "namespace", "pod", "container")
"""Labels of dcgm-exporter that our metrics tell."""
_OURS = ("node", "gpu_uuid")
_HOLDER = ("namespace", "pod", "container")
_BYTES_PER_MIB = 1 << 20


def dcgm_groups() -> tuple[Group, ...]:
    """The rules; each device's labels come first, for those that follow to join."""
    return (
        Group(
            "wattledger-dcgm-compat",
            (
                Record(DEVICES, _devices()),
                _as("DCGM_FI_DEV_GPU_UTIL", f'100 * {gpu.GPU_UTILIZATION.name}{{mig=""}}'),
                _as("DCGM_FI_DEV_FB_USED", f'{gpu.GPU_MEMORY_USED.name}{{mig=""}} / {_BYTES_PER_MIB}'),
                _as("DCGM_FI_DEV_POWER_USAGE", f'{gpu.GPU_POWER.name}{{scope="gpu"}}'),
                _as("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", f"1000 * {books.GPU_ENERGY.name}"),
            ),
        ),
    )


def _devices() -> str:
    """One series per device and pod that holds it, and one per device that no pod holds."""
    on = ", ".join(_OURS)
    held = f'group by ({on}, {", ".join(_HOLDER)}) ({books.HOLDER_SHARE.name}{{mig="",pod!=""}})'
    info = f"group by ({on}, gpu, model) ({gpu.GPU_INFO.name})"
    labelled = (
        f"{held}\n* on ({on}) group_left (gpu, model)\n{info}\nor\n"
        f'{info}\nunless on ({on})\n{books.HOLDER_SHARE.name}{{mig="",pod!=""}}'
    )
    for theirs, ours in (("UUID", "gpu_uuid"), ("modelName", "model"), ("Hostname", "node")):
        labelled = f'label_replace(\n{_indented(labelled)},\n  "{theirs}", "$1", "{ours}", "(.*)"\n)'
    return labelled


def _as(name: str, value: str) -> Record:
    on = ", ".join(_OURS)
    return Record(
        name,
        f"sum by ({', '.join(LABELS)}) (\n  {DEVICES}\n  * on ({on}) group_left ()\n  max by ({on}) ({value})\n)",
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
