import json
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from cli.main import main
from cli.state_client import StateClient
from collectors.errors import Misconfigured, Unavailable

NO_ACTIVITY = {"duty_cycle": None, "sm": None, "tensor": None, "dram": None, "memory_controller": None}


def device(**changed):
    return {
        "uuid": "GPU-1",
        "index": 0,
        "name": "NVIDIA H100",
        "healthy": True,
        "health_message": None,
        "age_seconds": 0.5,
        "flags": [],
        "activity": NO_ACTIVITY | {"duty_cycle": 0.81, "sm": 0.42},
        "activity_source": "gpm",
        "power_watts": 512.0,
        "power_limit_watts": 700.0,
        "energy_joules": 1e6,
        "memory_used_bytes": 40 * 1024**3,
        "memory_total_bytes": 80 * 1024**3,
        "temperature_celsius": 61.0,
        "throttle_reasons": [],
        "usd_per_hour": 6.88,
        "price_source": "list",
        "price_age_seconds": 86400.0,
        "price_estimate": False,
        "holders": [{"kind": "user", "name": "ada", "mig": None, "share_ratio": None, "memory_bytes": None}],
        "instances": [],
        "totals": {"gpu_seconds": 60.0, "joules": 30000.0, "usd": 0.11},
        "accounts": [],
    } | changed


def state(**changed):
    return {
        "node": "node-7",
        "version": "0.1.0",
        "source": "nvml",
        "simulated": False,
        "driver_version": "580.1",
        "now_utc": "2026-11-22T06:00:00Z",
        "sweep_age_seconds": 0.4,
        "interval_seconds": 1.0,
        "interval_stretched": False,
        "message": None,
        "kubernetes": False,
        "totals": {
            "power_watts": 512.0,
            "usd_per_hour": 6.88,
            "accounts": [{"account": "active", "gpu_seconds": 3723.0, "joules": 7.2e6, "usd": None}],
        },
        "host": None,
        "serving": [],
        "collectors": [],
        "devices": [device()],
    } | changed


class Agent(ThreadingHTTPServer):
    """A server that answers as told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.token, self.scheme = 200, b"", None, "http"

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def tell(self, body):
        self.body = json.dumps(body).encode()

    def handle_error(self, request, client_address):
        """A client that does not trust the certificate hangs up; nothing to tell."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        let_in = self.server.token in (None, self.headers.get("Authorization", "").removeprefix("Bearer "))
        self.send_response(self.server.status if let_in and self.path == "/v1/state" else 401)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_):
        """Silent."""


@pytest.fixture
def agent():
    with Agent() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def once(agent):
    def show(shown):
        agent.tell(shown)
        return CliRunner().invoke(main, ["top", "--once", "--url", agent.url], env={"COLUMNS": "160"})

    return show


def test_one_picture_holds_device_holder_figures_and_books(once):
    out = once(state()).output
    for figure in ("node-7", "driver 580.1", "H100", "81 %", "42 %", "512/700 W", "40.0/80 GiB"):
        assert figure in out
    for figure in ("61 °C", "$6.88/h", "user ada", "active", "1:02:03", "2.00 kWh"):
        assert figure in out
    assert "SIMULATED" not in out
    assert "STALE" not in out


def test_what_is_absent_is_a_dash_and_never_zero(once):
    nothing = dict.fromkeys(
        ("power_watts", "power_limit_watts", "memory_used_bytes", "temperature_celsius", "usd_per_hour")
    )
    totals = {"power_watts": None, "usd_per_hour": None, "accounts": []}
    shown = state(devices=[device(**nothing, activity=NO_ACTIVITY, holders=[])], totals=totals)
    row = next(line for line in once(shown).output.splitlines() if "H100" in line)
    assert row.split("H100")[1].split() == ["-", "-", "-", "-", "-", "-", "nobody"]


def test_simulation_is_told_first(once):
    out = once(state(simulated=True, source="simulated")).output
    assert out.startswith(" SIMULATED: no figure here was measured")


def test_stale_figures_are_said_to_be_stale(once):
    assert "STALE: the last sweep ended 12 s ago" in once(state(sweep_age_seconds=12.0)).output


def test_no_sweep_yet_is_said(once):
    assert "No sweep has finished yet" in once(state(sweep_age_seconds=None)).output


def test_estimated_price_is_marked(once):
    assert "≈$6.88/h" in once(state(devices=[device(price_estimate=True)])).output


def test_troubles_of_device_node_and_collector_are_told(once):
    out = once(
        state(
            message="The driver does not answer.",
            interval_stretched=True,
            interval_seconds=4.0,
            devices=[device(healthy=False, health_message="fallen off the bus", flags=["power_at_idle_clocks"])],
            collectors=[{"collector": "host", "up": False, "age_seconds": None, "message": "no /proc"}],
        )
    ).output
    for told in ("The driver does not answer.", "sweeping every 4 s", "fallen off the bus", "host: no /proc"):
        assert told in out
    assert "cannot be true: power_at_idle_clocks" in out


