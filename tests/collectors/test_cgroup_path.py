import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cgroup_path import CgroupIdentity, identify_path, parse_cgroups

A, B = "a1" * 32, "b2" * 32
DASHED = "0f9e8d7c-1111-2222-3333-444455556666"
SCORED = DASHED.replace("-", "_")
STATIC = "0123456789abcdef" * 2
BURSTABLE = f"kubepods-burstable-pod{SCORED}.slice"


def identity(path):
    found = identify_path(path)
    return found and found[0]


@pytest.mark.parametrize(
    ("path", "uid", "runtime"),
    [
        (f"/kubepods/burstable/pod{DASHED}/{A}", DASHED, None),
        (f"/kubepods/pod{DASHED}/{A}", DASHED, None),
        (f"/kubepods/besteffort/pod{STATIC}/{A}", STATIC, None),
        (f"/kubepods/burstable/pod{DASHED}/crio-{A}", DASHED, "cri-o"),
        (f"/kubepods/pod{DASHED}/cri-containerd-{A}", DASHED, "containerd"),
        (f"/kubepods.slice/kubepods-burstable.slice/{BURSTABLE}/cri-containerd-{A}.scope", DASHED, "containerd"),
        (f"/kubepods.slice/kubepods-burstable.slice/{BURSTABLE}/crio-{A}.scope", DASHED, "cri-o"),
        (f"/kubepods.slice/kubepods-burstable.slice/{BURSTABLE}/crio-{A}.scope/container", DASHED, "cri-o"),
        (f"/kubepods.slice/kubepods-burstable.slice/{BURSTABLE}/docker-{A}.scope", DASHED, "docker"),
        (f"/kubepods.slice/kubepods-pod{SCORED}.slice/cri-containerd-{A}.scope", DASHED, "containerd"),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{STATIC}.slice/crio-{A}.scope",
            STATIC,
            "cri-o",
        ),
        (f"/system.slice/containerd.service/{BURSTABLE}:cri-containerd:{A}", DASHED, "containerd"),
        (f"/docker/{B}/kubelet/kubepods/besteffort/pod{DASHED}/{A}", DASHED, None),
        (
            f"/system.slice/docker-{B}.scope/kubelet.slice/kubelet-{BURSTABLE}/cri-containerd-{A}.scope",
            DASHED,
            "containerd",
        ),
        (f"/../../{BURSTABLE}/cri-containerd-{A}.scope", DASHED, "containerd"),
        (f"/../pod{DASHED}/{A}", DASHED, None),
        (f"/kubepods/burstable/pod{DASHED}/{A}/docker/{B}", DASHED, None),
    ],
)
def test_a_pod_is_known_by_its_uid_and_its_own_container(path, uid, runtime):
    found = identity(path)
    assert (found.kind, found.pod_uid, found.container_id, found.runtime) == ("pod", uid, A, runtime)


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/docker/{A}", "docker"),
        (f"/system.slice/docker-{A}.scope", "docker"),
        (f"/system.slice/containerd-{A}.scope", "containerd"),
        (f"/system.slice/nerdctl-{A}.scope", "containerd"),
        (f"/default/{A}", None),
        (f"/ecs/{STATIC}/{A}", None),
        (f"/system.slice:docker:{A}", "docker"),
        (f"/machine.slice/libpod-{A}.scope", "podman"),
        (f"/machine.slice/libpod-{A}.scope/container", "podman"),
        (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope", "podman"),
        (f"/libpod_parent/libpod-{A}", "podman"),
        (f"/../../docker-{A}.scope", "docker"),
        (f"/../cri-containerd-{A}.scope", "containerd"),
        (f"/../crio-{A}.scope", "cri-o"),
        (f"/docker/{B}/docker/{A}", "docker"),
        (f"/system.slice/docker-{B}.scope/system.slice/docker-{A}.scope", "docker"),
        (f"/lxc.payload.web/docker/{A}", "docker"),
    ],
)
def test_a_container_is_known_by_its_innermost_id(path, runtime):
    found = identity(path)
    assert (found.kind, found.container_id, found.runtime, found.pod_uid) == ("container", A, runtime, None)


@pytest.mark.parametrize(
    "path", ["/lxc.payload.web", "/lxc.payload.web/system.slice/a.service", "/lxc/web", "/lxc/web/ns"]
)
def test_an_lxc_container_is_known_by_its_name(path):
    assert (identity(path).kind, identity(path).container_id, identity(path).runtime) == ("container", "web", "lxc")


