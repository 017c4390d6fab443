"""Windows of schedules that a test lets begin and end, in a controller that runs."""

import json
from datetime import datetime

from tests.integration.agent_process import AgentProcess


def window(begin: datetime, end: datetime) -> str:
    """As policies write it."""
    return f"{begin.isoformat()}-{end.isoformat()}"


def change_windows(controller: AgentProcess, begin: datetime, end: datetime) -> None:
    """Have all policies of its file be down from then to then; a controller follows within four seconds."""
    file = controller.folder / f"{controller.log.name}.yaml"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for policy in settings["schedule"]["policies"]:
        if "down" in policy:
            policy["down"] = window(begin, end)
    fresh = file.with_suffix(".fresh")
    fresh.write_text(json.dumps(settings), encoding="utf-8")
    fresh.replace(file)
