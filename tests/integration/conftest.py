"""The fake driver with its devices, and agents that end with the test."""

import pytest

from tests.fakedriver.driver import FakeDriver
from tests.integration.agent_process import AgentProcess


@pytest.fixture
def make_driver(tmp_path):
    """``make_driver(profiles.h100(), ...)``: a fake driver on the real clock."""
    made = []

    def make(*devices, **options):
        made.append(FakeDriver.create(tmp_path, devices, **options))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def start(tmp_path):
    """``start(driver, ...)``: an agent beside that driver (``None``: there is no driver); see AgentProcess."""
    begun = []

    def begin(driver=None, **settings):
        environment = {} if driver is None else driver.environment()
        environment = {**environment, **settings.pop("environment", {})}
        begun.append(AgentProcess(tmp_path / "agent", environment, **settings))
        return begun[-1]

    yield begin
    for agent in begun:
        agent.kill()
