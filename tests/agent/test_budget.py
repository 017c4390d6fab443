from agent.budget import CpuBudget
from agent.settings import AgentSettings
from collectors.clock import NS_PER_SECOND

MINUTE = 60 * NS_PER_SECOND


class Cpu:
    used = 0

    def __call__(self):
        return self.used


def run(budget, cpu, shares):
    factors = []
    for minute, share in enumerate(shares):
        cpu.used += int(share * MINUTE)
        budget.observe(minute * MINUTE)
        factors.append(budget.factor)
    return factors


def test_above_the_budget_the_interval_is_stretched_minute_by_minute():
    cpu = Cpu()

    assert run(CpuBudget(0.01, cpu_ns=cpu), cpu, [0, 0.03, 0.015, 0.009]) == [1, 2, 3, 3]


def test_comes_back_once_the_shorter_interval_would_keep_the_budget():
    cpu = Cpu()

    assert run(CpuBudget(0.01, cpu_ns=cpu), cpu, [0, 0.03, 0.006, 0.004, 0.004]) == [1, 2, 2, 1, 1]


def test_never_stretches_without_bound():
    cpu = Cpu()

    assert run(CpuBudget(0.01, cpu_ns=cpu), cpu, [0] + [0.5] * 20)[-1] == 10


def test_without_a_budget_nothing_is_stretched():
    cpu = Cpu()

    assert run(CpuBudget(None, cpu_ns=cpu), cpu, [0, 0.9, 0.9]) == [1, 1, 1]


def test_says_when_it_changes():
    cpu = Cpu()
    budget = CpuBudget(0.01, cpu_ns=cpu)
    budget.observe(0)
    cpu.used = MINUTE

    assert budget.observe(MINUTE)
    assert not budget.observe(MINUTE + 1)


def test_each_serving_page_that_is_read_adds_its_part_to_the_budget():
    cpu, pages = Cpu(), iter([16, 16, 0])
    budget = CpuBudget(0.01, AgentSettings().cpu_budget_page_ratio, lambda: next(pages), cpu)

    assert run(budget, cpu, [0, 0.0199, 0.0201, 0.0199]) == [1, 1, 2, 3]


def test_a_node_within_the_budget_of_its_pages_comes_back_to_its_interval():
    cpu = Cpu()
    budget = CpuBudget(0.01, 0.000625, lambda: 16, cpu)

    assert run(budget, cpu, [0, 0.025, 0.0165, 0.0135]) == [1, 2, 2, 1]
