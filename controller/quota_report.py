"""How the GPU quotas of the cluster stand: granted and used as the cluster says, held and worked as the books say."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from collectors.errors import Unavailable
from collectors.kube_quotas import Quotas
from controller.api_window import HOUR, Window
from ledger.quotas import QuotaUse, TeamQuota, quota_use, team_quotas
from ledger.store import Store
from ledger.tables import USAGE

WINDOW = timedelta(days=7)
"""Over which held and worked hours are counted."""


@dataclass(frozen=True, slots=True)
class QuotaFacts:
    """Quotas, as last looked at."""

    window: Window
    version: int | None
    """Of the table of usage."""
    uses: tuple[QuotaUse, ...]
    teams: tuple[TeamQuota, ...]
    missing: tuple[str, ...] = ()
    """What could not be read, with the remedy."""


@dataclass(slots=True)
class QuotaWatch:
    """The job that looks at quotas."""

    store: Store
    read: Callable[[], Quotas]
    cluster: str
    now: Callable[[], datetime]
    facts: QuotaFacts | None = field(default=None)

    def run(self) -> None:
        """Look.

        Raises:
            Unavailable: the API server does not answer or refuses; or a part could not be read, and the rest stands.
            StoreError: the table of usage cannot be read.
        """
        found = self.read()
        now = self.now()
        end = now.replace(minute=0, second=0, microsecond=0) + HOUR
        window = Window(end - WINDOW, end)
        version = self.store.version(USAGE)
        uses = quota_use(found.quotas, self.store.scan(USAGE, version), self.cluster, window.start, now)
        self.facts = QuotaFacts(window, version, uses, team_quotas(uses), found.missing)
        if found.missing:
            raise Unavailable("; ".join(found.missing))


def quota_name(use: QuotaUse) -> str:
    """Unlike for each quota: a ResourceQuota's name with its namespace."""
    return f"{use.namespaces[0]}/{use.name}" if use.kind == "ResourceQuota" and use.namespaces else use.name


def as_json(facts: QuotaFacts | None) -> dict[str, Any]:
    """Hours as decimal integers in text; nothing where there is no cluster or it was not asked yet."""
    if facts is None:
        return {"quotas": [], "teams": [], "missing": [], "meta": {"versions": {}}}
    return {
        "quotas": [_use(use) for use in facts.uses],
        "teams": [_team(team) for team in facts.teams],
        "missing": list(facts.missing),
        "meta": {"window": facts.window.as_json(), "versions": {USAGE.name: facts.version}},
    }


def _use(use: QuotaUse) -> dict[str, Any]:
    return {
        "kind": use.kind,
        "quota": quota_name(use),
        "namespaces": list(use.namespaces),
        "teams": list(use.teams),
        "resource": use.resource,
        "scoped": use.scoped,
        "granted": use.granted,
        "used": use.used_now,
        "granted_ns": _text(use.granted_ns),
        "held_ns": _text(use.held_ns),
        "active_ns": _text(use.active_ns),
    }


def _team(team: TeamQuota) -> dict[str, Any]:
    return {
        "team": team.team,
        "namespaces": list(team.namespaces),
        "granted": team.granted,
        "used": team.used_now,
        "granted_ns": _text(team.granted_ns),
        "held_ns": _text(team.held_ns),
        "active_ns": _text(team.active_ns),
    }


def _text(amount: int | None) -> str | None:
    return None if amount is None else str(amount)
