import pytest

from collectors.serving_page import read_engine_page
from collectors.serving_settings import HolderSelector, ServingSettings
from collectors.serving_targets import ServingPod, announces, pod_targets, static_targets

ON = ServingSettings()


def pod(annotations=None, *, ports=None, gpu=True, ip="10.1.2.3"):
    return ServingPod("ml", "llm-0", ip, annotations or {}, ports or {}, holds_gpu=gpu)


def found(*args, settings=ON, **kwargs):
    answer = pod_targets(pod(*args, **kwargs), settings)
    assert answer.problems == ()
    return answer.targets


def urls(*args, **kwargs):
    return [target.urls for target in found(*args, **kwargs)]


def problem(annotations, **kwargs):
    answer = pod_targets(pod(annotations, **kwargs), ON)
    assert answer.targets == ()
    (line,) = answer.problems
    assert line.startswith("pod ml/llm-0: ")
    return line


def test_our_annotations_name_engine_port_and_path():
    said = {"wattledger.io/engine": "vllm", "wattledger.io/port": "9000", "wattledger.io/path": "/m"}
    (target,) = found(said, ports={9000: "server"})
    assert target.urls == ("http://10.1.2.3:9000/m",)
    assert (target.key, target.container, target.probe) == ("ml/llm-0:9000/m", "server", False)
    assert [names.engine for names in target.reading.engines] == ["vllm"]


def test_several_engines_in_one_pod_are_several_ports():
    targets = found({"wattledger.io/port": "8000, 8080"}, ports={8000: "a", 8080: "b"})
    assert [(target.container, target.urls[0]) for target in targets] == [
        ("a", "http://10.1.2.3:8000/metrics"),
        ("b", "http://10.1.2.3:8080/metrics"),
    ]


def test_prometheus_annotations_fill_what_ours_leave_out():
    said = {"wattledger.io/engine": "tgi", "prometheus.io/port": "80", "prometheus.io/scheme": "https"}
    assert urls(said) == [("https://10.1.2.3:80/metrics",)]


def test_prometheus_annotations_alone_are_a_guess_on_pods_that_hold_a_gpu():
    said = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/x"}
    (target,) = found(said)
    assert target.urls == ("http://10.1.2.3:9090/x",)
    assert target.probe
    assert found(said, gpu=False) == ()


def test_our_annotations_count_on_pods_without_a_gpu_too():
    assert urls({"wattledger.io/port": "8080"}, gpu=False) == [("http://10.1.2.3:8080/metrics",)]


@pytest.mark.parametrize(
    ("said", "announced"),
    [
        ({"wattledger.io/engine": "vllm"}, True),
        ({"wattledger.io/scrape": "true"}, True),
        ({"wattledger.io/mapping": "steps_total=steps"}, True),
        ({"wattledger.io/engine": "vllm", "wattledger.io/scrape": "false"}, False),
        ({"wattledger.io/port": ""}, False),
        ({"wattledger.io/model": "llama", "wattledger.io/schedule-down": "always"}, False),
        ({"prometheus.io/scrape": "true", "prometheus.io/port": "8000"}, False),
    ],
)
def test_a_pod_without_a_gpu_has_a_page_where_it_announces_one(said, announced):
    assert announces(said) == announced
    assert bool(found(said, ports={8000: "main"}, gpu=False)) == announced


def test_usual_ports_are_tried_only_where_a_container_declares_them():
    assert found(ports={22: "ssh"}) == ()
    (target,) = found(ports={22: "ssh", 8000: "nim"})
    assert target.urls == ("http://10.1.2.3:8000/metrics", "http://10.1.2.3:8000/v1/metrics")
    assert target.probe


@pytest.mark.parametrize(
    ("settings", "annotations"),
    [
        (ServingSettings(discover_ports=False), {}),
        (ServingSettings(discover_ports=False, discover_annotations=False), {"wattledger.io/port": "8000"}),
        (ON, {"wattledger.io/scrape": "false"}),
    ],
)
def test_discovery_can_be_switched_off(settings, annotations):
    assert found(annotations, ports={8000: "a"}, settings=settings) == ()


def test_a_pod_without_an_address_has_no_pages_yet():
    assert found({"wattledger.io/port": "8000"}, ip="") == ()


def test_an_ipv6_address_is_written_in_brackets():
    assert urls({"wattledger.io/port": "9"}, ip="fd00::7") == [("http://[fd00::7]:9/metrics",)]


def test_a_training_job_maps_its_counters_by_annotation():
    said = {
        "wattledger.io/mapping": "steps_total=steps, seen=samples",
        "wattledger.io/port": "9",
        "wattledger.io/model": "r",
    }
    (target,) = found(said)
    page = read_engine_page(b"steps_total 4\nseen 128\n", target.reading)
    assert page.work == {("r", "", "steps"): 4, ("r", "", "samples"): 128}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "engine",
            "vlm",
            "annotation wattledger.io/engine is 'vlm'; allowed: vllm, sglang, tgi, llamacpp, nim, triton",
        ),
        ("port", "http", "annotation port is 'http'; allowed: numbers from 1 to 65535"),
        ("port", "70000", "allowed: numbers from 1 to 65535"),
        ("mapping", "a=tokens", "has 'a=tokens'; allowed: COUNTER=KIND, the kind one of requests, input_tokens"),
        ("path", "metrics", "annotation path is 'metrics'; it has to start with /"),
        ("scheme", "file", "annotation scheme is 'file'; allowed: http, https"),
        ("scrape", "true", "announces metrics but not on which port: add the annotation wattledger.io/port"),
    ],
)
def test_an_annotation_that_is_not_understood_is_told_with_the_remedy(name, value, message):
    assert message in problem({"wattledger.io/scrape": "true", f"wattledger.io/{name}": value})


def test_the_only_declared_port_needs_no_annotation():
    assert urls({"wattledger.io/engine": "vllm"}, ports={1234: "a"}) == [("http://10.1.2.3:1234/metrics",)]


def test_a_page_named_by_hand_belongs_to_whoever_listens_on_its_port_unless_said():
    settings = ServingSettings.model_validate(
        {
            "tenant_label": "user",
            "targets": [
                {"url": "http://127.0.0.1:8000/metrics"},
                {"url": "http://h/m", "name": "b", "engine": "vllm", "model": "x", "holder": {"systemd": "v.service"}},
            ],
        }
    )
    one, two = static_targets(settings)
    assert one.holder == HolderSelector(port=8000)
    assert (two.key, two.holder, two.reading.default_model) == ("b", HolderSelector(systemd="v.service"), "x")
    assert one.reading.tenant_label == "user"