def test_mig_instance_shows_its_own_holder(once):
    held = [{"kind": "slurm", "name": "42.0", "mig": "MIG-1", "share_ratio": None, "memory_bytes": None}]
    instance = {
        "mig": "MIG-1",
        "profile": "1g.10gb",
        "activity": NO_ACTIVITY,
        "memory_used_bytes": None,
        "memory_total_bytes": None,
    }
    out = once(state(devices=[device(holders=held, instances=[instance])])).output
    row = next(line for line in out.splitlines() if "1g.10gb" in line)
    assert "slurm 42.0" in row
    assert "nobody" not in out


def test_names_are_never_taken_for_markup(once):
    named = [{"kind": "user", "name": "[red]eve[/]", "mig": None, "share_ratio": None, "memory_bytes": None}]
    assert "[red]eve[/]" in once(state(devices=[device(holders=named)])).output


def test_many_holders_are_counted(once):
    many = [{"kind": "user", "name": f"u{n}", "mig": None, "share_ratio": 0.1, "memory_bytes": None} for n in range(9)]
    assert "user u3 10 % and 5 more" in " ".join(once(state(devices=[device(holders=many)])).output.split())


def test_node_without_gpus_is_said(once):
    assert "No GPUs." in once(state(devices=[])).output


def test_nobody_there_is_one_line_with_the_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    result = CliRunner().invoke(main, ["top", "--once", "--url", url])
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {url} does not answer (Connection refused); start `wattledger up` there, or give --url\n",
    )


def refused(client, kind):
    with pytest.raises(kind) as caught:
        client.fetch()
    return str(caught.value)


def test_token_is_asked_for_and_taken(agent, tmp_path):
    agent.token = "s3cret"
    agent.tell(state())
    assert refused(StateClient(agent.url), Misconfigured) == f"{agent.url} asks for a token: give --token-file"
    file = tmp_path / "token"
    file.write_text("wrong\n", encoding="ascii")
    wanted = f"{agent.url} asks for a token: it does not take this token"
    assert refused(StateClient(agent.url, file), Misconfigured) == wanted
    file.write_text("s3cret\n", encoding="ascii")
    assert StateClient(agent.url, file).fetch()["node"] == "node-7"


@pytest.mark.parametrize("text", ["", "\n", "two\nlines"])
def test_file_without_a_token_is_refused(tmp_path, text):
    file = tmp_path / "token"
    file.write_text(text, encoding="ascii")
    wanted = f"--token-file {file}: found no token of one line in it"
    assert refused(StateClient("http://127.0.0.1:1", file), Misconfigured) == wanted


def test_token_file_that_is_not_there_is_named(tmp_path):
    file = tmp_path / "none"
    wanted = f"--token-file {file}: cannot be read (No such file or directory)"
    assert refused(StateClient("http://127.0.0.1:1", file), Misconfigured) == wanted


def test_address_without_scheme_is_refused():
    wanted = "--url 127.0.0.1:9477: allowed: an http or https address, such as http://127.0.0.1:9477"
    assert refused(StateClient("127.0.0.1:9477"), Misconfigured) == wanted


def test_other_server_is_told_from_an_agent(agent):
    agent.body = b"<html>"
    wanted = f"{agent.url} answers, but not as a wattledger agent does; is the port right?"
    assert refused(StateClient(agent.url), Unavailable) == wanted
    agent.tell({"node": "x"})
    wanted = f"{agent.url} answers as an agent of another version; use the same wattledger here and there"
    assert refused(StateClient(agent.url), Unavailable) == wanted
    agent.status = 404
    wanted = f"{agent.url} has no /v1/state: is this a wattledger agent?"
    assert refused(StateClient(agent.url), Unavailable) == wanted
    agent.status = 500
    assert refused(StateClient(agent.url), Unavailable) == f"{agent.url} answers with status 500; its log says why"


def test_tls_where_none_is_spoken_is_told(agent):
    url = agent.url.replace("http", "https")
    assert refused(StateClient(url), Unavailable) == f"{url} does not speak TLS; try http://"


@pytest.fixture
def certificate(tmp_path, require_tool):
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


def test_certificate_is_trusted_only_when_named(agent, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    agent.socket = context.wrap_socket(agent.socket, server_side=True)
    agent.scheme = "https"
    agent.tell(state())
    message = refused(StateClient(agent.url), Misconfigured)
    assert message == f"{agent.url}: certificate not trusted (self-signed certificate); give --ca-file"
    assert StateClient(agent.url, ca_file=certificate[0]).fetch()["node"] == "node-7"


def test_certificate_file_that_is_none_is_named(tmp_path):
    file = tmp_path / "ca.pem"
    wanted = f"--ca-file {file}: is no readable certificate (No such file or directory)"
    assert refused(StateClient("https://127.0.0.1:1", ca_file=file), Misconfigured) == wanted
