"""`evaluate`, `sample`, `predict` and `explain` for language models."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.flags import AsJson, Model
from unrolled.cli.progress import say
from unrolled.cli.word_vectors import evaluate_vectors
from unrolled.errors import ConfigError, FolderError, PartialFailure

__all__ = ["evaluate", "explain", "predict", "sample"]

Folder = Annotated[str, typer.Argument(help="A run or model folder.")]


def evaluate(
    model: Model,
    files: Annotated[
        list[str], typer.Argument(help="Texts: files, .gz files, folders, or -. Tests of word vectors: files.")
    ],
    encoding: Annotated[str, typer.Option(help="Encoding of the files.")] = "utf-8",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts read side by side; changes no result.")] = 16,
    adapt: Annotated[
        str | None, typer.Option(help="Learn from each text while reading it: cache (words) or dynamic (all tokens).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            help="Setting of --adapt as key=value. cache: window, sharpness, weight; dynamic: tokens, rate, pull.",
        ),
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(min=1, help="Analogies: only the most frequent words take part (30000 is usual).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How good a model is: perplexity of texts, read from first to last token; of word vectors, word pairs and analogies.

    Examples:

    unrolled evaluate runs/books held-out.txt --json

    unrolled evaluate runs/vec wordsim353.tsv questions-words.txt
    """
    from unrolled.data.text import read_documents
    from unrolled.tasks import load
    from unrolled.tasks.adaptive import adapter
    from unrolled.tasks.vectors import Vectors

    learner = adapter(adapt, settings or ())
    trained = load(model)
    if isinstance(trained, Vectors):
        if adapt:
            raise ConfigError("--adapt is for language models; word vectors are tested as they are")
        evaluate_vectors(trained, files, encoding, most=vocabulary, as_json=as_json)
        return
    if vocabulary is not None:
        raise ConfigError("--vocabulary is for word vectors")
    found = trained.evaluate(read_documents(files, encoding), batch_size, learner)
    if as_json:
        print(json.dumps(found))
        return
    if adapt:
        print(f"{'adapted by':<20}{adapt}; the trained weights alone do not reach these figures")
    print(f"{'perplexity':<20}{found['perplexity']:.4f}  per token ({found['unit']})")
    print(f"{'loss':<20}{found['loss']:.4f}  nats per token")
    bits = found["bits_per_character"]
    why = "not known: the words behind <unk> are not in the text"
    print(f"{'bits per character':<20}{why if bits is None else f'{bits:.4f}'}")
    print(f"{'tokens':<20}{found['tokens']}")
    print(f"{'unknown':<20}{100 * found['unknown_rate']:.3f} %")


def sample(
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
    rounded: Annotated[bool, typer.Option("--rounded", help="Output matrix in bytes: faster with many tokens.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write text, token by token.

    Example: unrolled sample runs/books --prompt "It was" --temperature 0.8 --seed 1
    """
    from unrolled.decoding.sampling import SamplingOptions

    trained = _language_model(model)
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


def predict(
    model: Folder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, the lines of standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Log-probability (nats), perplexity and surprisal of every token of given texts, one line each.

    Example: unrolled predict runs/books < lines.txt
    """

    trained = _language_model(model)
    interactive = not texts and sys.stdin.isatty()
    bad: dict[int, str] = {}
    lines = texts if texts else _lines(bad)
    for number, score in enumerate(trained.scores(lines, batch_size=1 if interactive else 16), start=1):
        print(_answer(score, bad.get(number), as_json=as_json), flush=interactive)
    if bad:
        raise PartialFailure("\n".join([*list(bad.values())[:10], f"{len(bad)} of {number} lines could not be read."]))


def _answer(score: Any, problem: str | None, *, as_json: bool) -> str:
    """The output line of one text; a line that could not be read keeps its place."""
    if problem is not None:
        return json.dumps({"error": problem}) if as_json else "-\t-\t"
    if as_json:
        return json.dumps(score.to_json(), ensure_ascii=False)
    tokens = " ".join(f"{_visible(token)}:{nats:.2f}" for token, nats in score.tokens)
    perplexity = "-" if score.perplexity is None else f"{score.perplexity:.4f}"
    return f"{score.log_probability:.4f}\t{perplexity}\t{tokens}"


def explain(
    model: Model,
    text: Annotated[str | None, typer.Argument(help="The text to read; none for word vectors.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML page or .png picture to write; without it, JSON is printed.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    words: Annotated[int | None, typer.Option(min=1, help="Words on the map of word vectors; 1000 if not given.")] = None,
) -> None:
    """Show what happens inside while the model reads a text; of word vectors, a map.

    Examples:

    unrolled explain runs/books "It was the best" --out why.html

    unrolled explain runs/vec --out map.html
    """
    from unrolled.folders import write_text
    from unrolled.pictures.page import page

    if out is not None and out.exists() and not overwrite:
        raise FolderError(f"{out}: exists already. Choose another --out or add --overwrite.")
    title, found = _explained(model, text, words)
    if out is None:
        print(json.dumps(found, ensure_ascii=False))
        return
    if out.suffix.lower() == ".png":
        from unrolled.errors import MissingExtra

        try:
            from unrolled.pictures.png import explanation
        except ImportError:
            raise MissingExtra("matplotlib", "plots", "Writing PNG pictures") from None
        explanation(found, out)
    else:
        write_text(out, page(title, found))
    say(f"wrote {out}")


def _language_model(path: str) -> Any:
    from unrolled.tasks import load
    from unrolled.tasks.language_model import TrainedLanguageModel

    found = load(path)
    if not isinstance(found, TrainedLanguageModel):
        raise ConfigError(
            f"{path}: is no language model, so it neither writes nor scores text. What it is: unrolled info {path}"
        )
    return found


def _explained(model: str, text: str | None, words: int | None) -> tuple[str, dict[str, Any]]:
    """Title and explanation."""
    from unrolled.tasks import load
    from unrolled.tasks.explain_language_model import explain_text
    from unrolled.tasks.explain_word_vectors import explain_vectors
    from unrolled.tasks.vectors import Vectors

    trained = load(model)
    if isinstance(trained, Vectors):
        if text is not None:
            raise ConfigError("word vectors are explained by a map, which takes no text. For one word: unrolled neighbors")
        return f"The words of {Path(model).name}", explain_vectors(trained, min(words or 1000, len(trained)))
    if text is None or words is not None:
        raise ConfigError(
            'a language model is explained on a text: unrolled explain RUN "some text"; --words is for word vectors'
        )
    found = explain_text(trained, text)
    if found["cut"]:
        say(f"only the first {len(found['tokens'])} tokens are explained")
    return f"How {Path(model).name} reads: {text[:60]}", found


def _lines(bad: dict[int, str]) -> Iterator[str]:
    """Lines of standard input; one that is not UTF-8 is noted in `bad` by its number and read as empty."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            yield raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            bad[number] = f"<standard input>, line {number}: not utf-8 at byte {error.start} of the line."
            yield ""


def _visible(token: str) -> Any:
    return token.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace(" ", "␣").replace("Ġ", "␣")