@pytest.mark.parametrize(
    ("path", "job", "step"),
    [
        ("/slurm/uid_1000/job_42/step_0/task_3", "42", "0"),
        ("/slurm/uid_1000/job_42/step_batch", "42", "batch"),
        ("/slurm_node7/uid_1000/job_42/step_extern/task_0", "42", "extern"),
        ("/slurm/uid_1000/job_42", "42", None),
        ("/system.slice/slurmstepd.scope/job_42/step_0/user/task_0", "42", "0"),
        ("/system.slice/slurmstepd.scope/job_42/step_interactive/user/task_0", "42", "interactive"),
        ("/system.slice/slurmstepd.scope/job_42/step_batch/slurm", "42", "batch"),
        ("/system.slice/node7_slurmstepd.scope/job_42/step_1/user/task_special", "42", "1"),
        ("/system.slice/slurmstepd.scope/job_42/step_0+1/user/task_0", "42", "0+1"),
        ("/../../../job_42/step_0/user/task_0", "42", "0"),
    ],
)
def test_a_slurm_job_is_known_by_job_and_step(path, job, step):
    found = identity(path)
    assert (found.kind, found.slurm_job, found.slurm_step) == ("slurm", job, step)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/jupyter.service", "jupyter.service"),
        ("/system.slice/jupyter.service/payload/system.slice/inner.service", "jupyter.service"),
        ("/ml.slice/ml-team.slice/train@7.service", "train@7.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service"),
        ("/system.slice/run-r1234.scope", "run-r1234.scope"),
        ("/init.scope", "init.scope"),
        ("/system.slice/slurmstepd.scope/system", "slurmstepd.scope"),
        (f"/machine.slice/libpod-conmon-{A}.scope", f"libpod-conmon-{A}.scope"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/train.service",
            "user@1000.service/train.service",
        ),
    ],
)
def test_a_unit_is_known_by_its_name_and_a_user_s_unit_by_the_user_too(path, unit):
    assert (identity(path).kind, identity(path).unit) == ("systemd", unit)


@pytest.mark.parametrize(
    "path",
    [
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice",
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope",
        "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-5f.scope",
    ],
)
def test_a_login_session_or_a_passing_scope_of_a_user_is_the_user_s(path):
    assert (identity(path).kind, identity(path).user_id, identity(path).unit) == ("user", 1000, None)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/..",
        "/../..",
        "",
        f"docker-{A}",
        f"/docker/{A[:-1]}",
        f"/docker/{A.upper()}",
        f"/docker/{A}a",
        "/job_42/task_0",
        "/jobs/step_0",
        "/user.slice",
        "/system.slice",
        "/user-99999999999.slice",
        "/lxc.monitor.web",
        "/user-\u0661\u0660.slice",
    ],
)
def test_what_names_nobody_is_nobody_s(path):
    assert identify_path(path) is None


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (f"/machine.slice/libpod-{A}.scope/container/sub", f"/machine.slice/libpod-{A}.scope"),
        (f"/kubepods/pod{DASHED}/{A}/docker/{B}", f"/kubepods/pod{DASHED}/{A}"),
        ("/system.slice/slurmstepd.scope/job_42/step_0/user/task_0", "/system.slice/slurmstepd.scope/job_42/step_0"),
        ("/system.slice/a.service/worker", "/system.slice/a.service"),
        ("/user.slice/user-1.slice/session-3.scope", "/user.slice/user-1.slice/session-3.scope"),
        ("/lxc.payload.web/system.slice/a.service", "/lxc.payload.web"),
    ],
)
def test_the_path_given_is_the_identity_s_own_cgroup(path, own):
    assert identify_path(path)[1] == own


def test_version_2_has_one_line():
    cgroups = parse_cgroups(f"0::/system.slice/docker-{A}.scope\n")
    assert cgroups.identity == CgroupIdentity("container", container_id=A, runtime="docker", unit=f"docker-{A}.scope")
    assert cgroups.paths == {"": f"/system.slice/docker-{A}.scope"}


def test_on_version_1_every_controller_keeps_its_own_path():
    cgroups = parse_cgroups(f"4:cpu,cpuacct:/docker/{A}\n3:blkio:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/\n")
    assert cgroups.identity.container_id == A
    assert set(cgroups.paths) == {"cpu", "cpuacct", "blkio", "name=systemd"}


def test_of_several_hierarchies_the_most_specific_counts_and_the_others_give_no_path():
    text = """\
11:devices:/slurm/uid_1000/job_42/step_0/task_0
8:memory:/slurm/uid_1000/job_42
4:cpu,cpuacct:/system.slice/slurmd.service
1:name=systemd:/system.slice/slurmd.service
0::/system.slice/slurmd.service
"""
    cgroups = parse_cgroups(text)
    assert (cgroups.identity.slurm_job, cgroups.identity.slurm_step) == ("42", "0")
    assert cgroups.paths == {"devices": "/slurm/uid_1000/job_42/step_0"}


def test_a_cgroup_that_was_removed_meanwhile_is_still_understood():
    assert parse_cgroups("0::/system.slice/a.service (deleted)\n").identity.unit == "a.service"


def test_a_container_run_by_a_slurm_job_keeps_the_job_beside_it():
    found = identity(f"/system.slice/slurmstepd.scope/job_42/step_0/user/task_0/libpod-{A}")
    assert (found.kind, found.container_id, found.slurm_job) == ("container", A, "42")


SCRAPS = """/ : - 0:: .. docker crio conmon .scope .slice pod kubepods lxc lxc.payload. slurm job_ step_ uid_ 7
user-1.slice user@1.service user-99999999999.slice"""
words = st.sampled_from([*SCRAPS.split(), DASHED, SCORED, A, B, "\n", " (deleted)"])
texts = st.one_of(st.text(), st.lists(st.one_of(words, st.text(max_size=3)), max_size=25).map("".join))


@given(texts)
def test_no_text_makes_the_parser_fail_or_invent(text):
    identity = parse_cgroups(text).identity
    if identity is None:
        return
    for named in (identity.container_id, identity.slurm_job, identity.slurm_step):
        assert named is None or (named and named in text)
    assert identity.unit is None or identity.unit.rpartition("/")[2] in text
    assert identity.pod_uid is None or identity.pod_uid.replace("-", "_") in text.replace("-", "_")
