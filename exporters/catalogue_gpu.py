"""The metrics of devices and MIG instances: what the hardware says of itself.

A MIG instance's series bear its parent's ``gpu_uuid`` and its own UUID in ``mig``; for a device that is empty.
"""

from exporters.metric import Metric, counter, gauge, info

_DEVICE = ("gpu_uuid",)
_PART = ("gpu_uuid", "mig")
_ACTIVITY = ("gpu_uuid", "mig", "source")
_MINOR_REASONS = (
    "thermal",
    "sync_boost",
    "board_limit",
    "low_utilization",
    "reliability",
    "app_clocks",
    "base_clocks",
)
"""Set by hand, rare, or told more exactly by another reason: ``thermal`` is what newer drivers tell as two."""


GPU_INFO = info(
    "gpu_info",
    ("gpu_uuid", "gpu", "model", "driver", "source"),
    "One device: its index, model and driver; source is nvml or simulated.",
)
GPU_BOARD_INFO = info(
    "gpu_board_info",
    ("gpu_uuid", "pci_bus_id", "serial", "architecture"),
    "Where a device sits and what is printed on it; empty where the driver does not tell.",
    group="board",
)
MIG_INFO = info(
    "mig_info",
    ("gpu_uuid", "mig", "profile", "gpu_instance", "compute_instance"),
    "One MIG instance of a device, with its profile and the driver's ids.",
)
MIG_SLICES_RATIO = gauge(
    "mig_slices_ratio",
    "ratio",
    _PART,
    "The part of its parent's compute slices that a MIG instance owns: how its GPU time counts.",
)
GPU_UP = gauge("gpu_up", "", _DEVICE, "1 when the device answered the last sweep, else 0.")
GPU_AGE = gauge("gpu_age_seconds", "seconds", _DEVICE, "Time since the device was last read.")
GPU_IMPLAUSIBLE = gauge(
    "gpu_implausible",
    "",
    ("gpu_uuid", "check"),
    "1 while a reading cannot be true by the named check; kept as read, its time booked unmeasured.",
)
GPU_MIG_ENABLED = gauge("gpu_mig_enabled", "", _DEVICE, "1 when MIG mode is on, else 0.", group="board")

GPU_UTILIZATION = gauge(
    "gpu_utilization_ratio",
    "ratio",
    _ACTIVITY,
    "NVML duty cycle: the share of time in which at least one kernel ran. Not work done.",
)
GPU_MEMORY_CONTROLLER = gauge(
    "gpu_memory_controller_utilization_ratio",
    "ratio",
    _ACTIVITY,
    "NVML memory utilization: the share of time in which device memory was read or written.",
    group="activity",
    stands_in_for="gpu_dram_activity_ratio",
)
GPU_ENCODER = gauge(
    "gpu_encoder_utilization_ratio",
    "ratio",
    _ACTIVITY,
    "The share of time in which the video encoder was busy.",
    group="media",
)
GPU_DECODER = gauge(
    "gpu_decoder_utilization_ratio",
    "ratio",
    _ACTIVITY,
    "The share of time in which the video decoder was busy.",
    group="media",
)
GPU_JPEG = gauge(
    "gpu_jpeg_utilization_ratio",
    "ratio",
    _ACTIVITY,
    "The share of time in which the JPEG engine was busy.",
    group="media",
)
GPU_OFA = gauge(
    "gpu_ofa_utilization_ratio",
    "ratio",
    _ACTIVITY,
    "The share of time in which the optical flow engine was busy.",
    group="media",
)
GPU_GRAPHICS_ACTIVITY = gauge(
    "gpu_graphics_activity_ratio",
    "ratio",
    _ACTIVITY,
    "The share of time in which a compute or graphics context was doing work.",
    group="activity",
    stands_in_for="gpu_utilization_ratio",
)
GPU_SM_ACTIVITY = gauge(
    "gpu_sm_activity_ratio",
    "ratio",
    _ACTIVITY,
    "The share of time in which a streaming multiprocessor had a warp in flight, mean over all of them.",
)
GPU_SM_OCCUPANCY = gauge(
    "gpu_sm_occupancy_ratio",
    "ratio",
    _ACTIVITY,
    "Warps in flight to the most that the device can hold.",
    group="activity",
)
GPU_TENSOR_ACTIVITY = gauge(
    "gpu_tensor_activity_ratio", "ratio", _ACTIVITY, "The share of time in which the tensor cores were busy."
)
GPU_DRAM_ACTIVITY = gauge(
    "gpu_dram_activity_ratio",
    "ratio",
    _ACTIVITY,
    "Device memory bandwidth used, as a share of what it can do.",
)

