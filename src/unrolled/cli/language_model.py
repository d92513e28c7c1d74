"""`sample`, and what `evaluate` and `predict` print of language models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from unrolled.cli.effects import Rule, given_flags, refuse_idle
from unrolled.cli.flags import AsJson, Folder
from unrolled.cli.speaker import Speaker, needed
from unrolled.errors import ConfigError

__all__ = ["SPEAKER", "answer", "as_language_model", "sample"]

#: Parameters of `sample` that say how tokens are drawn.
_DRAWN = "temperature,top_k,top_p,min_p,repetition_penalty,seed,rounded"


def sample(
    context: typer.Context,
    model: Folder,
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "",
    length: Annotated[int, typer.Option(min=0, help="Tokens to write.")] = 500,
    n: Annotated[int, typer.Option(min=1, help="Samples to write.")] = 1,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, 1 draws from the model as it is.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Draw from the k likeliest tokens; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that reach this probability.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Draw from tokens this likely, relative to the likeliest.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: tokens already there become less likely.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
    beam: Annotated[
        int, typer.Option(min=0, help="Nothing is drawn: the likeliest texts that so many hypotheses side by side find.")
    ] = 0,
    rounded: Annotated[bool, typer.Option("--rounded", help="Output matrix in bytes: faster with many tokens.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write text, token by token.

    Examples:

    unrolled sample runs/books --prompt "It was" --temperature 0.8 --seed 1

    unrolled sample runs/books --prompt "It was" --beam 10 --n 3 --length 40
    """
    from unrolled.decoding.sampling import SamplingOptions
    from unrolled.tasks import load

    refuse_idle(
        given_flags(context),
        [
            Rule(bool(beam), _DRAWN, "with --beam: nothing is drawn"),
            Rule(not beam and temperature == 0, "top_k,top_p,min_p,seed", "with --temperature 0: nothing is drawn"),
        ],
    )
    trained = as_language_model(load(model), model)
    if beam:
        _show_likeliest(trained.likeliest(prompt, length=length, n=n, width=beam), as_json=as_json)
        return
    options = SamplingOptions(temperature, top_k, top_p, min_p, repetition_penalty, seed)
    texts = [""] * n
    for pieces in trained.stream(prompt, length=length, n=n, options=options, rounded=rounded):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        if n == 1 and not as_json:
            sys.stdout.write(pieces[0])
            sys.stdout.flush()
    if as_json:
        for i, text in enumerate(texts):
            print(json.dumps({"sample": i + 1, "seed": seed, "text": text}, ensure_ascii=False))
    elif n == 1:
        print()
    else:
        for i, text in enumerate(texts):
            print(f"--- {i + 1} of {n}\n{text}")


def _show_likeliest(found: list[Any], *, as_json: bool) -> None:
    for i, one in enumerate(found):
        if as_json:
            print(json.dumps(one.to_json(), ensure_ascii=False))
        else:
            print(f"--- {i + 1} of {len(found)}: log-probability {one.log_probability:.4f}\n{one.text}")


def answer(score: Any, problem: str | None, *, as_json: bool) -> str:
    """The output line of one text; a line that could not be read keeps its place."""
    if problem is not None:
        return json.dumps({"error": problem}) if as_json else "-\t-\t"
    if as_json:
        return json.dumps(score.to_json(), ensure_ascii=False)
    tokens = " ".join(f"{_visible(token)}:{nats:.2f}" for token, nats in score.tokens)
    perplexity = "-" if score.perplexity is None else f"{score.perplexity:.4f}"
    return f"{score.log_probability:.4f}\t{perplexity}\t{tokens}"


def as_language_model(found: Any, path: str) -> Any:
    """What was loaded, if it is a language model; else ConfigError."""
    from unrolled.tasks.language_model import TrainedLanguageModel

    if not isinstance(found, TrainedLanguageModel):
        from unrolled.cli.checks import type_of, verb_advice

        raise ConfigError(f"{path}: holds {type_of(found)}, expected a language model.{verb_advice(found, path)}")
    return found


def _visible(token: str) -> Any:
    return token.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace(" ", "␣").replace("Ġ", "␣")


def _show_perplexity(found: dict[str, Any], adapt: str | None) -> None:
    """Print what `evaluate` found."""
    if adapt:
        print(f"{'adapted by':<20}{adapt}; the trained weights alone do not reach these figures")
    print(f"{'perplexity':<20}{found['perplexity']:.4f}  per token ({found['unit']})")
    print(f"{'loss':<20}{found['loss']:.4f}  nats per token")
    bits = found["bits_per_character"]
    why = "not known: the words behind <unk> are not in the text"
    print(f"{'bits per character':<20}{why if bits is None else f'{bits:.4f}'}")
    print(f"{'tokens':<20}{found['tokens']}")
    print(f"{'unknown':<20}{100 * found['unknown_rate']:.3f} %")


def _evaluate(trained: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Perplexity of texts."""
    from unrolled.data.text import read_documents
    from unrolled.tasks.adaptive import adapter

    documents = read_documents(files, given["encoding"])
    found = trained.evaluate(documents, given["batch_size"] or 16, adapter(given["adapt"], given["settings"] or ()))
    if given["as_json"]:
        print(json.dumps(found))
    else:
        _show_perplexity(found, given["adapt"])


def _predict(trained: Any, texts: Iterable[str], _: dict[str, Any], batch_size: int | None) -> Iterable[Any]:
    return trained.scores(texts, batch_size=batch_size or 16)


def _explain(trained: Any, name: str, text: str | None, _: dict[str, Any]) -> tuple[str, Any]:
    from unrolled.tasks.explain_language_model import explain_text

    text = needed(text)
    return f"How {name} reads: {text[:60]}", explain_text(trained, text)


def _rules(_: Any, verb: str, given: Mapping[str, Any]) -> list[Rule]:
    """-s is of --adapt, which reads a token or a window at a time."""
    adapts = bool(given.get("adapt"))
    return [
        Rule(not adapts, "settings", f"on a language model in {verb} without --adapt (unrolled evaluate --adapt cache)"),
        Rule(adapts, "batch_size", "with --adapt, which learns from one piece of text after another"),
    ]


_FLAGS = frozenset({"adapt", "settings"})
SPEAKER = Speaker("a language model", _FLAGS, _evaluate, _explain, _predict, answer, rules=_rules)
