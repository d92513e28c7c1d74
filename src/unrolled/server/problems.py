"""Errors of requests as problem JSON (RFC 9457): what is wrong, in which field, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

__all__ = ["FAULT", "PROBLEM", "SCHEMA", "Problem", "problem_response"]

PROBLEM = "application/problem+json"
#: What is told of a fault that no request is to blame for.
FAULT = "a fault of the server; its log says more"

#: What a problem looks like, for the OpenAPI document.
SCHEMA: dict[str, Any] = {
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


def problem_response(problem: Problem) -> Response:
    """The answer to a request that has a problem."""
    found: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(problem.status).phrase}
    found |= {"status": problem.status, "detail": problem.detail}
    if problem.errors:
        found["errors"] = [{"field": field, "message": message} for field, message in problem.errors]
    return Response(json.dumps(found), problem.status, problem.headers, PROBLEM)
