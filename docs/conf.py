"""Sphinx configuration: the Markdown pages, and the docstrings as they stand in the source (they are plain text)."""

from __future__ import annotations

from typing import Any

project = "unrolled"
author = "the unrolled contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
autodoc_member_order = "bysource"


def _as_written(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = ["::", "", *(f"   {line}" for line in lines), ""]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _as_written)
