"""The one table of vendor unit to base unit; every NVML figure is divided or multiplied by one of these, once.

Owns the sizes of the units that NVML, its field values and GPM report in. Nothing else may hold such a factor.
"""

PERCENT_PER_RATIO = 100
"""Utilization, GPM activity and per-process shares come in percent."""
MILLIWATTS_PER_WATT = 1_000
HERTZ_PER_MEGAHERTZ = 1_000_000
BYTES_PER_MEBIBYTE = 1 << 20
"""GPM traffic comes in MiB/s."""
BYTES_PER_MEGABYTE = 1_000_000
"""NVLink speed comes in MB/s."""
NS_PER_SECOND = 1_000_000_000
"""The driver's uptime comes in seconds."""
NS_PER_MICROSECOND = 1_000
