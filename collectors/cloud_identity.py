"""In which cloud this machine is, and who it is there.

The firmware's tables say which cloud it is; only then is that cloud's metadata server asked, so that no request ever
leaves a machine that is in none. Must never guess a cloud from a network that answers.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from collectors import cloud_aws, cloud_azure, cloud_gcp
from collectors.cloud_metadata import METADATA_SERVER, CloudIdentity, Provider

AZURE_CHASSIS_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
"""The same on every Azure machine; `Microsoft Corporation` alone is any Hyper-V guest or Surface."""
_AWS = "Amazon EC2"
_VENDORS = ("sys_vendor", "board_vendor", "bios_vendor", "chassis_vendor")

_READERS: Mapping[Provider, Callable[[str, float], CloudIdentity]] = MappingProxyType(
    {"aws": cloud_aws.identity, "azure": cloud_azure.identity, "gcp": cloud_gcp.identity}
)


def provider_by_firmware(sys_root: Path = Path("/sys")) -> Provider | None:
    """The cloud that the DMI tables name; ``None`` on a bare host, in another cloud, or where there are none."""
    said = {path: _dmi(sys_root, path) for path in (*_VENDORS, "product_name", "bios_version", "product_uuid")}
    if any(said[vendor] == _AWS for vendor in _VENDORS):
        return "aws"
    # instances on Xen: the vendor is Xen, the UUID (readable by root) begins with ec2
    if said["sys_vendor"] == "Xen" and (
        said["bios_version"].endswith(".amazon") or said["product_uuid"].lower().startswith("ec2")
    ):
        return "aws"
    # not the vendor alone: that is Google on a Chromebook too
    if said["product_name"] in ("Google Compute Engine", "Google"):
        return "gcp"
    if _dmi(sys_root, "chassis_asset_tag") == AZURE_CHASSIS_ASSET_TAG:
        return "azure"
    return None


def identify(
    sys_root: Path = Path("/sys"),
    base_urls: Mapping[Provider, str] = MappingProxyType({}),
    timeout_seconds: float = 0.5,
) -> CloudIdentity | None:
    """This machine's identity, or ``None`` where it is in no cloud that is known.

    Args:
        sys_root: where sysfs is mounted.
        base_urls: metadata servers to ask instead of the link-local one, by provider.
        timeout_seconds: for each request; there are up to seven.

    Raises:
        Unavailable: it is in a cloud, but the metadata server does not tell; the message has the remedy.
    """
    provider = provider_by_firmware(sys_root)
    if provider is None:
        return None
    return _READERS[provider](base_urls.get(provider, METADATA_SERVER), timeout_seconds)


def _dmi(sys_root: Path, name: str) -> str:
    try:
        return (sys_root / "class/dmi/id" / name).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
