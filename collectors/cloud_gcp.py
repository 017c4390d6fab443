"""Who this machine is in Google Cloud, from the metadata server.

Asks for single values, never for the whole tree: that holds start-up scripts and SSH keys, which are not ours to read.
"""

from collectors.cloud_metadata import METADATA_SERVER, CloudCapacityType, CloudIdentity, MetadataServer

REMEDY = (
    "see that the pod may reach 169.254.169.254 (network policy; on GKE the metadata server of Workload Identity),"
    " or set prices.cloud_identity: off and prices.node"
)
_HEADERS = {"Metadata-Flavor": "Google", "Host": "metadata.google.internal"}
_ROOT = "/computeMetadata/v1/"


def identity(base_url: str = METADATA_SERVER, timeout_seconds: float = 0.5) -> CloudIdentity:
    """This instance.

    Raises:
        Unavailable: the server does not answer, or what answers is not it.
    """
    server = MetadataServer("Google Cloud", REMEDY, base_url, timeout_seconds)

    def read(path: str, name: str, pattern: str) -> str:
        answer = server.get(_ROOT + path, _HEADERS)
        if answer.headers.get("metadata-flavor") != "Google":
            raise server.refusal(f"answered {path} without its header Metadata-Flavor: Google")
        return server.field(name, answer.text, pattern)

    # both come as projects/NUMBER/zones/us-central1-a and projects/NUMBER/machineTypes/a3-highgpu-8g
    zone = read("instance/zone", "zone", r"projects/[^/\s]+/zones/[a-z]+-[a-z]+\d+-[a-z]+").rsplit("/", 1)[1]
    machine = read("instance/machine-type", "machine type", r"projects/[^/\s]+/machineTypes/[a-z0-9-]+")
    return CloudIdentity(
        provider="gcp",
        instance_id=read("instance/id", "instance id", r"\d{1,20}"),
        instance_type=machine.rsplit("/", 1)[1],
        region=zone.rsplit("-", 1)[0],
        zone=zone,
        capacity_type=_capacity(server),
        account=read("project/project-id", "project", r"[a-z0-9.:-]{1,128}"),
    )


def _capacity(server: MetadataServer) -> CloudCapacityType | None:
    """Spot machines say so as their provisioning model, and are preemptible as their forerunners were."""
    said = [
        answer.text.strip().upper()
        for path in ("instance/scheduling/provisioning-model", "instance/scheduling/preemptible")
        if (answer := server.find(_ROOT + path, _HEADERS))
    ]
    if "SPOT" in said or "TRUE" in said:
        return "spot"
    return "on_demand" if "FALSE" in said or "STANDARD" in said else None
