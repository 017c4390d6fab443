import re
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import dcgm_page
from collectors.dcgm_page import DcgmPage, DcgmReading, fetch_page, merge, parse_page
from collectors.errors import Misconfigured, Unavailable
from collectors.readings import Activity, DeviceFacts, DeviceSweep, GpuReading, Links, Memory, MigFacts, Power
from tests.collectors.procfs import StillClock

A100 = "GPU-7099682b-a20d-2bcc-74ab-b9060454d81e"
T4 = "GPU-7a2e92f2-be71-d37e-a744-541600ffc722"
MIB = 1024 * 1024
URL = "http://localhost:9400/metrics"


def page(**values):
    """A page of one device: ``field=value``."""
    return "".join(f'DCGM_FI_{name}{{gpu="0",UUID="GPU-a"}} {value}\n' for name, value in values.items()).encode()


def one(**values):
    return parse_page(page(**values))["GPU-a", None]


def gpu(uuid=A100, **fields):
    return GpuReading(DeviceFacts(uuid, 0, "NVIDIA A100-SXM4-40GB"), read_ns=1, **fields)


def instance(gpu_instance=9, profile="1g.5gb", compute_instance=0, **fields):
    mig = MigFacts(f"MIG-{gpu_instance}-{compute_instance}", gpu_instance, compute_instance, profile, 1, 7)
    return gpu(mig=mig, **fields)


def sampled(text):
    return parse_page(text) if b"\nDCGM" in text else {}


@pytest.fixture(scope="module")
def real(shared_data):
    """A real exporter's page by a part of its name: the first in a file that bears titles and dashes too."""

    def read(part):
        (file,) = (shared_data / "dcgm_pages").glob(f"*{part}*")
        return next(readings for part in re.split(rb"\n-{10,}\n", file.read_bytes()) if (readings := sampled(part)))

    return read


def test_a_real_page_of_two_t4_gives_both_devices(real):
    readings = real("fraction_metrics")
    assert set(readings) == {(T4, None), ("GPU-5f587dd4-6505-0873-c6db-8324dbfe5ba9", None)}
    reading = readings[T4, None]
    assert reading.activity == Activity(
        duty_cycle=0, memory_controller=0, encoder=0, decoder=0, graphics=0.000039, tensor=0, dram=0.000002
    )
    assert reading.memory == Memory(used_bytes=128 * MIB)
    assert reading.links == Links(pcie_rx_bytes_per_second=420785, pcie_tx_bytes_per_second=79221)


def test_a_real_page_of_a_busy_mig_instance_gives_the_activity_that_nvml_lacks(real):
    ((key, reading),) = real("Active_1g").items()
    assert key == (A100, 9)
    assert reading == DcgmReading(
        Activity(graphics=0.999892, tensor=0.000118, dram=0.622646), Memory(used_bytes=4384 * MIB), Links(), "1g.5gb"
    )


def test_a_real_page_of_an_idle_instance_says_zero_not_nothing(real):
    ((key, reading),) = real("Idle_1g").items()
    assert key == (A100, 8)
    assert reading.activity == Activity(graphics=0, tensor=0, dram=0)


def test_a_real_page_with_mig_switched_off_is_of_the_device(real):
    assert set(real("Empty_mig")) == {(A100, None)}


def test_the_real_busy_instance_is_measured_where_nvml_was_silent(real):
    merged = merge(DeviceSweep(gpu(mig_enabled=True), (instance(9),)), real("Active_1g"))
    assert merged.instances[0].activity.graphics == 0.999892
    assert merged.instances[0].activity_source == "dcgm"
    assert merged.device.activity_source is None


def test_what_the_driver_told_of_the_whole_device_stays():
    sweep = DeviceSweep(gpu(mig_enabled=True), (instance(9),), stranded_slices=2)
    assert merge(sweep, {(A100, 9): dcgm(graphics=0.9)}).stranded_slices == 2


def test_percents_become_ratios_and_mebibytes_bytes():
    reading = one(
        DEV_GPU_UTIL=37, DEV_MEM_COPY_UTIL=12, DEV_ENC_UTIL=5, DEV_DEC_UTIL=100, DEV_FB_TOTAL=40960, DEV_FB_RESERVED=500
    )
    assert reading.activity == Activity(duty_cycle=0.37, memory_controller=0.12, encoder=0.05, decoder=1)
    assert reading.memory == Memory(total_bytes=40960 * MIB, reserved_bytes=500 * MIB)


