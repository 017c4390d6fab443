"""The shapes of the API's answers, as schemas of OpenAPI 3.1."""

from collections.abc import Mapping
from typing import Any, Final

from controller.api_allocation import EXACT_AMOUNTS
from controller.scaling.savings import AMOUNTS

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
_EXACT: Final[Schema] = {
    "type": ["string", "null"],
    "pattern": "^-?[0-9]+$",
    "description": "an integer in text, exact",
}
WHOLE: Final[Schema] = {"type": "integer"}
_AMOUNT: Final[Schema] = {"type": ["number", "null"]}
_FLAG: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_VERSIONS: Final[Schema] = {
    "type": "object",
    "description": "version of each table that the answer was made from; null: there is no such table yet",
    "additionalProperties": {"type": ["integer", "null"]},
}


def object_of(properties: Mapping[str, Schema], *, more: bool = False, optional: tuple[str, ...] = ()) -> Schema:
    """An object of these properties, of no others where not ``more``; all but the ``optional`` are always there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def list_of(items: Schema) -> Schema:
    """An array whose items are all of one shape."""
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


_WINDOW: Final = object_of({"start": _TIME, "end": _TIME})
_OF_TIME: Final[Mapping[str, Schema]] = {
    "unpriced_ns": {**_EXACT, "description": "GPU time whose cost is not known; it is in no sum"},
    "sources": {**list_of(TEXT), "description": "measured, prometheus (an estimate) or simulated"},
}
META: Final = object_of(
    {"versions": _VERSIONS, "truncated": _FLAG, "window": _WINDOW, "basis": TEXT, **_OF_TIME},
    optional=("truncated", "window", "basis", *_OF_TIME),
)
_COSTS: Final = (
    "gpuHours",
    "gpuUnpricedHours",
    "gpuActiveHours",
    "gpuRequestedHours",
    "gpuCost",
    "gpuCostIdle",
    "gpuCostUnmeasured",
    "cpuCost",
    "ramCost",
    "pvCost",
    "networkCost",
    "loadBalancerCost",
    "externalCost",
    "sharedCost",
    "totalCost",
    "estimatedCost",
    "totalEfficiency",
    "energyJoules",
    "carbonGrams",
    "embodiedCarbonGrams",
)
_QUOTA: Final[Mapping[str, Schema]] = {
    "granted": WHOLE,
    "used": {"type": ["integer", "null"]},
    "granted_ns": _EXACT,
    "held_ns": _EXACT,
    "active_ns": _EXACT,
}
_SAVED: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(("cluster", "namespace", "workload_kind", "workload"), TEXT),
    "basis": {"type": ["string", "null"], "enum": ["effective", "list", None], "description": "of its dollars"},
    "estimate": {"type": ["boolean", "null"], "description": "they are list price, be it in part"},
    "unknown": {"enum": ["", "no_reference", "postponed", "unpriced"], "description": "why amounts are null"},
    "downs": WHOLE,
    **dict.fromkeys(AMOUNTS, _EXACT),
}
SCHEMAS: Final[Mapping[str, Schema]] = {
    "Allocation": object_of(
        {
            "name": TEXT,
            "properties": _map(_MAYBE_TEXT),
            "window": _WINDOW,
            "start": _TIME,
            "end": _TIME,
            "minutes": {"type": "number"},
            **dict.fromkeys(_COSTS, _AMOUNT),
            "exact": object_of(dict.fromkeys(EXACT_AMOUNTS, _EXACT)),
        }
    ),
    "Allocations": object_of(
        {
            "code": WHOLE,
            "status": TEXT,
            "data": list_of(_map({"$ref": "#/components/schemas/Allocation"})),
            "meta": META,
        }
    ),
    "Budgets": object_of(
        {
            "budgets": list_of(
                object_of(
                    {
                        "name": TEXT,
                        "month": {"type": "string", "format": "date"},
                        "state": {"type": "string", "enum": ["ok", "at_risk", "over", "unknown"]},
                        "budget_nano_usd": _EXACT,
                        "spent_nano_usd": _EXACT,
                        "estimate_nano_usd": _EXACT,
                        "spent_ratio": _AMOUNT,
                        "unbooked_days": WHOLE,
                        "unpriced_days": WHOLE,
                        "burn_nano_usd_per_day": _EXACT,
                        "forecast": {
                            "anyOf": [
                                {"type": "null"},
                                object_of(
                                    {
                                        "nano_usd": _EXACT,
                                        "low_nano_usd": _EXACT,
                                        "high_nano_usd": _EXACT,
                                        "weekdays": _FLAG,
                                        "exhausted_on": _MAYBE_TEXT,
                                    }
                                ),
                            ]
                        },
                        "reason": TEXT,
                    }
                )
            ),
            "meta": META,
        }
    ),
    "Quotas": object_of(
        {
            "quotas": list_of(
                object_of(
                    {
                        "kind": {"type": "string", "enum": ["ResourceQuota", "ClusterQueue"]},
                        "quota": TEXT,
                        "namespaces": list_of(TEXT),
                        "teams": list_of(TEXT),
                        "resource": TEXT,
                        "scoped": _FLAG,
                        **_QUOTA,
                    }
                )
            ),
            "teams": list_of(object_of({"team": TEXT, "namespaces": list_of(TEXT), **_QUOTA})),
            "missing": list_of(TEXT),
            "meta": META,
        }
    ),
    "Savings": object_of(
        {
            "savings": list_of(object_of(_SAVED)),
            "counterfactual": {**TEXT, "description": "what each figure is held against"},
            "measured_through": {
                **_MAYBE_TIME,
                "description": "null: the books are not complete for any hour, or all of the window is days by now",
            },
            "meta": META,
        }
    ),
    "Verified": object_of(
        {
            "holds": _FLAG,
            "laws": list_of(object_of({"law": TEXT, "says": TEXT})),
            "breaks": list_of(object_of({"law": TEXT, "remedy": TEXT, "found": TEXT}, more=True)),
            "pending": {**list_of(_TIME), "description": "hours whose cost is still to be made: it was not looked at"},
            "meta": object_of(
                {
                    "window": _WINDOW,
                    "versions": {**_VERSIONS, "description": "version at which each table was verified last"},
                    "changed_meanwhile": {**_FLAG, "description": "parts were verified at earlier versions"},
                    "truncated": _FLAG,
                }
            ),
        }
    ),
    "Agents": object_of(
        {
            "answering": WHOLE,
            "silent": list_of(object_of({"url": TEXT, "reason": TEXT})),
            "refused": list_of(object_of({"hour": TEXT, "reason": TEXT})),
            "last": _map(_TIME),
        }
    ),
    "Status": object_of(
        {
            "now": _TIME,
            "leads": _FLAG,
            "epoch": {"type": ["integer", "null"]},
            "simulated": _FLAG,
            "last_closed": _MAYBE_TIME,
            "provisional_node_hours": {"type": ["integer", "null"]},
            "bills_refused": _map(TEXT),
            "bills_waiting": list_of(TEXT),
            "prices_refused": list_of(TEXT),
            "versions": _VERSIONS,
            "jobs": _map(
                object_of(
                    {
                        "runs": WHOLE,
                        "failures": WHOLE,
                        "succeeded_at": _MAYBE_TIME,
                        "seconds": _AMOUNT,
                        "error": TEXT,
                    }
                )
            ),
            "cost_explorer": {
                "anyOf": [
                    object_of({"requests": WHOLE, "allowed": WHOLE, "cost_nano_usd": _EXACT}),
                    {"type": "null"},
                ],
                "description": "what was asked of AWS Cost Explorer in this UTC day; null: it is not asked, or its"
                " count cannot be read",
            },
        }
    ),
    "Booked": object_of({"booked": WHOLE, "refused": _map(TEXT)}),
    "Hours": object_of({"node": TEXT, "hours": list_of({"type": "object"})}, more=True),
    "Error": object_of({"code": WHOLE, "status": TEXT, "message": TEXT}),
}
