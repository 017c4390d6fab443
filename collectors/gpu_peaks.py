"""Published peak rates of tensor cores: reads ``collectors/data/gpu_peaks.csv``.

Owns the format of the table and what form of a chip a driver's name tells. A chip that is not in it has no peak: a
namesake's is never taken.
"""

import csv
import re
from functools import cache, lru_cache
from pathlib import Path

from collectors.errors import Misconfigured
from collectors.gpu_model import canonical_model

BUNDLED_PEAKS = Path(__file__).parent / "data" / "gpu_peaks.csv"
COLUMNS = ("gpu_model", "form", "tensor_tflops", "source")
ANY_FORM = "*"

_TERA = 10**12
_FORMS = ((re.compile(r"\bV100S\b"), "pcie-s"), (re.compile(r"\bNVL\b"), "nvl"), (re.compile(r"\bPCIE\b"), "pcie"))


@lru_cache(maxsize=64)
def peak_flop_per_second(name: str) -> int | None:
    """Peak of 16-bit floating point on the tensor cores, without sparsity, of the GPU that the driver calls ``name``.

    ``None`` where the chip is not in the table. ``DATA-SOURCES.md`` says where its figures are from.
    """
    model = canonical_model(name)
    if model is None:
        return None
    peaks = load_peaks()
    return peaks.get((model, _form(name)), peaks.get((model, ANY_FORM)))


@cache
def load_peaks(path: Path = BUNDLED_PEAKS) -> dict[tuple[str, str], int]:
    """The table: operations per second by model and form.

    Raises:
        Misconfigured: a row is malformed; nothing of the table is used then.
    """
    peaks: dict[tuple[str, str], int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise Misconfigured(f"{path}: line 1: found other columns than {', '.join(COLUMNS)}")
        for line, row in enumerate(rows, start=2):
            if len(row) != len(COLUMNS) or not all(row) or not row[2].isdecimal() or int(row[2]) < 1:
                raise Misconfigured(f"{path}: line {line}: found {row}, allowed: a whole number of TFLOP/s above 0")
            key = row[0], row[1]
            if key in peaks:
                raise Misconfigured(f"{path}: line {line}: {row[0]} ({row[1]}) stands twice")
            peaks[key] = int(row[2]) * _TERA
    return peaks


def _form(name: str) -> str:
    spoken = name.upper().replace("-", " ").replace("_", " ")
    return next((form for pattern, form in _FORMS if pattern.search(spoken)), "sxm")
