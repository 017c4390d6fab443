"""How the installation's own dimensions may be called where somebody asks for one."""

import re

DIMENSION = "dimension:"
"""Before the name of one of the installation's own dimensions."""
ALLOWED = (
    f"{DIMENSION}NAME with letters, digits and _, as kubernetes.dimensions names it, such as {DIMENSION}cost_center"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def is_dimension(column: str) -> bool:
    """Whether it is :data:`DIMENSION` and a name that a dimension may have."""
    return column.startswith(DIMENSION) and bool(_NAME.fullmatch(column.removeprefix(DIMENSION)))
