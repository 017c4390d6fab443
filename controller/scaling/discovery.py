"""Which kinds of the registry the API server has, and in which version: asked seldom, and never object by object.

One question tells the groups; another follows only for a group that is there and of which a kind is not known yet, so
a kind whose CRD is not installed costs nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from collectors.errors import Unavailable, Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_json import children, text


class Named(Protocol):
    """As much of a kind as it is found by."""

    @property
    def name(self) -> str:
        """Such as ``Deployment``."""
        ...

    @property
    def group(self) -> str:
        """API group; empty for the core."""
        ...

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions that are understood, the preferred first."""
        ...

    @property
    def plural(self) -> str:
        """As in paths."""
        ...


class Discovery:
    """What the API server has of ``kinds``; keeps what it was told last."""

    def __init__(self, api: KubeApi, kinds: Sequence[Named]) -> None:
        self._api = api
        self._kinds = tuple(kinds)
        self._served: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        """By kind, why it was not told this time; what was told last stands."""

    def look(self, doubted: Collection[str] = ()) -> Mapping[str, str]:
        """The version of each kind by its name, empty where the server has none; a kind that was never told is missing.

        Args:
            doubted: kinds that are asked for even though they were there last time.

        Raises:
            Unavailable: the server does not tell its groups.
        """
        offered = self._offered()
        told: dict[str, frozenset[str] | Unavailable] = {}
        served: dict[str, str] = {}
        self.errors = {}
        for kind in self._kinds:
            versions = [version for version in kind.versions if version in offered.get(kind.group, ())]
            former = self._served.get(kind.name, "")
            if former in versions and kind.name not in doubted:
                served[kind.name] = former
                continue
            try:
                served[kind.name] = self._find(kind, versions, told)
            except Unavailable as error:
                self.errors[kind.name] = str(error)
                if kind.name in self._served:
                    served[kind.name] = former
        self._served = served
        return dict(served)

    def _offered(self) -> dict[str, frozenset[str]]:
        groups = {
            text(group, "name"): frozenset(text(version, "version") for version in children(group, "versions"))
            for group in children(self._api.get("/apis"), "groups")
        }
        return {**groups, "": frozenset({"v1"})}

    def _find(self, kind: Named, versions: Sequence[str], told: dict[str, frozenset[str] | Unavailable]) -> str:
        for version in versions:
            path = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
            if path not in told:
                told[path] = self._resources(path)
            found = told[path]
            if isinstance(found, Unavailable):
                raise found
            if kind.plural in found:
                return version
        return ""

    def _resources(self, path: str) -> frozenset[str] | Unavailable:
        try:
            return frozenset(text(resource, "name") for resource in children(self._api.get(path), "resources"))
        except Unsupported:
            return frozenset()
        except Unavailable as error:
            return error
