"""Which metrics pages there are to read: announced by pods' annotations, guessed by usual ports, named by hand.

Owns the meaning of the annotations and the usual ports. Fetches nothing, and knows of pods only what is passed in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from collectors.errors import Misconfigured
from collectors.serving_engines import BY_NAME, DEFAULT_MODEL_LABELS, EngineNames, WorkKind, mapped_names
from collectors.serving_fetch import split_url
from collectors.serving_page import PageReading
from collectors.serving_settings import HolderSelector, ServingSettings, StaticTarget

OURS = "wattledger.io/"
"""Prefix of the annotations that name a page: scrape, engine, mapping, port (several by comma), path, scheme, model,
model-label, tenant-label. They count before Prometheus's."""
THEIRS = "prometheus.io/"
"""Prefix of Prometheus's annotations: scrape, port, path, scheme. Heeded on pods that hold a GPU."""

USUAL_PATHS: Mapping[int, tuple[str, ...]] = {
    8000: ("/metrics", "/v1/metrics"),
    8002: ("/metrics",),
    8080: ("/metrics",),
    30000: ("/metrics",),
    3000: ("/metrics",),
    80: ("/metrics",),
}
"""Ports that engines use unless told otherwise: vLLM and NIM (whose page is under /v1) 8000, Triton 8002, llama.cpp
8080, SGLang 30000, TGI 3000 and 80. The first path that bears an engine's page counts."""

_WORK_KINDS: Mapping[str, WorkKind] = {kind: kind for kind in get_args(WorkKind)}
_ANNOUNCING = ("engine", "mapping", "port", "scrape")
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class ServingTarget:
    """One page to read, how to read it, and whose it is."""

    key: str
    """Names it in messages, metrics and state; stable over restarts of the agent."""
    urls: tuple[str, ...]
    """Its address; of several the first that bears an engine's page counts."""
    reading: PageReading = field(default_factory=PageReading)
    probe: bool = False
    """Guessed: a page that is none of an engine's is no fault, and is tried again seldom."""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    """The container that declares the port; empty where none does."""
    holder: HolderSelector | None = None
    """For a page named by hand."""


@dataclass(frozen=True, slots=True)
class ServingPod:
    """What is known of a pod that may have pages."""

    namespace: str
    name: str
    ip: str
    annotations: Mapping[str, str]
    ports: Mapping[int, str] = field(default_factory=dict[int, str])
    """Declared TCP ports, each with the name of its container."""
    holds_gpu: bool = False


@dataclass(frozen=True, slots=True)
class FoundTargets:
    """Pages to read, and what could not be understood: one line each, with the remedy."""

    targets: tuple[ServingTarget, ...] = ()
    problems: tuple[str, ...] = ()


_NO_TARGETS = FoundTargets()


def read_first(targets: Iterable[ServingTarget]) -> list[ServingTarget]:
    """Each target once, in the order in which they are read where there are too many: guesses come last."""
    return sorted({target.key: target for target in targets}.values(), key=lambda each: (each.probe, each.key))


def static_targets(settings: ServingSettings) -> tuple[ServingTarget, ...]:
    """The pages that the configuration names."""
    return tuple(_static(target, settings) for target in settings.targets)


def announces(annotations: Mapping[str, str]) -> bool:
    """Whether a pod's own annotations say, by themselves, that it has a page to read; it need not hold a GPU then."""
    said = [annotations.get(OURS + name) for name in _ANNOUNCING]
    return any(said) and annotations.get(f"{OURS}scrape") != "false"


def pod_targets(pod: ServingPod, settings: ServingSettings) -> FoundTargets:
    """The pages of one pod: what its annotations say, else its usual ports where it holds a GPU.

    An annotation that is not understood is a problem of that pod, told in one line; the pod has no pages then.
    """
    if not (pod.annotations or pod.holds_gpu):
        return _NO_TARGETS
    ours, theirs = _under(OURS, pod.annotations), _under(THEIRS, pod.annotations)
    if not pod.ip or ours.get("scrape") == "false":
        return FoundTargets()
    try:
        return FoundTargets(_announced_or_usual(pod, settings, ours, theirs))
    except Misconfigured as error:
        return FoundTargets(problems=(f"pod {pod.namespace}/{pod.name}: {error}",))


def _announced_or_usual(
    pod: ServingPod, settings: ServingSettings, ours: Mapping[str, str], theirs: Mapping[str, str]
) -> tuple[ServingTarget, ...]:
    if settings.discover_annotations and any(ours.get(name) for name in _ANNOUNCING):
        return _announced(pod, settings, {**theirs, **ours}, sure=True)
    if not pod.holds_gpu:
        return ()
    if settings.discover_annotations and theirs.get("scrape") == "true":
        return _announced(pod, settings, theirs, sure=False)
    if settings.discover_ports:
        reading = PageReading(tenant_label=settings.tenant_label, max_samples=settings.max_samples)
        ports = [port for port in USUAL_PATHS if port in pod.ports]
        return tuple(_of_pod(pod, port, "http", USUAL_PATHS[port], reading, probe=True) for port in ports)
    return ()


