"""What is wrong with an option or a request, in our words instead of pydantic's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unrolled.aliases import value_advice

__all__ = ["describe_problem"]

#: What is expected, by the type of pydantic's error; its context fills the braces.
_EXPECTED = {
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "a text",
    "string_too_long": "a text of at most {max_length} characters",
    "string_too_short": "a text of at least {min_length} characters",
    "string_pattern_mismatch": "a text like {pattern}",
    "string_unicode": "a text of valid Unicode",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "missing": "a value: it is required",
}


def describe_problem(problem: Mapping[str, Any]) -> str:
    """Return what is expected of a value that pydantic refused, without the value; problem: one of its `errors()`."""
    kind, context = str(problem["type"]), problem.get("ctx") or {}
    special: dict[str, Callable[[], str]] = {
        "literal_error": lambda: f"expected one of {_choices(context)}",
        "enum": lambda: f"expected one of {_choices(context)}",
        "extra_forbidden": lambda: "no such name",
        "value_error": lambda: str(context.get("error", "")) or "cannot be used",
        "json_invalid": lambda: f"is not JSON ({context.get('error', '')})",
    }
    if kind in special:
        return special[kind]() + _advice(problem, context)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format_map({**context})}"
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ").removeprefix("should be ")


def _choices(context: Mapping[str, Any]) -> str:
    return str(context.get("expected", "")).replace(" or ", ", ")


def _advice(problem: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    names = [name.strip(" '") for name in _choices(context).split(",") if name.strip(" '")]
    advice = value_advice(problem.get("input"), names) if names else ""
    return f".{advice}" if advice else ""
