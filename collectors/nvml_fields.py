"""Many values in one driver call: a batch of NVML field values over one array that is made once and used again.

Owns the array's layout. Checks every field's own return code; a value that the driver left alone is not read as new.
"""

import ctypes
import math
import struct
from collections.abc import Callable, Iterable, Sequence

from collectors.errors import Unsupported
from collectors.nvml_errors import Asking, error_class, raise_if_fatal
from collectors.nvml_field_table import Field, Ref
from collectors.nvml_library import Library

FIELD_BYTES = 40
PROBE_FIELDS = 40
"""Fields a probing call asks at once: drivers bound the length of a batch."""
UNANSWERED = 0xFFFFFFFF

_REQUEST = struct.Struct("<II20xI8x")
"""nvmlFieldValue_t on the way in: field, scope, nvmlReturn preset so that silence is no answer."""

_FROM_RAW: dict[int, Callable[[int], float]] = {
    0: lambda raw: struct.unpack("<d", struct.pack("<Q", raw))[0],
    1: lambda raw: raw & 0xFFFFFFFF,
    2: lambda raw: raw,
    3: lambda raw: raw,
    4: lambda raw: raw - (1 << 64) if raw >> 63 else raw,
    5: lambda raw: (raw & 0xFFFFFFFF) - (1 << 32) if raw >> 31 & 1 else raw & 0xFFFFFFFF,
    6: lambda raw: raw & 0xFFFF,
}
"""nvmlValueType_t to what the union's eight bytes mean; the bytes beyond a short value are not the driver's."""
_AS_IT_IS = (2, 3)
"""The unsigned 64-bit types."""


def from_raw(kind: int, raw: int) -> float | None:
    """The value of that nvmlValueType_t in the union's eight bytes; ``None`` for no number, and for no known type."""
    convert = _FROM_RAW.get(kind)
    value = None if convert is None else convert(raw)
    return value if value is None or math.isfinite(value) else None


class _Answers:
    """An array of field values and how to read it in one go."""

    def __init__(self, refs: Sequence[Ref]) -> None:
        self.refs = tuple(refs)
        self.request = b"".join(_REQUEST.pack(field, scope, UNANSWERED) for field, scope in refs)
        self.array = ctypes.create_string_buffer(self.request, len(self.request))
        self.layout = struct.Struct("<" + "24xIIQ" * len(refs))
        self.size = len(self.request)
        self.count = ctypes.c_int(len(refs))

    def ask(self, call: Callable[..., int], handle: ctypes.c_void_p) -> int:
        ctypes.memmove(self.array, self.request, self.size)
        return call(handle, self.count, self.array)


class FieldBatch:
    """The field values of one device."""

    def __init__(self, library: Library, handle: int, subject: str, fields: Iterable[Field]) -> None:
        self._call = library.function("nvmlDeviceGetFieldValues")
        self._handle = ctypes.c_void_p(handle)
        self._subject = f"{subject}: nvmlDeviceGetFieldValues"
        self._fields = tuple(fields)
        self._asking = Asking()
        self._answers: _Answers | None = None
        self._singles: tuple[str, ...] = ()
        self._sums: list[tuple[str, int, int]] = []

    def forget_refusals(self) -> None:
        """Find out again at the next reading which fields are answered."""
        self._asking.forget()
        self._answers = None

    def read(self, now_ns: int) -> dict[str, float]:
        """Each value that was answered, in the vendor's unit.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if self._call is None or not self._asking.due(now_ns):
            return {}
        if self._answers is None and not self._probe(self._call, now_ns):
            return {}
        answers = self._answers
        if answers is None or not answers.refs:
            return {}
        if code := answers.ask(self._call, self._handle):
            raise_if_fatal(code, self._subject)
            self._asking.refused(code, now_ns)
            return {}
        return self._decode(answers)

    def _decode(self, answers: _Answers) -> dict[str, float]:
        raw = answers.layout.unpack(answers.array)
        kinds, codes, parts = raw[0::3], raw[1::3], raw[2::3]
        values: dict[str, float] = {}
        for name, kind, code, value in zip(self._singles, kinds, codes, parts, strict=False):
            if code:
                self._refused(code)
            elif kind in _AS_IT_IS:
                values[name] = value
            elif (converted := from_raw(kind, value)) is not None:
                values[name] = converted
        for name, start, stop in self._sums:
            self._add_up(name, list(zip(kinds, codes, parts, strict=True))[start:stop], values)
        return values

    def _add_up(self, name: str, answers: list[tuple[int, int, int]], values: dict[str, float]) -> None:
        """A sum with a part missing would fall, so it is absent."""
        for _, code, _ in answers:
            if code:
                self._refused(code)
                return
        parts = [from_raw(kind, value) for kind, _, value in answers]
        if None not in parts:
            values[name] = sum(part for part in parts if part is not None)

    def _refused(self, code: int) -> None:
        if code != UNANSWERED:
            raise_if_fatal(code, self._subject)

    def _probe(self, call: Callable[..., int], now_ns: int) -> bool:
        """Ask for everything once and keep what this device and driver answer."""
        codes: dict[Ref, int] = {}
        refs = list(dict.fromkeys(ref for field in self._fields for one in field.alternatives for ref in one))
        for first in range(0, len(refs), PROBE_FIELDS):
            answers = _Answers(refs[first : first + PROBE_FIELDS])
            if code := answers.ask(call, self._handle):
                raise_if_fatal(code, self._subject)
                self._asking.refused(code, now_ns)
                return False
            codes.update(zip(answers.refs, answers.layout.unpack(answers.array)[1::3], strict=True))
        for code in set(codes.values()) - {0}:
            self._refused(code)
        self._keep([(field.name, _choose(field, codes)) for field in self._fields])
        return True

    def _keep(self, chosen: list[tuple[str, tuple[Ref, ...]]]) -> None:
        """Lay out the array: first what is one field, then what is a sum of several."""
        singles = [(name, refs[0]) for name, refs in chosen if len(refs) == 1]
        self._singles = tuple(name for name, _ in singles)
        layout = [ref for _, ref in singles]
        self._sums = []
        for name, refs in chosen:
            if len(refs) > 1:
                self._sums.append((name, len(layout), len(layout) + len(refs)))
                layout.extend(refs)
        self._answers = _Answers(layout)


def _choose(field: Field, codes: dict[Ref, int]) -> tuple[Ref, ...]:
    """The first alternative that is answered, else the first that may be answered later, else nothing."""
    for refs in field.alternatives:
        if answered := tuple(ref for ref in refs if codes[ref] == 0):
            return answered
    for refs in field.alternatives:
        later = tuple(ref for ref in refs if codes[ref] != UNANSWERED and error_class(codes[ref]) is not Unsupported)
        if later:
            return later
    return ()
