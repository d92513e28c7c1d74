"""One JSON explanation in, one self-contained HTML page out. draw.js does the drawing, here and in the
page of the server.

An explanation is {"blocks": [...]}; each block has a `kind` (facts, lines, heat, tokens, texts, tree, map, photo,
raster), a `title` and its data; draw.js documents them. No outside asset is loaded.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import Any

__all__ = ["page"]

_DRAW = '\ndraw(JSON.parse(document.getElementById("explanation").textContent), document.querySelector("main"));\n'


def page(title: str, explanation: dict[str, Any]) -> str:
    """The HTML page that shows an explanation."""
    assets = files("unrolled.pictures")
    style = assets.joinpath("draw.css").read_text(encoding="utf-8")
    script = assets.joinpath("draw.js").read_text(encoding="utf-8")
    data = json.dumps(explanation, ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n<main></main>\n"
        f'<script type="application/json" id="explanation">{data}</script>\n<script>\n{script}{_DRAW}</script>\n'
        "</body>\n</html>\n"
    )