def test_profiling_fields_are_ratios_already():
    values = {
        "GR_ENGINE_ACTIVE": 0.9,
        "SM_ACTIVE": 0.8,
        "SM_OCCUPANCY": 0.3,
        "PIPE_TENSOR_ACTIVE": 0.2,
        "DRAM_ACTIVE": 0.1,
    }
    activity = one(**{f"PROF_{name}": value for name, value in values.items()}).activity
    assert activity == Activity(graphics=0.9, sm=0.8, sm_occupancy=0.3, tensor=0.2, dram=0.1)


def test_nvlink_rates_are_the_device_s():
    assert one(PROF_NVLINK_RX_BYTES=5e9, PROF_NVLINK_TX_BYTES=4e9).links == Links(
        nvlink_rx_bytes_per_second=5e9, nvlink_tx_bytes_per_second=4e9
    )


BLANKS = [
    "9223372036854775792",
    "9223372036854775794",
    "1.8446744073709552e+19",
    "140737488355328",
    "140737488355330",
    "2147483632",
    "2147483634",
    "NaN",
    "+Inf",
    "-1",
]


@pytest.mark.parametrize("blank", BLANKS)
def test_blank_values_are_absent(blank):
    fields = ("PROF_SM_ACTIVE", "DEV_GPU_UTIL", "DEV_FB_USED", "PROF_PCIE_RX_BYTES")
    reading = parse_page(page(DEV_FB_TOTAL=1, **dict.fromkeys(fields, blank)))["GPU-a", None]
    assert reading == DcgmReading(Activity(), Memory(total_bytes=MIB), Links())


def test_a_ratio_a_hair_above_one_is_one_and_a_larger_one_is_none():
    assert one(PROF_SM_ACTIVE=1.0004).activity.sm == 1
    assert one(PROF_SM_ACTIVE=1.2, DEV_FB_USED=1).activity.sm is None


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_value_on_a_page_makes_a_ratio_outside_zero_to_one(value):
    reading = one(PROF_SM_ACTIVE=repr(value), DEV_FB_USED=1)
    assert reading.activity.sm is None or 0 <= reading.activity.sm <= 1


