from collectors.host import HostReading
from exporters import catalogue_agent
from exporters.exposition import render
from exporters.host_families import HostFamilies

FULL = HostReading(
    read_ns=1,
    cpu_busy_ratio=0.25,
    cpu_iowait_ratio=0.5,
    memory_total_bytes=100,
    memory_used_bytes=60,
    load1=1.5,
    disk_read_bytes=10,
    disk_written_bytes=20,
    network_received_bytes=30,
    network_sent_bytes=40,
    host_energy_mj=1234,
    host_power_watts=95.5,
)


def lines(reading):
    page = render(HostFamilies("n1").families(reading), openmetrics=False).decode()
    return [line for line in page.splitlines() if not line.startswith("#")]


def test_the_host_is_shown_as_read():
    assert lines(FULL) == [
        'wattledger_host_cpu_busy_ratio{node="n1"} 0.25',
        'wattledger_host_cpu_iowait_ratio{node="n1"} 0.5',
        'wattledger_host_memory_used_bytes{node="n1"} 60',
        'wattledger_host_memory_total_bytes{node="n1"} 100',
        'wattledger_host_load1{node="n1"} 1.5',
        'wattledger_host_disk_read_bytes_total{node="n1"} 10',
        'wattledger_host_disk_written_bytes_total{node="n1"} 20',
        'wattledger_host_network_receive_bytes_total{node="n1"} 30',
        'wattledger_host_network_transmit_bytes_total{node="n1"} 40',
        'wattledger_host_power_watts{node="n1",scope="cpu_dram"} 95.5',
        'wattledger_host_energy_joules_total{node="n1",scope="cpu_dram"} 1.234',
    ]


def test_a_host_that_tells_nothing_has_no_series():
    assert lines(HostReading(read_ns=1)) == []


def test_every_metric_of_the_host_is_served():
    served = {family.metric.name for family in HostFamilies("n1").families(FULL)}
    declared = {metric.name for metric in catalogue_agent.ALL if metric.name.startswith("wattledger_host_")}
    assert served == declared
