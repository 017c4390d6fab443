import json
from datetime import date
from pathlib import Path

import pytest

from collectors.bill_files import Deliveries
from collectors.bill_manifest import export_period, is_manifest
from collectors.bill_shelf import Directory
from collectors.errors import Misconfigured, Unavailable
from tests.collectors.bucket_rig import KEYS, BucketServer

NOVEMBER = date(2026, 11, 1)
LEGACY = "cur/report/20261101-20261201"
EXPORT = "exports/focus"


@pytest.fixture
def bucket(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = BucketServer()
    yield server
    server.close()


class Folder:
    def __init__(self, root: Path):
        self.root = root
        self.deliveries = Deliveries("acme", Directory(root))

    def put(self, name, content=b"a,b\n1,2\n"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    def find(self):
        return self.deliveries.find()

    def names(self):
        return {(each.export, each.month): [o.name for o in each.objects] for each in self.find().deliveries}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_file_without_a_manifest_is_a_delivery_of_its_own(folder):
    folder.put("november.csv")
    folder.put("2026/october.parquet")
    folder.put("notes.txt")
    folder.put(".hidden/x.csv")
    assert folder.names() == {
        ("acme:2026/october.parquet", None): ["2026/october.parquet"],
        ("acme:november.csv", None): ["november.csv"],
    }


def test_a_source_may_be_one_file(tmp_path):
    (tmp_path / "bill.csv").write_bytes(b"a\n")
    found = Deliveries("acme", Directory(tmp_path / "bill.csv")).find()
    assert [each.export for each in found.deliveries] == ["acme:bill.csv"]


def test_legacy_cur_goes_by_the_manifest_that_aws_keeps_up_to_date(folder):
    old, new = f"{LEGACY}/aaa/report-1.csv.gz", f"{LEGACY}/bbb/report-1.csv.gz"
    folder.put(old)
    folder.put(new)
    folder.put(f"{LEGACY}/report-Manifest.json", {"reportKeys": [new]})
    folder.put(f"{LEGACY}/aaa/report-Manifest.json", {"reportKeys": [old]})
    assert folder.names() == {("acme:cur/report", NOVEMBER): [new]}


def test_a_data_export_is_told_by_its_folders(folder):
    data = f"{EXPORT}/data/BILLING_PERIOD=2026-11/focus-00001.snappy.parquet"
    folder.put(data)
    folder.put(
        f"{EXPORT}/metadata/BILLING_PERIOD=2026-11/focus-Manifest.json", {"dataFiles": [f"s3://acme-bills/{data}"]}
    )
    assert folder.names() == {("acme:exports/focus", NOVEMBER): [data]}


def test_a_data_export_whose_manifest_lists_nothing_is_all_files_of_its_month(folder):
    files = [f"{EXPORT}/data/BILLING_PERIOD=2026-11/focus-0000{n}.parquet" for n in (1, 2)]
    for name in files:
        folder.put(name)
    folder.put(f"{EXPORT}/metadata/BILLING_PERIOD=2026-11/focus-Manifest.json", {"exportArn": "arn"})
    assert folder.names() == {("acme:exports/focus", NOVEMBER): files}


def test_azure_writes_the_month_so_far_again_and_again_and_the_latest_counts(folder):
    for run in ("run-1", "run-2"):
        part = f"focus/daily/20261101-20261130/{run}/part_0_0001.csv"
        folder.put(part)
        folder.put(part.replace("part_0_0001.csv", "manifest.json"), {"blobs": [{"blobName": f"container/{part}"}]})
        (folder.root / part).parent.joinpath("manifest.json").touch()
    assert folder.names() == {("acme:focus/daily", NOVEMBER): ["focus/daily/20261101-20261130/run-2/part_0_0001.csv"]}


def test_a_delivery_waits_until_all_of_it_is_there(folder):
    parts = [f"{LEGACY}/report-{n}.csv.gz" for n in (1, 2)]
    folder.put(parts[0])
    folder.put(f"{LEGACY}/report-Manifest.json", {"reportKeys": parts})
    found = folder.find()
    assert found.deliveries == ()
    why = found.waiting[0].why
    assert why.startswith(
        f"acme:cur/report, 2026-11: 1 of the objects that {LEGACY}/report-Manifest.json names are not"
    )
    assert why.endswith(f"such as {parts[1]}; it is looked at again")
    folder.put(parts[1])
    assert folder.names() == {("acme:cur/report", NOVEMBER): parts}


def test_files_of_a_data_export_wait_for_their_manifest(folder):
    folder.put(f"{EXPORT}/data/BILLING_PERIOD=2026-11/focus-00001.parquet")
    assert folder.find().deliveries == ()
    assert [each.why for each in folder.find().waiting] == [
        "acme:exports/focus, 2026-11: 1 files without their manifest; it is looked at again"
    ]


def test_a_copy_of_a_part_of_the_bucket_still_finds_its_objects(folder):
    folder.put("20261101-20261201/report-1.csv.gz")
    folder.put("20261101-20261201/report-Manifest.json", {"reportKeys": [f"{LEGACY}/report-1.csv.gz"]})
    assert folder.names() == {("acme:", NOVEMBER): ["20261101-20261201/report-1.csv.gz"]}


def test_a_manifest_that_is_not_whole_is_read_again(folder):
    folder.put(f"{LEGACY}/report-1.csv.gz")
    folder.put(f"{LEGACY}/report-Manifest.json", b'{"reportKeys": ["cur')
    assert "cannot be read" in folder.find().waiting[0].why
    folder.put(f"{LEGACY}/report-Manifest.json", {"reportKeys": [f"{LEGACY}/report-1.csv.gz"]})
    assert len(folder.find().deliveries) == 1


def test_a_manifest_in_an_unknown_form_is_named(folder):
    folder.put("x/20261101-20261130/manifest.json", {"blobs": [{"other": 1}]})
    assert "in a form that is not known" in folder.find().waiting[0].why


def test_months_of_one_export_are_deliveries_of_their_own(folder):
    for month in ("20261001-20261101", "20261101-20261201"):
        folder.put(f"cur/report/{month}/r-1.csv.gz")
        folder.put(f"cur/report/{month}/r-Manifest.json", {"reportKeys": [f"cur/report/{month}/r-1.csv.gz"]})
    assert set(folder.names()) == {("acme:cur/report", date(2026, 10, 1)), ("acme:cur/report", NOVEMBER)}


def test_the_content_changes_with_any_object_and_with_nothing_else(folder):
    folder.put("bill.csv", b"a,b\n1,2\n")
    first = folder.find().deliveries[0]
    (folder.root / "bill.csv").touch()
    assert folder.find().deliveries[0].content == first.content
    folder.put("bill.csv", b"a,b\n1,3\n")
    assert folder.find().deliveries[0].digest != first.digest


def test_a_file_that_changes_between_look_and_read_is_read_again_later(folder, tmp_path):
    folder.put("bill.csv")
    stored = folder.find().deliveries[0].objects[0]
    folder.put("bill.csv", b"a,b\n1,2\n3,")
    with pytest.raises(Unavailable, match="is being written; it is read again"):
        folder.deliveries.shelf.fetch(stored, tmp_path)


def test_a_directory_that_is_not_there_is_named_and_tried_again(tmp_path):
    with pytest.raises(Unavailable, match=r"there is no .*/gone; check bills\.sources"):
        Deliveries("acme", Directory(tmp_path / "gone")).find()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("p/e/data/BILLING_PERIOD=2026-11/x.parquet", ("p/e", NOVEMBER)),
        ("p/e/metadata/BILLING_PERIOD=2026-11/run/e-Manifest.json", ("p/e", NOVEMBER)),
        ("20261101-20261201/x.csv", ("", NOVEMBER)),
        ("p/r/20261101-20261201/assembly/x.csv", ("p/r", NOVEMBER)),
        ("november.csv", None),
    ],
)
def test_export_and_month_stand_in_the_path(name, found):
    assert export_period(name) == found


