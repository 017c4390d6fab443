from cli.kube_serving import PodPages, work_group
from collectors.holder import Holder
from collectors.kube_owners import Workload
from collectors.kube_pod_facts import ContainerFacts, PodFacts, Port
from collectors.serving_settings import ServingSettings


def pod(name="chat", workload=("Deployment", "chat"), phase="Running", ports=(8000,), **annotations):
    named = {f"wattledger.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    main = ContainerFacts("main", ports=tuple(Port(number) for number in ports))
    return PodFacts(
        f"uid-{name}", "ml", name, None, Workload(*workload), phase, {}, named, {"main": main}, pod_ip="198.18.1.2"
    )


class Pods:
    def __init__(self, *pods):
        self.known = {each.uid: each for each in pods}
        self.gone = set()

    def pods(self):
        return self.known

    def present(self, namespace, name):
        return name not in self.gone


class Poller:
    def set_targets(self, targets):
        self.targets = {target.pod: target.urls for target in targets}


def pages(*pods, held=()):
    made = PodPages(Pods(*pods), Poller(), ServingSettings(), lambda: set(held))
    made.refresh()
    return made


def test_an_announced_page_is_read():
    assert pages(pod(engine="vllm", port="8080")).poller.targets == {"chat": ("http://198.18.1.2:8080/metrics",)}


def test_a_pod_that_holds_a_gpu_is_tried_at_the_usual_ports():
    holder = Holder("pod", "ml/chat/main")

    assert "chat" in pages(pod(), held=[holder]).poller.targets
    assert "chat" not in pages(pod()).poller.targets


def test_pods_that_ended_or_went_have_no_pages():
    found = pages(pod(engine="vllm"), pod("done", phase="Succeeded", engine="vllm"))
    assert found.poller.targets.keys() == {"chat"}
    found.pods.gone.add("chat")
    found.refresh()

    assert found.poller.targets == {}


def test_an_annotation_that_is_not_understood_is_told_once_and_leaves_the_others(caplog):
    found = pages(pod("bad", engine="nonsense"), pod(engine="vllm"))
    found.refresh()

    assert found.poller.targets.keys() == {"chat"}
    assert caplog.text.count("ml/bad") == 1
    assert "nonsense" in caplog.text


def test_those_who_bear_a_model_together_are_one_group():
    assert work_group(pod()) == ""
    assert work_group(pod(work_group="llama-405b")) == "llama-405b"
    assert work_group(pod(workload=("LeaderWorkerSet", "big"))) == "ml/LeaderWorkerSet/big"
    assert work_group(pod(workload=("RayService", "api"))) == "ml/RayService/api"