GPU_MEMORY_USED = gauge("gpu_memory_used_bytes", "bytes", _PART, "Device memory in use.")
GPU_MEMORY_TOTAL = gauge("gpu_memory_total_bytes", "bytes", _PART, "Device memory there is.")
GPU_MEMORY_RESERVED = gauge(
    "gpu_memory_reserved_bytes",
    "bytes",
    _PART,
    "Device memory that driver and firmware keep for themselves.",
    group="board",
)
GPU_PROCESSES = gauge(
    "gpu_processes",
    "",
    ("gpu_uuid", "mig", "type"),
    "Processes with a context on the device: compute, graphics, mps.",
    group="sharing",
)

GPU_POWER = gauge(
    "gpu_power_watts",
    "watts",
    ("gpu_uuid", "scope"),
    "Power as the driver reports it; scope is gpu, or module with the CPU on the module in it.",
)
GPU_POWER_INSTANT = gauge(
    "gpu_power_instant_watts", "watts", _DEVICE, "Power at the instant of the reading.", group="power"
)
GPU_POWER_AVERAGE = gauge(
    "gpu_power_average_watts", "watts", _DEVICE, "Power averaged over one second by the driver.", group="power"
)
GPU_POWER_LIMIT = gauge("gpu_power_limit_watts", "watts", _DEVICE, "The power limit in force.")
GPU_TEMPERATURE = gauge("gpu_temperature_celsius", "celsius", _DEVICE, "Temperature of the GPU die.")
GPU_MEMORY_TEMPERATURE = gauge(
    "gpu_memory_temperature_celsius", "celsius", _DEVICE, "Temperature of the device memory."
)
GPU_CLOCK = gauge(
    "gpu_clock_hertz",
    "hertz",
    ("gpu_uuid", "clock"),
    "Clock rate now; clock is sm, memory, graphics or video.",
    group="clocks",
    details=("memory", "graphics", "video"),
)

GPU_THROTTLED = gauge(
    "gpu_throttled",
    "",
    ("gpu_uuid", "reason"),
    "1 while the driver holds the clocks down for this reason; no series for a reason that is not in force.",
    group="throttle",
    stands_in_for="gpu_throttle_seconds_total",
)
GPU_THROTTLE_SECONDS = counter(
    "gpu_throttle_seconds_total",
    "seconds",
    ("gpu_uuid", "reason"),
    "Time since driver load in which clocks were held down for this reason, where the driver counts it.",
    group="throttle",
    details=_MINOR_REASONS,
)

GPU_ECC_VOLATILE = counter(
    "gpu_ecc_volatile_errors_total",
    "",
    ("gpu_uuid", "severity"),
    "ECC errors since the driver was loaded.",
    group="errors",
    details=("corrected",),
)
GPU_ECC_AGGREGATE = counter(
    "gpu_ecc_aggregate_errors_total",
    "",
    ("gpu_uuid", "severity"),
    "ECC errors in the life of the device.",
    group="errors",
)
GPU_REMAPPED_ROWS = counter(
    "gpu_remapped_rows_total",
    "",
    ("gpu_uuid", "severity"),
    "Memory rows replaced by spares, by the error that led to it.",
)
GPU_REMAP_PENDING = gauge(
    "gpu_remap_pending", "", _DEVICE, "1 when a row remap waits for a reset of the device, else 0."
)
GPU_REMAP_FAILED = gauge(
    "gpu_remap_failed",
    "",
    _DEVICE,
    "1 when a row could not be remapped; the device is due for replacement. Else 0.",
)
GPU_XID_ERRORS = counter(
    "gpu_xid_errors_total",
    "",
    ("gpu_uuid", "xid"),
    "XID errors that the driver reported while the agent ran.",
)
GPU_PCIE_REPLAYS = counter("gpu_pcie_replays_total", "", _DEVICE, "PCIe packets sent again after an error.")
GPU_NVLINK_ERRORS = counter(
    "gpu_nvlink_errors_total", "", ("gpu_uuid", "type"), "NVLink errors over all links, by type.", group="errors"
)

