"""The test cluster by hand: ``python3 -m tests.cluster up``, ``kubectl get pods``, ``down``."""

import argparse
import os
import sys
import time

from tests.cluster import build, machine
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterFailed, ClusterUnavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="a cluster that stays until it is taken down").add_argument(
        "nodes", nargs="*", default=["node-a", "node-b"]
    )
    commands.add_parser("down", help="remove every cluster that no living test session owns").add_argument(
        "--wipe", action="store_true", help="remove the others too: those sessions' tests fail"
    )
    commands.add_parser("kubectl", help="kubectl as administrator, on the first cluster", add_help=False)
    options, rest = parser.parse_known_args()
    try:
        return _run(options, rest)
    except (ClusterFailed, ClusterUnavailable) as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    if options.command == "up":
        began = time.monotonic()
        cluster = Cluster.up(options.nodes, stays=True)
        print(f"up after {time.monotonic() - began:.1f} s: {cluster.api_url}, {cluster.folder}")
    elif options.command == "down":
        machine.wipe_all(even_owned=options.wipe)
    else:
        standing = machine.standing()
        if not standing:
            raise ClusterFailed("no cluster stands: python3 -m tests.cluster up")
        kubeconfig = machine.folder_of(standing[0]) / "admin.kubeconfig"
        kubectl = build.require_built() / "kubectl"
        os.execv(kubectl, [str(kubectl), f"--kubeconfig={kubeconfig}", *rest])
    return 0


if __name__ == "__main__":
    sys.exit(main())
