import threading

import pytest

from collectors.nvml_guard import Guard, StillHanging

PATIENT, IMPATIENT = 5.0, 0.01


def test_an_answer_comes_through():
    assert Guard(PATIENT).run("nvmlDeviceGetCount", lambda: 8) == 8


def test_an_error_comes_through():
    with pytest.raises(LookupError, match="gone"):
        Guard(PATIENT).run("GPU 1", lambda: (_ for _ in ()).throw(LookupError("gone")))


def test_a_hanging_call_is_told_and_its_late_answer_kept():
    guard, let_go, calls = Guard(IMPATIENT), threading.Event(), []

    def call():
        calls.append(1)
        let_go.wait(PATIENT)
        return "late"

    for _ in range(2):
        with pytest.raises(StillHanging, match="GPU 3: the driver has not answered"):
            guard.run("GPU 3", call)
    let_go.set()
    for thread in threading.enumerate():
        if thread.name == "nvml-GPU 3":
            thread.join(PATIENT)
    assert guard.run("GPU 3", call) == "late"
    assert calls == [1]


def test_other_names_go_on_beside_a_hanging_one():
    guard, let_go = Guard(IMPATIENT), threading.Event()
    with pytest.raises(StillHanging):
        guard.run("GPU 3", lambda: let_go.wait(PATIENT))
    assert Guard(PATIENT).run("GPU 4", lambda: 4) == 4
    let_go.set()
