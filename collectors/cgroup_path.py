"""What the text of ``/proc/PID/cgroup`` says about whose a process is: pod, container, Slurm job, unit or user.

Owns the parsing, and nothing else: no file is opened here. Must never raise on any text, and never return an
identity that is not spelt out in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

CgroupKind = Literal["pod", "container", "slurm", "systemd", "user"]

_PRECEDENCE: tuple[CgroupKind, ...] = ("pod", "container", "slurm", "systemd", "user")

_UID = "[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD = re.compile(rf"(?:.*-)?pod({_UID})(?:\.slice)?", re.DOTALL)
_CONTAINER = re.compile(r"(?:([a-z][a-z0-9_.-]*)[-:])?([0-9a-f]{64})(?:\.scope)?")
_SLURM_ROOT = re.compile(r"slurm(?:_.+)?|(?:.+_)?slurmstepd\.scope|uid_[0-9]+", re.DOTALL)
_SLURM_JOB = re.compile(r"job_([0-9]+)")
_SLURM_STEP = re.compile(r"step_([A-Za-z0-9+]+)")
_USER_SLICE = re.compile(r"user-([0-9]{1,10})\.slice")
_USER_MANAGER = re.compile(r"user@([0-9]{1,10})\.service")
_UNIT_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")

_RUNTIMES = {
    "docker": "docker",
    "containerd": "containerd",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "cri-o": "cri-o",
    "libpod": "podman",
    "libpod-payload": "podman",
    "libpod_parent": "podman",
}


@dataclass(frozen=True, slots=True)
class CgroupIdentity:
    """Everything that one cgroup path names. ``kind`` is the first of pod, container, Slurm, systemd, user found."""

    kind: CgroupKind
    pod_uid: str | None = None
    """As the API server spells it; a static pod's is 32 hex digits."""
    container_id: str | None = None
    """All 64 hex digits; an LXC container's name. In a pod the pod's own container, else the innermost."""
    runtime: str | None = None
    """``docker``, ``containerd``, ``cri-o``, ``podman`` or ``lxc``, where the path tells."""
    slurm_job: str | None = None
    slurm_step: str | None = None
    """A number, or ``batch``, ``extern``, ``interactive``."""
    unit: str | None = None
    """A unit of the system manager, or ``user@UID.service/UNIT`` for one of a user's own manager."""
    user_id: int | None = None
    """The user whose slice or manager the process runs under."""


@dataclass(frozen=True, slots=True)
class ProcessCgroups:
    """The identity of a process, and the cgroups that bear it."""

    identity: CgroupIdentity | None = None
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    """Controller to the path of the identity's own cgroup (not of a child the process sits in); ``""`` is version 2.
    Controllers whose hierarchy does not name the identity are missing: what they count is somebody else's too."""


def parse_cgroups(text: str) -> ProcessCgroups:
    """Parse the whole text: one line on version 2, one for each hierarchy on version 1, both on hybrid.

    The hierarchies may know different amounts (Slurm has its own in few of them); the most specific one counts.
    """
    found: list[tuple[CgroupIdentity, str, str]] = []
    for line in text.split("\n"):
        fields = line.split(":", 2)
        if len(fields) == 3:  # noqa: PLR2004  (hierarchy, controllers, path)
            identified = identify_path(fields[2].removesuffix(" (deleted)"))
            if identified is not None:
                found.append((identified[0], fields[1], identified[1]))
    if not found:
        return ProcessCgroups()
    best = max((identity for identity, _, _ in found), key=_specificity)
    paths = {
        controller: path
        for identity, controllers, path in found
        if _key(identity) == _key(best)
        for controller in controllers.split(",")
    }
    return ProcessCgroups(best, paths)


def identify_path(path: str) -> tuple[CgroupIdentity, str] | None:
    """The identity that one cgroup path names, with the path of the cgroup that bears it.

    Relative paths of a private cgroup namespace (``/../cri-containerd-ID.scope``) are read like any other; the pod may
    then be missing. ``None`` where nothing in the path is understood.
    """
    segments = path.split("/")
    boxed, job, owner = _find_container(segments), _find_slurm(segments), _find_owner(segments)
    depths = {
        "pod": boxed.depth if boxed.pod_uid else 0,
        "container": boxed.depth if boxed.container_id else 0,
        "slurm": job.depth,
        "systemd": owner.depth if owner.unit else 0,
        "user": owner.depth,
    }
    for kind in _PRECEDENCE:
        if depths[kind]:
            identity = CgroupIdentity(
                kind=kind,
                pod_uid=boxed.pod_uid,
                container_id=boxed.container_id,
                runtime=boxed.runtime,
                slurm_job=job.job,
                slurm_step=job.step,
                unit=owner.unit,
                user_id=owner.user_id,
            )
            return identity, "/".join(segments[: depths[kind] + 1])
    return None


