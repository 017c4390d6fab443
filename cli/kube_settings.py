"""Settings of a node in Kubernetes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from collectors.device_ids import GPU_DRIVERS, GPU_RESOURCES
from collectors.kube_owners import DEFAULT_DIMENSIONS, Dimension
from collectors.setting import BaseModel, ConfigDict, Field, field_validator
from collectors.web_address import web_address


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DimensionSettings(_Section):
    """One thing that costs are grouped by."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    """Its name, such as `team`; beside `team` and `environment` it becomes a label of `wattledger_holder_info`."""
    label_keys: tuple[str, ...] = Field(min_length=1)
    """Pod labels that may hold it; the first that is there counts."""
    else_namespace: bool = False
    """Whether the namespace stands in where no label is there."""

    def dimension(self) -> Dimension:
        """The same for the collectors."""
        return Dimension(self.name, self.label_keys, else_namespace=self.else_namespace)


_DEFAULTS = tuple(
    DimensionSettings(name=each.name, label_keys=each.label_keys, else_namespace=each.else_namespace)
    for each in DEFAULT_DIMENSIONS
)


class KubernetesSettings(_Section):
    """Whose GPU it is on a Kubernetes node: the kubelet and the API server tell."""

    mode: Literal["auto", "on", "off"] = "auto"
    """`auto` asks where this process runs in a pod; `on` and `off` say so."""
    node: str = ""
    """The node's name in the cluster; empty takes `agent.node_name`, else the host name."""
    kubelet_socket: Path = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    """The kubelet's PodResources socket; mount its directory."""
    kubelet_interval_seconds: float = Field(default=10.0, ge=1, le=300)
    """Seconds between two questions to the kubelet that no unknown process hurries."""
    api_url: str = ""
    """The API server, such as `https://10.0.0.1:443`; empty takes the pod's own."""
    token_file: Path | None = None
    """The token for the API server, where `api_url` is given."""
    ca_file: Path | None = None
    """The API server's CA, where `api_url` is given."""
    resources: tuple[str, ...] = GPU_RESOURCES
    """Extended resources whose ids are GPUs; `*` at the end stands for any."""
    drivers: tuple[str, ...] = GPU_DRIVERS
    """DRA drivers whose devices are GPUs."""
    system_namespaces: tuple[str, ...] = ("gpu-operator", "kube-system")
    """Namespaces whose GPU processes are the cluster's own daemons."""
    dimensions: tuple[DimensionSettings, ...] = _DEFAULTS
    """What costs are grouped by, from the pods' labels."""

    @field_validator("api_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        such_as = "https://10.0.0.1:443; empty takes the pod's own"
        return url and web_address(url, such_as=such_as, instead="set kubernetes.token_file")


def runs_in_kubernetes(settings: KubernetesSettings, environ: Mapping[str, str]) -> bool:
    """Whether holders come from the kubelet."""
    if settings.mode == "auto":
        return "KUBERNETES_SERVICE_HOST" in environ
    return settings.mode == "on"
