"""Recognisers: reduction, the models, CTC's search with helpers and beside attention, times, streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from unrolled.data.arpa import NGrams, read_arpa
from unrolled.decoding.alignment import align
from unrolled.decoding.beam import beam_search
from unrolled.decoding.ctc import closed, collapse, prefix_search
from unrolled.decoding.joint import JointStepper
from unrolled.decoding.scorers import Hotwords, SymbolModel, WordModel
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError
from unrolled.features.spoken_rows import SpokenBatch, spoken_batch
from unrolled.layers.ctc import frames_needed
from unrolled.layers.reduction import REDUCTIONS, Reduction
from unrolled.models.recognizer import HEADS, AttentionRecognizer, RecognizerConfig, built
from unrolled.tasks.fusion import NeuralModel

BLANK = 1
TEXTS = [np.array(ids) for ids in ([2, 3, 1], [4, 4, 2, 1], [1], [5, 1])]


def reduction(name: str, n_features: int, factor: int) -> Reduction:
    torch.manual_seed(0)
    return REDUCTIONS[name](n_features, factor)


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_step_looks_at_its_window_and_nothing_else(name: str, factor: int) -> None:
    layer, x = reduction(name, 10, factor), torch.randn(1, 23, 10)
    found = layer(x)
    assert found.shape == (1, int(layer.steps(torch.tensor(23))), layer.output_size)
    for t in range(23):
        changed = x.clone()
        changed[0, t] += 1
        differs = (layer(changed) != found).any(2)[0].nonzero().flatten().tolist()
        assert all(i * factor <= t < i * factor + layer.window for i in differs)
        assert differs
    batch = torch.zeros(2, 31, 10)
    batch[0, :23], batch[1] = x[0], torch.randn(31, 10)
    torch.testing.assert_close(layer(batch)[0, : found.shape[1]], found[0])
    n = (23 - layer.window) // factor + 1
    torch.testing.assert_close(layer.reduce(x[:, : (n - 1) * factor + layer.window]), found[:, :n])


def test_reductions_that_cannot_be() -> None:
    for name, factor in (("stack", 0), ("convolution", 3)):
        with pytest.raises(ConfigError):
            reduction(name, 4, factor)


def config(head: str, **changes: Any) -> RecognizerConfig:
    sizes = {"n_target": 6, "n_features": 8, "encoder_size": 7, "encoder_layers": 2, "decoder_size": 9, "embedding_size": 5}
    return RecognizerConfig(head=head, **(sizes | {"attention_size": 4, "front": "convolution"} | changes))


def batch(seed: int = 0) -> SpokenBatch:
    torch.manual_seed(seed)
    return spoken_batch([torch.randn(n, 8) for n in (12, 20, 6, 9)], TEXTS, begin=6)


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_of_a_batch_is_that_of_its_rows(head: str) -> None:
    model, whole = built(config(head)).double().eval(), batch()
    whole = SpokenBatch(whole.frames.double(), *(getattr(whole, n) for n in list(whole.__dataclass_fields__)[1:]))
    found = model.loss(whole)
    rows = [model.loss(whole.shard(i, 4)) for i in range(4)]
    torch.testing.assert_close(found.loss, torch.stack([row.loss for row in rows]).sum())
    assert found.n_tokens == sum(row.n_tokens for row in rows) == 10
    assert found.penalty is not None
    torch.testing.assert_close(found.penalty * 10, torch.stack([row.penalty * row.n_tokens for row in rows]).sum())
    (found.loss + found.penalty).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not without, without


def test_what_does_not_fit_is_refused() -> None:
    for changes in ({"head": "magic"}, {"front": "magic"}, {"ctc_weight": 1.0}):
        with pytest.raises(ConfigError):
            config(**({"head": "ctc"} | changes))
    with pytest.raises(ConfigError, match="only ctc can be streamed"):
        config("attention", bidirectional=False)


def test_a_text_that_was_sped_up_too_much_counts_nothing() -> None:
    model = built(config("ctc")).eval()
    short = spoken_batch([torch.randn(2, 8)], [np.array([2, 2, 2, 1])], begin=6)
    found = model.loss(short).loss
    assert float(found.detach()) == 0
    assert frames_needed(np.array([2, 2, 2])) == 5


def frames(steps: int, n: int, seed: int, scale: float = 2.0) -> np.ndarray:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(steps, n)) * scale).log_softmax(1).numpy()


def every_text(logs: np.ndarray) -> dict[tuple[int, ...], float]:
    """P of every text, summed over all alignments."""
    found: dict[tuple[int, ...], float] = {}
    for alignment in product(range(logs.shape[1]), repeat=len(logs)):
        text = tuple(collapse(alignment, BLANK))
        found[text] = found.get(text, 0.0) + math.exp(sum(logs[t, k] for t, k in enumerate(alignment)))
    return found


def test_occupancy_is_counted_over_all_alignments() -> None:
    logs, text = frames(5, 4, 3), [2, 0, 0]
    total, gamma = 0.0, np.zeros((5, 3))
    for alignment in product(range(4), repeat=5):
        if collapse(alignment, BLANK) == text:
            p = math.exp(sum(logs[t, k] for t, k in enumerate(alignment)))
            at, last = -1, BLANK
            for t, k in enumerate(alignment):
                at += k not in (BLANK, last)
                last = k
                if k != BLANK:
                    gamma[t, at] += p
            total += p
    found = align(logs, np.array(text), BLANK)
    np.testing.assert_allclose(found.occupancy, gamma / total, atol=1e-12)
    assert found.log_probability == pytest.approx(math.log(total))
    assert (found.begins < found.ends).all()
    assert (np.diff(found.begins) > 0).all()
    with pytest.raises(DataError, match="cannot be aligned"):
        align(logs[:3], np.array(text), BLANK)
    assert len(align(logs, np.zeros(0, np.int64), BLANK).begins) == 0


def test_given_texts_are_compared_exactly() -> None:
    logs = frames(4, 4, 5)
    p = every_text(logs)
    texts = [(2,), (2, 3), (), (0, 0, 0), (3, 3, 3)]
    found = closed(logs, [np.array(t, np.int64) for t in texts], BLANK)
    expected = [math.log(p[t]) if t in p else -np.inf for t in texts]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


class Table:
    """A model of characters whose answers are made up, but always the same: a `TextModel`."""

    def __init__(self, *, words: bool = False) -> None:
        self.words = words

    def first(self) -> str:
        return ""

    @staticmethod
    def log_p(context: str, token: str) -> float:
        return -float(np.random.default_rng([len(context), *map(ord, context + token)]).uniform(0, 5))

    def read(self, asked: Sequence[tuple[Any, str]]) -> list[tuple[float, Any]]:
        return [(self.log_p(context, token), f"{context}{token}{'_' if self.words else ''}") for context, token in asked]

    def ending(self, contexts: Sequence[Any]) -> list[float]:
        return [self.log_p(context, "$") for context in contexts]


PIECES = ["?", "", "a", " ", "b"]


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_search_with_a_language_model_is_exhaustive(seed: int, words: bool) -> None:
    logs, model = frames(5, 5, seed), Table(words=words)
    logs[:, 0] = -50
    scorer = (WordModel if words else SymbolModel)(model, PIECES, 0.7, 0.3)

    def score(text: tuple[int, ...], p: float) -> float:
        said = "".join(PIECES[k] for k in text)
        tokens, context, total = said.split() if words else list(said), "", math.log(p)
        for token in tokens:
            ((log_p, context),) = model.read([(context, token)])
            total += 0.7 * log_p + 0.3
        return total + 0.7 * model.ending([context])[0]

    ranked = sorted(((score(t, p), t) for t, p in every_text(logs).items() if 0 not in t), reverse=True)
    found = prefix_search(logs, 3000, BLANK, n_best=20, least=0, scorers=[scorer])
    np.testing.assert_allclose([one.score for one in found], [s for s, _ in ranked[:20]], atol=1e-6)
    assert found[0].symbols == list(ranked[0][1])


def test_the_scored_search_without_anything_to_add_is_the_search() -> None:
    nothing = SymbolModel(Table(), PIECES, 0.0, 0.0)
    for seed in range(5):
        logs = frames(60, 5, seed, scale=4)
        plain, scored = prefix_search(logs, 8, BLANK, n_best=8), prefix_search(logs, 8, BLANK, n_best=8, scorers=[nothing])
        assert [one.symbols for one in plain] == [one.symbols for one in scored]
        np.testing.assert_allclose([one.score for one in plain], [one.log_probability for one in scored], atol=1e-9)


def test_hotwords_are_worth_their_letters_when_they_are_whole() -> None:
    """Each prefix is worth its whole phrases and the best that is under way; at the end only what is whole stays."""

    def worth(text: str, phrases: Sequence[str]) -> tuple[float, float]:
        scorer, added, nodes = Hotwords(phrases, list("ab "), 1.0), 0.0, [0]
        scorer.begin()
        for letter in text:
            added += float(scorer.grow(np.array([nodes[-1]]), np.array(["ab ".index(letter)]))[0])
            nodes.append(len(nodes))
        return added, added + float(scorer.end(np.array([nodes[-1]]))[0])

    assert worth("ab", ["ab"]) == (2, 2)
    assert worth("ab ", ["ab"]) == (2, 2)
    assert worth("aba", ["ab"]) == (0, 0)
    assert worth("bab", ["ab"]) == (0, 0)
    assert worth("b ab a", ["ab"]) == (3, 2)
    assert worth("ab b", ["ab ba"]) == (4, 0)
    assert worth("ab ba", ["ab ba", "ab"]) == (5, 5)
    assert worth("ab b", ["ab ba", "ab"]) == (4, 2)
    assert worth("ab ba a", ["ab ba", "ba a"]) == (9, 9)
    assert worth("ab ab", ["ab"]) == (4, 4)


def test_hotwords_change_what_is_heard_and_none_are_refused() -> None:
    logs = np.full((6, 5), -6.0)
    for t, (first, second) in enumerate([(2, 2), (1, 1), (3, 3), (1, 1), (2, 4), (1, 1)]):  # a, blank, " ", blank, a or b
        logs[t, [first, second]] = [-0.6, -0.9] if first != second else [-0.1, -0.1]
    texts = ["".join(PIECES[k] for k in prefix_search(logs, 8, BLANK, scorers=s)[0].symbols)
             for s in ([], [Hotwords(["b"], PIECES, 1.0)])]  # fmt: skip
    assert texts == ["a a", "a b"]
    with pytest.raises(ConfigError):
        Hotwords([" "], PIECES, 1.0)


ARPA = r"""\data\
ngram 1=5
ngram 2=2

