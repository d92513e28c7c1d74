"""Training and decoding speed beside JoeyNMT 2.3, the same model with the same weights, on Multi30k de-en.

    python benchmarks/translate_speed.py train --data DATA    # target tokens/s, in turn on the same batches
    python benchmarks/translate_speed.py decode --data DATA   # sentences/s of one trained model in both

The model is JoeyNMT's: bidirectional GRU of 256, decoder GRU of 256, additive attention that looks after the step, input
feeding (its default; --no-input-feeding: both without), 8,000 pieces a side, tied output. Ours has the same with
`looks=after`, `input_feeding` and `bridge=tanh`; what it has beyond that (biases of keys and output, the symbol in the
readout) is held at zero, so that weights can be copied.

Needs `pip install --no-deps joeynmt==2.3.0` and what that imports: importlib_metadata, packaging, pyyaml, tensorboard,
matplotlib, seaborn, pandas, datasets, sacrebleu, sentencepiece==0.2.0, subword-nmt, sacremoses.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from joeynmt.model import build_model
from joeynmt.search import beam_search as joey_beam
from joeynmt.search import greedy as joey_greedy
from joeynmt.vocabulary import Vocabulary as JoeyVocabulary
from torch import Tensor, nn

import timing
import unrolled
from translate import files
from unrolled.data.pairs import read_pairs
from unrolled.decoding.scoring import BeamOptions
from unrolled.features.pair_codec import Side
from unrolled.features.pair_rows import NO_SYMBOL, PairBatch
from unrolled.models.translator import Translator
from unrolled.run.translate import translate_options
from unrolled.tasks.translate import TranslateTask
from unrolled.tasks.translator import TrainedTranslator
from unrolled.training.loop import fit

SIZE = 256
SIZES = {"embedding_size": SIZE, "encoder_size": SIZE, "decoder_size": SIZE, "attention_size": SIZE}
FLAGS = SIZES | {"looks": "after", "batch_size": 64, "dropout_word": 0.0}
_SPECIAL = {"unk": 0, "pad": 1, "bos": 2, "eos": 3}
_PART = {"type": "recurrent", "rnn_type": "gru", "embeddings": {"embedding_dim": SIZE}, "hidden_size": SIZE}
_ENCODER = _PART | {"bidirectional": True, "num_layers": 1}
_DECODER = _PART | {"num_layers": 1, "attention": "bahdanau", "init_hidden": "bridge"}
LOW = "ours in bfloat16"
#: Symbols of a translation at most; the power of the norm, GNMT's in both.
LONGEST, ALPHA = 60, 1.0


class Task(TranslateTask):
    """The task with a model whose weights JoeyNMT can take."""

    def build(self) -> Translator:
        model = super().build()
        assert isinstance(model.attention.key, nn.Linear)  # type: ignore[union-attr]
        with torch.no_grad():
            for held, columns in ((model.attention.key.bias, 0), (model.output.bias, 0), (model.readout.weight, -SIZE)):  # type: ignore[union-attr]
                held[..., columns:] = 0
                mask = torch.ones_like(held)
                mask[..., columns:] = 0
                held.register_hook(lambda gradient, mask=mask: gradient * mask)
        return model


def vocabulary(side: Side) -> tuple[JoeyVocabulary, Tensor]:
    """JoeyNMT's vocabulary of a side, and its id of each of ours (V + 2,)."""
    ours = side.vocabulary
    named = {f"{name}_token": f"<{name}>" for name in _SPECIAL} | {f"{name}_id": i for name, i in _SPECIAL.items()}
    special = SimpleNamespace(**named, sep_token=None, sep_id=None, lang_tags=[])
    plain = [symbol for i, symbol in enumerate(ours.symbols) if i not in (ours.unknown, ours.end)]
    theirs = JoeyVocabulary(plain, special)
    ids = [theirs.lookup(symbol) for symbol in ours.symbols] + [0, 0]
    for at, name in ((ours.unknown, "unk"), (ours.end, "eos"), (ours.begin, "bos"), (ours.padding, "pad")):
        ids[at] = _SPECIAL[name]
    return theirs, torch.tensor(ids)


