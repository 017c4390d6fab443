"""The preview of schedules as JSON, for programs; times are RFC 3339 in UTC."""

import json
from datetime import UTC, datetime

from cli.schedule_table import Told, size_of, step_of
from controller.scaling.model import Ref
from controller.scaling.preview import Row


def as_json(told: Told) -> str:
    """The whole preview."""
    view = told.looked.view
    return json.dumps(
        {
            "at": _moment(told.scope.now),
            "until": _moment(told.scope.end),
            "timezone": told.zone.key,
            "enabled": told.settings.enabled,
            "asked_later": told.asked_later,
            "workloads": [_row(row) for row in told.rows],
            "absent": told.looked.absent,
            "not_seen": {**view.forbidden, **view.failing},
            "unreadable": {str(ref): why for ref, why in sorted(view.unreadable.items())},
        },
        indent=2,
    )


def _row(row: Row) -> dict[str, object]:
    wish, report, gitops = row.now.wish, row.now, row.gitops
    return {
        "workload": _ref(report.subject),
        "written": _ref(report.ref),
        "gpus": report.workload.gpus,
        "policy": row.policy,
        "wished": wish.wished,
        "why": wish.why,
        "dry_run": wish.dry_run,
        "step": step_of(row),
        "step_why": report.step.why,
        "size": size_of((row.down or report).wish.size),
        "timezone": row.zone,
        "next_change": None if row.next_change is None else _span(row.next_change.begin, row.next_change.wish.wished),
        "next_down": None if row.down_at is None else _moment(row.down_at),
        "refusals": [{"guard": each.guard, "why": each.why} for each in row.refusals],
        "unfit": row.unfit or None,
        "disagree": wish.disagree,
        "gitops": None if gitops is None else {"by": str(gitops), "rule": row.rule},
        "spans": [
            {"end": _moment(span.end), "policy": span.wish.policy, **_span(span.begin, span.wish.wished)}
            for span in row.spans
        ],
    }


def _span(begin: datetime, wished: str) -> dict[str, object]:
    return {"begin": _moment(begin), "wished": wished}


def _ref(ref: Ref) -> dict[str, str]:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