@pytest.mark.parametrize("labels", ['UUID="GPU-a",Hostname="n"', 'uuid="GPU-a",hostname="n",GPU_I_ID=""'])
def test_labels_of_older_and_newer_exporters_are_read(labels):
    assert set(parse_page(f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} 5\n".encode())) == {("GPU-a", None)}


@pytest.mark.parametrize("labels", ['gpu="0"', 'UUID=""', 'UUID="GPU-a",GPU_I_ID="x"'])
def test_a_row_that_names_no_device_or_instance_is_left_out(labels):
    assert parse_page(f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} 5\n".encode()) == {}


def test_a_device_shown_once_for_each_pod_that_shares_it_is_one_device():
    rows = (f'DCGM_FI_DEV_GPU_UTIL{{UUID="GPU-a",pod="{pod}"}} 40\n' for pod in "xyz")
    assert parse_page("".join(rows).encode())["GPU-a", None].activity.duty_cycle == 0.4


def test_power_and_energy_on_the_row_of_an_instance_are_not_taken():
    labels = '{UUID="GPU-a",GPU_I_ID="3"}'
    text = f"DCGM_FI_PROF_PCIE_RX_BYTES{labels} 5\nDCGM_FI_DEV_POWER_USAGE{labels} 9\n"
    assert parse_page(text.encode()) == {("GPU-a", 3): DcgmReading(Activity(), Memory(), Links())}


def dcgm(profile="1g.5gb", **activity):
    return DcgmReading(Activity(**activity), Memory(used_bytes=5), Links(), profile)


def test_what_the_driver_gave_stays():
    device = gpu(activity=Activity(duty_cycle=0.5, sm=0.4), activity_source="gpm", memory=Memory(used_bytes=1))
    merged = merge(DeviceSweep(device), {(A100, None): dcgm(duty_cycle=0.9, sm=0.9)})
    assert merged == DeviceSweep(device)


def test_only_the_gaps_are_filled_and_the_source_says_so():
    device = gpu(activity=Activity(duty_cycle=0.5), activity_source="nvml", power=Power(gpu_watts=70.0))
    merged = merge(DeviceSweep(device), {(A100, None): dcgm(duty_cycle=0.9, sm=0.4, tensor=0.1)}).device
    assert merged.activity == Activity(duty_cycle=0.5, sm=0.4, tensor=0.1)
    assert (merged.activity_source, merged.memory.used_bytes, merged.power.gpu_watts) == ("dcgm", 5, 70.0)


def test_each_instance_gets_its_own():
    sweep = DeviceSweep(gpu(mig_enabled=True), (instance(7), instance(9)))
    merged = merge(sweep, {(A100, 7): dcgm(graphics=0.1), (A100, 9): dcgm(graphics=0.9)})
    assert [reading.activity.graphics for reading in merged.instances] == [0.1, 0.9]


def test_a_page_of_other_devices_changes_nothing():
    sweep = DeviceSweep(gpu(mig_enabled=True), (instance(7),))
    assert merge(sweep, {("GPU-b", 7): dcgm(graphics=0.1), (A100, 3): dcgm(graphics=0.2)}) == sweep


def test_a_gpu_instance_cut_into_compute_instances_is_not_guessed_at():
    sweep = DeviceSweep(gpu(mig_enabled=True), (instance(7, "1c.2g.10gb", 0), instance(7, "1c.2g.10gb", 1)))
    assert merge(sweep, {(A100, 7): dcgm("2g.10gb", graphics=0.5)}) == sweep


def test_an_instance_made_anew_with_another_profile_does_not_get_the_old_one_s_activity():
    sweep = DeviceSweep(gpu(mig_enabled=True), (instance(7, "2g.10gb"),))
    assert merge(sweep, {(A100, 7): dcgm("1g.5gb", graphics=0.5)}) == sweep


@pytest.mark.parametrize("profile", ["1g.5gb", "1g.5gb+me", "1c.1g.5gb"])
def test_one_profile_is_the_same_in_every_spelling(profile):
    merged = merge(DeviceSweep(gpu(), (instance(7, profile),)), {(A100, 7): dcgm("1g.5gb", graphics=0.5)})
    assert merged.instances[0].activity.graphics == 0.5


activities = st.builds(Activity, **{name: st.none() | st.floats(0, 1) for name in Activity.__slots__})


@given(activities, activities)
def test_merging_never_alters_a_value_of_the_driver_s(driver, exporter):
    merged = merge(
        DeviceSweep(gpu(activity=driver)), {(A100, None): replace(dcgm(), activity=exporter)}
    ).device.activity
    for name in Activity.__slots__:
        known = getattr(driver, name)
        assert getattr(merged, name) == (getattr(exporter, name) if known is None else known)


@pytest.fixture
def clock():
    return StillClock()


def test_a_good_page_serves_until_it_is_stale(clock):
    exporter = DcgmPage(URL, clock, stale_after_seconds=30, fetch=lambda url: page(DEV_GPU_UTIL=40))
    assert exporter.current() == {}
    readings = exporter.read()
    clock.pass_seconds(30)
    assert exporter.current() == readings
    clock.pass_seconds(0.1)
    assert exporter.current() == {}


def test_age_counts_from_before_the_fetch(clock):
    def slow(url):
        clock.pass_seconds(20)
        return page(DEV_GPU_UTIL=40)

    exporter = DcgmPage(URL, clock, stale_after_seconds=30, fetch=slow)
    exporter.read()
    clock.pass_seconds(11)
    assert exporter.current() == {}


def test_a_failed_fetch_keeps_the_last_good_page_until_that_is_stale(clock):
    pages = iter([page(DEV_GPU_UTIL=40), b"<html>", b"<html>"])
    exporter = DcgmPage(URL, clock, stale_after_seconds=30, fetch=lambda url: next(pages))
    readings = exporter.read()
    clock.pass_seconds(20)
    with pytest.raises(Unavailable):
        exporter.read()
    assert exporter.current() == readings
    clock.pass_seconds(20)
    with pytest.raises(Unavailable):
        exporter.read()
    assert exporter.current() == {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html></html>", "markup"),
        (b"502 bad gateway\n", "not a metrics page"),
        (b"\xff\xfe\x00", "not a metrics page"),
        (b'DCGM_FI_DEV_GPU_UTIL{UUID="GPU-a"} many\n', "line 1"),
        (b'DCGM_FI_DEV_GPU_UTIL{UUID="GPU-a"} 5\nDCGM_FI_DEV_GPU_UTIL{UUID="GP', "line 2"),
    ],
)
def test_what_is_no_metrics_page_is_refused_with_the_url_and_the_remedy(clock, body, words):
    with pytest.raises(Unavailable) as refused:
        DcgmPage(URL, clock, fetch=lambda url: body).read()
    assert str(refused.value).startswith(f"{URL}: ")
    assert words in str(refused.value)
    assert "the metrics page of dcgm-exporter" in str(refused.value)


