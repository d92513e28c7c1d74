"""What is wrong with texts and what belongs to them, before a training: pairs of sentences, labelled words, captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from unrolled.data.captions import Captioned
from unrolled.data.images import decode_image, image_bytes
from unrolled.data.pairs import Pairs
from unrolled.data.tagged import Tagged
from unrolled.errors import DataError
from unrolled.features.fingerprints import fingerprints
from unrolled.features.image_store import content_key
from unrolled.tasks.faults import Fault, Findings, outliers, rare_letters

__all__ = ["examine_captions", "examine_pairs", "examine_tagged"]

_PAIRS = {
    "copied": "both sides are the same",
    "outlier": "one side much longer than usual",
    "repeated": "the same pair again",
    "rare": "characters in one pair only",
}
_TAGGED = {
    "contradictory": "the same sentence, other labels",
    "entity": "an entity goes on that has not begun",
    "rare": "labels that stand there once",
    "repeated": "the same sentence again",
}
_CAPTIONS = {
    "unread": "cannot be read",
    "repeated": "the same image twice",
    "short": "captions of one word",
    "everywhere": "one caption for many images",
}
#: Images that may have the same caption.
_OFTEN = 5


def _again(keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Which of n were there before: its number, and that of the first that is like it."""
    first = dict[int, int]()
    for i, key in enumerate(keys):
        if key in first:
            yield i, first[key]
        first.setdefault(key, i)


def examine_pairs(pairs: Pairs) -> Findings:
    """Sentences that are no translations, stand there twice, or are far longer on one side."""
    found, places = Findings(_PAIRS), pairs.places
    both = list(zip(pairs.sources, pairs.targets, strict=True))
    found.facts = {"pairs": len(pairs), "with_an_empty_side": pairs.empty}
    keys = fingerprints(f"{a}\n{b}" for a, b in both).tolist()
    found.faults = [Fault("repeated", places[i], f"stands at {places[k]} too") for i, k in _again(keys)]
    found.faults += [Fault("copied", places[i], repr(a[:60])) for i, (a, b) in enumerate(both) if a == b and len(a) > 3]
    for i, size in outliers([(len(a) + 5) / (len(b) + 5) for a, b in both]):
        found.faults.append(Fault("outlier", places[i], f"{both[i][0][:50]!r} against {both[i][1][:50]!r}", size))
    found.faults += rare_letters(map("".join, both), places)
    return found


def examine_tagged(examples: Tagged) -> Findings:
    """Sentences with other labels than elsewhere, labels that stand alone, entities without a beginning."""
    found, places = Findings(_TAGGED), examples.places
    labels = Counter(label for some in examples.labels for label in some)
    found.facts = {"sentences": len(examples), "words": sum(map(len, examples.words)), "labels": dict(labels.most_common())}
    found.facts["cut, with more than 1,000 words"] = examples.cut
    keys = fingerprints(map(" ".join, examples.words)).tolist()
    for i, k in _again(keys):
        same = examples.labels[i] == examples.labels[k]
        what = f"{' '.join(examples.words[i])[:60]!r} stands at {places[k]} too"
        found.faults.append(Fault("repeated" if same else "contradictory", places[i], what))
    for words, some, place in zip(examples.words, examples.labels, places, strict=True):
        for (before, label), word in zip(pairwise(("O", *some)), words, strict=True):
            if label.startswith("I-") and before[2:] != label[2:]:
                found.faults.append(
                    Fault("entity", place, f"{word!r} is {label} after {before}: B-{label[2:]} is expected")
                )
            if labels[label] == 1:
                found.faults.append(Fault("rare", place, f"{label!r}, of {word!r}"))
    return found


def examine_captions(captioned: Captioned) -> Iterator[int | Findings]:
    """Images that cannot be read or stand there twice, captions that say nothing: how many images have been looked at, now
    and then; then what was found.
    """
    found, seen = Findings(_CAPTIONS), dict[bytes, str]()
    found.faults = [Fault("unread", "", "is not there", file=path) for path in captioned.missing]
    for i, image in enumerate(captioned.images):
        if i % 100 == 0:
            yield i
        name = "pixels" if isinstance(image, np.ndarray) else str(image)
        if isinstance(image, Path):
            try:
                data = image_bytes(image)
                decode_image(data, name, 64)
            except DataError as error:
                found.faults.append(Fault("unread", "", str(error), file=name))
                continue
            key = content_key(data)
            if key in seen:
                found.faults.append(Fault("repeated", "", f"has the same content as {seen[key]}", file=name))
            seen.setdefault(key, name)
        for text in captioned.captions[i]:
            if len(text.split()) == 1:
                found.faults.append(Fault("short", "", repr(text), file=name))
    often = Counter(text for some in captioned.captions for text in set(some))
    most = [(text, n) for text, n in often.most_common() if n > _OFTEN]
    found.faults += [Fault("everywhere", "", f"{n:,} images: {text[:60]!r}", n) for text, n in most]
    found.facts = {"images": len(captioned), "captions": sum(map(len, captioned.captions))}
    found.facts |= {"empty_captions": captioned.empty, "images_without_a_caption": captioned.bare}
    yield found
