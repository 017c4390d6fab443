"""Labels and annotations of ours that the pages name are those that the code reads or writes."""

import re

import pytest

from cli.kube_serving import WORK_GROUP
from collectors.kube_owners import DEFAULT_DIMENSIONS
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import OURS, ServingPod, pod_targets
from controller.scaling.kinds.job import CHECKPOINT
from controller.scaling.notices import OWNER_KEYS
from controller.scaling.policy_annotations import KNOWN
from controller.scaling.queue_mark import MARK
from controller.scaling.record import COMMAND, RECORD
from tests.test_docs import CHECKOUT, PAGES, text_of

NAME = re.compile(r"wattledger\.io/[a-z-]*(?:\*|\.\.\.)?")
"""One name, or the begin of several."""
LABELS = {key for dimension in DEFAULT_DIMENSIONS for key in dimension.label_keys}
READ = {*KNOWN, RECORD, COMMAND, MARK, CHECKPOINT, WORK_GROUP, *OWNER_KEYS, *LABELS}


def pages_of(**annotations):
    said = {OURS + name.replace("_", "-"): value for name, value in annotations.items()}
    return pod_targets(ServingPod("ml", "chat-0", ip="10.0.0.1", annotations=said), ServingSettings())


def changes_pages(name):
    """Whether an annotation of a pod has a say in how its page is read."""
    return pages_of(port="8000") != pages_of(**({"port": "8000"} | {name.removeprefix(OURS): "false"}))


def is_known(name):
    if name.endswith(("*", "...")):
        begin = name.rstrip("*.")
        return any(each.startswith(begin) for each in READ)
    name = name.removesuffix("-")  # as kubectl takes one away
    return name == OURS or name in READ or changes_pages(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_a_name_of_ours_in_a_page_is_one_that_the_code_knows(page):
    assert [name for name in NAME.findall(text_of(page)) if not is_known(name)] == []


def test_a_name_that_nobody_reads_is_told_from_one_that_is_read():
    known = [
        "checkpoint",
        "port",
        "engine",
        "mapping",
        "schedule-to",
        "schedule-...",
        "schedule-original-",
        "owner",
        "",
    ]
    assert [name for name in known if not is_known(OURS + name)] == []
    strange = ["schedule-checkpoint", "scheduled-*", "motor", "checkpoints", "work-groups"]
    assert [name for name in strange if is_known(OURS + name)] == []