def test_another_exporter_s_page_is_refused(clock):
    with pytest.raises(Unavailable, match=r"no DCGM_FI_\* value of any GPU; check that it is dcgm-exporter's"):
        DcgmPage(URL, clock, fetch=lambda url: b"node_load1 5\n").read()


@pytest.mark.parametrize("url", ["localhost:9400", "file:///etc/passwd", "http://", "http://x:99999/", "", "http://[/"])
def test_an_address_that_is_none_stops_the_start(clock, url):
    with pytest.raises(Misconfigured, match=re.escape(f"{url!r}: it has to be http://HOST:PORT/metrics")):
        DcgmPage(url, clock)


@contextmanager
def served(answer):
    """An HTTP server on loopback whose handler is ``answer``; gives its URL."""
    handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": answer, "log_message": lambda *words: None})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics?x=1"
        finally:
            server.shutdown()
            thread.join()


def send(handler, body, status=200, length=None):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_page_comes_over_http(clock):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        send(handler, page(DEV_GPU_UTIL=40))

    with served(answer) as url:
        assert DcgmPage(url, clock).read()["GPU-a", None].activity.duty_cycle == 0.4
    assert asked == ["/metrics?x=1"]


def test_a_proxy_of_the_environment_is_not_asked(clock, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with served(lambda handler: send(handler, page(DEV_GPU_UTIL=40))) as url:
        assert fetch_page(url) == page(DEV_GPU_UTIL=40)


@pytest.mark.parametrize("status", [500, 404, 302])
def test_another_status_than_200_is_told(status):
    with served(lambda handler: send(handler, b"no", status)) as url, pytest.raises(Unavailable) as failed:
        fetch_page(url)
    assert str(failed.value).startswith(f"{url} answers {status} ")
    assert "dcgm-exporter's log" in str(failed.value)


def test_nobody_listening_is_told_with_the_remedy():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/metrics"
        with pytest.raises(Unavailable, match=r"does not answer \(.*refused\): start dcgm-exporter"):
            fetch_page(url)


def test_a_page_cut_short_is_not_taken_for_a_whole_one():
    body = page(DEV_GPU_UTIL=40, DEV_FB_USED=5)
    with (
        served(lambda handler: send(handler, body, length=len(body) + 100)) as url,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        fetch_page(url)


def end_without_length(handler, body):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)


def test_without_a_length_a_page_has_to_end_in_a_whole_line():
    body = page(DEV_GPU_UTIL=40)
    with served(lambda handler: end_without_length(handler, body)) as url:
        assert fetch_page(url) == body
    with served(lambda handler: end_without_length(handler, body[:-2])) as url, pytest.raises(Unavailable):
        fetch_page(url)


def test_an_answer_that_is_no_http_is_told():
    with (
        served(lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")) as url,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        fetch_page(url)


def test_a_page_that_is_too_long_is_refused(clock, monkeypatch):
    monkeypatch.setattr(dcgm_page, "MAX_PAGE_BYTES", 1000)
    with (
        served(lambda handler: send(handler, b"#" * 2000)) as url,
        pytest.raises(Unavailable, match=f"{re.escape(url)}: page is longer than the limit of 1000 bytes"),
    ):
        DcgmPage(url, clock).read()


@pytest.mark.parametrize("headers_first", [True, False])
def test_a_page_that_trickles_without_end_is_cut_off(monkeypatch, headers_first):
    monkeypatch.setattr(dcgm_page, "FETCH_SECONDS", 0.3)

    def trickle(handler):
        if headers_first:
            handler.send_response(200)
            handler.end_headers()
        pace = threading.Event()
        with suppress(OSError):
            for _ in range(500):
                handler.wfile.write(b"#\n" if headers_first else b"H")
                pace.wait(0.01)

    with (
        served(trickle) as url,
        pytest.raises(Unavailable, match=r"did not end within 0.3 s: look at dcgm-exporter's load"),
    ):
        fetch_page(url)


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(dcgm_page, "FETCH_SECONDS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unavailable, match=r"did not end within 0.2 s|does not answer \(timed out\)"),
    ):
        fetch_page(f"http://127.0.0.1:{silent.getsockname()[1]}/metrics")
