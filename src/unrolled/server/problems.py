"""Errors of requests as problem JSON (RFC 9457): what is wrong, in which field, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from unrolled.aliases import option_advice
from unrolled.errors import UnrolledError
from unrolled.messages import describe_problem

__all__ = ["FAULT", "PROBLEM", "PROBLEM_SCHEMA", "Problem", "gone", "invalid", "problem_of", "problem_response"]

PROBLEM = "application/problem+json"
#: What is told of a fault that no request is to blame for.
FAULT = "a fault of the server; its log says more"
#: Wrong fields that `detail` names; `errors` names them all.
_TOLD = 5

#: Component `Problem` of the OpenAPI document.
PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What is wrong with a request (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "title": "FieldProblem",
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


class Problem(Exception):
    """A request that cannot be answered. errors: (field, message) of each part that is wrong."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, tuple(errors), dict(headers or {})


def gone() -> Problem:
    """What is told to nobody, and counted."""
    return Problem(408, "whoever asked has gone away")


def problem_of(error: Exception) -> Problem:
    """An error as what is told of it; one that is nobody's fault but the server's is told as such."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnrolledError):
        return Problem(422, str(error), [("body", str(error))])
    if isinstance(error, ClientDisconnect):
        return gone()
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail), headers=error.headers)
    return invalid(error) if isinstance(error, (ValidationError, RequestValidationError)) else Problem(500, FAULT)


def invalid(
    error: ValidationError | RequestValidationError, within: str = "", model: type[BaseModel] | None = None
) -> Problem:
    """What pydantic found wrong: 400 where it is no JSON, else 422.

    within: the field that was read; model: what it was read as, for the names that an unknown one may have meant.
    """
    found, broken = dict[tuple[str, str], None](), False
    for one in error.errors():
        no_json = one["type"] == "json_invalid"
        broken = broken or no_json
        names = [] if no_json else [str(name) for name in one["loc"] if _is_field(name)]
        found[".".join([*([within] if within else []), *names]) or "body", describe_problem(one) + _meant(one, model)] = (
            None
        )
    told = "; ".join(f"{field}: {message}" for field, message in list(found)[:_TOLD])
    return Problem(400 if broken and not within else 422, told, tuple(found))


def _meant(problem: Mapping[str, Any], model: Any) -> str:
    """Return what an unknown name of a field is called here, or the nearest, with a full stop before it; else ""."""
    if problem["type"] != "extra_forbidden":
        return ""
    *path, name = problem["loc"]
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else None
    advice = option_advice(str(name), list(getattr(model, "model_fields", ())))
    return f".{advice}" if advice else ""


def _is_field(name: str | int) -> bool:
    """Whether a part of a place is a field or a number in a list, not the name of one of several types."""
    return isinstance(name, int) or (name.isidentifier() and name.islower() and name not in ("body", "str", "list"))


def problem_response(problem: Problem) -> Response:
    """The answer to a request that has a problem."""
    found: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(problem.status).phrase}
    found |= {"status": problem.status, "detail": problem.detail}
    if problem.errors:
        found["errors"] = [{"field": field, "message": message} for field, message in problem.errors]
    return Response(json.dumps(found), problem.status, problem.headers, PROBLEM)
