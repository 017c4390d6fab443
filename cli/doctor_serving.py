"""Checks of the serving pages that the configuration names: which engine each is, or why it is not read."""

from collections.abc import Iterator

from cli.doctor_finding import Finding, Machine
from collectors.errors import SourceError
from collectors.serving_fetch import fetch_page
from collectors.serving_page import EnginePage, EngineUnknown, TenantCap, read_engine_page
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import ServingTarget, static_targets

_MOST_MODELS = 3


def check_serving(machine: Machine) -> Iterator[Finding]:
    """Each configured page, read once as the agent reads it."""
    settings = machine.config.serving
    if not settings.enabled:
        if settings.targets:
            what = f"serving.enabled is false: {len(settings.targets)} configured pages are not read"
            yield Finding("serving", "warn", what, "set serving.enabled to true, or take the targets out")
        return
    targets = static_targets(settings)
    for target in targets[: settings.max_targets]:
        yield _target(target, settings)
    if len(targets) > settings.max_targets:
        what = f"{len(targets)} pages are configured, of which {settings.max_targets} are read"
        yield Finding("serving", "warn", what, "raise serving.max_targets")


def _target(target: ServingTarget, settings: ServingSettings) -> Finding:
    (url,) = target.urls
    try:
        fetched = fetch_page(url, timeout_seconds=settings.timeout_seconds, max_bytes=settings.max_page_bytes)
        page = read_engine_page(fetched.body, target.reading, TenantCap(settings.max_tenants), whole=fetched.whole)
    except EngineUnknown as error:
        remedy = "give the target its engine, or a mapping of its counters (serving.targets)"
        return Finding("serving", "warn", f"{target.key}: {error}", remedy)
    except SourceError as error:
        remedy = "mend the page or the target; until then its work is not counted, and the rest goes on"
        return Finding("serving", "warn", f"{target.key}: {error}", remedy)
    return Finding("serving", "ok", f"{target.key} is up: {page.engine}, {_told(page)}")


def _told(page: EnginePage) -> str:
    models = sorted({model for model, _, _ in page.work_slots if model})
    named = ", ".join(models[:_MOST_MODELS]) + (", ..." if len(models) > _MOST_MODELS else "")
    kinds = ", ".join(sorted({kind for _, _, kind in page.work_slots})) or "no work counted yet"
    return f"{kinds}; model {named}" if models else f"{kinds}; no model named"
