"""The requests of py-kube-downscaler's loop, by the client library that it uses: a pass for each line that it reads.

py-kube-downscaler is published as an image and a chart, not as a package, so its own code cannot be installed beside
ours. What a pass of it asks for is fixed by its source: a new client, then all namespaces, all pods, all Deployments,
each by one list without pages; then each Deployment's annotations are looked at, and what is to change is written by
one patch after another. This does just that, less its parsing of times and its logs: a lower bound of its cost. Needs
pykube-ng and nothing of ours.
"""

import json
import resource
import sys
import time
from importlib import import_module
from typing import Any

pykube: Any = import_module("pykube")


def main() -> None:
    config = pykube.KubeConfig.from_file(sys.argv[1])
    for line in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        written = one_pass(config, line.strip())
        told = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            "written": written,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(told), flush=True)


def one_pass(config: Any, down: str) -> int:
    """Look at everything; put those down whose namespace begins with ``down``, unless that is empty."""
    api = pykube.HTTPClient(config, timeout=60)
    spaces = {each.name: each for each in pykube.Namespace.objects(api)}
    forced = [pod for pod in pykube.Pod.objects(api).filter(namespace=pykube.all) if _said(pod, "force-uptime")]
    concerned = [
        each
        for each in pykube.Deployment.objects(api, namespace=pykube.all)
        if not _said(each, "exclude") and not _said(spaces[each.namespace], "exclude") and not forced
    ]
    changed = [each for each in concerned if down and each.namespace.startswith(down) and each.replicas]
    for each in changed:
        each.annotations["downscaler/original-replicas"] = str(each.replicas)
        each.replicas = 0
        each.update()
    return len(changed)


def _said(item: Any, what: str) -> bool:
    return str(item.annotations.get(f"downscaler/{what}", "false")).lower() != "false"


if __name__ == "__main__":
    main()
