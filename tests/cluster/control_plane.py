"""etcd, API server, controller-manager, scheduler and kube-proxy, in the cluster's network namespace."""

import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import Api, ApiError
from tests.cluster.network import Network
from tests.cluster.processes import Processes
from tests.cluster.waiting import wait_until

API_PORT = 6443
KEYS = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
ADMIN_GROUP = "system:masters"
USERS = {
    "admin": ("admin", ADMIN_GROUP),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}
"""Who logs in with a token of this cluster, besides the kubelets: file name to user and group."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster lives."""

    programs: Path
    folder: Path
    network: Network

    @property
    def api_url(self) -> str:
        return f"https://{self.network.api_address}:{API_PORT}"

    @property
    def ca(self) -> Path:
        return self.folder / "pki" / "ca.crt"

    def kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"


class ControlPlane:
    """Starts the cluster's own programs. ``enter`` is the command that enters its network namespace."""

    def __init__(self, place: Place, processes: Processes, enter: tuple[str, ...], nodes: tuple[str, ...]) -> None:
        self._place = place
        self._processes = processes
        self._enter = enter
        self._users = USERS | {f"kubelet-{node}": (f"system:node:{node}", "system:nodes") for node in nodes}
        self._tokens = {name: secrets.token_hex(16) for name in self._users}
        self.admin = Api(place.api_url, self._tokens["admin"], place.ca)

    def prepare(self) -> None:
        """Writes keys, certificates and the users' access."""
        self._make_certificates()
        rows = [f'{self._tokens[name]},{user},{name},"{group}"' for name, (user, group) in self._users.items()]
        (self._place.folder / "tokens.csv").write_text("\n".join(rows) + "\n", encoding="ascii")
        for name in self._users:
            self._write_kubeconfig(name)

    def start_store_and_api(self) -> None:
        """Starts etcd and the API server, which waits for etcd by itself."""
        etcd = "http://127.0.0.1:2379"
        # --unsafe-no-fsync: nothing of this cluster outlives it
        self._start("server", "--data-dir", self._place.folder / "etcd", "--unsafe-no-fsync", "--log-level=warn")
        pki, services = self._place.folder / "pki", self._place.network.services
        self._start(
            "kube-apiserver",
            f"--advertise-address={self._place.network.api_address}",
            f"--secure-port={API_PORT}",
            f"--etcd-servers={etcd}",
            f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={self._place.folder}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/accounts.key",
            f"--service-account-signing-key-file={pki}/accounts.key",
            f"--service-cluster-ip-range={services}",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={pki}/server.crt",
            f"--kubelet-client-key={pki}/server.key",
            "--profiling=false",
        )

    def wait_for_api(self) -> None:
        wait_until(self._is_ready, 120, f"the API server to be ready (see {self._processes.log('kube-apiserver')})")

    def start_controllers(self) -> None:
        """Starts what works on the objects; they find the API server once it is there."""
        pki = self._place.folder / "pki"
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self._place.kubeconfig('controller-manager')}",
            "--secure-port=0",
            "--leader-elect=false",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/accounts.key",
            "--use-service-account-credentials=true",
            "--node-monitor-grace-period=20s",
        )
        self._start(
            "kube-scheduler",
            f"--kubeconfig={self._place.kubeconfig('scheduler')}",
            "--secure-port=0",
            "--leader-elect=false",
        )
        self._start("kube-proxy", f"--config={self._write_proxy_settings()}")

    def _start(self, program: str, *arguments: str | Path) -> None:
        self._processes.start(program, [*self._enter, self._place.programs / program, *arguments])

    def _is_ready(self) -> bool:
        self._processes.require_alive()
        try:
            return bool(self.admin.get("/readyz") == "ok")
        except (OSError, ApiError):
            return False

    def _make_certificates(self) -> None:
        pki, network = self._place.folder / "pki", self._place.network
        pki.mkdir(exist_ok=True)
        self._openssl(
            *("req", "-x509", *KEYS, "-keyout", pki / "ca.key", "-out", pki / "ca.crt"),
            *("-subj", "/CN=test cluster", "-addext", "keyUsage=critical,keyCertSign"),
        )
        addresses = ("IP:127.0.0.1", f"IP:{network.api_address}", f"IP:{network.api_service_address}", "DNS:localhost")
        names = (*addresses, "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc")
        self._openssl(
            *("req", "-x509", "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", *KEYS),
            *("-keyout", pki / "server.key", "-out", pki / "server.crt"),
            # one certificate for both ends: the API server's, and its own as a client of the kubelets
            *("-subj", f"/O={ADMIN_GROUP}/CN=kube-apiserver", "-addext", "extendedKeyUsage=serverAuth,clientAuth"),
            *("-addext", f"subjectAltName={','.join(names)}", "-addext", "basicConstraints=critical,CA:FALSE"),
        )
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pki / "accounts.key")

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def _write_kubeconfig(self, name: str) -> None:
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self._place.api_url, "certificate-authority": str(self._place.ca)},
                }
            ],
            "users": [{"name": name, "user": {"token": self._tokens[name]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        self._place.kubeconfig(name).write_text(json.dumps(settings), encoding="ascii")

    def _write_proxy_settings(self) -> Path:
        settings = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self._place.kubeconfig("proxy"))},
            "mode": "iptables",
            "clusterCIDR": self._place.network.everything,
            "bindAddress": self._place.network.api_address,
            "hostnameOverride": next(name for name in self._users if name.startswith("kubelet-")).partition("-")[2],
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            # these settings of the kernel belong to the whole machine: leave them
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        path = self._place.folder / "proxy.json"  # one serves all nodes: they share a network namespace
        path.write_text(json.dumps(settings), encoding="ascii")
        return path