def _announced(
    pod: ServingPod, settings: ServingSettings, said: Mapping[str, str], *, sure: bool
) -> tuple[ServingTarget, ...]:
    scheme, path = said.get("scheme") or "http", said.get("path", "")
    if scheme not in {"http", "https"}:
        raise Misconfigured(f"annotation scheme is {scheme!r}; allowed: http, https")
    if path and not path.startswith("/"):
        raise Misconfigured(f"annotation path is {path!r}; it has to start with /")
    reading = PageReading(
        engines=_engines(said),
        default_model=said.get("model", ""),
        model_labels=(said["model-label"],) if said.get("model-label") else DEFAULT_MODEL_LABELS,
        tenant_label=said.get("tenant-label", settings.tenant_label),
        max_samples=settings.max_samples,
    )
    return tuple(
        _of_pod(pod, port, scheme, (path,) if path else USUAL_PATHS.get(port, ("/metrics",)), reading, probe=not sure)
        for port in _ports(pod, said.get("port", ""))
    )


def _engines(said: Mapping[str, str]) -> tuple[EngineNames, ...]:
    engine, mapping = said.get("engine", ""), said.get("mapping", "")
    if engine and mapping:
        raise Misconfigured(f"annotations engine {engine!r} and mapping are both there; allowed: one of them")
    if engine and engine not in BY_NAME:
        raise Misconfigured(
            f"annotation {OURS}engine is {engine!r}; allowed: {', '.join(BY_NAME)}; "
            f"for another engine say {OURS}mapping: COUNTER=KIND,..."
        )
    if engine:
        return (BY_NAME[engine],)
    return (mapped_names(_mapping(mapping)),) if mapping else ()


def _mapping(text: str) -> dict[str, WorkKind]:
    mapping: dict[str, WorkKind] = {}
    for pair in text.split(","):
        name, _, kind = (part.strip() for part in pair.partition("="))
        found = _WORK_KINDS.get(kind)
        if not name or found is None:
            raise Misconfigured(
                f"annotation {OURS}mapping has {pair.strip()!r}; allowed: COUNTER=KIND, "
                f"the kind one of {', '.join(_WORK_KINDS)}"
            )
        mapping[name] = found
    return mapping


def _ports(pod: ServingPod, said: str) -> Sequence[int]:
    """The ports said, else the declared ports that engines use, else the only one declared."""
    if said:
        ports = [int(text) if text.isascii() and text.isdecimal() else 0 for text in map(str.strip, said.split(","))]
        if all(0 < port <= _MOST_PORT for port in ports):
            return list(dict.fromkeys(ports))
        raise Misconfigured(f"annotation port is {said!r}; allowed: numbers from 1 to {_MOST_PORT}, several by comma")
    usual = [port for port in USUAL_PATHS if port in pod.ports]
    if usual or len(pod.ports) == 1:
        return usual or list(pod.ports)
    raise Misconfigured(f"it announces metrics but not on which port: add the annotation {OURS}port")


def _of_pod(
    pod: ServingPod, port: int, scheme: str, paths: Sequence[str], reading: PageReading, *, probe: bool
) -> ServingTarget:
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    urls = tuple(f"{scheme}://{host}:{port}{path}" for path in paths)
    for url in urls:
        split_url(url)
    return ServingTarget(
        key=f"{pod.namespace}/{pod.name}:{port}{paths[0] if len(paths) == 1 else ''}",
        urls=urls,
        reading=reading,
        probe=probe,
        namespace=pod.namespace,
        pod=pod.name,
        container=pod.ports.get(port, ""),
    )


def _static(target: StaticTarget, settings: ServingSettings) -> ServingTarget:
    engines = (mapped_names(target.mapping),) if target.mapping else ()
    if target.engine is not None:
        engines = (BY_NAME[target.engine],)
    port = split_url(target.url).port
    reading = PageReading(
        engines=engines,
        default_model=target.model,
        model_labels=(target.model_label,) if target.model_label else DEFAULT_MODEL_LABELS,
        tenant_label=settings.tenant_label if target.tenant_label is None else target.tenant_label,
        max_samples=settings.max_samples,
    )
    return ServingTarget(
        key=target.name or target.url,
        urls=(target.url,),
        reading=reading,
        holder=target.holder or (HolderSelector(port=port) if port else None),
    )


def _under(prefix: str, annotations: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(prefix): value.strip() for name, value in annotations.items() if name.startswith(prefix)}