\1-grams:
-1.0	<s>	-0.5
-0.7	ah	-0.3
-0.9	b
-2.0	<unk>
-0.4	</s>

\2-grams:
-0.2	<s> ah
-0.6	ah b

\end\
"""


def test_an_arpa_file_backs_off(tmp_path: Path) -> None:
    (tmp_path / "a.arpa").write_text(ARPA)
    model = read_arpa(tmp_path / "a.arpa")
    assert (model.words, model.order) == (True, 2)
    (p, context), (q, _), (r, _) = model.read([(("<s>",), "ah"), (("ah",), "ah"), (("ah",), "c")])
    assert (p, context) == (pytest.approx(-0.2 * math.log(10)), ("ah",))
    assert q == pytest.approx((-0.3 - 0.7) * math.log(10))
    assert r == pytest.approx((-0.3 - 2.0) * math.log(10))
    assert model.ending([("b",)]) == [pytest.approx(-0.4 * math.log(10))]
    assert not NGrams({("a",): (-1.0, 0.0), ("<s>",): (-1.0, 0.0)}, 1).words
    (tmp_path / "bad.arpa").write_text("\\data\\\nngram 1=1\n\\1-grams:\n-0.2\ta b\n")
    (tmp_path / "no.arpa").write_text("hello\n")
    for name, reason in (("bad", "line 4: got .*, expected log10 P"), ("no", "no language model in the ARPA format")):
        with pytest.raises(DataError, match=rf"{name}\.arpa.*{reason}"):
            read_arpa(tmp_path / f"{name}.arpa")


def test_a_language_model_of_ours_says_what_its_score_says(run_folder: Path) -> None:
    trained = unrolled.load(run_folder)
    model, text = NeuralModel(trained), "the list"
    assert not model.words
    start = torch.full((1, 1), trained.codec.vocabulary.begin)
    assert start.shape == (1, 1)
    context, total = model.first(), 0.0
    for letter in text:
        ((log_p, context),) = model.read([(context, letter)])
        total += log_p
    with_line = [nats for _, nats in trained.score("\n" + text).tokens]
    assert total == pytest.approx(-sum(with_line[1:]), rel=1e-4)
    both = model.read([(model.first(), "t"), (model.first(), "a")])
    assert both[0][0] == pytest.approx(-with_line[1], rel=1e-4)


class Uniform:
    """A decoder that knows nothing: a `Stepper` of V symbols."""

    def __init__(self, n: int) -> None:
        self.n = n

    def start(self, source: Any) -> tuple[None, torch.Tensor]:
        return None, torch.zeros(len(source), 1)

    def step(self, last: torch.Tensor, state: Any, memory: None, rows: torch.Tensor) -> tuple[torch.Tensor, Any]:
        return torch.zeros(len(last), self.n), state


def test_ctc_beside_a_decoder_says_what_all_alignments_say() -> None:
    """With all the weight, the score of a text is log P by CTC: its steps multiply to P of the text itself."""
    logs = np.stack([frames(5, 5, 1), frames(5, 5, 2)])
    lengths = torch.tensor([5, 4])
    stepper = JointStepper(Uniform(5), 1.0, blank=BLANK, begin=5, unknown=0)
    logs[:, :, 0] = -np.inf
    p = torch.from_numpy(logs).log_softmax(2)
    begin = torch.full((2,), 5)
    options = BeamOptions(width=400, n_best=30, norm="none", max_length=5)
    found = beam_search(stepper, (begin, p, lengths), begin, options, end=BLANK, forbidden=[0])
    for i, one in enumerate(found):
        expected = every_text(p[i, : lengths[i]].numpy())
        for hypothesis in one.hypotheses:
            text = tuple(k for k in hypothesis.symbols if k != BLANK)
            if text in expected and expected[text] > 1e-9:
                assert hypothesis.log_probability == pytest.approx(math.log(expected[text]), abs=1e-4)
        best = max(expected, key=expected.__getitem__)
        assert tuple(k for k in one.hypotheses[0].symbols if k != BLANK) == best
    with pytest.raises(ConfigError):
        JointStepper(Uniform(5), 1.5, blank=BLANK, begin=5, unknown=0)


def test_contradiction_makes_a_text_unlikely() -> None:
    """A decoder that is sure of a symbol that CTC excludes does not get it for nothing."""

    class Sure(Uniform):
        def step(self, last: torch.Tensor, state: Any, memory: None, rows: torch.Tensor) -> tuple[torch.Tensor, Any]:
            logits = torch.full((len(last), 5), -20.0)
            logits[:, 4] = 0
            return logits, state

    logs = torch.full((1, 3, 5), -20.0)
    logs[:, :, 2] = 0
    stepper = JointStepper(Sure(5), 0.5, blank=BLANK, begin=5, unknown=0)
    memory, state = stepper.start((torch.tensor([5]), logs.log_softmax(2), torch.tensor([3])))
    scores, _ = stepper.step(torch.tensor([5]), state, memory, torch.tensor([0]))
    assert scores.exp().sum() == pytest.approx(1, abs=1e-4)
    assert scores[0, 1:].max() < -8


def test_a_decoder_begins_from_what_is_heard() -> None:
    model = built(config("hybrid")).eval()
    assert isinstance(model, AttentionRecognizer)
    x = batch()
    with torch.no_grad():
        listened = model.listener(x.frames, x.lengths)
        memory, _ = model.start(listened)
    assert memory is not None
    torch.testing.assert_close(memory.values, listened.h.transpose(0, 1))
