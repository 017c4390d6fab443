"""Checks of serving pages, configured or found on pods: which engine each is, what it tells, or why it is not read."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from cli.doctor_finding import Finding, Machine
from cli.kube_serving import serving_pods
from collectors.errors import SourceError, Unavailable
from collectors.holder import Holder
from collectors.kube_pods import PodCache
from collectors.serving_fetch import fetch_page
from collectors.serving_page import EnginePage, EngineUnknown, TenantCap, read_engine_page
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import (
    THEIRS,
    USUAL_PATHS,
    ServingPod,
    ServingTarget,
    pod_targets,
    read_first,
    static_targets,
)

_MOST_MODELS = 3
_NAME_IT_BY_HAND = "give the target its engine, or a mapping of its counters (serving.targets)"
_NAME_IT_BY_ANNOTATION = "give the pod the annotation wattledger.io/engine, or wattledger.io/mapping: COUNTER=KIND,..."


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


def check_pod_pages(machine: Machine, pods: PodCache, held: Collection[Holder]) -> Iterator[Finding]:
    """Each page that is found on pods of this node, by annotation or port, read once as the agent reads it.

    Args:
        machine: for the settings.
        pods: those of this node, with the annotations of ``KEPT_ANNOTATIONS``.
        held: those that hold a device: only they are guessed at.
    """
    settings = machine.config.serving
    if not settings.enabled or not (settings.discover_annotations or settings.discover_ports):
        return
    found = [(pod, pod_targets(pod, settings)) for pod in serving_pods(pods, held)]
    for problem in (problem for _, each in found for problem in each.problems):
        yield Finding("serving", "warn", problem, "mend the pod's annotations; until then its pages are not read")
    origins = {target.key: _origin(pod, target) for pod, each in found for target in each.targets}
    wanted = read_first([*static_targets(settings), *(target for _, each in found for target in each.targets)])
    read = [target for target in wanted[: settings.max_targets] if target.key in origins]

    def look(target: ServingTarget) -> Finding:
        return _target(target, settings, origins[target.key])

    with ThreadPoolExecutor(settings.threads) as threads:
        yield from threads.map(look, read)
    if len(wanted) > settings.max_targets:
        what = f"{len(wanted)} pages are found or configured, of which {settings.max_targets} are read"
        yield Finding("serving", "warn", what, "raise serving.max_targets")
    if not origins and not any(each.problems for _, each in found):
        ports = ", ".join(map(str, USUAL_PATHS))
        yield Finding(
            "serving", "ok", f"no pod of this node announces a page, or holds a GPU and declares port {ports}"
        )


def _origin(pod: ServingPod, target: ServingTarget) -> str:
    """How the page was found, in words."""
    if not target.probe:
        return "by its annotations" if pod.holds_gpu else "by its annotations; its pod holds no GPU"
    announced = pod.annotations.get(f"{THEIRS}scrape", "").strip() == "true"
    return "announced to Prometheus" if announced else "guessed by its port"


def _target(target: ServingTarget, settings: ServingSettings, origin: str = "") -> Finding:
    found = f" ({origin})" if origin else ""
    try:
        page = _page(target, settings)
    except SourceError as error:
        what = f"{target.key}{found}: {error}"
        if target.probe:
            return Finding("serving", "ok", f"{what}; a guess, tried again now and then")
        if isinstance(error, EngineUnknown):
            return Finding("serving", "warn", what, _NAME_IT_BY_HAND if not origin else _NAME_IT_BY_ANNOTATION)
        remedy = "mend the page or the target; until then its work is not counted, and the rest goes on"
        return Finding("serving", "warn", what, remedy)
    return Finding("serving", "ok", f"{target.key} is up{found}: {page.engine}, {_told(page)}")


def _page(target: ServingTarget, settings: ServingSettings) -> EnginePage:
    """The first of its addresses that bears a page.

    Raises:
        SourceError: none does; what was wrong with the first.
    """
    first: SourceError | None = None
    for url in target.urls:
        try:
            fetched = fetch_page(url, timeout_seconds=settings.timeout_seconds, max_bytes=settings.max_page_bytes)
            return read_engine_page(fetched.body, target.reading, TenantCap(settings.max_tenants), whole=fetched.whole)
        except SourceError as error:
            first = first or error
    raise first or Unavailable("it has no address")


def _told(page: EnginePage) -> str:
    models = sorted({model for model, _, _ in page.work_slots if model})
    named = ", ".join(models[:_MOST_MODELS]) + (", ..." if len(models) > _MOST_MODELS else "")
    kinds = ", ".join(sorted({kind for _, _, kind in page.work_slots})) or "no work counted yet"
    return f"{kinds}; model {named}" if models else f"{kinds}; no model named"
