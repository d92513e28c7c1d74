"""The model, the trained language model with its codec, and the task."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled.data.text import Document
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.batching import TextBatch
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.options.language_model import PRESETS, LanguageModelOptions
from unrolled.run.language_model import language_model_options
from unrolled.tasks.explain_language_model import explain_text
from unrolled.tasks.language_model import LanguageModelTask, TrainedLanguageModel

V = 11
TEXT = "the cat sat on the mat. the dog sat on the cat.\n" * 40


def config(**changes: object) -> LanguageModelConfig:
    return LanguageModelConfig(**({"n_symbols": V, "embedding_size": 6, "hidden_size": 8, "n_layers": 2} | changes))  # type: ignore[arg-type]


def random_batch(rows: int = 3, steps: int = 5) -> TextBatch:
    ids = torch.randint(V, (rows, steps + 1))
    ids[:, 0] = V  # begin
    return TextBatch(ids[:, :-1], ids[:, 1:], torch.ones(rows, dtype=torch.bool))


def options(**flags: object) -> LanguageModelOptions:
    base = {"embedding_size": 8, "hidden_size": 12, "window": 16, "batch_size": 4, "epochs": 3, "minutes": 9, "threads": 1}
    return language_model_options(preset="tiny", flags=base | flags)


def task(text: str = TEXT, **flags: object) -> LanguageModelTask:
    return LanguageModelTask(options(**flags), [Document("text", text)])


def untrained(text: str = TEXT, **flags: object) -> TrainedLanguageModel:
    made = task(text, **flags)
    return made.trained(made.build().double())


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru-before", "lstm"])
def test_a_fresh_model_is_close_to_uniform(cell: str) -> None:
    model = LanguageModel(config(cell=cell, embedding_size=64, hidden_size=64, n_symbols=200))
    ids = torch.randint(200, (8, 40))
    loss = model.loss(TextBatch(ids[:, :-1], ids[:, 1:], torch.ones(8, dtype=torch.bool)))
    assert loss.loss.item() / loss.n_tokens == pytest.approx(math.log(200), rel=0.04)


def test_cost_is_the_sum_over_steps_and_padding_counts_nothing() -> None:
    model = LanguageModel(config()).double()
    batch = random_batch()
    lengths = torch.tensor([5, 2, 4])
    mixed = TextBatch(batch.inputs, batch.targets, batch.fresh, lengths)
    losses, _ = model.token_losses(mixed)
    by_hand = 0.0
    for b in range(3):
        logits, _ = model(batch.inputs[b : b + 1, : lengths[b]])
        logs = torch.log_softmax(logits[0], dim=1)
        by_hand -= logs[range(lengths[b]), batch.targets[b, : lengths[b]]].sum().item()
    total = model.loss(mixed)
    assert total.loss.item() == pytest.approx(by_hand, abs=1e-10)
    assert losses.sum().item() == pytest.approx(by_hand, abs=1e-10)
    assert total.n_tokens == 11
    assert not losses[1, 2:].any()


def test_state_is_carried_and_fresh_rows_forget_it() -> None:
    model = LanguageModel(config(learned_state=True)).double()
    with torch.no_grad():
        for p in model.recurrent.initial:
            p.normal_()
    batch = random_batch()
    _, state = model.token_losses(batch)
    carried = TextBatch(batch.inputs, batch.targets, torch.tensor([False, True, False]))
    with_state, _ = model.token_losses(carried, state)
    without, _ = model.token_losses(batch)
    assert torch.allclose(with_state[1], without[1], atol=1e-12)
    assert (with_state[0] - without[0]).abs().max() > 1e-4


def test_begin_is_the_zero_vector() -> None:
    model = LanguageModel(config())
    assert not model.embedding(torch.tensor([V, V + 1])).any()
    assert model.embedding(torch.tensor([0])).any()


def test_one_hot_input_is_an_embedding_with_the_factored_matrix() -> None:
    """W_ih E^T x_onehot = W_ih e: both inputs compute the same where the matrices agree."""
    embedded = LanguageModel(config(tied=False, n_layers=1)).double()
    one_hot = LanguageModel(config(input="one-hot", n_layers=1)).double()
    weights = {k: v for k, v in embedded.state_dict().items() if not k.startswith("embedding")}
    scale = embedded.embedding.scale
    weights["recurrent.weight_ih_l0"] = weights["recurrent.weight_ih_l0"] @ embedded.embedding.weight.detach().t() * scale
    torch.set_default_dtype(torch.float64)
    one_hot.load_state_dict(weights)
    batch = random_batch()
    torch.testing.assert_close(one_hot.loss(batch).loss, embedded.loss(batch).loss)


def test_tied_output_is_the_embedding_and_untied_is_not() -> None:
    tied, untied = LanguageModel(config()), LanguageModel(config(tied=False))
    assert tied.output.weight is tied.embedding.weight
    assert untied.output.weight is not untied.embedding.weight
    assert len([n for n, _ in tied.named_parameters() if "output.weight" in n]) == 0


def test_dropout_kinds_act_in_training_only() -> None:
    for kind in ("dropout_input", "dropout_between", "dropout_output", "dropout_word", "dropout_weight"):
        model = LanguageModel(config(**{kind: 0.5}, embedding_size=32, hidden_size=32))
        batch = random_batch()
        assert model.loss(batch).loss.item() != model.loss(batch).loss.item(), kind
        model.eval()
        assert model.loss(batch).loss.item() == model.loss(batch).loss.item(), kind


def test_unknown_cells_and_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lstm'"):
        config(cell="lstmm")
    with pytest.raises(ConfigError, match="one-hot"):
        config(input="hot")


def test_batch_size_changes_nothing() -> None:
    model = untrained()
    texts = [Document(str(i), TEXT[i * 13 : i * 13 + n]) for i, n in enumerate((700, 30, 1, 256, 511, 90))]
    one, six = model.evaluate(texts, batch_size=1), model.evaluate(texts, batch_size=6)
    for a, b in zip([one, *one["texts"]], [six, *six["texts"]], strict=True):
        assert a["tokens"] == b["tokens"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-12)
    assert one["tokens"] == sum(len(t.text) for t in texts)


def test_evaluation_is_the_probability_of_the_whole_text_step_by_step() -> None:
    model = untrained()
    text = TEXT[:300]  # longer than one window
    ids = [model.codec.vocabulary.begin, *model.codec.vocabulary.encode(list(text)).tolist()]
    state, nats = None, 0.0
    with torch.no_grad():
        for last, following in itertools.pairwise(ids):
            logits, state = model.model(torch.tensor([[last]]), state)
            nats -= torch.log_softmax(logits[0, 0], dim=0)[following].item()
    found = model.evaluate([Document("text", text)])
    assert found["loss"] * found["tokens"] == pytest.approx(nats, abs=1e-9)
    assert found["bits_per_character"] == pytest.approx(nats / 300 / math.log(2))
    assert -model.score(text).log_probability == pytest.approx(nats, abs=1e-9)
    assert sum(n for _, n in model.score(text).tokens) == pytest.approx(nats, abs=1e-9)


def test_unknown_words_pay_for_their_spelling() -> None:
    model = untrained(tokens="words", min_count=1)
    known, strange = model.evaluate([Document("a", "the cat sat.")]), model.evaluate([Document("a", "the yak sat.")])
    assert known["unknown_rate"] == 0
    assert strange["unknown_rate"] == pytest.approx(1 / 4)
    spelled = model.codec.spelling.cost("yak")
    nats = strange["loss"] * 4 + spelled
    assert strange["bits_per_character"] == pytest.approx(nats / 12 / math.log(2))
    literal = untrained(tokens="whitespace").evaluate([Document("a", "the <unk> sat\n")])
    assert literal["bits_per_character"] is None
    assert literal["unknown_rate"] == pytest.approx(1 / 4)
    assert literal["tokens"] == 4


def test_sentences_reset_the_state_and_count_an_end_each() -> None:
    model = untrained(sentences=True)
    both = model.evaluate([Document("a", "the cat\n\nthe dog\n")])
    one, two = model.evaluate([Document("a", "the cat\n")]), model.evaluate([Document("a", "the dog\n")])
    assert both["tokens"] == one["tokens"] + two["tokens"] == 16
    assert both["loss"] == pytest.approx((one["loss"] + two["loss"]) / 2)
    assert both["characters"] == 16


def fit(made: LanguageModelTask, steps: int = 200, rate: float = 0.02) -> TrainedLanguageModel:
    torch.manual_seed(1)
    model = made.build()
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    state = None
    for step in range(steps):
        batch = made.batch(*divmod(step, made.batches_per_epoch))
        loss = model.loss(batch, state)
        state = (
            type(loss.state)(*(s.detach() for s in loss.state)) if isinstance(loss.state, tuple) else loss.state.detach()
        )
        optimiser.zero_grad()
        (loss.loss / loss.n_tokens).backward()
        optimiser.step()
    return made.trained(model)


def test_it_learns_a_text_and_continues_it() -> None:
    made = task("abcdefg hijklmn. " * 60, hidden_size=32, embedding_size=16)
    model = fit(made)
    assert model.evaluate([Document("a", "abcdefg hijklmn. " * 3)])["loss"] < 0.25  # only the first character is open
    assert model.sample("abcd", length=13, temperature=0) == ["abcdefg hijklmn. "]
    assert model.sample("", length=40, seed=5) == model.sample("", length=40, seed=5)


def test_sentences_end_by_themselves() -> None:
    made = task("one two three\nfour five\n" * 80, sentences=True, tokens="words", hidden_size=32, embedding_size=16)
    model = fit(made)
    written = model.sample(n=12, length=50, seed=2)
    assert {"one two three", "four five"} == set(written)
    assert model.sample("four", n=1, length=50) == ["four five"]


@pytest.mark.parametrize("tokens", ["char", "words", "whitespace", "bpe", "unigram", "chinese-words"])
@pytest.mark.parametrize("sentences", [False, True])
def test_every_tokenizer_trains_saves_loads_and_writes(tokens: str, sentences: bool, tmp_path: Path) -> None:
    made = task(TEXT + "猫坐在垫子上。\n" * 5, tokens=tokens, sentences=sentences, vocabulary_size=300)
    model = made.trained(made.build())
    model.save(tmp_path / "m")
    again = TrainedLanguageModel.load(tmp_path / "m")
    assert again.sample("the", length=30, n=2, seed=3) == model.sample("the", length=30, n=2, seed=3)
    streamed = ["".join(parts) for parts in zip(*model.stream("the", length=30, n=2), strict=True)]
    assert streamed == model.sample("the", length=30, n=2)
    assert all(text.startswith("the") for text in streamed)
    assert "<unk>" not in "".join(streamed)
    a, b = (m.evaluate([Document("x", "the cat on a yak\n")]) for m in (model, again))
    assert a == b
    assert explain_text(again, "the cat")["tokens"]


def test_hold_out_takes_the_end_at_a_line() -> None:
    made = task("".join(f"line number {i}\n" for i in range(300)))
    assert made.valid_tokens == pytest.approx(0.1 * (made.train_tokens + made.valid_tokens), rel=0.05)
    with pytest.raises(DataError, match="too short to hold"):
        task("\n\na")


def test_text_of_one_symbol_is_refused() -> None:
    with pytest.raises(DataError, match="1 different characters"):
        task("aaaaaaaaaa" * 100)


def test_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(DataError, match="less than one window"):
        task("abcdefghij", window=40)


def test_explanation_is_consistent_with_the_model() -> None:
    for cell in ("lstm", "gru", "rnn"):
        model = untrained(cell=cell, n_layers=2)
        text = "the cat sat"
        found = explain_text(model, text)
        bits = [nats / math.log(2) for _, nats in model.score(text).tokens]
        assert found["surprisal_bits"] == pytest.approx(bits, abs=1e-3)
        kinds = [block["kind"] for block in found["blocks"]]
        assert kinds[0] == "tokens"
        assert kinds[-1] == "lines"
        gates = [b for b in found["blocks"] if "gates" in b["title"]]
        assert len(gates) == (0 if cell == "rnn" else 2)
        for block in found["blocks"]:
            if block["kind"] == "heat":
                assert np.shape(block["values"]) == (len(block["rows"]), len(text))
        norms = [y for _, y in found["blocks"][-1]["series"][0]["points"]]
        assert len(norms) == len(text)
        assert norms[0] > 0
    with pytest.raises(DataError, match="empty"):
        explain_text(model, "")


def test_gradient_in_the_explanation_is_the_gradient() -> None:
    """Move one input a little: the last log-probability changes as the norm says at most, and by it along the gradient."""
    model = untrained(n_layers=1)
    found = explain_text(model, "the cat")
    norm_at_2 = found["blocks"][-1]["series"][0]["points"][2][1]
    vocabulary = model.codec.vocabulary
    ids = vocabulary.encode(list("the cat")).tolist()
    x = model.model.embedding(torch.tensor([[vocabulary.begin, *ids[:-1]]]).t()).detach()

    def last(x: torch.Tensor) -> torch.Tensor:
        outputs, _ = model.model.recurrent(x.transpose(0, 1))
        return torch.log_softmax(model.model.logits(outputs[0, -1]), dim=0)[ids[-1]]

    gradient = torch.stack(
        [
            (last(x + 1e-6 * e) - last(x - 1e-6 * e)) / 2e-6
            for e in torch.eye(8, dtype=x.dtype)[:, None, None, :].expand(-1, 7, 1, -1)
            * (torch.arange(7).view(7, 1, 1) == 4)
        ]
    )
    assert gradient.norm().item() == pytest.approx(norm_at_2, rel=1e-3)


def test_folders_of_another_kind_are_refused(run_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    def broken(name: str) -> Path:
        return Path(shutil.copytree(run_folder / "best", tmp_path / name))

    with pytest.raises(FolderError, match="no such folder"):
        unrolled.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="holds no model"):
        unrolled.load(tmp_path / "empty")
    with pytest.raises(DataError, match="a model is a folder"):
        unrolled.load(Path(__file__))
    cases = {
        "config.json": [
            ("{}", "not written by unrolled"),
            ("{nope", "damaged"),
            (json.dumps({"format": "unrolled-model", "format_version": 99}), "format version 99"),
            (json.dumps({"format": "unrolled-model", "format_version": 1, "task": "juggling"}), "juggling"),
            (json.dumps({"format": "unrolled-model", "format_version": 1, "task": "language-model"}), "does not describe"),
        ],
        "vocabulary.json": [('{"symbols": ["<unk>", "<eos>"], "counts": [0, 0]}', "has 2 symbols"), ("[]", "damaged")],
        "tokenizer.json": [('{"name": "runes", "sentences": false}', "runes"), ("", "damaged")],
    }
    for file, contents in cases.items():
        for n, (content, message) in enumerate(contents):
            folder = broken(f"{file}{n}")
            (folder / file).write_text(content)
            with pytest.raises(FolderError, match=message):
                unrolled.load(folder)
    for name in ("vocabulary.json", "tokenizer.json", "spelling.json", "model.safetensors"):
        folder = broken(f"without-{name}")
        (folder / name).unlink()
        with pytest.raises(FolderError, match=f"{re.escape(name)}: is missing"):
            unrolled.load(folder)
    cut = broken("cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(FolderError, match="damaged"):
        unrolled.load(cut)
    other = broken("other")
    stored = json.loads((other / "config.json").read_text())
    stored["model"]["hidden_size"] = 25
    (other / "config.json").write_text(json.dumps(stored))
    with pytest.raises(FolderError, match=r"shape .* config.json asks for"):
        unrolled.load(other)
    stored["model"] |= {"hidden_size": 24, "n_layers": 2}
    (other / "config.json").write_text(json.dumps(stored))
    with pytest.raises(FolderError, match="is missing"):
        unrolled.load(other)


def test_presets_name_only_known_options() -> None:
    for preset in PRESETS:
        assert language_model_options(preset=preset).training.minutes > 0
    with pytest.raises(ConfigError, match="Did you mean 'char'"):
        language_model_options(preset="chars")
    assert language_model_options().model.hidden_size == PRESETS["char"]["hidden_size"]
    assert language_model_options(flags={"tokens": "words"}).training.window == PRESETS["word"]["window"]
