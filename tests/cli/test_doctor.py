import dataclasses
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.config import Config
from cli.doctor_checks import CHECKS, examine
from cli.doctor_devices import check_devices, check_driver
from cli.doctor_finding import Finding, Machine, survey
from cli.doctor_host import check_cgroups, check_clock, check_dcgm, check_power, check_processes
from cli.doctor_kubernetes import check_kubernetes  # noqa: F401  (named for the list of checks)
from cli.doctor_prices import check_cloud, check_prices
from cli.doctor_service import check_certificate, check_directory, check_listen, check_token
from cli.doctor_serving import check_serving  # noqa: F401  (named for the list of checks)
from cli.main import main
from collectors.cloud_metadata import CloudIdentity
from collectors.errors import DeviceLost, Unavailable
from collectors.readings import Activity, DeviceFacts, DeviceSweep, GpuReading, MigFacts, ProcessReading

DAY_NS = 86_400_000_000_000
NOW_NS = 20_800 * DAY_NS  # 2026-12-13
H100 = DeviceFacts("GPU-1", 0, "NVIDIA H100 80GB HBM3", driver_version="580.1")
FULL = GpuReading(H100, 0, activity=Activity(duty_cycle=0.5, sm=0.4), activity_source="gpm", energy_mj=1)
AWS = CloudIdentity("aws", "i-1", "p5.48xlarge", "us-east-1", "us-east-1a", "on_demand", None)


class FixedClock:
    boot_id = "boot"

    def __init__(self, wall_ns=NOW_NS):
        self._wall_ns = wall_ns

    def monotonic_ns(self):
        return 0

    def wall_ns(self):
        return self._wall_ns

    def wait(self, event, duration_ns):
        return False


class Driver:
    """A source that answers as told."""

    name = "nvml"

    def __init__(self, sweeps, error=None):
        self.sweeps, self.error, self.reads = sweeps, error, 0

    def discover(self):
        if self.error:
            raise self.error
        return [H100]

    def unreadable(self):
        return ["GPU 1: no permission"]

    def read(self, uuid):
        self.reads += 1
        if isinstance(self.sweeps, Exception):
            raise self.sweeps
        return self.sweeps


@pytest.fixture
def machine(tmp_path):
    """A machine as it is told, its host's files under ``tmp_path``."""

    def make(sweep=None, settings=None, **changed):
        given = {"host": {"proc": tmp_path / "proc", "sys": tmp_path / "sys"}} | (settings or {})
        devices = (H100,) if sweep else ()
        sweeps = {H100.uuid: sweep} if sweep else {}
        return Machine(Config.model_validate(given), FixedClock(), devices, sweeps, **changed)

    return make


def told(check, machine) -> list[Finding]:
    findings = list(check(machine))
    assert all(bool(finding.remedy) == (finding.verdict != "ok") for finding in findings)
    return findings


def verdicts(check, machine) -> list[str]:
    return [finding.verdict for finding in told(check, machine)]


def test_survey_reads_each_device_twice_with_a_pause_between():
    driver, pauses = Driver(DeviceSweep(FULL)), []
    found = survey(Config(), FixedClock(), driver, pauses.append)
    assert (driver.reads, pauses) == (2, [250_000_000])
    assert found.sweeps == {"GPU-1": DeviceSweep(FULL)}
    assert found.unreadable == ("GPU 1: no permission",)


def test_survey_keeps_why_a_driver_or_device_does_not_answer():
    error = Unavailable("NVIDIA driver: not found: install it")
    found = survey(Config(), FixedClock(), Driver(None, error), lambda _: None)
    assert found.driver_error == "NVIDIA driver: not found: install it"
    lost = DeviceLost("fallen off the bus")
    assert survey(Config(), FixedClock(), Driver(lost), lambda _: None).sweeps == {"GPU-1": lost}


def test_missing_driver_fails_with_its_remedy(machine):
    findings = told(check_driver, machine(driver_error="NVIDIA driver: not found: install it"))
    assert findings == [Finding("driver", "fail", "NVIDIA driver does not answer", "not found: install it")]


def test_driver_without_devices_fails(machine):
    assert verdicts(check_driver, machine()) == ["fail"]


def test_device_that_cannot_be_identified_fails_beside_a_good_driver(machine):
    findings = told(check_driver, machine(DeviceSweep(FULL), unreadable=("GPU 1: no permission",)))
    assert [(f.verdict, f.what) for f in findings] == [("fail", "GPU 1: no permission"), ("ok", "driver 580.1, 1 GPUs")]


