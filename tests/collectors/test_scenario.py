from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import Misconfigured
from collectors.gpu_model import canonical_model
from collectors.scenario import BUNDLED, Place, Scenario, load_scenario
from collectors.simulated_models import MODELS, NAME_PREFIX
from collectors.simulated_strict import validate
from collectors.simulated_week import parse_windows
from tests.collectors.simulated_rig import scenario, workload

GUIDE = Path(__file__).parents[2] / "docs/guides/simulation.md"
MIG_H100 = {"model": "H100-SXM-80GB", "mig": ["3g.40gb", "3g.40gb"]}
NAN = float("nan")


def refused(**changes) -> str:
    with pytest.raises(Misconfigured) as caught:
        scenario(**changes)
    message = str(caught.value)
    assert message.startswith("test.yaml: ")
    assert "\n" not in message
    return message.removeprefix("test.yaml: ")


def work(**changes):
    return {"workloads": [workload(**changes)]}


def failure(**keys):
    return {"failures": [{"at": "Mon 10:00"} | keys]}


@pytest.mark.parametrize("name", sorted(path.stem for path in BUNDLED.glob("*.yaml")))
def test_bundled_scenarios_are_valid(name):
    assert load_scenario(name=name).description


def test_the_default_has_work_of_every_kind_and_a_gpu_that_is_free_at_times():
    default = load_scenario()
    assert len(default.devices) == 4
    kinds = {each.shape.kind for each in default.workloads}
    assert kinds == {"training", "inference", "constant", "notebook", "batch"}
    assert len([each for each in default.workloads if Place(2) in each.places]) == 2
    spans = [window for each in default.workloads if Place(3) in each.places for window in each.windows]
    assert not any(window.covers(parse_windows("Mon 06:00-07:00")[0].start_ns) for window in spans)


def test_the_seed_of_the_command_line_wins():
    assert load_scenario(name="mig").seed == 1
    assert load_scenario(name="mig", seed=9).seed == 9


