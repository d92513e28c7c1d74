"""Why gates: can a network remember one symbol for 100 steps?

    python benchmarks/gates.py --out build/gates          # about six minutes; needs the extra `plots`

Copy task: one of eight symbols, `lag` distractors, a cue; the network must name the symbol at the cue. `quiet`: all
distractors are the same blank. `noisy`: they are drawn from eight others, so that the memory must also be defended. Same
hidden size, optimiser, data and number of updates for all; accuracy on fresh data. The networks:

    rnn              Elman with the uniform start of `torch.nn`
    rnn-orthogonal   Elman with an orthogonal recurrent matrix, its best known start
    gru, lstm        with open memory: the bias of the forget gate, or of the GRU's weight of the old state, is drawn as in
                     Tallec and Ollivier 2018, arXiv:1804.11188 ("chrono initialisation")

The gradient of the answer's log-probability with respect to each input is measured before and after training. Writes
accuracy.json, gates.html and gates.png into --out and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.cells import CELLS
from unrolled.data.samples import copy_task
from unrolled.layers import OneHot, Recurrent
from unrolled.pictures.page import page
from unrolled.pictures.png import explanation

SYMBOLS = 8
NETWORKS = ("rnn", "rnn-orthogonal", "gru", "lstm")
TASKS = {"quiet": 1, "noisy": 8}


class Copier(nn.Module):
    """One-hot input, one recurrent layer, softmax over the symbols at the last step."""

    def __init__(self, network: str, hidden_size: int, lag: int, n_inputs: int) -> None:
        super().__init__()
        self.one_hot = OneHot(n_inputs)
        self.recurrent = Recurrent(CELLS[network.split("-")[0]](hidden_size), n_inputs)
        self.output = nn.Linear(hidden_size, SYMBOLS)
        memory = torch.log(torch.rand(hidden_size) * (lag - 1) + 1)  # chrono initialisation
        with torch.no_grad():
            if network == "rnn":
                for parameter in self.recurrent.parameters():
                    parameter.uniform_(-(hidden_size**-0.5), hidden_size**-0.5)
            elif network == "lstm":
                self.recurrent.bias_ih_l0[hidden_size : 2 * hidden_size] = memory
                self.recurrent.bias_ih_l0[:hidden_size] = -memory
            elif network == "gru":
                self.recurrent.bias_ih_l0[hidden_size : 2 * hidden_size] = memory

    def forward(self, x: Tensor) -> Tensor:
        """One-hot input (B, T, n_inputs) -> logits (B, 8)."""
        outputs, _ = self.recurrent(x)
        return self.output(outputs[:, -1])


def gradient_norms(model: Copier, lag: int, n_distractors: int) -> list[float]:
    """Mean norm of d log P(answer) / d x<t>, by distance from the last step."""
    inputs, answers = copy_task(32, lag, torch.Generator().manual_seed(99), n_distractors=n_distractors)
    x = model.one_hot(inputs).requires_grad_()
    logs = torch.log_softmax(model(x), dim=1)[torch.arange(32), answers]
    (gradient,) = torch.autograd.grad(logs.sum(), x)
    return gradient.norm(dim=2).mean(0).flip(0).tolist()


def train(network: str, task: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one network; return accuracy and gradient norms."""
    torch.manual_seed(seed)
    generator, noise = torch.Generator().manual_seed(seed), TASKS[task]
    model = Copier(network, args.hidden_size, args.lag, SYMBOLS + noise + 1)
    before = gradient_norms(model, args.lag, noise)
    optimiser = torch.optim.Adam(model.parameters(), args.learning_rate)
    started = time.perf_counter()
    for _ in range(args.updates):
        inputs, answers = copy_task(args.batch_size, args.lag, generator, n_distractors=noise)
        loss = nn.functional.cross_entropy(model(model.one_hot(inputs)), answers)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        fresh = torch.Generator().manual_seed(10_000 + seed)
        inputs, answers = copy_task(2000, args.lag, fresh, n_distractors=noise)
        accuracy = (model(model.one_hot(inputs)).argmax(1) == answers).float().mean().item()
    return {
        "network": network,
        "task": task,
        "seed": seed,
        "accuracy": accuracy,
        "seconds": round(time.perf_counter() - started, 1),
        "before": before,
        "after": gradient_norms(model, args.lag, noise),
    }


def picture(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Gradient norm against distance for the first seed of every network."""
    blocks = []
    for task in TASKS:
        for when in ("before", "after"):
            chosen = {run["network"]: run[when] for run in reversed(runs) if run["task"] == task}
            series = [
                {"name": name, "points": [[d, max(norm, 1e-20)] for d, norm in enumerate(chosen[name])]}
                for name in NETWORKS
                if name in chosen
            ]
            title = f"Gradient norm against distance: {task} task, {when} training"
            blocks.append({"kind": "lines", "title": title, "x": "steps back", "log": True, "series": series})
    return {"blocks": [block for block in blocks if block["series"]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lag", type=int, default=100)
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = []
    print("| task | network | " + " | ".join(f"seed {s}" for s in args.seeds) + " | seconds |")
    print("|" + "---|" * (len(args.seeds) + 3))
    for task in args.tasks:
        for network in args.networks:
            of = [train(network, task, seed, args) for seed in args.seeds]
            runs += of
            cells = " | ".join(f"{100 * run['accuracy']:.1f} %" for run in of)
            print(f"| {task} | {network} | {cells} | {of[0]['seconds']} |", flush=True)
    (args.out / "accuracy.json").write_text(json.dumps(runs, indent=1))
    (args.out / "gates.html").write_text(page("Why gates", picture(runs)))
    explanation(picture(runs), args.out / "gates.png")


if __name__ == "__main__":
    main()