class Peer:
    """JoeyNMT's model with the weights of ours."""

    def __init__(self, ours: TrainedTranslator) -> None:
        (source, self.source_ids), (target, self.target_ids) = map(vocabulary, ours.codec)
        decoder = _DECODER | {"input_feeding": ours.model.config.input_feeding}
        self.model = build_model({"tied_softmax": True, "encoder": _ENCODER, "decoder": decoder}, source, target)
        self.model.loss_function = ("crossentropy", 0.1)
        self.ours = ours

    @torch.no_grad()
    def copy(self) -> None:
        """Take our weights; our factor of embedded symbols goes into the matrices that read them."""
        mine, theirs = self.ours.model, self.model
        for embed, ours, ids in (
            (theirs.src_embed, mine.source, self.source_ids),
            (theirs.trg_embed, mine.target, self.target_ids),
        ):
            embed.lut.weight.zero_()
            embed.lut.weight[ids[: len(ours.weight)]] = ours.weight
        encoder = {name: tensor.clone() for name, tensor in mine.encoder.state_dict().items()}
        for name in encoder:
            if name.startswith("weight_ih"):
                encoder[name] *= mine.source.scale
        theirs.encoder.rnn.load_state_dict(encoder)
        decoder = {name: tensor.clone() for name, tensor in mine.decoder.state_dict().items()}
        decoder["weight_ih_l0"][:, :SIZE] *= mine.target.scale
        theirs.decoder.rnn.load_state_dict(decoder)
        attention = theirs.decoder.attention
        attention.key_layer.weight.copy_(mine.attention.key.weight)
        attention.query_layer.weight.copy_(mine.attention.query.weight)
        attention.energy_layer.weight.copy_(mine.attention.score.weight)
        theirs.decoder.att_vector_layer.weight.copy_(mine.readout.weight[:, :-SIZE])
        theirs.decoder.att_vector_layer.bias.copy_(mine.readout.bias)
        theirs.decoder.bridge_layer.load_state_dict(mine.bridge.state_dict())

    def batch(self, batch: PairBatch) -> dict[str, Any]:
        """Our batch as JoeyNMT's, longest source first."""
        lengths, order = batch.source_lengths.sort(descending=True)
        target = batch.targets[order]
        ended = target == NO_SYMBOL
        target = self.target_ids[target.clamp(min=0)].masked_fill(ended, _SPECIAL["pad"])
        before = self.target_ids[batch.inputs[order]].masked_fill(ended, _SPECIAL["pad"])
        source = self.source_ids[batch.source[order]]
        masks = {"src_mask": (source != 1).unsqueeze(1), "trg_mask": (target != 1).unsqueeze(1)}
        return {"src": source, "src_length": lengths, "trg_input": before, "trg": target} | masks

    @torch.no_grad()
    def translate(self, rows: list[np.ndarray], width: int) -> list[list[int]]:
        """Our ids of what JoeyNMT finds for sources as our ids, the end left out."""
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        lengths = torch.tensor([len(rows[i]) for i in order])
        source = torch.full((len(rows), int(lengths[0])), 1)
        for at, i in enumerate(order):
            source[at, : len(rows[i])] = self.source_ids[torch.from_numpy(rows[i])]
        mask = (source != 1).unsqueeze(1)
        self.model.eval()
        encoded, last, _, _ = self.model(return_type="encode", src=source, src_length=lengths, src_mask=mask)
        if width == 1:
            found, _, _ = joey_greedy(mask, LONGEST, self.model, encoded, last)
        else:
            found, _, _ = joey_beam(self.model, width, encoded, last, mask, LONGEST, ALPHA)
        back = torch.empty(int(self.target_ids.max()) + 1, dtype=torch.long)
        back[self.target_ids] = torch.arange(len(self.target_ids))
        texts: list[list[int]] = [[] for _ in rows]
        for at, i in enumerate(order):
            ids = found[at].tolist()
            ids = ids[: ids.index(_SPECIAL["eos"])] if _SPECIAL["eos"] in ids else [k for k in ids if k != 1]
            texts[i] = back[torch.tensor(ids, dtype=torch.long)].tolist()
        return texts


def run_train(task: Task, rounds: int) -> None:
    """Whole steps of both, in turn, on the same batches; ours in bfloat16 too, which JoeyNMT has on a GPU alone."""
    ours = task.trained(task.build())
    peer = Peer(ours)
    peer.copy()
    models: dict[str, nn.Module] = {"JoeyNMT": peer.model, "ours": ours.model, LOW: ours.model}
    speeds: dict[str, list[float]] = {who: [] for who in models}
    optimisers = {who: torch.optim.Adam(model.parameters()) for who, model in models.items()}
    first = task.batch(0, 0)
    models["ours"].eval()
    with torch.no_grad():
        a = float(ours.model.loss(first).loss)
        peer.model.eval()
        b = peer.model(return_type="loss", **peer.batch(first))[1]
        theirs = peer.batch(first)["trg"]
        picked = -b.gather(2, theirs.unsqueeze(2)).squeeze(2)[theirs != 1].sum()
    print(f"loss of the same batch: ours {a:.4f}, JoeyNMT {float(picked):.4f}")
    for model in models.values():
        model.train()
    batches = [task.batch(0, k) for k in range(8)]
    tokens = sum(int((batch.targets >= 0).sum()) for batch in batches)
    for round_ in range(-1, rounds):
        for who in models if round_ % 2 else reversed(models):
            start = time.perf_counter()
            for batch in batches:
                optimisers[who].zero_grad()
                if who != "JoeyNMT":
                    with torch.autocast("cpu", torch.bfloat16, enabled=who == LOW):
                        found = ours.model.loss(batch)
                    (found.loss / found.n_tokens).backward()
                else:
                    given = peer.batch(batch)
                    (peer.model(return_type="loss", **given)[0] / int(given["trg_mask"].sum())).backward()
                nn.utils.clip_grad_norm_(models[who].parameters(), 1.0)
                optimisers[who].step()
            if round_ >= 0:
                speeds[who].append(tokens / (time.perf_counter() - start))
    for who in ("ours", LOW):
        show(f"training, {who}, target tokens/s", {"JoeyNMT": speeds["JoeyNMT"], "ours": speeds[who]})


