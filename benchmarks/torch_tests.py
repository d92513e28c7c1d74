"""PyTorch's own tests of recurrent layers, packed sequences and CTC, with these layers in the place of `torch.nn`'s.

    python benchmarks/torch_tests.py --pytorch ../pytorch                      # a source tree near the installed release
    python benchmarks/torch_tests.py --pytorch ../pytorch --files test_nn.py

Each file runs twice in processes of its own: with torch.nn's layers, then with unrolled's RNN, GRU, LSTM and cells in their
place, and its `ctc_loss` behind `functional.ctc_loss` and `nn.CTCLoss`. Tests are those whose name or source mentions
recurrent layers, packed sequences or CTC. Printed are, for each file, how many pass with torch.nn, how many of these pass
with unrolled, and why the others fail. Exit code 1 below 98 %. Needs pytest, expecttest and hypothesis.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = (
    "test_nn.py",
    "test_modules.py",
    "nn/test_packed_sequence.py",
    "nn/test_load_state_dict.py",
    "nn/test_parametrization.py",
    "nn/test_pruning.py",
    "test_overrides.py",
)
WANTED = re.compile(r"rnn|gru|lstm|ctc_?loss|ctcloss|test_ctc|packed_?seq|pack_padded|pad_packed", re.IGNORECASE)
#: What part of the tests that pass with torch.nn must pass.
REQUIRED = 0.98


# ---- the plugin that pytest loads in the processes


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--replace-layers", action="store_true")


def pytest_configure(config: Any) -> None:
    if config.getoption("--replace-layers"):
        replace_layers()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Keep the tests that are about recurrent layers, packed sequences or CTC; of generated ones the name must say so."""
    items[:] = [item for item in items if mentioned(item)]


def mentioned(item: Any) -> bool:
    """Whether the name, the file or the source of a test mentions what is tested here."""
    if "packed_sequence" in item.nodeid or WANTED.search(item.name):
        return True
    if "test_modules" in item.nodeid:
        return False
    try:
        return WANTED.search(inspect.getsource(inspect.unwrap(item.function))) is not None
    except (OSError, TypeError):
        return False


def pytest_runtest_logreport(report: Any) -> None:
    decisive = report.when == "call" or report.outcome != "passed"
    path = os.environ.get("TORCH_TESTS_OUTCOMES")
    if not decisive or path is None:
        return
    lines = [line for line in str(report.longrepr or "").splitlines() if line.startswith("E ")]
    reason = lines[0][2:].strip() if lines else ""
    outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"test": report.nodeid, "outcome": outcome, "reason": reason}) + "\n")


def replace_layers() -> None:
    """Put unrolled's layers in the place of torch.nn's, and its loss behind `functional.ctc_loss`."""
    import torch

    from unrolled import layers

    for name in ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"):
        for module in (torch.nn, torch.nn.modules, torch.nn.modules.rnn):
            setattr(module, name, getattr(layers, name))
    torch.nn.functional.ctc_loss = ctc_loss


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """`torch.nn.functional.ctc_loss` by `unrolled.layers.ctc.ctc_loss`; log-probabilities are logits, too."""
    import torch

    from unrolled.layers import ctc

    losses = ctc.ctc_loss(log_probs, input_lengths, targets, target_lengths, blank=blank)
    if zero_infinity:
        losses = torch.where(losses.isinf(), torch.zeros_like(losses), losses)
    if reduction == "mean":
        sizes = torch.as_tensor(target_lengths, device=losses.device).clamp(min=1).view(losses.shape)
        return (losses / sizes).mean()
    return losses.sum() if reduction == "sum" else losses


# ---- the comparison


def outcomes(test_file: Path, folder: Path, *, replaced: bool) -> dict[str, dict[str, str]]:
    """Run the wanted tests of a file; test -> its outcome and the first line of its error."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "outcomes.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "torch_tests", "-p", "no:cacheprovider", "--noconftest"]
        command += ["-c", os.devnull, "--rootdir", str(folder), str(test_file)]
        command += ["--replace-layers"] if replaced else []
        here = str(Path(__file__).resolve().parent)
        paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": paths, "TORCH_TESTS_OUTCOMES": str(path)}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if run.returncode not in (0, 1, 5) or (run.returncode != 5 and not lines):  # 5: no test was wanted
        print(f"  pytest ended with {run.returncode}:\n{run.stdout[-1500:]}{run.stderr[-1500:]}")
    found: dict[str, dict[str, str]] = {}
    for line in map(json.loads, lines):
        if found.get(line["test"], {}).get("outcome") != "failed":  # a test may fail in its own code or in its end
            found[line["test"]] = line
    return found


def compare(folder: Path, names: list[str]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """For each file: its name, tests that pass with torch.nn, and why some of them fail with unrolled."""
    for name in names:
        test_file = folder / name
        if not test_file.exists():
            print(f"{name}: not in this tree")
            continue
        before, after = (outcomes(test_file, folder, replaced=replaced) for replaced in (False, True))
        passed = [test for test, line in before.items() if line["outcome"] == "passed"]
        missing = {"outcome": "did not run", "reason": ""}
        lines = {test: after.get(test, missing) for test in passed}
        failed = {test: line["reason"] or line["outcome"] for test, line in lines.items() if line["outcome"] != "passed"}
        skipped = sum(line["outcome"] == "skipped" for line in before.values())
        print(f"{name}: {len(before)} tests, {skipped} skipped, {len(passed)} pass with torch.nn, of these "
              f"{len(passed) - len(failed)} with unrolled")  # fmt: skip
        for test, reason in failed.items():
            print(f"  {test.partition('::')[2]}: {reason[:200]}")
        yield name, len(passed), failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pytorch", type=Path, required=True, help="source tree of PyTorch, with its folder test/")
    parser.add_argument("--files", nargs="*", default=list(FILES), help="test files, relative to test/")
    arguments = parser.parse_args()
    folder = (arguments.pytorch / "test").resolve()
    if not folder.is_dir():
        parser.error(f"{folder} does not exist")
    results = list(compare(folder, arguments.files))
    passed = sum(n for _, n, _ in results)
    failed = sum(len(reasons) for _, _, reasons in results)
    if not passed:
        print("no test passes with torch.nn: nothing to compare")
        return 1
    share = (passed - failed) / passed
    print(f"all: {passed - failed} of {passed}, {share:.1%} (required {REQUIRED:.0%})")
    return 0 if share >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
