import pytest

from agent.books import FINISHED, OTHER
from agent.holder_labels import HolderLabels


@pytest.mark.parametrize(
    ("kind", "name", "labels"),
    [
        ("pod", "ml/train-0/main", ("ml", "train-0", "main")),
        ("systemd", "ollama.service", ("", "", "systemd:ollama.service")),
        ("system", "nv-hostengine", ("", "", "system:nv-hostengine")),
        ("none", "", ("", "", "")),
        ("", FINISHED, ("", FINISHED, "")),
        ("", OTHER, ("", OTHER, "")),
    ],
)
def test_labels_in_kubernetes(kind, name, labels):
    holders = HolderLabels(kubernetes=True)

    assert holders.of(kind, name) == labels
    assert holders.names == ("namespace", "pod", "container")


def test_labels_on_a_bare_host():
    holders = HolderLabels()

    assert holders.of("slurm", "7.0") == ("slurm", "7.0")
    assert holders.names == ("holder_kind", "holder")
