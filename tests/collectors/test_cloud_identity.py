import pytest

from collectors.cloud_identity import AZURE_CHASSIS_ASSET_TAG, identify, provider_by_firmware
from collectors.errors import Unavailable

NITRO = {"sys_vendor": "Amazon EC2", "product_name": "p5.48xlarge", "bios_vendor": "Amazon EC2"}
GCE = {"sys_vendor": "Google", "product_name": "Google Compute Engine", "bios_vendor": "Google"}
AZURE = {
    "sys_vendor": "Microsoft Corporation",
    "product_name": "Virtual Machine",
    "chassis_asset_tag": AZURE_CHASSIS_ASSET_TAG,
}


@pytest.fixture
def firmware(tmp_path):
    def write(tables):
        folder = tmp_path / "class/dmi/id"
        folder.mkdir(parents=True)
        for name, text in tables.items():
            (folder / name).write_text(f"{text}\n", encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("tables", "provider"),
    [
        (NITRO, "aws"),
        ({"sys_vendor": "Xen", "bios_version": "4.11.amazon"}, "aws"),
        ({"sys_vendor": "Xen", "product_uuid": "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, "aws"),
        (GCE, "gcp"),
        ({"product_name": "Google"}, "gcp"),
        (AZURE, "azure"),
    ],
)
def test_the_firmware_names_the_cloud(firmware, tables, provider):
    assert provider_by_firmware(firmware(tables)) == provider


@pytest.mark.parametrize(
    "tables",
    [
        {"sys_vendor": "Supermicro", "product_name": "SYS-421GE-TNHR"},
        {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"},
        {"sys_vendor": "Google", "product_name": "Eve"},
        {"sys_vendor": "Xen", "bios_version": "4.14"},
        {"sys_vendor": "QEMU", "product_uuid": "ec2e1916-9099-7caf-fd21-012345abcdef"},
        {},
    ],
)
def test_no_request_leaves_a_machine_that_is_in_no_cloud(firmware, tables):
    nowhere = dict.fromkeys(("aws", "azure", "gcp"), "http://192.0.2.1")
    assert identify(firmware(tables), nowhere) is None


def test_a_machine_without_dmi_tables_is_in_no_cloud(tmp_path):
    assert identify(tmp_path) is None


def test_in_a_cloud_a_silent_metadata_server_is_unavailable_with_the_remedy(firmware, closed_port):
    with pytest.raises(Unavailable, match=r"AWS metadata server .*hop-limit 2.*prices\.cloud_identity: off"):
        identify(firmware(NITRO), {"aws": closed_port})
