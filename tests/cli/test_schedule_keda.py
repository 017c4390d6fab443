"""`wattledger schedule scaledobject` prints what kubectl can apply, and says what is missing."""

import pytest
import yaml
from click.testing import CliRunner

from cli.schedule_keda import scaledobject

CONFIG = """
queue_scaling:
  prometheus_url: http://prometheus.monitoring:9090
  timezone: Europe/Berlin
  workloads:
    - namespace: ml
      name: chat
      max_replicas: 4
      windows: [{when: "Mon-Fri 07:30-20:30", min_replicas: 2, max_replicas: 8}]
    - {namespace: ml, name: rerank, kind: StatefulSet, max_replicas: 2}
"""


@pytest.fixture
def said(tmp_path):
    def run(*arguments, config=CONFIG):
        (tmp_path / "config.yaml").write_text(config)
        return CliRunner().invoke(scaledobject, ["--config", str(tmp_path / "config.yaml"), *arguments])

    return run


def test_each_workload_is_one_document_with_the_bounds_of_the_time(said):
    told = said("--at", "2026-11-23T12:00:00+01:00")
    assert told.exit_code == 0, told.output
    assert told.output.startswith(
        "# ml/chat: 2 to 8 replicas in Mon-Fri 07:30-20:30; other bounds from 2026-11-23T19:30:00+00:00\n"
    )
    assert "# ml/rerank: 1 to 2 replicas outside of all windows\n" in told.output
    chat, rerank = yaml.safe_load_all(told.output)
    assert (chat["spec"]["minReplicaCount"], chat["spec"]["maxReplicaCount"]) == (2, 8)
    assert rerank["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "rerank"}
    assert 'workload="StatefulSet/rerank"' in rerank["spec"]["triggers"][0]["metadata"]["query"]


def test_a_workload_is_chosen_by_name(said):
    (only,) = yaml.safe_load_all(said("ml/rerank").output)
    assert only["metadata"]["name"] == "rerank"


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (["ml/other"], CONFIG, "ml/other is not in queue_scaling.workloads, which has ml/chat, ml/rerank"),
        ([], "{}", "queue_scaling.workloads is empty: name the inference workloads"),
        ([], CONFIG.replace("prometheus_url", "# url"), "queue_scaling.prometheus_url is not set"),
        (["--at", "soon"], CONFIG, "'soon' is no time"),
        ([], CONFIG.replace("max_replicas: 2}", "max_replicas: 2, min_replicas: 0}"), "nothing could wake it"),
        (
            [],
            CONFIG.replace("max_replicas: 2}", "max_replicas: 2, windows: [{when: Mon 1:00-25:30, min_replicas: 1}]}"),
            'queue_scaling.workloads[1].windows[0].when: found "Mon 1:00-25:30": there is no 25:30',
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said(said, arguments, config, message):
    told = said(*arguments, config=config)
    assert told.exit_code != 0
    assert message in f"{told.output}{told.exception}"
