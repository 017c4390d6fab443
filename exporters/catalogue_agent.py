"""The metrics of the node around the devices, and of the agent itself: collectors, sweeps, journal, cost."""

from exporters.metric import Metric, counter, gauge, info

_COLLECTOR = ("collector",)


HOST_CPU_BUSY = gauge("host_cpu_busy_ratio", "ratio", (), "CPU time not spent idle or waiting, over all CPUs.")
HOST_CPU_IOWAIT = gauge(
    "host_cpu_iowait_ratio",
    "ratio",
    (),
    "CPU time spent waiting for I/O, over all CPUs: a GPU may wait for data.",
)
HOST_MEMORY_USED = gauge("host_memory_used_bytes", "bytes", (), "Host memory in use: total less available.")
HOST_MEMORY_TOTAL = gauge("host_memory_total_bytes", "bytes", (), "Host memory there is.")
HOST_LOAD1 = gauge("host_load1", "", (), "Runnable tasks, averaged over one minute.")
HOST_DISK_READ = counter("host_disk_read_bytes_total", "bytes", (), "Bytes read from block devices since boot.")
HOST_DISK_WRITTEN = counter("host_disk_written_bytes_total", "bytes", (), "Bytes written to block devices since boot.")
HOST_NETWORK_RECEIVE = counter(
    "host_network_receive_bytes_total", "bytes", (), "Bytes received by the network interfaces since boot."
)
HOST_NETWORK_TRANSMIT = counter(
    "host_network_transmit_bytes_total", "bytes", (), "Bytes sent by the network interfaces since boot."
)
HOST_POWER = gauge(
    "host_power_watts",
    "watts",
    ("scope",),
    "Power of the host beside its GPUs, where the machine lets it be read; scope says what it covers.",
)
HOST_ENERGY = counter(
    "host_energy_joules_total",
    "joules",
    ("scope",),
    "Energy of the host beside its GPUs, where the machine lets it be read; scope says what it covers.",
)

SPOT_NOTICE = gauge(
    "spot_notice_timestamp_seconds",
    "seconds",
    ("kind", "action"),
    "When the cloud takes this node away (interruption) or says that it may (rebalance), as a Unix time.",
)
BUILD_INFO = info("build_info", ("version", "python"), "The agent that serves this page.")
SIMULATED = gauge(
    "simulated", "", (), "1 when nothing on this page was measured, else 0; on a controller's page without a node."
)
COLLECTOR_UP = gauge("collector_up", "", _COLLECTOR, "1 when the collector's last run succeeded, else 0.")
COLLECTOR_DURATION = gauge(
    "collector_duration_seconds", "seconds", _COLLECTOR, "How long the collector's last run took."
)
COLLECTOR_AGE = gauge("collector_age_seconds", "seconds", _COLLECTOR, "Time since the collector last succeeded.")
DEVICE_IDS_NOT_UNDERSTOOD = gauge(
    "device_ids_not_understood",
    "",
    (),
    "Device ids of the kubelet's last answer that nothing is booked for; /v1/state names them. Absent without one.",
)
SWEEPS = counter("sweeps_total", "", (), "Sweeps finished since the agent started.")
SWEEP_INTERVAL = gauge("sweep_interval_seconds", "seconds", (), "The sweep interval in force.")
SWEEP_STRETCHED = gauge(
    "sweep_interval_stretched",
    "",
    (),
    "1 while the interval is longer than configured to keep the agent's own budget, else 0.",
)
SWEEP_DURATION = gauge("sweep_duration_seconds", "seconds", (), "How long the last sweep took.")
SWEEP_AGE = gauge("sweep_age_seconds", "seconds", (), "Time since the last finished sweep, which this page shows.")
AGENT_CPU_SECONDS = counter("agent_cpu_seconds_total", "seconds", (), "CPU time of the agent itself.")
AGENT_RESIDENT_MEMORY = gauge("agent_resident_memory_bytes", "bytes", (), "Resident memory of the agent itself.")
JOURNAL_ENTRIES = gauge("journal_entries", "", (), "Closed hours that the journal keeps.")
JOURNAL_LAST_CLOSED = gauge(
    "journal_last_closed_timestamp_seconds", "seconds", (), "Start of the last closed hour, as a Unix time."
)
CLOCK_STEPS = counter("clock_steps_total", "", (), "Steps of the wall clock that the journal recorded.")
SAVE_FAILURES = counter(
    "save_failures_total",
    "",
    (),
    "Times that the books could not be saved; counters stand still until they are.",
)

ALL: tuple[Metric, ...] = (
    HOST_CPU_BUSY,
    HOST_CPU_IOWAIT,
    HOST_MEMORY_USED,
    HOST_MEMORY_TOTAL,
    HOST_LOAD1,
    HOST_DISK_READ,
    HOST_DISK_WRITTEN,
    HOST_NETWORK_RECEIVE,
    HOST_NETWORK_TRANSMIT,
    HOST_POWER,
    HOST_ENERGY,
    SPOT_NOTICE,
    BUILD_INFO,
    SIMULATED,
    COLLECTOR_UP,
    COLLECTOR_DURATION,
    COLLECTOR_AGE,
    DEVICE_IDS_NOT_UNDERSTOOD,
    SWEEPS,
    SWEEP_INTERVAL,
    SWEEP_STRETCHED,
    SWEEP_DURATION,
    SWEEP_AGE,
    AGENT_CPU_SECONDS,
    AGENT_RESIDENT_MEMORY,
    JOURNAL_ENTRIES,
    JOURNAL_LAST_CLOSED,
    CLOCK_STEPS,
    SAVE_FAILURES,
)
