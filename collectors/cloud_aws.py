"""Who this machine is in AWS, from the instance metadata service, version 2 (token first).

Must never fall back to version 1: an instance that allows it is one request away from giving its credentials away.
"""

import re

from collectors.cloud_metadata import METADATA_SERVER, CloudCapacityType, CloudIdentity, MetadataServer, json_strings
from collectors.errors import Unavailable

REMEDY = (
    "in a container its answer may take one hop too many: aws ec2 modify-instance-metadata-options"
    " --instance-id ID --http-endpoint enabled --http-put-response-hop-limit 2 (or give the agent's pod the host's"
    " network), or set prices.cloud_identity: off and prices.node"
)
TOKEN_SECONDS = 60
_CAPACITY: dict[str, CloudCapacityType] = {"on-demand": "on_demand", "spot": "spot"}


def identity(base_url: str = METADATA_SERVER, timeout_seconds: float = 0.5) -> CloudIdentity:
    """This instance.

    Raises:
        Unavailable: the service does not answer, is switched off, or what answers is not it.
    """
    server = MetadataServer("AWS", REMEDY, base_url, timeout_seconds)
    asked = server.ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})
    headers = {"X-aws-ec2-metadata-token": server.field("token", asked.text, r"[A-Za-z0-9+/=_-]{16,256}")}

    def read(path: str, name: str, pattern: str) -> str:
        return server.field(name, server.get(f"/latest/meta-data/{path}", headers).text, pattern)

    zone = read("placement/availability-zone", "zone", r"[a-z]{2}(-[a-z0-9]+){2,6}")
    return CloudIdentity(
        provider="aws",
        instance_id=read("instance-id", "instance id", r"i-[0-9a-f]{8,17}"),
        instance_type=read("instance-type", "instance type", r"[a-z0-9-]+\.[a-z0-9-]+"),
        region=_region(server, zone),
        zone=zone,
        capacity_type=_capacity(server, headers),
        account=_account(server, headers),
    )


def _region(server: MetadataServer, zone: str) -> str:
    """``us-east-1`` of ``us-east-1a`` and of a local zone such as ``us-east-1-bos-1a``."""
    region = re.match(r"[a-z]{2}(?:-[a-z]+)+-\d+", zone)
    if region is None:
        raise server.refusal(f"gave {zone!r} as its zone")
    return region.group()


def _capacity(server: MetadataServer, headers: dict[str, str]) -> CloudCapacityType | None:
    answer = server.find("/latest/meta-data/instance-life-cycle", headers)
    return _CAPACITY.get(answer.text.strip()) if answer else None


def _account(server: MetadataServer, headers: dict[str, str]) -> str | None:
    """The account's number, which a price does not need: absent rather than an error."""
    try:
        answer = server.find("/latest/dynamic/instance-identity/document", headers)
    except Unavailable:
        return None
    account = (json_strings(answer.text) or {}).get("accountId", "") if answer else ""
    return account if re.fullmatch(r"\d{12}", account) else None
