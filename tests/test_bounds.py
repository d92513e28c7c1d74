"""No argument from outside makes a compiled kernel read or write outside of its arrays; the check of this can fail."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import unrolled
from fuzz_kernels import fuzz
from guarded import guarded
from unrolled.errors import ShapeError
from unrolled.kernels import bounds
from unrolled.kernels.bounds import check_ids, check_kind, check_shape, check_starts
from unrolled.models.average import AverageClassifier, AverageConfig


def test_no_wrong_argument_ends_the_process() -> None:
    outcome = fuzz(300, first=1_000_000)
    assert outcome.crashes == []
    assert sum(n for text, n in outcome.answers.items() if text.endswith("answered")) > 80
    assert len(outcome.reached) > 25


def test_an_overrun_is_noticed() -> None:
    """Without the check of ids an id one too large is read, and ends the process: so the others were not."""
    outcome = fuzz(200, ["average"], most_crashes=1, unchecked=True)
    assert len(outcome.crashes) == 1
    assert "of average: ended with" in outcome.crashes[0]


def test_guarded_arrays_are_copies_that_end_at_the_page() -> None:
    for array in (np.arange(10), np.ones((3, 5), np.float32)[:, ::2], np.arange(6)[::-1], np.zeros((0, 3)), np.array(1.5)):
        for before in (False, True):
            copy = guarded(array, before=before)
            np.testing.assert_array_equal(copy, array)
            assert (copy.shape, copy.strides, copy.dtype) == (array.shape, array.strides, array.dtype)
    last = guarded(np.arange(5, dtype=np.int32))
    assert (last.__array_interface__["data"][0] + last.nbytes) % 4096 == 0


def test_the_table_of_kernels_is_whole() -> None:
    """Every kernel that is called from outside of `kernels/` is listed, with who checks what it is given."""
    root, listed = Path(unrolled.__file__).parent, set(re.findall(r"`(?:\w+\.)*(\w+)`", bounds.__doc__ or ""))
    kernels = set()
    for path in (root / "kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(getattr(d, "id", "") == "kernel" for d in node.decorator_list):
                kernels.add(node.name)
    used = set()
    for path in root.rglob("*.py"):
        if path.parent.name != "kernels":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unrolled.kernels."):
                    used |= {alias.name for alias in node.names} & kernels
    assert {name for name in used if name not in listed} == set()


@pytest.mark.parametrize("ids", [[3], [-1], [0, 2**40], [-(2**63)], [0.0], [True]])
def test_ids_out_of_range_or_of_another_kind(ids: list[int]) -> None:
    with pytest.raises(ShapeError, match="ids must"):
        check_ids("ids", np.array(ids), 3)


def test_checks() -> None:
    check_ids("ids", np.array([0, 2], np.uint8), 3)
    check_ids("ids", np.array([-1, 2], np.int32), 3, least=-1)
    check_ids("ids", np.zeros(0), 0)
    check_ids("ids", np.array([5]), None)
    check_starts("starts", np.array([0, 0, 3]), 3)
    check_shape("x", (2, 3), (2, None))
    check_kind("x", np.zeros(2), np.float64)
    for wrong in ([-2], [3]):
        with pytest.raises(ShapeError, match=r"ids must lie in -1\.\.2"):
            check_ids("ids", np.array(wrong), 3, least=-1)
    with pytest.raises(ShapeError, match="numbered from 0"):
        check_ids("ids", np.array([-5]), None)
    with pytest.raises(ShapeError, match="order of bytes"):
        check_ids("ids", np.array([1], ">i8"), 3)
    for starts in ([0, 2, 1], [-1, 0], [0, 4], [], [[0]], [0.0, 1.0]):
        with pytest.raises(ShapeError, match="starts must"):
            check_starts("starts", np.array(starts), 3)
    with pytest.raises(ShapeError, match=r"x must have shape \(2, any\), got \(3, 2\)"):
        check_shape("x", (3, 2), (2, None))


def test_a_classifier_checks_its_texts_each_time_they_are_others() -> None:
    model = AverageClassifier(AverageConfig(4, 2))
    starts, labels = np.array([0, 2, 3]), (np.array([0, 1], np.int32), np.array([0, 1, 2]), np.ones(2, np.float32))

    def step(features: list[int]) -> None:
        bags = _Bags(np.array(features, np.int32), starts)
        options = {"rates": (0.1, 0.1), "dropout": 0.0, "frozen": False, "random": np.ones(1, np.uint64)}
        model.step(bags, labels, np.array([0, 1]), **options)  # type: ignore[arg-type]

    step([0, 3, 1])
    for wrong in ([0, 4, 1], [0, -1, 1], [0, 3, 2**30], [0, 3]):
        with pytest.raises(ShapeError):
            step(wrong)


class _Bags:
    def __init__(self, features: np.ndarray, starts: np.ndarray) -> None:
        self.features, self.starts = features, starts
