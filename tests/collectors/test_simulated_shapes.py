import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from collectors.simulated_shapes import PPM, Batch, Constant, Inference, Notebook, Shape, Training, course
from collectors.simulated_week import ALWAYS, STEPS_PER_DAY, STEPS_PER_HOUR, STEPS_PER_WEEK, Window, parse_windows

ratios = st.floats(0, 1)
shapes = st.one_of(
    st.builds(Constant, kind=st.just("constant"), activity=ratios, noise=ratios),
    st.builds(Training, kind=st.just("training"), activity=ratios, noise=ratios, stalls_per_hour=st.floats(0, 60)),
    st.builds(Inference, kind=st.just("inference"), low=ratios, peak=ratios, peak_hour=st.floats(0, 24), noise=ratios),
    st.builds(Notebook, kind=st.just("notebook"), activity=ratios, bursts_per_hour=st.floats(0, 60)),
    st.builds(Batch, kind=st.just("batch"), activity=ratios, warmup_minutes=st.floats(0, 1440)),
)


@settings(max_examples=15)
@given(shapes, st.text(max_size=5))
def test_every_level_is_a_ratio_and_nothing_happens_outside_the_windows(shape, seed):
    windows = parse_windows("Tue,Sun 20:00-03:00")
    week = course(shape, windows, seed)
    inside = {step for window in windows for part in window.steps() for step in part}
    for steps in (week.activity, week.waiting):
        assert len(steps) == STEPS_PER_WEEK
        assert min(steps) >= 0
        assert max(steps) <= PPM
        assert not any(value for step, value in enumerate(steps) if step not in inside)


def test_the_seed_alone_decides_the_course():
    shape = Training(kind="training", stalls_per_hour=3)
    assert course(shape, [ALWAYS], "1/a") == course(shape, [ALWAYS], "1/a")
    assert course(shape, [ALWAYS], "1/a") != course(shape, [ALWAYS], "2/a")


def test_training_dips_for_its_checkpoints_and_waits_meanwhile():
    shape = Training(kind="training", checkpoint_every_minutes=60, checkpoint_seconds=60)
    week = course(shape, [ALWAYS], "s")
    for hour in (1, 50, 167):
        checkpoint = slice(hour * STEPS_PER_HOUR, hour * STEPS_PER_HOUR + 6)
        assert max(week.activity[checkpoint]) < 0.1 * PPM
        assert min(week.waiting[checkpoint]) > 0.5 * PPM
        assert week.activity[checkpoint.stop] > 0.85 * PPM
    assert sum(level < 0.1 * PPM for level in week.activity) == 167 * 6


def test_training_that_waits_for_data_shows_it_on_the_host():
    week = course(Training(kind="training", checkpoint_seconds=0, stalls_per_hour=6, stall_seconds=60), [ALWAYS], "s")
    stalled = [waiting > 0.5 * PPM for waiting in week.waiting]
    assert 700 * 6 < sum(stalled) < 1300 * 6
    assert all(level < 0.2 * PPM for level, stall in zip(week.activity, stalled, strict=True) if stall)


def test_inference_follows_the_day_and_the_week():
    week = course(Inference(kind="inference", low=0.1, peak=0.8, peak_hour=15, weekend=0.5, noise=0), [ALWAYS], "s")
    peak, night, sunday = 15 * STEPS_PER_HOUR, 3 * STEPS_PER_HOUR, 6 * STEPS_PER_DAY + 15 * STEPS_PER_HOUR
    assert [round(week.activity[step] / PPM, 3) for step in (peak, night, sunday)] == [0.8, 0.1, 0.45]


def test_a_notebook_works_in_office_hours_only_and_little():
    week = course(Notebook(kind="notebook"), [ALWAYS], "s")
    busy = [step for step, level in enumerate(week.activity) if level]
    assert busy
    assert len(busy) < 0.2 * STEPS_PER_WEEK
    assert all(step < 5 * STEPS_PER_DAY and 9 <= step % STEPS_PER_DAY / STEPS_PER_HOUR < 18 for step in busy)


def test_a_batch_job_reads_its_input_first_in_each_run():
    week = course(Batch(kind="batch", warmup_minutes=10, noise=0), parse_windows("daily 23:00-01:00"), "s")
    for day in range(7):
        start = day * STEPS_PER_DAY + 23 * STEPS_PER_HOUR
        levels = [week.activity[(start + run) % STEPS_PER_WEEK] / PPM for run in range(2 * STEPS_PER_HOUR)]
        assert levels == [0.05] * 60 + [0.9] * 660


def test_a_constant_without_noise_is_constant():
    week = course(Constant(kind="constant", activity=0.4, noise=0), [Window(0, 7 * 24 * 3600 * 10**9)], "s")
    assert set(week.activity) == {400_000}


@pytest.mark.parametrize("kind", ["constant", "training", "inference", "notebook", "batch"])
def test_each_kind_is_told_by_its_name(kind):
    keys = {"kind": kind} | ({"activity": 0.5} if kind == "constant" else {})
    assert TypeAdapter(Shape).validate_python(keys).kind == kind
