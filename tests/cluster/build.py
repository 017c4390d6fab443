"""Builds the programs of the test cluster, once per version, into the user's cache: ``python3 -m tests.cluster.build``.

Needs only the standard library and Go, so that it can run before anything is installed. Modules come through Go's
module proxy, pinned by the ``go.sum`` files of ``programs``; no binary is downloaded.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterUnavailable

KUBERNETES_VERSION = "1.34.4"
SOURCES = Path(__file__).parent / "programs"
BUILD_COMMAND = "python3 -m tests.cluster.build"
GO_REMEDY = "install Go 1.26 or newer (https://go.dev/dl) and have `go` on the PATH"
PARALLEL = 2
"""Packages compiled at once: linking and compiling the API server takes up to 2 GB of memory."""


@dataclass(frozen=True, slots=True)
class Group:
    """Programs that are built together, and again only when one of their inputs changes."""

    name: str
    packages: tuple[str, ...]
    inputs: tuple[str, ...]
    """Patterns of files under ``programs``."""
    linker_flags: str = "-s -w"
    module: str = "."
    """The folder under ``programs`` whose ``go.mod`` pins them."""
    of_all: bool = True
    """Whether every test of the cluster needs them; else only those that say so."""

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(program_name(package) for package in self.packages)


def program_name(package: str) -> str:
    """What ``go build`` names the program of a package: the last part that is no major version."""
    parts = package.split("/")
    return parts[-2] if parts[-1] == "v3" else parts[-1]


def _version_flags() -> str:
    """Without these the programs call themselves v0.0.0-master, which API server and kubectl compare and warn of."""
    _, minor, _ = KUBERNETES_VERSION.split(".")
    values = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
    flags = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()]
    return " ".join(["-s -w", *flags, f"-X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES_VERSION}"])


KWOK = "kwok"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
GROUPS = (
    Group("node plugins", ("./deviceplugin", "./dradriver"), ("go.mod", "go.sum", "*/*.go")),
    Group("etcd", ("go.etcd.io/etcd/server/v3",), ("go.mod", "go.sum")),
    Group(
        "kubernetes",
        tuple(f"k8s.io/kubernetes/cmd/{component}" for component in COMPONENTS),
        ("go.mod", "go.sum"),
        _version_flags(),
    ),
    # a module of its own: it is made against a newer Kubernetes than the one it plays the nodes of
    Group(KWOK, ("sigs.k8s.io/kwok/cmd/kwok",), ("kwok/go.mod", "kwok/go.sum"), module="kwok", of_all=False),
)


def cache_folder() -> Path:
    """Where the programs of this version lie, built or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "wattledger-testcluster" / KUBERNETES_VERSION


def require_built(*further: str) -> Path:
    """The folder of the programs, where they are built from today's sources.

    Args:
        further: names of groups that are needed besides those that every test needs.

    Raises:
        ClusterUnavailable: one is not.
    """
    folder = cache_folder()
    for group in GROUPS:
        if (group.of_all or group.name in further) and not _is_built(group, folder):
            raise ClusterUnavailable(f"the test cluster's programs are not built: {BUILD_COMMAND} (12 minutes, once)")
    return folder


def build() -> Path:
    """Builds what is not built yet; waits for a build that another process is at. Returns the programs' folder.

    Raises:
        ClusterUnavailable: there is no Go, or it could not build.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        for group in GROUPS:
            if not _is_built(group, folder):
                _build(group, folder)
    return folder


def _is_built(group: Group, folder: Path) -> bool:
    stamp = _stamp_path(group, folder)
    there = all((folder / program).is_file() for program in group.programs)
    return there and stamp.is_file() and stamp.read_text(encoding="ascii") == _fingerprint(group)


def _stamp_path(group: Group, folder: Path) -> Path:
    return folder / f".{group.name.replace(' ', '-')}.built"


def _fingerprint(group: Group) -> str:
    digest = hashlib.sha256(" ".join((*group.packages, group.linker_flags)).encode())
    for path in _input_files(group):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _input_files(group: Group) -> Iterable[Path]:
    return sorted(path for pattern in group.inputs for path in SOURCES.glob(pattern))


def _build(group: Group, folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ClusterUnavailable(f"the test cluster's programs cannot be built: {GO_REMEDY}")
    print(f"building {group.name} ({', '.join(group.programs)}) ...", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        _run_go(go, group, Path(fresh))
        for program in group.programs:
            _take(Path(fresh), program, folder)
    _stamp_path(group, folder).write_text(_fingerprint(group), encoding="ascii")
    print(f"built {group.name} in {time.monotonic() - began:.0f} s", flush=True)


def _run_go(go: str, group: Group, target: Path) -> None:
    command = [
        *("nice", "-n", "19", go, "build", "-p", str(PARALLEL), "-mod=readonly", "-trimpath", "-buildvcs=false"),
        *("-ldflags", group.linker_flags, "-o", f"{target}/", *group.packages),
    ]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
    done = subprocess.run(
        command, cwd=SOURCES / group.module, env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-20:])
        raise ClusterUnavailable(f"go could not build {group.name} ({GO_REMEDY}, and let it reach its proxy):\n{tail}")


def _take(fresh: Path, program: str, folder: Path) -> None:
    # A program that runs cannot be written to, but its name can be given to another file.
    (fresh / program).replace(folder / program)


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        print(f"the test cluster's programs: {build()}")
    except ClusterUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
