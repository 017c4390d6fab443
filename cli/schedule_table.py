"""The preview of schedules as a person reads it: the table, and below it what needs more than a word."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from cli.schedule_picture import Marks, picture
from controller.scaling.bring_back import told as levers_told
from controller.scaling.left_by_downscaler import left_down
from controller.scaling.model import Size, Wish
from controller.scaling.one_look import Looked
from controller.scaling.outlook import Span
from controller.scaling.preview import Row, Scope
from controller.scaling.schedule_settings import ScheduleSettings
from controller.visible import visible

_DISAGREE = (
    "a workload's own annotation stands above its namespace's, that above the configuration, where the first decides"
)
_MOST_ABSENT = 20


@dataclass(frozen=True, slots=True)
class Told:
    """A preview with what it is of."""

    rows: tuple[Row, ...]
    looked: Looked
    settings: ScheduleSettings
    scope: Scope
    edges: tuple[datetime, ...]
    """Of the picture's days."""
    zone: ZoneInfo
    asked_later: tuple[str, ...]


def table(told: Told) -> Table:
    """One line for each workload."""
    found = Table(title=f"at {_moment(told.scope.now, told.zone)}", title_justify="left")
    for name in ("workload", "GPUs", "policy", "wished", "step", "to", "next change", "against its next down"):
        found.add_column(name, justify="right" if name == "GPUs" else "left", overflow="fold")
    for row in told.rows:
        report = row.now
        found.add_row(
            *(Text(str(report.subject)), str(report.workload.gpus), Text(_policy(row)), report.wish.wished),
            *(step_of(row), _size(row), _change(row.next_change, row.zone)),
            Text(", ".join(["nothing to do"] * bool(row.unfit) + [each.guard for each in row.refusals]) or "-"),
        )
    return found


def step_of(row: Row) -> str:
    """What would be done now."""
    report = row.now
    if report.step.action == "down" and report.refusals:
        return "down, refused"
    return report.step.action


def size_of(size: Size) -> str:
    """How far down."""
    return f"{size.percent} %" if size.percent is not None else str(size.number or 0)


def picture_of(told: Told, marks: Marks, width: int) -> list[str]:
    """The picture with its heading."""
    return ["", f"days of {told.zone.key}", *picture(told.rows, told.edges, told.zone, marks, width), ""]


def coloured(line: str, marks: Marks) -> Text:
    """A line of the picture."""
    text = Text(line)
    if marks.up != "#":  # blocks stand nowhere but in strips and in the legend
        for mark, style in ((marks.up, "green"), (marks.down, "blue"), (marks.partly, "cyan"), (marks.nothing, "dim")):
            text.highlight_words([mark], style)
    return text


def lines_below(told: Told) -> Iterator[str]:
    """What the table has no room for, and what was not seen."""
    if not told.rows:
        yield "no policy concerns any workload that is there"
    if not told.settings.enabled:
        yield "schedule.enabled is false: nothing of this happens before it is true"
    for row in told.rows:
        said = list(_of(row))
        if said:
            yield ""
            yield str(row.now.subject)
            yield from (f"  {visible(line)}" for each in said for line in each.splitlines())
    if any(row.now.wish.disagree for row in told.rows):
        yield ""
        yield f"where policies disagree: {_DISAGREE}"
    yield from _rules(told)
    yield from _unseen(told)
    if told.rows:
        yield ""
        yield f"asked when the time comes: {', '.join(told.asked_later)}"


def _of(row: Row) -> Iterator[str]:
    """What is to be said of one workload."""
    report = row.now
    if report.step.action in {"unclear", "broken", "contested"}:
        yield f"{report.step.action}: {report.step.why}"
    elif report.step.action in {"restore", "raise", "await", "finish", "give_way"}:
        yield f"{report.step.action} of {report.ref}: {report.step.why}"
    was = left_down(report.workload.lever)
    if was is not None and _wish(row).dry_run and report.step.action == "nothing":
        back = levers_told(was)
        yield f"kube-downscaler left it down: once dry_run is false it is {back} again when it is to be up"
    if report.wish.wished == "none" and report.wish.policy:
        yield f"nothing is wished: {report.wish.why}"
    at = "" if row.down_at is None else f" at {_moment(row.down_at, ZoneInfo(row.zone))}"
    for each in row.refusals:
        yield f"would stay up{at}, {each.guard}: {each.why}"
    if row.unfit:
        yield f"would stay as it is{at}: {row.unfit}"
    if report.wish.disagree:
        yield f"{report.wish.policy} decides; otherwise would have it: {', '.join(report.wish.disagree)}"
    if row.gitops is not None:
        yield f"kept as Git has it by {row.gitops}; it needs the rule below"


def _rules(told: Told) -> Iterator[str]:
    """The rules that GitOps tools need, each once."""
    rules = {(str(row.gitops), row.rule) for row in told.rows if row.gitops is not None}
    for owner, rule in sorted(rules):
        yield ""
        yield f"rule for {owner}, or it puts back what goes down:"
        yield from (f"  {line}" for line in rule.splitlines())


def _unseen(told: Told) -> Iterator[str]:
    view = told.looked.view
    parts = {**view.forbidden, **view.failing}
    if parts or view.unreadable or told.looked.absent:
        yield ""
    for kind, why in sorted(parts.items()):
        yield f"not seen: {kind}: {why}"
    for ref, why in sorted(view.unreadable.items()):
        yield f"left alone: {ref}: {why}"
    if absent := told.looked.absent[:_MOST_ABSENT]:
        yield f"not in this cluster: {', '.join(absent)}"


def _policy(row: Row) -> str:
    name = row.policy or "-"
    return f"{name} (dry run)" if row.policy and _wish(row).dry_run else name


def _size(row: Row) -> str:
    return size_of(_wish(row).size) if _wish(row).wished == "down" else "-"


def _wish(row: Row) -> Wish:
    """Of the next down, where there is one."""
    return row.now.wish if row.down is None else row.down.wish


def _change(span: Span | None, zone: str) -> str:
    return "-" if span is None else f"{span.wish.wished} {_moment(span.begin, ZoneInfo(zone))}"


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %H:%M} {zone.key}"
