"""The engines as the page shows them: one row per holder and model, or per page that tells of no model."""

from collections.abc import Iterable

from agent.economics import ModelFigures
from agent.serving import Serving
from agent.work import PageView
from exporters.state import ServingState


def serving_states(serving: Serving | None) -> list[ServingState]:
    """The rows, by holder and model; none where no page is read."""
    views = () if serving is None else tuple(serving.booker.views.values())
    rows = [row for view in views for row in _rows(view, serving)]
    return sorted(rows, key=lambda row: (row["holder_kind"], row["holder"], row["model"]))


def _rows(view: PageView, serving: Serving | None) -> Iterable[ServingState]:
    holder = view.holder
    figures = None if serving is None or holder is None else serving.figures.get(holder)
    models = set[str]() if figures is None else set(figures.models)
    models |= {model for model, _ in view.gauges}
    for model in sorted(models) or [""]:
        found = ModelFigures() if figures is None else figures.models.get(model, ModelFigures())
        yield ServingState(
            holder_kind="" if holder is None else holder.kind,
            holder="" if holder is None else holder.name,
            model=model,
            engine=view.engine,
            up=view.up,
            message=view.message or (None if holder else "who holds its devices is not known"),
            requests_per_second=found.requests_per_second,
            tokens_per_second=found.tokens_per_second,
            cost_per_million_output_tokens_usd=found.cost_per_million_output_tokens_usd,
            joules_per_output_token=found.joules_per_output_token,
            queue_depth=view.gauges.get((model, "queue_depth")),
            running_requests=view.gauges.get((model, "running")),
        )
