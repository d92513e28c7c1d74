"""`unrolled compare`: runs side by side."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from unrolled.cli.effects import Rule, given_flags, refuse_idle
from unrolled.cli.progress import say
from unrolled.errors import UnrolledError

__all__ = ["compare"]


def compare(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(help="Run or model folders, two or more.")],
    on: Annotated[
        list[str] | None, typer.Option(help="Text to compare on; without it the text that the runs held out.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of that text.")] = "utf-8",
    block: Annotated[int, typer.Option(min=1, help="Characters that are resampled together.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Metrics of runs side by side, where their options differ, and which is better on a text, with 95 % intervals.

    Intervals come from resampling blocks of the text; differences from the same resamples for all runs.

    Examples:

    unrolled compare runs/a runs/b

    unrolled compare runs/a runs/b runs/c --on held-out.txt
    """
    from unrolled.comparison import compare_on, described, held_out_alike
    from unrolled.data.text import read_documents

    if len(runs) < 2:
        raise typer.BadParameter("name two or more runs.")
    refuse_idle(given_flags(context), [Rule(not on, "encoding", "without --on")])
    found: dict[str, Any] = described(runs)
    try:
        documents = read_documents(on, encoding) if on else held_out_alike(runs)
        found["text"] = compare_on(runs, documents, block)
    except UnrolledError as error:
        if on:
            raise
        found |= {"text": None, "no_intervals": str(error)}
        say(f"no intervals: {error}")
    if found["text"] and found["text"]["blocks"] < 20:
        say(f"only {found['text']['blocks']} blocks: such intervals are too narrow. Give more text, or a smaller --block.")
    if as_json:
        print(json.dumps(found))
        return
    _print_table("metrics of the best model", runs, found["metrics"])
    _print_table("options that differ", runs, found["options"] or {"(none)": ["" for _ in runs]})
    if found["text"]:
        _print_intervals(runs, found["text"])


def _print_table(title: str, runs: list[str], rows: dict[str, list[Any]]) -> None:
    width = max(map(len, [title, *rows]))
    cells = [[_shown(value) for value in row] for row in rows.values()]
    widths = [max(map(len, column)) for column in zip(runs, *cells, strict=True)]
    print("  ".join([f"{title:<{width}}", *(f"{run:>{w}}" for run, w in zip(runs, widths, strict=True))]))
    for name, row in zip(rows, cells, strict=True):
        print("  ".join([f"{name:<{width}}", *(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True))]))
    print()


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _print_intervals(runs: list[str], found: dict[str, Any]) -> None:
    print(f"on {found['name']} ({found['characters']:,} characters, {found['blocks']:,} blocks)")
    rows = {
        "bits per character": [_range(i) for i in found["bits_per_character"]],
        "perplexity per token": [_range(i) for i in found["perplexity"]],
    }
    _print_table("[95 % interval]", runs, rows)
    for pair in found["differences"]:
        low, high = pair["low"], pair["high"]
        verdict = "no clear difference" if low <= 0 <= high else f"{pair['better']} is better"
        change = f"{pair['value']:+.4f} bits per character [{low:+.4f}, {high:+.4f}]"
        print(f"{pair['second']} - {pair['first']}: {change}: {verdict}")


def _range(interval: list[float]) -> str:
    value, low, high = interval
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"
