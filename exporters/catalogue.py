"""Every metric that wattledger serves, declared once; the siblings ``catalogue_*.py`` hold them by topic.

Exposition, dashboards, alerts, documentation and tests take names from here, never from a string literal.
"""

from exporters import catalogue_agent, catalogue_books, catalogue_controller, catalogue_gpu, catalogue_work
from exporters.metric import Metric

GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("The books", catalogue_books.ALL),
    ("What was produced, and what it cost", catalogue_work.ALL),
    ("Devices", catalogue_gpu.ALL),
    ("The node and the agent", catalogue_agent.ALL),
    ("The ledger and the controller", catalogue_controller.ALL),
)
"""Title and metrics of each topic, in the order of documentation."""

ALL: tuple[Metric, ...] = tuple(metric for _, group in GROUPS for metric in group)