def test_a_json_file_that_names_no_period_is_no_manifest():
    assert not is_manifest("manifest.json")
    assert is_manifest("x/20261101-20261130/manifest.json")
    assert is_manifest(f"{LEGACY}/report-Manifest.json")


def test_a_bucket_is_read_as_a_directory_is(bucket, tmp_path):
    bucket.put(f"{LEGACY}/report-1.csv.gz", b"content")
    bucket.put(f"{LEGACY}/report-Manifest.json", json.dumps({"reportKeys": [f"{LEGACY}/report-1.csv.gz"]}).encode())
    bucket.put("other/x.csv", b"never looked at")
    shelf = bucket.shelf("cur/")
    (delivery,) = Deliveries("aws", shelf).find().deliveries
    assert (delivery.export, delivery.month) == ("aws:cur/report", NOVEMBER)
    assert shelf.fetch(delivery.objects[0], tmp_path).read_bytes() == b"content"


def test_a_bucket_with_many_objects_is_listed_to_its_end(bucket):
    for number in range(7):
        bucket.put(f"many/{number:04d}.csv", b"")
    bucket.page = 3
    assert len(bucket.shelf("many/").listing()) == 7


def test_an_object_that_was_replaced_since_the_listing_is_read_again_later(bucket, tmp_path):
    bucket.put("bill.csv", b"old")
    shelf = bucket.shelf()
    stored = shelf.listing()[0]
    bucket.put("bill.csv", b"new")
    with pytest.raises(Unavailable, match="PreconditionFailed"):
        shelf.fetch(stored, tmp_path)
    assert shelf.fetch(shelf.listing()[0], tmp_path).read_bytes() == b"new"


def test_a_bucket_without_permission_is_named_with_the_remedy_and_tried_again(bucket):
    bucket.put("bill.csv", b"x")
    shelf = bucket.shelf()
    bucket.denied.add("GET")
    with pytest.raises(Unavailable, match=r"AccessDenied.*allow s3:ListBucket on bills in the IAM policy"):
        shelf.listing()
    bucket.denied.clear()
    assert len(shelf.listing()) == 1


def test_a_bucket_that_does_not_exist_is_named(bucket):
    with pytest.raises((Unavailable, Misconfigured), match="NoSuchBucket"):
        bucket.shelf(bucket="nobody").listing()
