"""What a user may say about word vectors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import SET, Condition, conditions, when
from unrolled.config import Section

__all__ = ["FIXED", "PRESETS", "ObjectiveOptions", "ScheduleOptions", "WordDataOptions", "WordVectorsOptions"]


class WordDataOptions(Section):
    """How the text is read."""

    tokens: Literal[
        "auto",
        "words",
        "cased-words",
        "words-and-marks",
        "whitespace",
        "graphemes",
        "graphemes-and-marks",
        "chinese-words",
    ] = Field(
        "auto",
        description="What a word is: letters and digits in lower case (a Han character is a word); as written; between "
        "blanks; a dictionary's. auto: words, or by script chinese-words (extra zh) or graphemes.",
    )
    min_count: int = Field(5, ge=1, le=10**9, description="Rarer words get no vector.")
    vocabulary_size: int | None = Field(None, ge=2, description="Most words that get a vector; unset: all.")
    phrases: int = Field(
        0,
        ge=0,
        le=10,
        description="How often words that belong together are joined: new york to new_york; twice: up to four.",
    )
    phrase_threshold: float = Field(
        0.5, ge=-1, le=1, description="Normalised mutual information from which words belong together: 0 chance, 1 always."
    )
    phrase_count: int = Field(20, ge=2, le=10**9, description="Words that meet less often are not joined.")
    encoding: str = Field("utf-8", description="Encoding of the files.")


class ObjectiveOptions(Section):
    """What the vectors learn."""

    architecture: Literal["skip-gram", "cbow"] = Field(
        "skip-gram", description="Each word of a window predicts its centre, or their mean does."
    )
    objective: Literal["negative-sampling", "hierarchical-softmax", "softmax"] = Field(
        "negative-sampling", description="What stands for the softmax over all words; softmax itself: small vocabularies."
    )
    context: Literal["around", "left"] = Field(
        "around", description="The window: both sides, or the words to the left alone."
    )
    vector_size: int = Field(100, ge=1, le=65_536, description="Numbers in a vector.")
    word_window: int = Field(5, ge=1, le=1000, description="Most words on each side; each window's size is drawn anew.")
    negatives: int = Field(5, ge=1, le=1000, description="Words drawn from the noise for each window.")
    noise_exponent: float = Field(0.75, ge=-10, le=10, description="Noise is drawn by frequency to this power.")
    subsample: float = Field(
        1e-3, ge=0, le=1, description="Words more frequent than this part of the text are dropped at random; 0: none."
    )
    exact: bool = Field(
        False,
        description="Draw noise for each pair of words and learn pair by pair, as word2vec does: three times slower.",
    )
    cbow_gradient: Literal["divided", "word2vec"] = Field(
        "divided", description="Each word of a CBOW mean moves by its share of the gradient, or by all of it."
    )
    subwords: bool = Field(
        False,
        description="Learn parts of words too, as fastText does: unseen words get a vector. A quarter of the speed.",
    )
    min_ngram: int = Field(3, ge=1, le=100, description="Characters of the shortest parts; < and > mark a word's ends.")
    max_ngram: int = Field(6, ge=1, le=100, description="Characters of the longest.")
    buckets: int = Field(
        2_000_000, ge=1, lt=2**31, description="Parts are told apart by a hash; this many can be. Only those met are kept."
    )


class ScheduleOptions(Section):
    """Length and order of the training."""

    minutes: float | None = Field(
        None, gt=0, le=1e6, description="Time to train for, from the first step to the last test. Switches off the epochs."
    )
    epochs: int | None = Field(
        None, ge=1, le=100_000, description="Passes over the text, exactly; 5 where no other limit is given."
    )
    max_steps: int | None = Field(
        None, ge=1, le=10**12, description="Steps of 10,000 words of text, exactly. Switches off the default epochs."
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=10,
        description="At the beginning, falling to a 250th; unset: .025; .05 for CBOW and with sub-words; .1 for CBOW "
        "with negative sampling and a divided gradient; in n processes n times that, 4 times at most.",
    )
    seed: int = Field(1, ge=0, lt=2**63, description="Seed of all random numbers.")
    threads: int = Field(0, ge=0, le=256, description="Threads that train at once on the same tables; 0: all cores.")
    deterministic: bool = Field(
        False, description="The same vectors for the same seed and threads: threads take turns, as slow as one."
    )
    average_words: int = Field(
        1_000_000,
        ge=1,
        le=10**12,
        description="In several processes: words that each reads before their tables are averaged.",
    )
    patience: int = Field(2, ge=1, le=10**9, description="With --probe: stop after this many epochs without a better one.")


class WordVectorsOptions(Section):
    """All options of the task, by section."""

    data: WordDataOptions = WordDataOptions()
    model: ObjectiveOptions = ObjectiveOptions()
    training: ScheduleOptions = ScheduleOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        {
            "phrases": when("start", False),
            "phrase_threshold": when("phrases", SET) & when("start", False),
            "phrase_count": when("phrases", SET) & when("start", False),
            "negatives": when("objective", "negative-sampling"),
            "noise_exponent": when("objective", "negative-sampling"),
            "exact": when("objective", "negative-sampling") & when("architecture", "skip-gram"),
            "cbow_gradient": when("architecture", "cbow"),
            "min_ngram": when("subwords", True),
            "max_ngram": when("subwords", True),
            "buckets": when("subwords", True),
            "average_words": when("processes", True),
            "patience": when("probe", True),
        },
    )


#: What vectors that are learned on keep: what a word is, and the shape and meaning of the tables.
FIXED = ("tokens", "vector_size", "objective", "context", "architecture", "subwords", "min_ngram", "max_ngram", "buckets")

#: Flat settings by name.
PRESETS: dict[str, dict[str, Any]] = {}
