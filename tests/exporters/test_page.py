import base64
import hashlib
import itertools
import re
import struct
import subprocess

import pytest

from exporters.http_server import serve
from exporters.page import Page
from exporters.server_settings import ServerSettings
from ledger.accounts import Account

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def page():
    return Page.load()


@pytest.fixture(scope="module")
def parts(page):
    """Markup, style and script of the document."""
    found = re.fullmatch(r"(.*<style>)(.*)(</style>.*<script>)(.*)(</script>.*)", page.document.decode(), re.DOTALL)
    return found[1] + found[3] + found[5], found[2], found[4]


def channel(value):
    return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4


def luminance(colour):
    red, green, blue = (channel(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_document_is_one_piece_and_asks_no_other_host(parts):
    markup, style, script = parts
    whole = "".join(parts).replace("http://www.w3.org/2000/svg", "")
    assert "://" not in whole
    assert not re.search(r"<link(?! rel=\"icon\" href=\"data:)|<script |<img|@import|url\(", markup + style)
    assert set(re.findall(r"fetch\((.*?),", script)) == {'"/v1/state"'}


def test_the_policy_lets_in_this_style_and_this_script_only(page, parts):
    policy = page.headers["Content-Security-Policy"]
    for text, kind in zip(parts[1:], ("style", "script"), strict=True):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_the_script_writes_text_only(parts):
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|setHTML", parts[2])


def test_script_and_markup_name_the_same_places(parts):
    markup, _, script = parts
    written = set(re.findall(r'slot\(\w+, "(\w+)"\)', script))
    assert written == set(re.findall(r'data-slot="(\w+)"', markup))


@pytest.mark.parametrize("account", list(Account))
def test_every_account_has_its_colour_and_its_meaning(parts, account):
    _, style, script = parts
    assert style.count(f"--{account}:") == 2
    assert f".{account} {{ background:" in style
    assert re.search(rf'^    {account}: ".+",$', script, re.MULTILINE)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_is_written_can_be_read(parts, scheme):
    colours = dict(
        re.findall(r"--([\w-]+): (#[0-9a-f]{6})", parts[1].split("@media (prefers-color-scheme: dark)")[scheme])
    )
    pairs = [
        *itertools.product(("ink", "quiet", "accent", "bad-ink"), ("ground", "card")),
        ("warn-ink", "warn"),
        ("bad-ink", "bad"),
        ("sim-ink", "sim"),
    ]
    assert {
        pair: contrast(*(colours[name] for name in pair))
        for pair in pairs
        if contrast(*(colours[name] for name in pair)) < 4.5
    } == {}


def chromium(program, url, tmp_path, *options):
    command = [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}", *options, url,
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout.decode()


@pytest.fixture
def opened(require_tool, fake_app, tmp_path):
    """``opened(app, *options)`` opens the page of an app in Chromium and gives what the document became."""
    servers = []

    def opened(app, *options, budget_ms=3000):
        server = serve(ServerSettings(listen="127.0.0.1:0"), app)
        servers.append(server)
        budget = f"--virtual-time-budget={budget_ms}"
        return chromium(require_tool("chromium"), server.url, tmp_path, budget, "--dump-dom", *options)

    yield opened
    for server in servers:
        server.close()


def shown(document):
    """Text and marks of the document without its script, style, template and glossary."""
    for tag in ("script", "style", "template", "noscript"):
        document = re.sub(rf"<{tag}[ >].*?</{tag}>", "", document, flags=re.DOTALL)
    return document


def visible_notices(document):
    return re.findall(r'<p class="notice \w+" data-slot="(\w+)">', shown(document))


@pytest.mark.tool("chromium")
def test_the_page_shows_the_state(opened, fake_app):
    document = shown(opened(fake_app.FakeApp()))
    for figure in ("node-1", "612", "$6.88", "1:02:03", "1.000 kWh", "$2.50", "trainer", "97 %", "67 °C", "driver 580"):
        assert figure in document, figure
    assert "bundled · estimate · 1\N{NO-BREAK SPACE}d\N{NO-BREAK SPACE}old" in document.replace(
        "&nbsp;", "\N{NO-BREAK SPACE}"
    )
    assert "accounts add up to the device" in document
    assert visible_notices(document) == []


@pytest.mark.tool("chromium")
def test_what_was_not_measured_is_a_dash_and_says_so(opened, fake_app):
    document = shown(opened(fake_app.FakeApp()))
    assert '<dt>DRAM bandwidth</dt><dd title="not measured" aria-label="not measured">\N{EN DASH}</dd>' in document


@pytest.mark.tool("chromium")
def test_a_hostile_name_is_text(opened, fake_app):
    state = fake_app.state(node=HOSTILE, message=HOSTILE)
    device = state["devices"][0]
    device["name"] = device["health_message"] = device["holders"][0]["name"] = device["accounts"][0]["holder"] = HOSTILE
    document = opened(fake_app.FakeApp(state=lambda: state))
    assert "taken</title>" not in document
    assert document.count("<script>") == 1
    assert "<img" not in document
    assert document.count("&lt;script&gt;document.title='taken'&lt;/script&gt;&lt;img") >= 6


@pytest.mark.tool("chromium")
def test_a_simulation_cannot_be_overlooked(opened, fake_app):
    document = opened(fake_app.FakeApp(state=lambda: fake_app.state(simulated=True, source="simulated")))
    assert visible_notices(document) == ["simulated"]
    assert "<strong>Simulated</strong> No figure on this page was measured." in document


@pytest.mark.tool("chromium")
def test_books_that_do_not_balance_are_told(opened, fake_app):
    state = fake_app.state()
    state["devices"][0]["totals"]["joules"] += 1000
    assert "does not add up: joules" in shown(opened(fake_app.FakeApp(state=lambda: state)))


@pytest.mark.tool("chromium")
def test_an_agent_that_falls_silent_leaves_no_live_figure(opened, fake_app):
    answers = itertools.chain([fake_app.state()], itertools.repeat(None))

    def once():
        if (state := next(answers)) is None:
            raise RuntimeError("gone")
        return state

    document = opened(fake_app.FakeApp(state=once), budget_ms=6000)
    assert '<body class="stale">' in document
    assert "The agent does not answer (status 500). All figures are" in document


@pytest.mark.tool("chromium")
def test_a_sweep_that_hangs_leaves_no_live_figure(opened, fake_app):
    document = opened(fake_app.FakeApp(state=lambda: fake_app.state(sweep_age_seconds=75.0)))
    assert '<body class="stale">' in document
    assert "has not finished a sweep. All figures are 1 min old." in document


@pytest.mark.tool("chromium")
@pytest.mark.parametrize(("width", "height"), [(1280, 1600), (500, 844)])
def test_a_picture_can_be_taken_on_desktop_and_phone(opened, fake_app, tmp_path, width, height):
    picture = tmp_path / "page.png"
    opened(fake_app.FakeApp(), f"--screenshot={picture}", f"--window-size={width},{height}")
    data = picture.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (width, height)
    assert len(data) > 20_000