def test_device_that_tells_all_is_good(machine):
    (finding,) = told(check_devices, machine(DeviceSweep(FULL)))
    assert finding.verdict == "ok"
    assert finding.what.endswith("(GPU-1): activity by gpm, energy counter, no MIG")


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"energy_mj": None}, "has no energy counter"),
        ({"activity": Activity(duty_cycle=0.5)}, "has no GPM"),
        ({"activity": Activity(), "activity_source": None}, "tells no activity"),
        ({"processes_known": False}, "does not let its processes be listed"),
    ],
)
def test_what_a_device_cannot_tell_is_warned_about(machine, changed, wanted):
    findings = told(check_devices, machine(DeviceSweep(dataclasses.replace(FULL, **changed))))
    assert [f.verdict for f in findings] == ["ok", "warn"]
    assert wanted in findings[1].what


def test_device_with_mig_is_judged_by_its_instances(machine):
    device = dataclasses.replace(FULL, mig_enabled=True, activity=Activity(), activity_source=None)
    facts = MigFacts("MIG-1", 1, 0, "1g.10gb", 1, 7)
    instance = dataclasses.replace(FULL, mig=facts)
    (finding,) = told(check_devices, machine(DeviceSweep(device, (instance,))))
    assert finding.what.endswith("activity by gpm, energy counter, 1 MIG instances")
    blind = dataclasses.replace(instance, activity=Activity(), activity_source=None)
    assert verdicts(check_devices, machine(DeviceSweep(device, (blind,)))) == ["ok", "warn"]


def test_lost_device_fails(machine):
    (finding,) = told(check_devices, machine(DeviceLost("fallen off the bus")))
    assert (finding.verdict, finding.what) == ("fail", "GPU 0 NVIDIA H100 80GB HBM3: fallen off the bus")


@pytest.fixture
def namespace(tmp_path):
    def make(pid="pid:[4026531836]", cgroup="cgroup:[4026531835]"):
        for process, kind, target in (("1", "pid", pid), ("self", "cgroup", cgroup)):
            folder = tmp_path / "proc" / process / "ns"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / kind).symlink_to(target)

    return make


def test_host_processes_are_seen(machine, namespace):
    namespace()
    assert [f.what for f in told(check_processes, machine())][1:] == [
        "no process is on a GPU now, so there is nobody to tell"
    ]
    assert verdicts(check_processes, machine()) == ["ok", "ok"]


def test_private_pid_namespace_is_warned_about_with_the_remedy(machine, namespace):
    namespace(pid="pid:[4026532000]")
    finding = told(check_processes, machine())[0]
    assert finding.verdict == "warn"
    assert "hostPID: true" in finding.remedy


def test_unknown_pid_namespace_is_warned_about(machine):
    assert verdicts(check_processes, machine())[0] == "warn"


def test_gpu_process_that_cannot_be_read_fails(machine):
    held = dataclasses.replace(FULL, processes=(ProcessReading(4242, "compute"),))
    finding = told(check_processes, machine(DeviceSweep(held)))[1]
    assert (finding.verdict, finding.what) == ("fail", "0 of 1 GPU processes have a holder")


def test_gpu_process_has_its_holder_named(machine):
    held = dataclasses.replace(FULL, processes=(ProcessReading(os.getpid(), "compute"),))
    finding = told(check_processes, machine(DeviceSweep(held), {"host": {"proc": "/proc"}}))[1]
    assert finding.verdict == "ok"
    assert finding.what.startswith("1 of 1 GPU processes have a holder: ")


def test_cgroups_are_told_by_version_and_namespace(machine, namespace, tmp_path):
    assert verdicts(check_cgroups, machine()) == ["warn"]
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    namespace()
    assert told(check_cgroups, machine())[0].what == "cgroups v1 or hybrid, the host's"
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").touch()
    assert told(check_cgroups, machine())[0].what == "cgroups v2, the host's"
    (tmp_path / "proc/self/ns/cgroup").unlink()
    (tmp_path / "proc/self/ns/cgroup").symlink_to("cgroup:[4026532000]")
    assert verdicts(check_cgroups, machine()) == ["warn"]


def test_clock_in_the_past_fails(machine):
    past = dataclasses.replace(machine(), clock=FixedClock(wall_ns=0))
    assert told(check_clock, past)[0].what == "the wall clock lies in the past: hours would bear wrong names"
    assert verdicts(check_clock, machine())[0] in {"ok", "warn"}


def test_host_without_procfs_fails(machine):
    assert verdicts(check_power, machine()) == ["fail"]


def test_host_without_rapl_is_warned_about(machine, tmp_path):
    assert verdicts(check_power, machine(settings={"host": {"proc": "/proc", "sys": tmp_path}})) == ["warn"]


