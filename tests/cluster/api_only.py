"""A real API server and its etcd alone: no node, no kubelet, no root, in a few seconds; several may stand at once.

What is made here is real to the last admission check, but nothing acts on it: a Deployment gets no pods, unless
``with_controllers`` starts the controller-manager beside. Everything ends with the process that started it.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import yaml

from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from tests.cluster import build
from tests.cluster.api import Api, ApiError
from tests.cluster.control_plane import ADMIN_GROUP, KEYS
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.waiting import wait_until

CRDS = Path(__file__).parent / "crds"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC_PATH = "/apis/rbac.authorization.k8s.io/v1"
USERS = ("admin", "scaler", "other")
"""Who may log in. ``admin`` may do everything; what the others may, :meth:`ApiServer.grant` says."""
CONTROLLERS = (
    *("deployment-controller", "replicaset-controller", "statefulset-controller", "job-controller"),
    *("cronjob-controller", "horizontal-pod-autoscaler-controller", "garbage-collector-controller"),
    *("namespace-controller", "disruption-controller"),
)
READY_SECONDS = 90
WATCHED_SECONDS = 15


class ApiServer:
    """An API server that stands. Make it with :meth:`up`."""

    groups: ClassVar[tuple[str, ...]] = ()
    """Groups of programs that are needed besides those that every test needs."""
    controllers: ClassVar[tuple[str, ...]] = CONTROLLERS
    """Those of the controller-manager, where it is started."""
    controller_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._tokens = {user: secrets.token_hex(16) for user in USERS}
        self.url = f"https://127.0.0.1:{free_port()}"
        self._store = f"http://127.0.0.1:{free_port()}"

    @classmethod
    def up(cls, *, with_controllers: bool = False) -> Self:
        """Starts one; returns once it answers.

        Raises:
            ClusterUnavailable: its programs are not built, or the machine lacks one.
            ClusterFailed: it did not start; nothing of it is left.
        """
        programs = build.require_built(*cls.groups)
        for tool, package in (("openssl", "openssl"), ("setpriv", "util-linux")):
            if shutil.which(tool) is None:
                raise ClusterUnavailable(f"{tool} is not installed: apt-get install {package}")
        server = cls(programs, Path(tempfile.mkdtemp(prefix="wattledger-api-")))
        try:
            server._start()
            if with_controllers:
                server.start_controllers()
        except BaseException:
            server.down()
            raise
        return server

    def down(self) -> None:
        """Ends what was started, and removes its files."""
        for name in reversed(list(self._running)):
            self.stop(name)
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def admin(self) -> Api:
        """As one who may do everything; for what tests do themselves."""
        return Api(self.url, self._tokens["admin"], self.ca)

    def token_file(self, user: str = "admin") -> Path:
        return self.folder / f"{user}.token"

    def endpoint(self, user: str = "admin", *, url: str = "") -> KubeEndpoint:
        """For the client under test; ``url`` is a proxy's in front of this server."""
        return KubeEndpoint(url or self.url, self.token_file(user), None if url else self.ca)

    def client(
        self, user: str = "admin", *, url: str = "", timeout_seconds: float = 10, keep_connections: bool = False
    ) -> KubeApi:
        """The client under test, straight or through a proxy at ``url``."""
        endpoint = self.endpoint(user, url=url)
        return KubeApi(endpoint, timeout_seconds=timeout_seconds, keep_connections=keep_connections)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """A merge patch as administrator, as a person would with kubectl."""
        return self.client().patch(path, body)

    def make_namespace(self, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> str:
        """A namespace of a new name."""
        metadata = {"generateName": "t-", "labels": labels or {}, "annotations": annotations or {}}
        return str(self.admin.post("/api/v1/namespaces", {"metadata": metadata})["metadata"]["name"])

    def install_crds(self, *names: str) -> None:
        """Makes CRDs of ``crds/*.yaml``: those of these full names (``notebooks.kubeflow.org``), else all.

        Returns once each is served. Those that are there already stay as they are.
        """
        wanted = [item for item in crds() if not names or item["metadata"]["name"] in names]
        missing = set(names) - {item["metadata"]["name"] for item in wanted}
        if missing:
            raise ClusterFailed(f"no file of {CRDS} has {', '.join(sorted(missing))}")
        for item in wanted:
            self.make_crd(item, wait=False)
        for item in wanted:
            self._wait_served(item)

    def make_crd(self, item: dict[str, Any], *, wait: bool = True) -> None:
        """Makes one CRD; one that is there already stays as it is."""
        try:
            self.admin.post(CRD_PATH, item)
        except ApiError as error:
            if error.code != 409:
                raise
        if wait:
            self._wait_served(item)

    def remove_crd(self, name: str) -> None:
        """Removes a CRD with all its objects; returns once it is gone."""
        self.admin.delete(f"{CRD_PATH}/{name}")
        wait_until(lambda: not self._exists(f"{CRD_PATH}/{name}"), 30, f"the CRD {name} to go")

    def grant(self, user: str, rules: Sequence[dict[str, list[str]]]) -> None:
        """Lets a user do this and nothing else, in the whole cluster; returns once the server knows."""
        role = {"metadata": {"name": user}, "rules": list(rules)}
        if self._exists(f"{RBAC_PATH}/clusterroles/{user}"):
            self.admin.request("PUT", f"{RBAC_PATH}/clusterroles/{user}", role)
        else:
            self.admin.post(f"{RBAC_PATH}/clusterroles", role)
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}
            subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
            binding = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
            self.admin.post(f"{RBAC_PATH}/clusterrolebindings", binding)
        wait_until(lambda: self._known_rules(user) == _single_rights(rules), 60, f"the rights of {user}")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What ``kubectl`` prints, as administrator.

        Raises:
            ClusterFailed: it failed; the message is its own.
        """
        access = ("--server", self.url, "--certificate-authority", self.ca, "--token", self._tokens["admin"])
        command = [self._programs / "kubectl", *access, *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env={"HOME": str(self.folder)}
        )
        if done.returncode != 0:
            raise ClusterFailed(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def start_controllers(self) -> None:
        """Starts the controller-manager: Deployments, StatefulSets, Jobs, CronJobs, HPA, and what removes."""
        if not self._exists("/api/v1/namespaces/kube-system/serviceaccounts/default"):
            self.admin.post("/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": "default"}})
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig()}",
            "--secure-port=0",
            "--leader-elect=false",
            f"--controllers={','.join(self.controllers)}",
            f"--service-account-private-key-file={self.folder}/accounts.key",
            *self.controller_options,
        )

    def kubeconfig(self) -> Path:
        """The administrator's access, as the programs of Kubernetes read it."""
        access = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": "admin", "user": {"tokenFile": str(self.token_file())}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        path = self.folder / "admin.kubeconfig"
        path.write_text(yaml.safe_dump(access), encoding="utf-8")
        return path

    def stop(self, name: str, *, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends a program of it (``server`` is etcd); nothing of it is worth a slow end."""
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(60)

    def start_api(self) -> None:
        """Starts the API server, at first or again after :meth:`stop`; returns once it answers."""
        folder = self.folder
        self._run(
            "kube-apiserver",
            "--advertise-address=127.0.0.1",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.url.rpartition(':')[2]}",
            f"--etcd-servers={self._store}",
            f"--tls-cert-file={folder}/server.crt",
            f"--tls-private-key-file={folder}/server.key",
            f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC",
            # no controller makes the accounts that its plugin asks pods to have
            "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder}/accounts.key",
            f"--service-account-signing-key-file={folder}/accounts.key",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--profiling=false",
        )
        wait_until(self._is_ready, READY_SECONDS, f"the API server to be ready (see {self._log('kube-apiserver')})")

    def _start(self) -> None:
        self._make_certificates()
        rows = [f'{self._tokens[user]},{user},{user},"{ADMIN_GROUP if user == "admin" else ""}"' for user in USERS]
        (self.folder / "tokens.csv").write_text("\n".join(rows) + "\n", encoding="ascii")
        for user in USERS:
            self.token_file(user).write_text(self._tokens[user], encoding="ascii")
        peer = f"http://127.0.0.1:{free_port()}"
        self._run(
            "server",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls={self._store}",
            f"--advertise-client-urls={self._store}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self.start_api()

    def _run(self, name: str, *arguments: str) -> None:
        # none of them outlives this process, however it ends
        command = ["setpriv", "--pdeathsig", "KILL", str(self._programs / name), *arguments]
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _is_ready(self) -> bool:
        for name, process in self._running.items():
            if process.poll() is not None:
                end = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
                raise ClusterFailed("\n".join([f"{name} ended; the end of its log:", *end]))
        try:
            return bool(self.admin.get("/readyz") == "ok")
        except (OSError, ApiError):
            return False

    def _exists(self, path: str) -> bool:
        try:
            self.admin.get(path)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    def _wait_served(self, item: dict[str, Any]) -> None:
        spec = item["spec"]
        version = next(each["name"] for each in spec["versions"] if each["served"])
        path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
        wait_until(lambda: self._lists(path), WATCHED_SECONDS, f"{path} to be served")

    def _lists(self, path: str) -> bool:
        try:
            return "items" in self.admin.get(f"{path}?limit=1")
        except ApiError:
            return False

    def _known_rules(self, user: str) -> set[tuple[str, str, str]]:
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "x"}}
        asked = Api(self.url, self._tokens[user], self.ca)
        answer = asked.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
        own = {"authorization.k8s.io", "authentication.k8s.io"}  # which everybody may ask
        return {right for right in _single_rights(answer["status"]["resourceRules"]) if right[0] not in own}

    def _make_certificates(self) -> None:
        folder = self.folder
        _openssl(
            *("req", "-x509", *KEYS, "-keyout", folder / "ca.key", "-out", self.ca, "-subj", "/CN=test API"),
            *("-addext", "keyUsage=critical,keyCertSign"),
        )
        _openssl(
            *("req", "-x509", "-CA", self.ca, "-CAkey", folder / "ca.key", *KEYS),
            *("-keyout", folder / "server.key", "-out", folder / "server.crt", "-subj", "/CN=kube-apiserver"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"),
            *("-addext", "extendedKeyUsage=serverAuth", "-addext", "basicConstraints=critical,CA:FALSE"),
        )
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "accounts.key")


def crds() -> list[dict[str, Any]]:
    """All CRDs of ``crds/*.yaml``."""
    found: list[dict[str, Any]] = []
    for file in sorted(CRDS.glob("*.yaml")):
        found += [item for item in yaml.safe_load_all(file.read_text(encoding="utf-8")) if item]
    return found


def _single_rights(rules: Sequence[dict[str, list[str]]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
    }


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _openssl(*arguments: str | os.PathLike[str]) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
