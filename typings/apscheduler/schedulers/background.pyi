from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.triggers.base import BaseTrigger

class BackgroundScheduler:
    def __init__(
        self,
        *,
        timezone: tzinfo,
        executors: Mapping[str, ThreadPoolExecutor],
        job_defaults: Mapping[str, object],
    ) -> None: ...
    @property
    def running(self) -> bool: ...
    def start(self, paused: bool = ...) -> None: ...
    def shutdown(self, wait: bool = ...) -> None: ...
    def add_job(
        self, func: Callable[..., object], trigger: BaseTrigger, *, args: Sequence[object], id: str
    ) -> object: ...
    def modify_job(self, job_id: str, jobstore: str | None = ..., *, next_run_time: datetime) -> object: ...
