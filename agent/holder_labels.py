"""A holder as labels: ``holder_kind, holder`` on a bare host, ``namespace, pod, container`` in Kubernetes."""

from dataclasses import dataclass

from agent.books import FINISHED, OTHER
from exporters.exposition import Labels
from exporters.metric import HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS

_POD_PARTS = 3


@dataclass(frozen=True, slots=True)
class HolderLabels:
    """The holder labels of one installation."""

    kubernetes: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return KUBERNETES_HOLDER_LABELS if self.kubernetes else HOST_HOLDER_LABELS

    def of(self, kind: str, name: str) -> Labels:
        """The labels' values.

        In Kubernetes what is no pod (a unit or a user of the host, a GPU daemon) stands as ``kind:name`` in
        ``container``, with no pod; nobody has three empty labels.
        """
        if not self.kubernetes:
            return kind, name
        if name in (FINISHED, OTHER):
            return "", name, ""
        parts = name.split("/")
        if kind == "pod" and len(parts) == _POD_PARTS:
            return parts[0], parts[1], parts[2]
        return ("", "", f"{kind}:{name}") if name else ("", "", "")
