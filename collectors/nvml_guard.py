"""Driver calls that must not hold up their caller for longer than a bound.

Owns one thread for each such call while it runs. A call that hangs keeps its thread and its name: it is not made a
second time until it has returned, and its late answer is handed to whoever asks next.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from collectors.errors import Unavailable

T = TypeVar("T")


class StillHanging(Unavailable):
    """The call has not returned within the bound."""


class _Pending(Generic[T]):
    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._call = call
        self._result: T
        self._error: Exception | None = None
        self.thread = threading.Thread(target=self._run, name=f"nvml-{name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except Exception as error:  # noqa: BLE001  (handed to the caller's thread, all of it)
            self._error = error

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result


class Guard(Generic[T]):
    """Runs named calls of one type of answer, each at most once at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pending: dict[str, _Pending[T]] = {}

    def run(self, name: str, call: Callable[[], T]) -> T:
        """The call's answer.

        Raises:
            StillHanging: it has not returned; ask again later under the same name.
            Exception: whatever the call raised.
        """
        pending = self._pending.get(name)
        if pending is None:
            pending = self._pending[name] = _Pending(name, call)
            pending.thread.join(self._seconds)
        if pending.thread.is_alive():
            raise StillHanging(
                f"{name}: the driver has not answered for over {self._seconds:g} s and still hangs;"
                " see dmesg for an XID, a reset of the GPU or a reboot may be needed"
            )
        del self._pending[name]
        return pending.outcome()