def test_reads_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("devices:\n  - model: T4\n")
    assert load_scenario(path).devices[0].gpu.name == "Tesla T4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: [", "not valid YAML: "),
        ("devices:\n  - model: T4\n    model: L4\n", "not valid YAML: key 'model' stands twice in "),
        ("", "the file: found None; allowed: a mapping of keys to values"),
        ("- 1\n", "the file: found [1]; allowed: a mapping of keys to values"),
        ("{}", "devices: found nothing; allowed: a value, the key is required"),
        ("devices: [{model: T4, max_watts: .nan}]", "devices.0.max_watts: found nan; allowed: a finite number"),
        ("devices: !!python/object:os.system []", "not valid YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_scenario_is_told_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"absent\.yaml: cannot be read: .*No such file"):
        load_scenario(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": []}, "the file: found unknown key 'device'; allowed: the keys description, seed,"),
        ({"devices": []}, "devices: found []; allowed: "),
        ({"seed": -1}, "seed: found -1; allowed: greater than or equal to 0"),
        ({"seed": True}, "seed: found True; allowed: a valid integer"),
        ({"utc_offset_hours": 15.0}, "utc_offset_hours: found 15.0; allowed: less than or equal to 14"),
        ({"utc_offset_hours": 5.3}, "utc_offset_hours: found 5.3; allowed: hours in steps of 0.25"),
        ({"host": {"cpus": 0}}, "host.cpus: found 0; allowed: greater than or equal to 1"),
        ({"devices": [{"model": "H100"}]}, "devices.0.model: found 'H100'; allowed: B200, H200-SXM-141GB, "),
        ({"devices": [{"model": "T4", "watts": 3}]}, "devices.0: found unknown key 'watts'; allowed: the keys model,"),
        (
            {"devices": [{"model": "T4", "idle_watts": -1.0}]},
            "devices.0.idle_watts: found -1.0; allowed: greater than 0",
        ),
        (
            {"devices": [{"model": "T4", "max_watts": 5.0}]},
            "devices.0: found idle_watts 10; allowed: less than max_watts (5)",
        ),
        (
            {"devices": [{"model": "custom", "name": "X"}]},
            "devices.0: found a custom model without idle_watts; allowed: ",
        ),
        (
            {"devices": [{"model": "T4", "mig": ["1g.5gb"]}]},
            "devices.0: found MIG profile '1g.5gb'; allowed: none: T4 has no MIG",
        ),
        (
            {"devices": [MIG_H100 | {"mig": ["1g.5gb"]}]},
            "devices.0: found MIG profile '1g.5gb'; allowed: 1g.10gb, 1g.20gb,",
        ),
        (
            {"devices": [MIG_H100 | {"mig": ["4g.40gb"] * 2}]},
            "devices.0: found MIG profiles of 8 compute and 8 memory slices",
        ),
        (
            {"devices": [MIG_H100 | {"mig": ["1g.20gb"] * 5}]},
            "devices.0: found MIG profiles of 5 compute and 10 memory slices",
        ),
        (work(shape={"kind": "party"}), "workloads.0.shape.kind: found 'party'; allowed: 'constant', 'training'"),
        (work(shape={}), "workloads.0.shape.kind: found nothing; allowed: a value, the key is required"),
        (
            work(shape={"kind": "training", "activity": 1.7}),
            "workloads.0.shape.activity: found 1.7; allowed: less than",
        ),
        (
            work(shape={"kind": "batch", "peak": 1}),
            "workloads.0.shape: found unknown key 'peak'; allowed: the keys kind,",
        ),
        (work(power=NAN), "workloads.0.power: found nan; allowed: "),
        (work(sm=-0.1), "workloads.0.sm: found -0.1; allowed: greater than or equal to 0"),
        (work(sm="0.5"), "workloads.0.sm: found '0.5'; allowed: a valid number"),
        (work(processes=0), "workloads.0.processes: found 0; allowed: greater than or equal to 1"),
        (work(share=0.0), "workloads.0.share: found 0.0; allowed: greater than 0"),
        (work(devices=[]), "workloads.0.devices: found []; allowed: "),
        (work(devices=["x"]), "workloads.0.devices: found 'x'; allowed: the index of a device such as 0"),
        (work(devices=[-1]), "workloads.0.devices: found '-1'; allowed: the index"),
        (work(devices=[True]), "workloads.0.devices.0: found True; allowed: a valid string"),
        (work(devices=0), "workloads.0.devices: found 0; allowed: a valid list"),
        (work(devices=[0, "0"]), "workloads.0.devices: found a device twice; allowed: each device once"),
        (work(devices=[1]), "the file: found workload 'job' on device 1; allowed: devices 0 to 0"),
        (
            work(devices=["0/0"]),
            "the file: found workload 'job' on device 0/0; allowed: the whole device, 0: it has no mig",
        ),
        (
            {"devices": [MIG_H100]},
            "the file: found workload 'job' on device 0; allowed: one of its MIG instances, 0/0 to 0/1",
        ),
        (
            work(devices=["0/2"]) | {"devices": [MIG_H100]},
            "the file: found workload 'job' on device 0/2; allowed: 0/0 to 0/1",
        ),
        (work(when="Mon"), "workloads.0.when.0: found 'Mon'; allowed: 'always', days and hours such as"),
        (work(when=["Mon 08:00-12:00", "daily 11:00-13:00"]), "workloads.0: found when "),
        (
            work(holder={"kind": "pod", "name": "x"}),
            "workloads.0.holder.kind: found 'pod'; allowed: 'container', 'systemd'",
        ),
        (work(holder={"kind": "user"}), "workloads.0.holder: found kind user with name ''; allowed: a name"),
        (work(holder={"kind": "none", "name": "x"}), "workloads.0.holder: found kind none with name 'x'"),
        (work(holder={"kind": "user", "name": "a b"}), "workloads.0.holder.name: found 'a b'; allowed: "),
        (work(host={"cpu_cores": -1.0}), "workloads.0.host.cpu_cores: found -1.0; allowed: greater than or equal to 0"),
        (work(memory_gib=81.0), "the file: found 81 GiB of job on device 0; allowed: at most 80 GiB at any time"),
        (
            work(memory_gib=41.0, devices=["0/1"]) | {"devices": [MIG_H100]},
            "the file: found 41 GiB of job on device 0/1; allowed: at most 40",
        ),
        ({"workloads": [workload(), workload()]}, "the file: found workload 'job' twice; allowed: each name once"),
        (failure(kind="lost", device=1, minutes=1.0), "the file: found a failure of device 1; allowed: devices 0 to 0"),
        (failure(kind="lost", device=0), "failures.0: found lost without minutes; allowed: kind, at, device, minutes"),
        (
            failure(kind="xid", device=0, xid=79, minutes=1.0),
            "failures.0: found xid with minutes; allowed: kind, at, device, xid",
        ),
        (
            failure(kind="driver_reload", device=0, minutes=1.0),
            "failures.0: found driver_reload with device; allowed: ",
        ),
        (
            failure(kind="lost", device=0, minutes=0.0),
            "failures.0.minutes: found 0.0; allowed: greater than or equal to 0.16",
        ),
        (failure(kind="xid", device=0, xid=79, at="today"), "failures.0.at: found 'today'; allowed: a day and a time"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_key_finding_and_what_is_allowed(changes, message):
    assert refused(**changes).startswith(message)


def test_further_errors_are_counted():
    assert refused(seed=-1, host={"cpus": 0}).endswith(" (and 1 more)")


def test_a_long_value_is_shown_cut():
    assert len(refused(seed="x" * 5000)) < 150


def test_shares_may_add_up_to_one_and_no_more_at_any_time():
    def shared(share, when):
        return [workload(name="a", share=0.6), workload(name="b", share=share, when=when)]

    assert scenario(workloads=shared(0.4, "always"))
    message = refused(workloads=shared(0.5, "Sun 20:00-04:00"))
    assert message == "the file: found shares of a, b on device 0 that add up to 1.1; allowed: at most 1 at any time"


def test_workloads_that_take_turns_may_each_have_the_whole_device():
    works = [workload(name="day", when="daily 08:00-20:00"), workload(name="night", when="daily 20:00-08:00")]
    assert len(scenario(workloads=works).workloads) == 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_the_file_holds_the_answer_is_one_line(data):
    with pytest.raises(Misconfigured) as caught:
        validate(Scenario, data, "any.yaml")
    assert len(str(caught.value)) < 1000


def test_a_custom_model_is_what_its_figures_say():
    figures = {"name": "Board X", "idle_watts": 5.0, "max_watts": 50.0, "memory_gib": 12, "gpm": True}
    gpu = scenario(devices=[{"model": "custom"} | figures]).devices[0].gpu
    assert {key: getattr(gpu, key) for key in figures} == figures


def test_a_model_keeps_what_the_scenario_does_not_change():
    gpu = scenario(devices=[{"model": "H100-SXM-80GB", "max_watts": 500.0}]).devices[0].gpu
    assert (gpu.max_watts, gpu.idle_watts, gpu.memory_gib, gpu.gpm) == (500, 70, 80, True)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_the_name_that_prices_go_by(model):
    assert canonical_model(NAME_PREFIX + MODELS[model].name) == canonical_model(MODELS[model].name) is not None


def test_the_guide_names_every_key_and_model():
    text = GUIDE.read_text(encoding="utf-8")
    for name in (*_keys(Scenario.model_json_schema()), *MODELS):
        assert f"`{name}`" in text, name


def test_the_example_of_the_guide_is_a_scenario():
    example = GUIDE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert validate(Scenario, yaml.safe_load(example), "the guide").workloads


def _keys(schema):
    models = [schema, *schema["$defs"].values()]
    return sorted({key for model in models for key in model.get("properties", ())})
