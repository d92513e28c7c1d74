"""What the verbs that every task has (`evaluate`, `predict`, `explain`) do with one kind of model: a `Speaker` a task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.cli.effects import Rule, Rules, no_rules
from unrolled.errors import ConfigError

__all__ = ["Speaker", "needed", "scored_answer", "search_options", "search_rules", "text_reader"]

#: The flags of a verb by their names, as they were given.
Given = dict[str, Any]


def text_reader(_: Any, column: str | None) -> Callable[[str, str], Iterable[Any]]:
    """Read the texts of a file: lines, or the column "text" of a table."""
    from unrolled.data.inputs import read_inputs

    return lambda name, encoding: read_inputs(name, [column or "text"], encoding)


@dataclass(frozen=True)
class Speaker:
    """kind: what such a model is called; flags: those that mean something to it, of any verb.

    evaluate: prints how good a model is on files. predict: the answers to texts, computed in batches of a size, None for
    the usual one; answer: the line of one, or of a text that could not be read. explain: title and explanation of a text.
    Those that are None cannot be asked of it. media: what one input is where inputs are files, such as "an image".
    read: given the model and a column, a function that yields the inputs of a file in an encoding. rules: when options
    have no effect.
    """

    kind: str
    flags: frozenset[str]
    evaluate: Callable[[Any, Sequence[str], Given], None]
    explain: Callable[[Any, str, str | None, Given], tuple[str, Any]]
    predict: Callable[[Any, Iterable[Any], Given, int | None], Iterable[Any]] | None = None
    answer: Callable[..., str] | None = None
    media: str = ""
    read: Callable[[Any, str | None], Callable[[str, str], Iterable[Any]]] = text_reader
    rules: Rules = no_rules


def needed(text: str | None, what: str = 'a text: unrolled explain RUN "some text"') -> str:
    """The text (or `what` else) to explain; ConfigError if there is none."""
    if text is None:
        raise ConfigError(f"a model is explained on {what}")
    return text


def search_options(trained: Any, given: Given, others: Mapping[str, type] | None = None) -> tuple[Any, dict[str, Any]]:
    """How to search, as at training but for --beam, --n-best and -s; and what -s says of `others`."""
    from dataclasses import fields, replace

    from unrolled.config import typed_settings
    from unrolled.decoding.scoring import BeamOptions

    kinds = {f.name: type(f.default) for f in fields(BeamOptions) if f.name not in ("width", "n_best")}
    asked = typed_settings(given["settings"] or (), {**kinds, **(others or {})}, "setting")
    options = replace(
        trained.search,
        width=given["beam"] or trained.search.width,
        n_best=given.get("n_best") or 1,
        **{name: value for name, value in asked.items() if name in kinds},
    )
    return options, {name: value for name, value in asked.items() if name not in kinds}


def search_rules(trained: Any, verb: str, given: Mapping[str, Any]) -> list[Rule]:
    """Return the rules of the settings of a search: what ranks hypotheses needs several, or a score that is shown."""
    width = given.get("beam") or trained.search.width
    ranks_nothing = width == 1 and verb == "predict" and not given.get("as_json")
    settings = [one.partition("=") for one in given.get("settings") or ()]
    norm = next((value.strip() for key, _, value in reversed(settings) if key.strip() == "norm"), trained.search.norm)
    attends = getattr(trained.model.config, "attention", "") != "none"
    return [
        Rule(ranks_nothing, "-s norm,-s alpha,-s coverage", "on a greedy search (requires --beam 2 or more, or --json)"),
        Rule(not ranks_nothing and norm == "none", "-s alpha", "with norm none (requires -s norm=average or gnmt)"),
        Rule(not ranks_nothing and not attends, "-s coverage", "on a model without attention"),
    ]


def scored_answer(found: Any, problem: str | None, *, as_json: bool) -> str:
    """The output line of something written for an input, and of the others that were asked for, with their scores."""
    if problem is not None:
        return json.dumps({"error": problem}, ensure_ascii=False) if as_json else "-"
    if as_json:
        return json.dumps(found.to_json(), ensure_ascii=False)
    if not found.others:
        return found.text
    return "\n".join(f"{one.score:.4f}\t{one.text}" for one in (found, *found.others))
