"""The model card: README.md of every model folder."""

from __future__ import annotations

import json
from typing import Any

from unrolled.metric_names import metric_rows

__all__ = ["captioner_card", "classifier_card", "model_card", "recognizer_card", "tagger_card", "translator_card"]


def model_card(config: dict[str, Any], unit: str) -> str:
    """Markdown that says what the model is, what it was trained on, how good it is and how to use it."""
    metrics = config.get("metrics") or {}
    data = config.get("data") or {}
    validated = (
        "" if data.get("valid_tokens") == 0 else ", and validation on the held-out text, read in columns (approximate)"
    )
    rows = metric_rows(metrics)
    sizes = json.dumps(config["model"], indent=1)
    sources = ", ".join(data.get("sources", [])[:10]) or "not recorded"
    return f"""# A {config["task"]} made with unrolled {config["unrolled"]}

Trained on: {sources} ({data.get("train_tokens", "?")} {unit}, {data.get("valid_tokens", "?")} held out).

Training{validated}; `unrolled evaluate` is exact:

| metric | value |
|---|---|
{rows}
Licence of the model and of its data: fill in.

## Use

    unrolled sample FOLDER --prompt "..."
    unrolled evaluate FOLDER text.txt

    import unrolled
    model = unrolled.load("FOLDER")
    print(model.sample("...")[0], model.score("...").perplexity)

## Sizes

```json
{sizes}
```
"""


def classifier_card(config: dict[str, Any]) -> str:
    """Markdown that says what a text classifier is, what it was trained on, how good it is and how to use it."""
    data, metrics = config.get("data") or {}, config.get("metrics") or {}
    rows = metric_rows(metrics)
    sources = ", ".join(data.get("sources", [])[:10]) or "not recorded"
    counts = data.get("labels") or {}
    labels = "".join(f"| {name} | {counts.get(name, '?')} |\n" for name in config["labels"]["names"][:100])
    return f"""# A text classifier made with unrolled {config["unrolled"]}

Network: {config["network"]}. Trained on: {sources} ({data.get("train", "?")} texts, {data.get("valid", "?")} held out to
choose by and to calibrate probabilities).

| label | examples |
|---|---|
{labels}
On the held-out texts; `unrolled evaluate` says how good it is on others:

| metric | value |
|---|---|
{rows}
Licence of the model and of its data: fill in.

## Use

    echo "some text" | unrolled predict FOLDER
    unrolled evaluate FOLDER test.csv

    import unrolled
    classifier = unrolled.load("FOLDER")
    print(classifier.predict("some text"))
"""


def tagger_card(config: dict[str, Any]) -> str:
    """Markdown that says what a tagger is, what it was trained on, how good it is and how to use it."""
    data, metrics = config.get("data") or {}, config.get("metrics") or {}
    rows = metric_rows(metrics)
    sources = ", ".join(data.get("sources", [])[:10]) or "not recorded"
    counts = data.get("labels") or {}
    labels = "".join(f"| {name} | {counts.get(name, '?')} |\n" for name in config["labels"][:100])
    what = "A tagger that restores capitals and punctuation" if config["reading"]["restores"] else "A tagger of words"
    return f"""# {what}, made with unrolled {config["unrolled"]}

Trained on: {sources} ({data.get("train", "?")} sentences of {data.get("train_words", "?")} words; {data.get("valid", "?")}
sentences held out to choose by and to calibrate probabilities).

| label | words |
|---|---|
{labels}
On the held-out sentences; `unrolled evaluate` says how good it is on others:

| metric | value |
|---|---|
{rows}
Licence of the model and of its data: fill in.

## Use

    echo "some text" | unrolled predict FOLDER
    unrolled evaluate FOLDER test-file

    import unrolled
    tagger = unrolled.load("FOLDER")
    print(tagger.predict("some text"))
"""


def translator_card(config: dict[str, Any]) -> str:
    """Markdown that says what a translator is, what it was trained on, how good it is and how to use it."""
    data, metrics = config.get("data") or {}, config.get("metrics") or {}
    rows = metric_rows(metrics)
    sources = ", ".join(data.get("sources", [])[:10]) or "not recorded"
    sizes = json.dumps(config["model"], indent=1)
    return f"""# A translator made with unrolled {config["unrolled"]}

Trained on: {sources} ({data.get("train", "?")} pairs, {data.get("valid", "?")} held out to choose the best model).

| metric | value |
|---|---|
{rows}
Licence of the model and of its data: fill in.

## Use

    echo "a sentence" | unrolled predict FOLDER
    unrolled evaluate FOLDER test.source test.target

    import unrolled
    translator = unrolled.load("FOLDER")
    print(translator.translate("a sentence").text)

## Sizes

```json
{sizes}
```
"""


def captioner_card(config: dict[str, Any]) -> str:
    """Markdown that says what a captioner is, what it was trained on, how good it is and how to use it."""
    data, metrics = config.get("data") or {}, config.get("metrics") or {}
    rows = metric_rows(metrics)
    sources = ", ".join(data.get("sources", [])[:10]) or "not recorded"
    sizes = json.dumps(config["model"] | {"encoder": config["encoder"]}, indent=1)
    return f"""# A captioner made with unrolled {config["unrolled"]}

Trained on: {sources} ({data.get("train", "?")} images with {data.get("captions", "?")} captions, {data.get("valid", "?")}
images held out to choose the best model).

| metric | value |
|---|---|
{rows}
Licence of the model and of its data, and of the weights that the encoder began with: fill in.

## Use

    unrolled predict FOLDER photo.jpg
    unrolled evaluate FOLDER captions.tsv --images PHOTOS

    import unrolled
    captioner = unrolled.load("FOLDER")
    print(captioner.caption("photo.jpg").text)

## Sizes

```json
{sizes}
```
"""


def recognizer_card(config: dict[str, Any]) -> str:
    """Markdown that says what a speech recogniser is, what it was trained on, how good it is and how to use it."""
    data, metrics = config.get("data") or {}, config.get("metrics") or {}
    rows = metric_rows(metrics)
    sources = ", ".join(data.get("sources", [])[:10]) or "not recorded"
    return f"""# A speech recogniser made with unrolled {config["unrolled"]}

Network: {config["model"]["head"]}. Trained on: {sources} ({data.get("train", "?")} recordings,
{data.get("train_seconds", 0) / 3600:.2f} hours, {data.get("valid", "?")} held out to choose by).

On those held out; `unrolled evaluate` says how good it is on others:

| metric | value |
|---|---|
{rows}
Licence of the model and of its data: fill in.

## Use

    unrolled predict FOLDER talk.mp3 --timestamps
    unrolled evaluate FOLDER test.tsv

    import unrolled
    recognizer = unrolled.load("FOLDER")
    print(recognizer.transcribe("talk.mp3").text)

## Sizes

```json
{json.dumps(config["model"], indent=1)}
```
"""