def _key(identity: CgroupIdentity) -> tuple[object, ...]:
    whole = {
        "pod": (identity.pod_uid, identity.container_id),
        "container": (identity.container_id,),
        "slurm": (identity.slurm_job, identity.slurm_step),
        "systemd": (identity.unit,),
        "user": (identity.user_id,),
    }
    return identity.kind, *whole[identity.kind]


def _specificity(identity: CgroupIdentity) -> tuple[int, int]:
    known = (identity.pod_uid, identity.container_id, identity.slurm_job, identity.slurm_step, identity.unit)
    return -_PRECEDENCE.index(identity.kind), sum(field is not None for field in known)


@dataclass(frozen=True, slots=True)
class _Boxed:
    pod_uid: str | None = None
    container_id: str | None = None
    runtime: str | None = None
    depth: int = 0


def _find_container(segments: Sequence[str]) -> _Boxed:
    pod = next(((i, m[1]) for i, s in _reversed(segments) if (m := _POD.fullmatch(s.partition(":")[0]))), None)
    if pod is None:
        return next((box for i, _ in _reversed(segments) if (box := _box(segments, i))), _Boxed())
    depth, uid = pod[0], pod[1].replace("_", "-")
    # The pod's own container comes first; one that it started within itself is not in the pod's status.
    for i in range(depth, len(segments)):
        box = _box(segments, i)
        if box is not None:
            return replace(box, pod_uid=uid)
    return _Boxed(pod_uid=uid, depth=depth)


def _box(segments: Sequence[str], i: int) -> _Boxed | None:
    """The container that segment ``i`` names, if it names one."""
    parent = segments[i - 1] if i else ""
    if segments[i].startswith("lxc.payload."):
        return _Boxed(container_id=segments[i].removeprefix("lxc.payload."), runtime="lxc", depth=i)
    if parent in {"lxc", "lxc.payload"} and segments[i]:
        return _Boxed(container_id=segments[i], runtime="lxc", depth=i)
    # containerd and runc given a slice in the wrong notation write SLICE:RUNTIME:ID as one name.
    match = _CONTAINER.fullmatch(":".join(segments[i].split(":")[-2:]))
    if match is None or (match[1] or "").endswith("conmon"):
        return None
    return _Boxed(container_id=match[2], runtime=_RUNTIMES.get(match[1] or parent), depth=i)


@dataclass(frozen=True, slots=True)
class _Job:
    job: str | None = None
    step: str | None = None
    depth: int = 0


def _find_slurm(segments: Sequence[str]) -> _Job:
    rooted = False
    for i, segment in enumerate(segments):
        job = _SLURM_JOB.fullmatch(segment)
        if job is None:
            rooted = rooted or _SLURM_ROOT.fullmatch(segment) is not None
            continue
        step = _SLURM_STEP.fullmatch(segments[i + 1]) if i + 1 < len(segments) else None
        if step is not None:
            return _Job(job[1], step[1], i + 1)
        if rooted:
            return _Job(job[1], None, i)
    return _Job()


@dataclass(frozen=True, slots=True)
class _Owner:
    unit: str | None = None
    user_id: int | None = None
    depth: int = 0


def _find_owner(segments: Sequence[str]) -> _Owner:
    """The outermost unit, or the user. A scope under a user's slice is made anew for each login, so the user it is."""
    manager, owner = "", _Owner()
    for i, segment in enumerate(segments):
        if match := _USER_SLICE.fullmatch(segment):
            owner = _Owner(user_id=int(match[1]), depth=i)
        elif match := _USER_MANAGER.fullmatch(segment):
            manager, owner = f"{segment}/", _Owner(user_id=int(match[1]), depth=i)
        elif segment.endswith(_UNIT_SUFFIXES):
            transient = owner.user_id is not None and segment.endswith(".scope")
            return replace(owner, unit=None if transient else manager + segment, depth=i)
    return owner


def _reversed(segments: Sequence[str]) -> Iterator[tuple[int, str]]:
    return ((i, segments[i]) for i in range(len(segments) - 1, -1, -1))