def run_decode(task: Task, data: Path, rounds: int, folder: Path) -> None:
    """Train ours, copy it, translate with both."""
    for _ in fit(task, task.options.training, folder):
        pass
    ours = unrolled.load(folder)
    peer = Peer(ours)
    peer.copy()
    test = read_pairs(files(data, "val", "de-en"))
    rows = [ours.codec.source.encode(text) for text in test.sources[:256]]
    for width in (1, 5):
        for size in (1, 64):
            some = rows if size > 1 else rows[:48]
            options = BeamOptions(width, norm="gnmt", alpha=ALPHA, min_length=1, max_length=LONGEST - 1)
            groups = [some[at : at + size] for at in range(0, len(some), size)]
            speeds: dict[str, list[float]] = {"JoeyNMT": [], "ours": []}
            results: dict[str, list[list[int]]] = {}
            for round_ in range(-1, rounds):
                for who in ("JoeyNMT", "ours") if round_ % 2 else ("ours", "JoeyNMT"):
                    start = time.perf_counter()
                    found: list[list[int]] = []
                    for group in groups:
                        if who == "ours":
                            told = ours.searched(group, options, unknown=True)
                            found += [[i for i in one.hypotheses[0].symbols if i != 1] for one in told]
                        else:
                            found += peer.translate(group, width)
                    results[who] = found
                    if round_ >= 0:
                        speeds[who].append(len(some) / (time.perf_counter() - start))
            show(f"beam {width}, {size} together, sentences/s", speeds)
            compare(ours, some, results, options)


def compare(
    ours: TrainedTranslator, rows: list[np.ndarray], results: dict[str, list[list[int]]], options: BeamOptions
) -> None:
    """How often both found the same, and the scores of both under our model, of what ended by itself: JoeyNMT cuts off
    what is too long, where ours must end.
    """
    equal = better = worse = cut = 0
    ours.search = options
    for row, mine, theirs in zip(rows, results["ours"], results["JoeyNMT"], strict=True):
        equal += mine == theirs
        if mine != theirs and max(len(mine), len(theirs)) >= LONGEST - 1:
            cut += 1
        elif mine != theirs:
            a, b = (ours.forced_ids("", row, ids).score for ids in (mine, theirs))
            better, worse = better + (a > b + 1e-5), worse + (a < b - 1e-5)
    print(
        f"  the same {equal} of {len(rows)}; {cut} cut off; ours scores higher {better} times, lower {worse} times",
        flush=True,
    )


def show(what: str, speeds: dict[str, list[float]]) -> None:
    ratio = statistics.median(b / a for a, b in zip(speeds["JoeyNMT"], speeds["ours"], strict=True))
    medians = {who: statistics.median(of) for who, of in speeds.items()}
    print(f"{what}: JoeyNMT {medians['JoeyNMT']:.1f}, ours {medians['ours']:.1f}, ratio {ratio:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "decode"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--input-feeding", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--minutes", type=float, default=6, help="decode: time to train the model")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"{timing.machine()}; {args.threads} threads, {args.rounds} rounds, medians; feeding {args.input_feeding}",
        flush=True,
    )
    given = {"minutes": args.minutes, "threads": args.threads, "input_feeding": args.input_feeding}
    options = translate_options(flags=FLAGS | given)
    pairs, held = (read_pairs(files(args.data, part, "de-en")) for part in ("train", "val"))
    task = Task(options, pairs, held)
    with tempfile.TemporaryDirectory() as name:
        if args.what == "train":
            run_train(task, args.rounds)
        else:
            run_decode(task, args.data, args.rounds, Path(name))


if __name__ == "__main__":
    main()
