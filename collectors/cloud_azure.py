"""Who this machine is in Azure, from the Azure Instance Metadata Service."""

import re

from collectors.cloud_metadata import METADATA_SERVER, CloudCapacityType, CloudIdentity, MetadataServer, json_strings

REMEDY = (
    "see that the pod may reach 169.254.169.254 without a proxy (network policy),"
    " or set prices.cloud_identity: off and prices.node"
)
API_VERSION = "2021-02-01"
_CAPACITY: dict[str, CloudCapacityType] = {
    "": "on_demand",  # what a machine that was made without a priority says
    "regular": "on_demand",
    "spot": "spot",
    "low": "spot",
}


def identity(base_url: str = METADATA_SERVER, timeout_seconds: float = 0.5) -> CloudIdentity:
    """This instance.

    Raises:
        Unavailable: the service does not answer, or what answers is not it.
    """
    server = MetadataServer("Azure", REMEDY, base_url, timeout_seconds)
    path = f"/metadata/instance/compute?api-version={API_VERSION}&format=json"
    answer = server.get(path, {"Metadata": "true"})
    said = json_strings(answer.text)
    if said is None:
        raise server.refusal(f"answered {answer.text[:60]!r} where a JSON object belongs")

    def read(key: str, pattern: str) -> str:
        return server.field(key, said.get(key, ""), pattern)

    region = read("location", r"[a-z0-9]{3,40}")
    zone = said.get("zone", "")
    account = said.get("subscriptionId", "")
    return CloudIdentity(
        provider="azure",
        instance_id=read("vmId", r"[0-9A-Fa-f-]{36}"),
        instance_type=read("vmSize", r"[A-Za-z0-9_-]{2,80}"),
        region=region,
        zone=f"{region}-{zone}" if re.fullmatch(r"\d", zone) else None,
        capacity_type=_CAPACITY.get(said["priority"].lower()) if "priority" in said else None,
        account=account if re.fullmatch(r"[0-9A-Fa-f-]{36}", account) else None,
    )
