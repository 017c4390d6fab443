"""Volumes that go with their node: found by the claims that a workload names, on a real API server too."""

from dataclasses import replace

import pytest

from collectors.clock import SystemClock
from controller.scaling.cluster_view import VOLUMES, ClusterView
from controller.scaling.local_volumes import UNSEEN, LocalVolumes, VolumeSeen, volume_seen
from controller.scaling.model import Ref
from controller.scaling.registry import KINDS
from controller.scaling.trimmed import kept
from tests.controller.scaling.kind_objects import OBJECTS, merged, pod_spec, template
from tests.controller.scaling.scaling_rig import deployment, folder, until
from tests.controller.scaling.test_informers import Cluster

REGISTRY = {kind.name: kind for kind in KINDS}
DATA = VolumeSeen("pv-1", "team-a", "data", local=True)


def named(claim="data", **more):
    return {"name": "v", "persistentVolumeClaim": {"claimName": claim, **more}}


def mounting(*mounts, **more):
    """A pod with a claim, whose containers mount it like this."""
    spec = pod_spec(0, volumes=[named(**more)])
    mount = [{"name": "v", "mountPath": "/data", **each} for each in mounts]
    spec["containers"] = [{**spec["containers"][0], "volumeMounts": [each]} for each in mount] or spec["containers"]
    return spec


def seen(kind="Deployment", **spec):
    return kept(REGISTRY[kind])(merged(OBJECTS[kind], {"spec": spec}))


def volume(name="pv-1", claim="data", namespace="team-a", **source):
    bound = {"claimRef": {"namespace": namespace, "name": claim}} if claim else {}
    return {"metadata": {"name": name}, "spec": {**bound, **(source or {"local": {"path": "/mnt/ssd"}})}}


@pytest.mark.parametrize(
    ("source", "local"),
    [
        ({"local": {"path": "/mnt/ssd"}}, True),
        ({"hostPath": {"path": "/data"}}, True),
        ({"csi": {"driver": "ebs.csi.aws.com"}}, False),
        ({"nfs": {"server": "n", "path": "/"}}, False),
    ],
)
def test_a_volume_is_local_by_its_source(source, local):
    assert volume_seen(volume(**source)) == replace(DATA, local=local)


def test_a_volume_that_is_bound_to_nothing_is_nobodys():
    volumes = LocalVolumes()
    volumes.replace([volume_seen(volume(claim=""))])
    assert volumes.losses("", ["", "-"]) == ()


@pytest.mark.parametrize(
    ("spec", "claims"),
    [
        (mounting(), ("data",)),
        (mounting({"readOnly": True}, {}), ("data",)),
        (mounting({"readOnly": True}), ()),
        (mounting({}, readOnly=True), ()),
        (pod_spec(0, volumes=[{"name": "v", "configMap": {"name": "data"}}]), ()),
    ],
)
def test_the_claims_that_pods_write_to_are_kept(spec, claims):
    assert seen(template={**template(0), "spec": spec}).volumes == claims


@pytest.mark.parametrize("kind", ["Job", "Rollout", "Notebook", "StatefulSet"])
def test_claims_are_found_in_every_kind_whose_pods_a_down_ends(kind):
    assert seen(kind, template={"spec": mounting()}).volumes == ("data",)


def test_a_down_that_ends_no_pod_loses_no_volume():
    assert seen("CronJob", jobTemplate={"spec": {"template": {"spec": mounting()}}}).volumes == ()
    assert seen("ScaledJob", jobTargetRef={"template": {"spec": mounting()}}).volumes == ()


def test_the_claims_that_a_stateful_set_makes_are_those_of_its_name_and_a_number():
    found = seen("StatefulSet", volumeClaimTemplates=[{"metadata": {"name": "data"}}])
    assert found.volumes == ("data-llama-",)
    volumes = LocalVolumes()
    others = [replace(DATA, name=f"pv-{name}", claim=name) for name in ("data-llama-x", "data-llama-2-0", "data-llama")]
    volumes.replace(others)
    assert volumes.losses("team-a", found.volumes) == ()
    for number in (0, 1):
        assert volumes.put(replace(DATA, name=f"pv-{number}", claim=f"data-llama-{number}"))
    assert volumes.losses("team-a", found.volumes) == (
        "claim 'data-llama-0' (and 1 more) is on a local volume (pv-0), which goes with its node",
    )
    assert volumes.losses("team-b", found.volumes) == ()


def test_volumes_come_and_go_and_only_local_ones_matter():
    volumes = LocalVolumes()
    assert not volumes.put(replace(DATA, local=False))
    assert volumes.put(DATA)
    assert not volumes.put(DATA)
    assert volumes.losses("team-a", ["data"])
    assert volumes.put(replace(DATA, claim="other"))
    assert volumes.losses("team-a", ["data"]) == ()
    volumes.remove("pv-1")
    assert volumes.losses("team-a", ["other"]) == ()


def test_while_volumes_are_not_seen_a_claim_that_is_named_is_a_loss():
    view = ClusterView(SystemClock())
    woken = []
    view.on_claims = lambda: woken.append(view.volumes_named)
    plain, naming = seen(), seen(template={**template(0), "spec": mounting()})
    view.put_object(plain)
    assert (view.get(plain.ref).losses, woken) == ((), [])
    view.put_object(naming)
    assert (view.get(naming.ref).losses, woken) == ((UNSEEN,), [True])


def test_volumes_of_a_real_server_are_followed_once_somebody_names_a_claim(api_server, proxy, namespace):
    with Cluster(api_server, proxy) as cluster:
        view = cluster.watch()
        assert not view.synced(VOLUMES)
        item = deployment()
        item["spec"]["template"]["spec"] |= {"volumes": [named()]}
        api_server.admin.post(folder(namespace), item)
        web = Ref("Deployment", namespace, "web")

        def losses():
            found = view.get(web)
            return None if found is None else found.losses

        until(lambda: losses() == ())
        path, name = "/api/v1/persistentvolumes", f"pv-{namespace}"
        room = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
        made = volume(name, namespace=namespace, hostPath={"path": "/data"})
        api_server.admin.post(path, {**made, "spec": {**made["spec"], **room}})
        until(lambda: losses() == (f"claim 'data' is on a local volume ({name}), which goes with its node",))
        api_server.admin.delete(f"{path}/{name}")
        api_server.patch(f"{path}/{name}", {"metadata": {"finalizers": None}})  # as the controller of volumes does
        until(lambda: losses() == ())
        api_server.admin.delete(f"{folder(namespace)}/web")  # others count their watches