GPU_PCIE_RECEIVE_RATE = gauge(
    "gpu_pcie_receive_bytes_per_second",
    "bytes_per_second",
    _DEVICE,
    "PCIe traffic into the device.",
    group="traffic",
    stands_in_for="gpu_pcie_receive_bytes_total",
)
GPU_PCIE_TRANSMIT_RATE = gauge(
    "gpu_pcie_transmit_bytes_per_second",
    "bytes_per_second",
    _DEVICE,
    "PCIe traffic out of the device.",
    group="traffic",
    stands_in_for="gpu_pcie_transmit_bytes_total",
)
GPU_NVLINK_RECEIVE_RATE = gauge(
    "gpu_nvlink_receive_bytes_per_second",
    "bytes_per_second",
    _DEVICE,
    "NVLink traffic into the device, all links.",
)
GPU_NVLINK_TRANSMIT_RATE = gauge(
    "gpu_nvlink_transmit_bytes_per_second",
    "bytes_per_second",
    _DEVICE,
    "NVLink traffic out of the device, all links.",
)
GPU_PCIE_RECEIVE = counter(
    "gpu_pcie_receive_bytes_total",
    "bytes",
    _DEVICE,
    "Bytes into the device over PCIe, where the driver counts them.",
)
GPU_PCIE_TRANSMIT = counter(
    "gpu_pcie_transmit_bytes_total",
    "bytes",
    _DEVICE,
    "Bytes out of the device over PCIe, where the driver counts them.",
)

ALL: tuple[Metric, ...] = (
    GPU_INFO,
    GPU_BOARD_INFO,
    MIG_INFO,
    MIG_SLICES_RATIO,
    GPU_UP,
    GPU_AGE,
    GPU_IMPLAUSIBLE,
    GPU_MIG_ENABLED,
    GPU_UTILIZATION,
    GPU_GRAPHICS_ACTIVITY,
    GPU_SM_ACTIVITY,
    GPU_SM_OCCUPANCY,
    GPU_TENSOR_ACTIVITY,
    GPU_DRAM_ACTIVITY,
    GPU_MEMORY_CONTROLLER,
    GPU_ENCODER,
    GPU_DECODER,
    GPU_JPEG,
    GPU_OFA,
    GPU_MEMORY_USED,
    GPU_MEMORY_TOTAL,
    GPU_MEMORY_RESERVED,
    GPU_PROCESSES,
    GPU_POWER,
    GPU_POWER_INSTANT,
    GPU_POWER_AVERAGE,
    GPU_POWER_LIMIT,
    GPU_TEMPERATURE,
    GPU_MEMORY_TEMPERATURE,
    GPU_CLOCK,
    GPU_THROTTLED,
    GPU_THROTTLE_SECONDS,
    GPU_ECC_VOLATILE,
    GPU_ECC_AGGREGATE,
    GPU_REMAPPED_ROWS,
    GPU_REMAP_PENDING,
    GPU_REMAP_FAILED,
    GPU_XID_ERRORS,
    GPU_PCIE_REPLAYS,
    GPU_NVLINK_ERRORS,
    GPU_PCIE_RECEIVE_RATE,
    GPU_PCIE_TRANSMIT_RATE,
    GPU_NVLINK_RECEIVE_RATE,
    GPU_NVLINK_TRANSMIT_RATE,
    GPU_PCIE_RECEIVE,
    GPU_PCIE_TRANSMIT,
)
