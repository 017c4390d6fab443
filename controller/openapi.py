"""The API's description, OpenAPI 3.1, as it is served at ``/api/v1/openapi.json``."""

from collections.abc import Mapping
from typing import Any, Final

from controller.api_allocation import ACCUMULATE, SPLITS, STEPS
from controller.api_reports import AUDIT_RESULTS
from controller.api_window import WINDOW_FORM
from controller.openapi_schemas import META, SCHEMAS, TEXT, WHOLE, Schema, list_of, object_of


def _rows(name: str, *more: str) -> Schema:
    listed = {each: list_of({"type": "object"}) for each in (name, *more)}
    return object_of({**listed, "meta": META})


def _parameter(name: str, says: str, schema: Schema = TEXT, **more: object) -> Schema:
    return {"name": name, "in": "query", "description": says, "schema": schema, **more}


def _enum(*values: str, default: str) -> Schema:
    return {"type": "string", "enum": list(values), "default": default}


def _window(default: str = "") -> Schema:
    schema = {"type": "string", **({"default": default} if default else {})}
    return _parameter("window", WINDOW_FORM, schema, required=not default)


_LIMIT: Final = _parameter("limit", "most rows answered; `truncated` says whether there were more", WHOLE)


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
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _paths() -> Mapping[str, Mapping[str, Schema]]:
    return {
        "/allocation": {"get": _allocation()},
        "/variance": {
            "get": _get(
                "List price against the bill by day, account, type and reason; and what only one of them knows.",
                _rows("variance", "billed_not_observed", "billed_without_node", "observed_not_billed"),
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
        "/hours": _hours(),
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
        "/savings": {
            "get": _get(
                "What workloads saved that schedules had put down, by workload: had it stayed, held, freed, cash; the "
                "most cash first. The window ends where the books are complete.",
                _ref("Savings"),
                _window("7d"),
                *(_parameter(name, "this one alone") for name in ("cluster", "namespace", "kind", "name")),
                _LIMIT,
            )
        },
        "/agents": {"get": _get("Who answered the last pull, who did not, which hours were refused.", _ref("Agents"))},
        "/status": {"get": _get("How far the books have come, who keeps them, how the jobs went.", _ref("Status"))},
    }


def _hours() -> Mapping[str, Schema]:
    pushed = {
        "200": ("booked, and what was not", _ref("Booked")),
        "400": ("it is no journal", _ERROR),
        "401": ("the token is not right", _ERROR),
        "403": ("nobody may push, or a web page asks", _ERROR),
        "415": ("it is not sent as JSON", _ERROR),
        "503": ("this controller stands by, or the books cannot be written", _ERROR),
    }
    body = {"required": True, "content": {"application/json": {"schema": _ref("Hours")}}}
    return {
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
        _parameter("filter", "COLUMN:VALUE,VALUE; of several all have to hold", list_of(TEXT), explode=True),
        _LIMIT,
    )