def test_dcgm_page_that_does_not_answer_is_warned_about(machine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/metrics"
    assert verdicts(check_dcgm, machine(settings={"dcgm": {"url": url}})) == ["warn"]
    assert verdicts(check_dcgm, machine()) == []


def test_cloud_is_told(machine):
    assert told(check_cloud, machine(identity=AWS))[0].what == "aws p5.48xlarge in us-east-1a, on_demand"
    assert told(check_cloud, machine())[0].what == "in no cloud that is known by its firmware"
    assert verdicts(check_cloud, machine(identity_error="no answer")) == ["warn"]
    assert "off" in told(check_cloud, machine(settings={"prices": {"cloud_identity": "off"}}))[0].what


def test_price_names_source_and_age(machine):
    settings = {"prices": {"node": {"usd_per_hour": "20", "as_of": "2026-12-01", "gpus": 8}}}
    (finding,) = told(check_prices, machine(DeviceSweep(FULL), settings))
    assert (finding.verdict, finding.what) == (
        "ok",
        "1 x NVIDIA H100 80GB HBM3: $2.5000 a GPU-hour (on_demand) by config, as of 2026-12-01 (12 d 0 h old)",
    )


def test_estimated_stale_and_missing_prices_are_warned_about(machine):
    sweep = DeviceSweep(FULL)
    assert "; an estimate: " in told(check_prices, machine(sweep))[0].what
    old = {"prices": {"node": {"usd_per_hour": "20", "as_of": "2020-12-01"}}}
    assert told(check_prices, machine(sweep, old))[0].what.endswith("; stale")
    none = {"prices": {"fallback": "none"}}
    assert "nobody gives a price" in told(check_prices, machine(sweep, none))[0].what
    assert [verdicts(check_prices, machine(sweep, given)) for given in (None, old, none)] == [["warn"]] * 3


def test_price_for_too_few_gpus_fails(machine):
    both = machine(DeviceSweep(FULL), {"prices": {"node": {"usd_per_hour": "20", "as_of": "2026-12-01", "gpus": 1}}})
    two = dataclasses.replace(both, devices=(H100, H100))
    assert verdicts(check_prices, two) == ["fail"]


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def listening(machine, address, **server):
    return told(check_listen, machine(settings={"server": {"listen": address, **server}}))


def test_free_port_is_good(machine):
    assert [f.verdict for f in listening(machine, "127.0.0.1:0")] == ["ok"]


def test_taken_port_fails_with_the_remedy(machine, monkeypatch):
    monkeypatch.setattr("cli.state_client._TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (finding,) = listening(machine, f"127.0.0.1:{port}")
    assert (finding.verdict, finding.what) == ("fail", f"127.0.0.1:{port} is taken")
    assert finding.remedy == (f"choose another with --listen HOST:PORT, or stop who has it (ss -ltnp sport = :{port})")


@pytest.mark.parametrize("address", ["192.0.2.1:9477", "no-such-host.invalid:9477"])
def test_address_of_another_machine_fails(machine, address):
    assert [f.verdict for f in listening(machine, address)] == ["fail"]


def test_open_address_without_token_or_tls_is_warned_about(machine):
    assert [f.remedy for f in listening(machine, "0.0.0.0:0")] == ["", "set server.token_file"]
    assert [f.verdict for f in listening(machine, "0.0.0.0:0", token_file="t")] == ["ok", "warn"]
    everything = {"token_file": "t", "tls_cert_file": "c", "tls_key_file": "k"}
    assert [f.verdict for f in listening(machine, "0.0.0.0:0", **everything)] == ["ok"]


def token(machine, path):
    (finding,) = told(check_token, machine(settings={"server": {"token_file": path}}))
    return finding.verdict, finding.what


def test_token_is_read(machine, tmp_path):
    path = tmp_path / "token"
    assert token(machine, path) == ("fail", f"{path} cannot be read (No such file or directory)")
    path.write_text("", encoding="ascii")
    assert token(machine, path) == ("fail", f"{path} is empty")
    path.write_bytes(b"\xff")
    assert token(machine, path) == ("fail", f"{path} holds no ASCII text")
    path.write_text("secret", encoding="ascii")
    path.chmod(0o644)
    assert token(machine, path) == ("warn", f"every user of this machine may read {path}")
    path.chmod(0o640)
    assert token(machine, path) == ("ok", f"{path} can be read")
    assert verdicts(check_token, machine()) == ["ok"]


@pytest.fixture
def pair(tmp_path, require_tool):
    """Makes a certificate and its key."""

    def make(name, *more):
        cert, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        command = [require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-subj", "/CN=node", *(more or ("-nodes", "-days", "2")), "-out", cert, "-keyout", key]
        subprocess.run(command, check=True, capture_output=True)
        return cert, key

    return make


def certificate(machine, cert, key):
    settings = {"server": {"tls_cert_file": cert, "tls_key_file": key}}
    (finding,) = told(check_certificate, machine(settings=settings))
    return finding.verdict, finding.what


def test_certificate_in_date_is_good_and_its_end_is_told(machine, pair):
    cert, key = pair("good")
    verdict, what = certificate(machine, cert, key)
    assert verdict == "ok"
    assert what.startswith(f"{cert} fits its key and is valid until ")
    assert str(time.gmtime(time.time() + 2 * 86400).tm_year) in what
    assert verdicts(check_certificate, machine()) == ["ok"]


def test_certificate_out_of_date_fails(machine, pair, tmp_path, require_tool):
    cert, key = pair("old")
    request = tmp_path / "old.csr"
    openssl = require_tool("openssl")
    subprocess.run([openssl, "req", "-new", "-key", key, "-subj", "/CN=node", "-out", request], check=True)
    sign = [openssl, "x509", "-req", "-in", request, "-signkey", key, "-days", "-1", "-out", cert]
    subprocess.run(sign, check=True, capture_output=True)
    assert certificate(machine, cert, key) == ("fail", f"{cert}: certificate has expired")


def test_key_of_another_certificate_fails(machine, pair):
    cert, _ = pair("one")
    _, key = pair("two")
    assert certificate(machine, cert, key) == ("fail", f"{cert} and {key}: KEY_VALUES_MISMATCH")


def test_key_with_a_passphrase_fails(machine, pair):
    cert, key = pair("locked", "-passout", "pass:secret", "-days", "2")
    wanted = "the key has a passphrase, which nobody is there to type"
    assert certificate(machine, cert, key) == ("fail", wanted)


def test_certificate_that_is_not_there_fails(machine, tmp_path):
    cert = tmp_path / "none.pem"
    assert certificate(machine, cert, cert) == ("fail", f"{cert} or {cert} cannot be read (No such file or directory)")


def directory(machine, path):
    return [(f.verdict, f.what) for f in told(check_directory, machine(settings={"agent": {"data_dir": path}}))]


def test_directory_that_can_be_written_is_good(machine, tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books/kind").write_text("measured\n", encoding="ascii")
    ((verdict, what),) = directory(machine, tmp_path / "books")
    assert verdict in {"ok", "warn"}  # a full disk under the test would be told
    assert what.endswith("holds measured figures") == (verdict == "ok")


def test_directory_that_is_not_there_yet_is_judged_by_where_it_will_be(machine, tmp_path):
    ((_, what),) = directory(machine, tmp_path / "a/b/c")
    assert what.startswith(f"{tmp_path}/a/b/c can be written, ")
    assert not (tmp_path / "a").exists()


def test_directory_that_cannot_be_written_fails(machine):
    assert directory(machine, Path("/proc/sys/books"))[0][0] == "fail"


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_directory_that_does_not_last_is_warned_about(machine, tmp_path, kind):
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    lines = f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:1 / {tmp_path} rw shared:1 - {kind} none rw\n"
    (folder / "mountinfo").write_text(lines, encoding="ascii")
    verdict, what = directory(machine, tmp_path)[-1]
    assert verdict == "warn"
    assert "goes away with" in what


def test_check_that_breaks_is_a_finding(machine):
    def check_broken(_):
        raise RuntimeError("boom")
        yield

    (finding,) = examine(machine(), (check_broken,))
    assert (finding.check, finding.verdict) == ("broken", "fail")
    assert finding.what == "the check itself broke: RuntimeError: boom"


def test_every_check_is_in_the_list():
    named = {name for name in globals() if name.startswith("check_")}
    assert {check.__name__ for check in CHECKS} == named


def test_machine_without_a_driver_exits_with_one_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr("pynvml.nvmlLib", None)
    monkeypatch.setattr("pynvml._LoadNvmlLibrary", _no_library)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor", "--listen", "127.0.0.1:0"])
    assert result.exit_code == 1
    assert "fail  driver       NVIDIA driver does not answer" in result.output
    assert "libnvidia-ml.so.1 not found: install the NVIDIA driver" in result.output
    assert result.output.splitlines()[-1].endswith(" 1 failing")
    findings = json.loads(CliRunner().invoke(main, ["doctor", "--json", "--listen", "127.0.0.1:0"]).output)
    assert findings[0]["verdict"] == "fail"
    assert list(tmp_path.iterdir()) == []


def _no_library():
    import pynvml

    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
