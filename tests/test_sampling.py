"""Sampling on a table model: its distribution is known exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unrolled.decoding.sampling import SamplingOptions, distribution, sample
from unrolled.errors import ConfigError

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
P = torch.softmax(LOGITS.double(), dim=1)[0]


class Table:
    """A model whose next symbol depends on the last one by a table of logits; counts its steps in the state."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.prompts: list[Tensor] = []

    def start(self, source: Tensor) -> tuple[None, Tensor]:
        self.prompts.append(source)
        return None, torch.full((len(source), 1), source.shape[1])

    def step(self, last: Tensor, state: Tensor, memory: None, sentence_of_row: Tensor) -> tuple[Tensor, Tensor]:
        return self.table[last].clone(), state + 1


def dist(**options: float) -> list[float]:
    return distribution(LOGITS, SamplingOptions(**options))[0].tolist()  # type: ignore[arg-type]


def test_filters_keep_what_they_say() -> None:
    assert dist() == pytest.approx(P.tolist())
    assert dist(temperature=0.5) == pytest.approx(torch.softmax(2 * LOGITS.double(), 1)[0].tolist())
    assert dist(temperature=0) == [1, 0, 0, 0]
    assert dist(top_k=2) == pytest.approx([*(P[:2] / P[:2].sum()).tolist(), 0, 0])
    assert dist(top_k=9) == pytest.approx(P.tolist())
    equal = distribution(torch.zeros(1, 4), SamplingOptions(top_k=1))
    assert (equal > 0).sum() == 1
    assert dist(top_p=0.7) == pytest.approx([*(P[:2] / P[:2].sum()).tolist(), 0, 0])  # 0.64 < 0.7 <= 0.88
    assert dist(top_p=0.1) == [1, 0, 0, 0]
    assert dist(min_p=0.2) == pytest.approx([*(P[:2] / P[:2].sum()).tolist(), 0, 0])  # e^-1 = 0.37, e^-2 = 0.14
    assert dist(top_k=3, top_p=0.9, min_p=0.3) == pytest.approx([*(P[:2] / P[:2].sum()).tolist(), 0, 0])
    assert dist(temperature=1e-3)[0] == pytest.approx(1)  # no overflow


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    seen = torch.tensor([[True, False, False, True]])
    got = distribution(LOGITS, SamplingOptions(repetition_penalty=2), seen)
    want = torch.softmax(torch.tensor([[1.0, 1.0, 0.0, -2.0]], dtype=torch.float64), 1)
    torch.testing.assert_close(got, want)


def test_draws_follow_the_distribution() -> None:
    table = Table(LOGITS.repeat(4, 1))
    (first,) = sample(table, torch.tensor([0]), n_rows=4000, length=1, options=SamplingOptions(seed=3))
    shares = torch.bincount(torch.tensor(first), minlength=4) / 4000
    torch.testing.assert_close(shares, P.float(), atol=0.025, rtol=0)


def test_same_seed_same_rows_whatever_their_number() -> None:
    table = Table(torch.randn(5, 5))

    def rows(n: int, seed: int) -> list[tuple[int | None, ...]]:
        steps = sample(table, torch.tensor([1, 2]), n_rows=n, length=12, options=SamplingOptions(seed=seed))
        return list(zip(*steps, strict=True))

    assert rows(3, 7) == rows(3, 7)
    assert rows(3, 7) == rows(5, 7)[:3]
    assert rows(3, 7) != rows(3, 8)
    assert len(set(rows(5, 7))) > 1


def test_prompt_is_read_and_its_last_symbol_fed() -> None:
    table = Table(torch.full((4, 4), -50.0))
    table.table[range(4), [1, 2, 3, 0]] = 50.0  # the next number
    steps = list(sample(table, torch.tensor([3, 0, 1]), n_rows=1, length=4, options=SamplingOptions()))
    assert steps == [[2], [3], [0], [1]]
    assert table.prompts[0].tolist() == [[3, 0]]


def test_rows_end_on_their_own_and_forbidden_symbols_never_come() -> None:
    table = Table(torch.zeros(4, 4))
    steps = list(
        sample(table, torch.tensor([0]), n_rows=40, length=60, options=SamplingOptions(seed=1), end=1, forbidden=(2,))
    )
    assert len(steps) < 60
    for row in zip(*steps, strict=True):
        assert 2 not in row
        ended = row.index(1)
        assert all(symbol is None for symbol in row[ended + 1 :])
        assert None not in row[: ended + 1]


def test_repetition_penalty_sees_the_prompt_and_what_was_drawn() -> None:
    table = Table(torch.tensor([3.0, 2.0, 1.9, 1.0]).repeat(4, 1))
    options = SamplingOptions(temperature=0, repetition_penalty=100)
    steps = list(sample(table, torch.tensor([3, 1]), n_rows=1, length=3, options=options))
    assert steps == [[0], [2], [3]]  # 1 stood in the prompt; the first id (begin) does not count


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 2}, {"top_k": -1}, {"repetition_penalty": 0.5}]
)
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad)).replace("_", "-")):
        SamplingOptions(**bad)  # type: ignore[arg-type]
