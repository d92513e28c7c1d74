"""Beam search against exhaustive search, and its promises: proof, independence of the company, scores to be checked."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import unrolled
from test_cli import run
from unrolled.decoding.beam import Found, Hypothesis, beam_search
from unrolled.decoding.ensemble import Ensemble, Joint
from unrolled.decoding.exact import Exact, exact_search
from unrolled.decoding.required import Prescribed
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError
from unrolled.kernels.choose import best_of, largest, log_sums

N_SYMBOLS, END, BEGIN = 4, 0, 4


class Table:
    """A model whose logits depend on the sentence and on all symbols so far, by a random table."""

    def __init__(self, seed: int = 0, sharpness: float = 1.5) -> None:
        self.seed, self.sharpness = seed, sharpness

    def start(self, source: Tensor) -> tuple[Tensor, Tensor]:
        return source, torch.stack((source, torch.zeros_like(source)), 1)  # the sentence, and a number for what has come

    def step(self, last: Tensor, state: Tensor, memory: Tensor, sentence_of_row: Tensor) -> tuple[Tensor, Tensor]:
        assert torch.equal(memory[sentence_of_row], state[:, 0])
        state = torch.stack((state[:, 0], (state[:, 1] * 31 + last + 1) % 1_000_003), 1)
        drawn = [np.random.default_rng([self.seed, *row]).normal(size=N_SYMBOLS) for row in state.tolist()]
        return torch.tensor(np.array(drawn)) * self.sharpness, state


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 40])
def test_sums_and_the_largest_of_logits(rows: int, kind: type) -> None:
    """On one thread and several; of equals the first; also where logits are far apart, infinite, or no numbers."""
    rng = np.random.default_rng(rows)
    logits = (rng.normal(size=(rows, 1003)) * rng.choice([1, 10, 200], size=(rows, 1))).astype(kind).round(1)
    logits[0, :7] = -np.inf
    expected = torch.from_numpy(logits.astype(np.float64)).logsumexp(1).numpy()
    np.testing.assert_allclose(log_sums(logits, 2), expected, rtol=0, atol=1e-5 if kind is np.float32 else 1e-12)
    values, columns = largest(logits, 5, 2)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert (columns == order).all()
    assert (values == np.take_along_axis(logits, order, 1)).all()
    logits[-1, 3] = np.nan
    assert np.isnan(log_sums(logits)[-1])
    logits[0] = -np.inf
    assert log_sums(logits)[0] == -np.inf


def test_the_best_of_each_sentence() -> None:
    rng = np.random.default_rng(3)
    token = -np.sort(rng.integers(0, 6, size=(7, 4)).astype(float), axis=1)
    token[2, 1:] = token[5] = -np.inf
    before, sentence = -rng.integers(0, 3, size=7).astype(float), np.array([0, 0, 0, 2, 2, 3, 4])
    rows, columns = best_of(token, before, sentence, 3)
    expected = []
    for i in np.unique(sentence):
        offers = [(token[r, c] + before[r], r, c) for r in np.flatnonzero(sentence == i) for c in range(4)]
        best = sorted((offer for offer in offers if np.isfinite(offer[0])), key=lambda offer: -offer[0])
        expected += [(r, c) for _, r, c in best[:3]]
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


def search(model: Table, options: BeamOptions, sentences: list[int], **more: object) -> list[Found]:
    begin = torch.full((len(sentences),), BEGIN)
    return beam_search(model, torch.tensor(sentences), begin, options, **({"end": END} | more))  # type: ignore[arg-type]


def rescored(model: Table, sentence: int, symbols: list[int]) -> list[float]:
    """log P of each symbol, forced."""
    memory, state = model.start(torch.tensor([sentence]))
    last, found = torch.tensor([BEGIN]), []
    for symbol in symbols:
        logits, state = model.step(last, state, memory, torch.tensor([0]))
        found.append(float(logits.log_softmax(1)[0, symbol]))
        last = torch.tensor([symbol])
    return found


def every(model: Table, sentence: int, options: BeamOptions) -> list[tuple[float, list[int]]]:
    """All complete sequences of at most `max_length` symbols and the end, best first."""
    found = []
    for n in range(options.max_length + 1):
        for middle in itertools.product(range(1, N_SYMBOLS), repeat=n):
            symbols = [*middle, END]
            score = options.score(np.array(sum(rescored(model, sentence, symbols))), len(symbols))
            found.append((float(score), symbols))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("norm", ["none", "average", "gnmt"])
@pytest.mark.parametrize("reward", [0.0, 0.4])
def test_a_wide_beam_is_exhaustive_search(norm: str, reward: float) -> None:
    options = BeamOptions(width=200, n_best=3, norm=norm, alpha=0.7, reward=reward, max_length=4)
    for seed in range(3):
        (found,) = search(Table(seed), options, [seed + 1])
        expected = every(Table(seed), seed + 1, options)[:3]
        assert [h.symbols for h in found.hypotheses] == [symbols for _, symbols in expected]
        np.testing.assert_allclose([h.score for h in found.hypotheses], [score for score, _ in expected], rtol=1e-9)
        assert found.optimal_in_beam


def greedy(model: Table, sentence: int, most: int) -> list[int]:
    memory, state = model.start(torch.tensor([sentence]))
    last, symbols = torch.tensor([BEGIN]), list[int]()
    for t in range(most + 1):
        logits, state = model.step(last, state, memory, torch.tensor([0]))
        last = logits.argmax(1) if t < most else torch.tensor([END])
        symbols.append(int(last))
        if symbols[-1] == END:
            break
    return symbols


def test_a_width_of_one_is_greedy() -> None:
    for sentence in range(1, 15):
        (found,) = search(Table(1), BeamOptions(width=1, max_length=8), [sentence])
        assert found.hypotheses[0].symbols == greedy(Table(1), sentence, 8)


@pytest.mark.parametrize("options", [BeamOptions(4, 4, max_length=7), BeamOptions(3, 2, "none", max_length=7, no_repeat=2)])
def test_neither_company_nor_the_number_returned_changes_a_result(options: BeamOptions) -> None:
    together = search(Table(2), options, [5, 9, 2, 7])
    for sentence, found in zip([5, 9, 2, 7], together, strict=True):
        (alone,) = search(Table(2), options, [sentence])
        assert alone == found
        (first,) = search(Table(2), replace(options, n_best=1), [sentence])
        assert first.hypotheses == found.hypotheses[:1]
        for hypothesis in found.hypotheses:
            again = rescored(Table(2), sentence, hypothesis.symbols)
            np.testing.assert_allclose(hypothesis.token_scores, again, atol=1e-9)
            assert hypothesis.log_probability == pytest.approx(sum(again), abs=1e-9)
            assert hypothesis.score == pytest.approx(float(options.score(np.array(sum(again)), len(again))), abs=1e-9)
        scores = [h.score for h in found.hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_it_ends_early_only_when_nothing_can_win() -> None:
    long = BeamOptions(width=3, norm="average", alpha=1.0, max_length=40)
    for sentence in range(1, 8):
        model = Table(3, sharpness=3.0)
        (found,) = search(model, long, [sentence])
        assert found.optimal_in_beam
        best = found.hypotheses[0].score
        for length in range(found.steps, 40):
            (other,) = search(Table(3, sharpness=3.0), replace(long, min_length=length), [sentence])
            assert not other.hypotheses or other.hypotheses[0].score <= best + 1e-12
    (found,) = search(Table(3, sharpness=6.0), replace(long, norm="none"), [1])
    assert found.steps < 40


def test_lengths_prefixes_and_what_must_not_come() -> None:
    (found,) = search(Table(4), BeamOptions(width=4, n_best=4, min_length=3, max_length=5), [3])
    assert all(4 <= len(h.symbols) <= 6 and h.symbols[-1] == END for h in found.hypotheses)
    first, second = search(
        Table(4), BeamOptions(width=4, n_best=4, max_length=5), [3, 6], prescribed=[Prescribed([2, 2]), Prescribed()]
    )
    assert all(h.symbols[:2] == [2, 2] for h in first.hypotheses)
    assert [second] == search(Table(4), BeamOptions(width=4, n_best=4, max_length=5), [6])
    (found,) = search(Table(4), BeamOptions(width=4, n_best=4, max_length=5), [3], forbidden=[1])
    assert all(1 not in h.symbols for h in found.hypotheses)
    (found,) = search(Table(4), BeamOptions(width=4, min_length=9, max_length=9, no_repeat=2), [3])
    pairs = list(itertools.pairwise(found.hypotheses[0].symbols[:-1]))
    assert len(pairs) == len(set(pairs)) == 8
    (found,) = search(Table(4), BeamOptions(width=4, n_best=2, max_length=6), [3], end=None)
    assert [len(h.symbols) for h in found.hypotheses] == [6, 6]
    with pytest.raises(ConfigError, match="longer than max-length 5"):
        search(Table(4), BeamOptions(max_length=5), [3], prescribed=[Prescribed([1] * 6)])


class Even:
    """Every symbol has the same probability, whatever came before."""

    def start(self, source: Tensor) -> tuple[None, Tensor]:
        return None, torch.zeros(len(source), 1)

    def step(self, last: Tensor, state: Tensor, memory: None, sentence_of_row: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(last), 10), state


def test_probabilities_would_underflow_where_their_logarithms_do_not() -> None:
    product = 1.0
    for _ in range(400):
        product *= 0.1
    assert product == 0
    options = BeamOptions(width=2, norm="none", max_length=400)
    (found,) = beam_search(Even(), torch.zeros(1), torch.zeros(1, dtype=torch.long), options)
    assert found.hypotheses[0].score == pytest.approx(400 * math.log(0.1))


class Looking(NamedTuple):
    """A state that tells where the model looks."""

    hidden: Tensor
    attention: Tensor


class Attending(Table):
    """It looks at the place that the last symbol names."""

    def start(self, source: Tensor) -> tuple[Tensor, Looking]:  # type: ignore[override]
        memory, state = super().start(source)
        return memory, Looking(state, torch.ones(len(source), 5))  # all positions are true ones

    def step(self, last: Tensor, state: Looking, memory: Tensor, sentence_of_row: Tensor) -> tuple[Tensor, Looking]:  # type: ignore[override]
        logits, hidden = super().step(last, state.hidden, memory, sentence_of_row)
        return logits, Looking(hidden, torch.nn.functional.one_hot(last, 5).float())


def test_every_hypothesis_has_its_own_attention() -> None:
    for found in search(Attending(5), BeamOptions(4, 4, max_length=6), [3, 8]):
        assert len(found.hypotheses) == 4
        for hypothesis in found.hypotheses:
            assert hypothesis.attention is not None
            assert hypothesis.attention.argmax(1).tolist() == [BEGIN, *hypothesis.symbols[:-1]]


def test_what_was_never_looked_at_costs() -> None:
    plain, costly = BeamOptions(4, 4, max_length=6), BeamOptions(4, 4, max_length=6, coverage=0.3)
    (found,), (other,) = search(Attending(5), plain, [3]), search(Attending(5), costly, [3])
    scores = {tuple(h.symbols): h for h in found.hypotheses}
    for hypothesis in other.hypotheses:
        assert hypothesis.attention is not None
        looked = np.clip(hypothesis.attention.sum(0), 1e-9, 1)
        plain_score = float(plain.score(np.array(hypothesis.log_probability), len(hypothesis.symbols)))
        assert hypothesis.score == pytest.approx(plain_score + 0.3 * float(np.log(looked).sum()), rel=1e-6)
        if tuple(hypothesis.symbols) in scores:
            assert scores[tuple(hypothesis.symbols)].score == pytest.approx(plain_score)
    with pytest.raises(ConfigError, match="attention"):
        search(Table(1), costly, [3])


def test_required_phrases_stand_in_the_best_of_all_sequences_that_have_them() -> None:
    options = BeamOptions(width=200, n_best=3, max_length=5)
    for phrases in ([[3, 3]], [[1], [2, 3]], [[2, 1, 2]], [[1, 1], [1]]):
        (found,) = search(Table(6), options, [4], prescribed=[Prescribed((), phrases)])
        having = [
            symbols
            for _, symbols in every(Table(6), 4, options)
            if all(any(symbols[i : i + len(p)] == p for i in range(len(symbols))) for p in phrases)
        ]
        assert [h.symbols for h in found.hypotheses] == having[:3]
    for width in (1, 2, 5):
        narrow = BeamOptions(width=width, max_length=12)
        some, free = search(Table(7), narrow, [4, 8], prescribed=[Prescribed((), [[3, 1, 3], [2, 2]]), Prescribed()])
        text = "".join(map(str, some.hypotheses[0].symbols))
        assert "313" in text
        assert "22" in text
        assert text.endswith("0")
        assert [free] == search(Table(7), narrow, [8])
    for wrong, what in (([[1] * 9], "at most 8"), ([[]], "empty")):
        with pytest.raises(ConfigError, match=what):
            search(Table(7), BeamOptions(max_length=8), [4], prescribed=[Prescribed((), wrong)])


def test_the_tree_holds_every_hypothesis_and_what_was_pruned() -> None:
    options = BeamOptions(3, 3, max_length=6)
    together, alone = search(Table(8), options, [2, 7], keep_tree=True), search(Table(8), options, [7], keep_tree=True)
    assert together[1] == alone[0]
    for found, sentence in zip(together, (2, 7), strict=True):
        assert found.tree is not None
        assert len(found.tree) == found.steps
        assert found._replace(tree=None) == search(Table(8), options, [sentence])[0]
        paths: list[list[list[int]]] = [[[]]]
        for t, nodes in enumerate(found.tree):
            paths.append([[*paths[t][node.parent if t else 0], node.symbol] for node in nodes])
            assert sum(node.fate == "live" for node in nodes) <= 3
            assert all(t == 0 or found.tree[t - 1][node.parent].fate == "live" for node in nodes)
            for path, node in zip(paths[-1], nodes, strict=True):
                assert node.log_probability == pytest.approx(sum(rescored(Table(8), sentence, path)))
        ended = [
            path
            for step, nodes in zip(paths[1:], found.tree, strict=True)
            for path, node in zip(step, nodes, strict=True)
            if node.fate == "ended"
        ]
        assert all(h.symbols in ended for h in found.hypotheses)
        assert any(node.fate == "pruned" for nodes in found.tree for node in nodes)


@pytest.mark.parametrize(
    "options",
    [
        BeamOptions(norm="none", max_length=5),
        BeamOptions(alpha=0.6, max_length=5),
        BeamOptions(norm="gnmt", max_length=5),
        BeamOptions(reward=0.5, norm="none", min_length=2, max_length=4),
    ],
)
def test_exact_search_finds_the_best_of_all_and_proves_it(options: BeamOptions) -> None:
    for sentence in range(1, 6):
        best = next((score, s) for score, s in every(Table(9), sentence, options) if len(s) > options.min_length)
        for known in (None, search(Table(9), replace(options, width=1), [sentence])[0].hypotheses[0]):
            found = exact(Table(9), sentence, options, known=known)
            assert found.proved
            assert found.best is not None
            assert found.best.symbols == best[1]
            assert found.best.score == found.bound == pytest.approx(best[0])
            assert found.best.log_probability == pytest.approx(sum(rescored(Table(9), sentence, best[1])))


def exact(model: Table, sentence: int, options: BeamOptions, **more: object) -> Exact:
    return exact_search(model, torch.tensor([sentence]), torch.tensor([BEGIN]), options, end=END, **more)  # type: ignore[arg-type]


def test_exact_search_gives_up_and_says_how_much_better_a_sequence_could_be() -> None:
    options = BeamOptions(max_length=40, min_length=10)
    found = exact(Table(10), 1, options, budget=100)
    assert found.steps == 100
    assert not found.proved
    (beam,) = search(Table(10), replace(options, width=50), [1])
    assert found.bound >= beam.hypotheses[0].score
    again = exact(Table(10), 1, options, budget=100, known=beam.hypotheses[0])
    assert again.best is not None
    assert again.best.score >= beam.hypotheses[0].score
    for wrong in (BeamOptions(no_repeat=2), BeamOptions(coverage=0.1)):
        with pytest.raises(ConfigError, match="exact search"):
            exact(Table(10), 1, wrong)
    with pytest.raises(ConfigError, match="budget"):
        exact(Table(10), 1, options, budget=0)


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    models = [Attending(11), Attending(12)]
    (memory, state), last = Ensemble(models).start(torch.tensor([2, 5])), torch.tensor([BEGIN, BEGIN])
    states = [model.start(torch.tensor([2, 5]))[1] for model in models]
    for _ in range(3):
        logits, state = Ensemble(models).step(last, state, memory, torch.arange(2))
        stepped = [
            model.step(last, s, torch.tensor([2, 5]), torch.arange(2)) for model, s in zip(models, states, strict=True)
        ]
        mean = torch.stack([one.softmax(1) for one, _ in stepped]).mean(0)
        torch.testing.assert_close(logits.exp(), mean)
        torch.testing.assert_close(state.attention, stepped[0][1].attention)  # type: ignore[union-attr]
        states, last = [s for _, s in stepped], logits.argmax(1)
    options = BeamOptions(4, 2, max_length=6)
    (twice,), (once,) = search(Ensemble([Table(3), Table(3)]), options, [5]), search(Table(3), options, [5])  # type: ignore[arg-type]
    assert [h.symbols for h in twice.hypotheses] == [h.symbols for h in once.hypotheses]
    assert isinstance(Ensemble([Table(3), Table(4)]).start(torch.tensor([1]))[1], Joint)


def test_hypotheses_are_plain_values() -> None:
    one = Hypothesis([1, 0], [-0.5, -0.25], -0.375)
    assert one.log_probability == -0.75
    for wrong in ({"width": 0}, {"n_best": 6}, {"norm": "sum"}, {"min_length": 5, "max_length": 4}, {"alpha": -1}):
        with pytest.raises(ConfigError):
            BeamOptions(**wrong)  # type: ignore[arg-type]


def test_a_language_model_writes_its_likeliest_texts(run_folder: Path) -> None:
    model = unrolled.load(run_folder)
    found = model.likeliest("The ", length=8, n=3, width=6)
    assert len({one.text for one in found}) == 3
    for one in found:
        assert one.text.startswith("The ")
        tokens = model.score(one.text).tokens
        assert [token for token, _ in one.tokens] == [token for token, _ in tokens[-8:]]
        assert one.log_probability == pytest.approx(-sum(nats for _, nats in tokens[-8:]), abs=1e-3)
    assert [one.log_probability for one in found] == sorted((one.log_probability for one in found), reverse=True)
    (greedy_text,) = model.sample("The ", length=8, temperature=0)
    assert model.likeliest("The ", length=8, width=1)[0].text == greedy_text
    out, _ = run("sample", run_folder, "--prompt", "The ", "--beam", 6, "--n", 3, "--length", 8, "--json")
    assert [json.loads(line)["text"] for line in out.splitlines()] == [one.text for one in found]
    out, _ = run("sample", run_folder, "--prompt", "The ", "--beam", 2, "--length", 8)
    assert out.startswith("--- 1 of 1: log-probability -")
    _, err = run("sample", run_folder, "--beam", 2, "--n", 3, code=3)
    assert "a beam of width 2 keeps 2: raise --beam" in err


def test_texts_that_end_by_themselves_end(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("ab\nabc\n" * 60, encoding="utf-8")
    flags = {"minutes": 5, "epochs": 8, "hidden_size": 16, "embedding_size": 8, "batch_size": 4, "window": 8, "threads": 1}
    flags |= {"sentences": True, "learning_rate": 0.02, "evaluations": 2}
    model = unrolled.train("language-model", [tmp_path / "lines.txt"], tmp_path / "run", options=flags)
    found = model.likeliest("", length=6, n=2, width=4)
    assert {one.text for one in found} == {"ab", "abc"}
