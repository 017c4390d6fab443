"""The API's description, OpenAPI 3.1, as it is served at ``/api/v1/openapi.json``."""

from collections.abc import Mapping
from typing import Any, Final

from controller.api_allocation import ACCUMULATE, SPLITS, STEPS
from controller.api_reports import AUDIT_RESULTS
from controller.api_window import WINDOW_FORM

Schema = Mapping[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_EXACT: Final[Schema] = {
    "type": ["string", "null"],
    "pattern": "^-?[0-9]+$",
    "description": "an integer in text, exact",
}
_WHOLE: Final[Schema] = {"type": "integer"}
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


def _object(properties: Mapping[str, Schema], *, more: bool = False, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


_WINDOW: Final = _object({"start": _TIME, "end": _TIME})
_META: Final = _object(
    {"versions": _VERSIONS, "truncated": _FLAG, "window": _WINDOW, "basis": _TEXT},
    optional=("truncated", "window", "basis"),
)
_EXACT_AMOUNTS: Final = (
    "cost_nano_usd",
    "spread_nano_usd",
    "idle_nano_usd",
    "estimate_nano_usd",
    "gpu_ns",
    "active_ns",
    "idle_ns",
    "requested_ns",
    "energy_mj",
    "carbon_ug",
    "embodied_ug",
)
_COSTS: Final = (
    "gpuHours",
    "gpuActiveHours",
    "gpuRequestedHours",
    "gpuCost",
    "gpuCostIdle",
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
    "granted": _WHOLE,
    "used": {"type": ["integer", "null"]},
    "granted_ns": _EXACT,
    "held_ns": _EXACT,
    "active_ns": _EXACT,
}
_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Allocation": _object(
        {
            "name": _TEXT,
            "properties": _map(_MAYBE_TEXT),
            "window": _WINDOW,
            "start": _TIME,
            "end": _TIME,
            "minutes": {"type": "number"},
            **dict.fromkeys(_COSTS, _AMOUNT),
            "exact": _object(dict.fromkeys(_EXACT_AMOUNTS, _EXACT)),
        }
    ),
    "Allocations": _object(
        {
            "code": _WHOLE,
            "status": _TEXT,
            "data": _list(_map({"$ref": "#/components/schemas/Allocation"})),
            "meta": _META,
        }
    ),
    "Budgets": _object(
        {
            "budgets": _list(
                _object(
                    {
                        "name": _TEXT,
                        "month": {"type": "string", "format": "date"},
                        "state": {"type": "string", "enum": ["ok", "at_risk", "over", "unknown"]},
                        "budget_nano_usd": _EXACT,
                        "spent_nano_usd": _EXACT,
                        "estimate_nano_usd": _EXACT,
                        "spent_ratio": {"type": "number"},
                        "unbooked_days": _WHOLE,
                        "burn_nano_usd_per_day": _EXACT,
                        "forecast": {
                            "anyOf": [
                                {"type": "null"},
                                _object(
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
                        "reason": _TEXT,
                    }
                )
            ),
            "meta": _META,
        }
    ),
    "Quotas": _object(
        {
            "quotas": _list(
                _object(
                    {
                        "kind": {"type": "string", "enum": ["ResourceQuota", "ClusterQueue"]},
                        "quota": _TEXT,
                        "namespaces": _list(_TEXT),
                        "teams": _list(_TEXT),
                        "resource": _TEXT,
                        "scoped": _FLAG,
                        **_QUOTA,
                    }
                )
            ),
            "teams": _list(_object({"team": _TEXT, "namespaces": _list(_TEXT), **_QUOTA})),
            "missing": _list(_TEXT),
            "meta": _META,
        }
    ),
    "Verified": _object(
        {
            "holds": _FLAG,
            "laws": _list(_object({"law": _TEXT, "says": _TEXT})),
            "breaks": _list(_object({"law": _TEXT, "remedy": _TEXT, "found": _TEXT}, more=True)),
            "meta": _object(
                {
                    "window": _WINDOW,
                    "versions": {**_VERSIONS, "description": "version at which each table was verified last"},
                    "changed_meanwhile": {**_FLAG, "description": "parts were verified at earlier versions"},
                    "truncated": _FLAG,
                }
            ),
        }
    ),
    "Agents": _object(
        {
            "answering": _WHOLE,
            "silent": _list(_object({"url": _TEXT, "reason": _TEXT})),
            "refused": _list(_object({"hour": _TEXT, "reason": _TEXT})),
            "last": _map(_TIME),
        }
    ),
    "Status": _object(
        {
            "now": _TIME,
            "leads": _FLAG,
            "epoch": {"type": ["integer", "null"]},
            "simulated": _FLAG,
            "last_closed": _MAYBE_TIME,
            "provisional_node_hours": {"type": ["integer", "null"]},
            "bills_refused": _map(_TEXT),
            "versions": _VERSIONS,
            "jobs": _map(
                _object(
                    {
                        "runs": _WHOLE,
                        "failures": _WHOLE,
                        "succeeded_at": _MAYBE_TIME,
                        "seconds": _AMOUNT,
                        "error": _TEXT,
                    }
                )
            ),
        }
    ),
    "Booked": _object({"booked": _WHOLE, "refused": _map(_TEXT)}),
    "Hours": _object({"node": _TEXT, "hours": _list({"type": "object"})}, more=True),
    "Error": _object({"code": _WHOLE, "status": _TEXT, "message": _TEXT}),
}


def _rows(name: str, *more: str) -> Schema:
    listed = {each: _list({"type": "object"}) for each in (name, *more)}
    return _object({**listed, "meta": _META})


def _parameter(name: str, says: str, schema: Schema = _TEXT, **more: object) -> Schema:
    return {"name": name, "in": "query", "description": says, "schema": schema, **more}


def _enum(*values: str, default: str) -> Schema:
    return {"type": "string", "enum": list(values), "default": default}


def _window(default: str = "") -> Schema:
    schema = {"type": "string", **({"default": default} if default else {})}
    return _parameter("window", WINDOW_FORM, schema, required=not default)


_LIMIT: Final = _parameter("limit", "most rows answered; `truncated` says whether there were more", _WHOLE)


def _get(says: str, schema: Schema, *parameters: Schema, store: bool = True) -> Schema:
    answers = {"200": ("the answer", schema), "400": ("a parameter cannot be followed; says what is allowed", _ERROR)}
    if store:
        answers["503"] = ("busy, too slow, or the books cannot be read; says which", _ERROR)
    return {"summary": says, "parameters": list(parameters), "responses": _responses(answers)}


def _responses(answers: Mapping[str, tuple[str, Schema]]) -> Schema:
    return {
        status: {"description": says, "content": {"application/json": {"schema": schema}}}
        for status, (says, schema) in answers.items()
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_ERROR: Final = _ref("Error")


def document() -> dict[str, Any]:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wattledger controller",
            "version": "1",
            "description": "Every GPU-second, joule and dollar in exactly one account. Money is in US dollars; exact "
            "amounts are integers in text: nano-dollars, nanoseconds, millijoules, micrograms.",
        },
        "paths": {f"/api/v1{path}": methods for path, methods in _paths().items()},
        "components": {
            "schemas": dict(_SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _paths() -> Mapping[str, Mapping[str, Schema]]:
    pushed = {
        "200": ("booked, and what was not", _ref("Booked")),
        "400": ("it is no journal", _ERROR),
        "401": ("the token is not right", _ERROR),
        "403": ("nobody may push", _ERROR),
        "503": ("this controller stands by, or the books cannot be written", _ERROR),
    }
    body = {"required": True, "content": {"application/json": {"schema": _ref("Hours")}}}
    return {
        "/allocation": {"get": _allocation()},
        "/variance": {
            "get": _get(
                "List price against the bill by day, account, type and reason; and what only one of them knows.",
                _rows("variance", "billed_not_observed", "observed_not_billed"),
                _window("lastmonth"),
                _LIMIT,
            )
        },
        "/budgets": {"get": _get("Each budget: spent, burn rate, forecast with its band.", _ref("Budgets"))},
        "/quotas": {
            "get": _get("GPU quotas: granted, used now, held and worked over 7 days; and by team.", _ref("Quotas"))
        },
        "/prices": {"get": _get("Every price that was used, with source and date.", _rows("prices"), _LIMIT)},
        "/verify": {"get": _get("The laws of the books, and where they break.", _ref("Verified"), _window("24h"))},
        "/hours": {
            "get": _get(
                "Node-hours: the control figures, and what stands behind them.",
                _rows("node_hours"),
                _window("24h"),
                _parameter("node", "this node alone"),
                _parameter("state", "these alone", _enum("", "final", "provisional", default="")),
                _LIMIT,
            ),
            "post": {
                "summary": "Hours of an agent that ends, as its own `/v1/hours` has them.",
                "requestBody": body,
                "responses": _responses(pushed),
            },
        },
        "/audit": {
            "get": _get(
                "What was done to the cluster, or refused: who, what, why, by which policy; the last first.",
                _rows("audit"),
                _window("7d"),
                *(_parameter(name, "this one alone") for name in ("cluster", "kind", "namespace", "name")),
                _parameter("action", "these alone, with commas, such as down,restore"),
                _parameter("result", "these alone", _enum(*AUDIT_RESULTS, default="")),
                _LIMIT,
            )
        },
        "/agents": {"get": _get("Who answered the last pull, who did not, which hours were refused.", _ref("Agents"))},
        "/status": {"get": _get("How far the books have come, who keeps them, how the jobs went.", _ref("Status"))},
    }


def _allocation() -> Schema:
    return _get(
        "Who spent what, in the shape of OpenCost's API. CPU, memory, storage and network bear nothing: a node's price "
        "is booked to its GPUs and, by `prices.node_split`, to `__host__`.",
        _ref("Allocations"),
        _window(),
        _parameter("aggregate", "columns of the books or label:NAME, with commas", {"type": "string"}),
        _parameter("accumulate", "one set for the window, or one for each step", _enum(*ACCUMULATE, default="true")),
        _parameter("step", "of the sets, where accumulate is false", _enum(*STEPS, default="day")),
        _parameter("basis", "what a dollar is", _enum("best", "list", "effective", default="best")),
        _parameter("shareIdle", "spread what nobody held over those who held", _enum("false", "true", default="false")),
        _parameter("shareCharges", "spread what is of no device likewise", _enum("false", "true", default="false")),
        _parameter("shareSplit", "how it is spread", _enum(*SPLITS, default="weighted")),
        _parameter("filter", "COLUMN:VALUE,VALUE; of several all have to hold", _list(_TEXT), explode=True),
        _LIMIT,
    )
