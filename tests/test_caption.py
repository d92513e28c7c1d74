"""Captions: what they are measured by, the files they are read from, training, prediction and pages, end to end."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import unrolled
from typed import run
from unrolled.cells import CELLS
from unrolled.data.captions import Captioned, read_captions
from unrolled.data.scenes import save_scenes, scenes
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.layers.attention import ATTENTIONS
from unrolled.layers.convolution import SmallEncoder
from unrolled.metrics.captions import caption_scores, cider_d, plain, plain_words, rouge_l
from unrolled.models.captioner import Captioner, CaptionerConfig
from unrolled.models.decoder_engine import DecoderEngine
from unrolled.run.caption import caption_options, resume_captioner, train_captioner
from unrolled.tasks.captioner import TrainedCaptioner
from unrolled.training.loop import Step
from unrolled.types import map_state, state_tensors

COLOURS = {"red": (210, 30, 30), "green": (30, 170, 50), "blue": (30, 60, 210)}
FLAGS: dict[str, Any] = {"encoder": "small", "embedding_size": 16, "memory_size": 16, "decoder_size": 16}
FLAGS |= {"attention_size": 8, "threads": 1, "minutes": 5, "epochs": 20, "batch_size": 6, "learning_rate": 0.004}
FLAGS |= {"warmup_steps": 5, "evaluations": 3, "min_count": 1, "smoothing": 0.0, "average_decay": 0.0}
FLAGS |= {"dropout_features": 0.0, "dropout_input": 0.0, "dropout_word": 0.0, "dropout_output": 0.0, "mirror": False}


def papers(folder: Path, n: int = 36) -> Path:
    """Sheets of coloured paper, two captions each, in a table of a train and a dev part; n files."""
    (folder / "photos").mkdir(parents=True)
    lines, rng = ["file\tsplit\tcaption"], np.random.default_rng(0)
    for i in range(n):
        name = list(COLOURS)[i % 3]
        pixels = np.clip(np.array(COLOURS[name]) + rng.integers(-20, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i}.png")
        split = "dev" if i >= n - 6 else "train"
        lines += [f"{i}.png\t{split}\tA sheet of {name} paper.", f"{i}.png\t{split}\t{name.title()} paper!"]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "captions.tsv"


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; beside it captions.tsv and photos."""
    folder = tmp_path_factory.mktemp("caption")
    options = FLAGS | {"images": str(folder / "photos"), "train_split": "train", "valid_split": "dev"}
    unrolled.train("caption", [papers(folder)], folder / "run", options=options)
    return folder / "run"


def test_rouge_and_cider_by_hand() -> None:
    assert plain("It's a t-shirt, isn't it? 猫。") == "its a t shirt isnt it 猫"
    assert plain_words("一只猫, हिन्दी cafe\u0301 2") == ["一", "只", "猫", "हिन्दी", "café", "2"]
    # the cat sat | longest common: 2 of 3 words with the first, 2 of 2 with the second
    words, wanted = ["the", "cat", "sat"], [["the", "dog", "sat", "down"], ["cat", "sat"]]
    precision, recall = 2 / 3, 2 / 2
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l([words, []], [wanted, wanted]) == [pytest.approx(expected), 0]
    # two images; every n-gram of the references stands at one image alone, so each weighs log 2
    found, references = [["a", "b", "c", "d"], ["x"]], [[["a", "b", "c", "d"]], [["x", "y"]]]
    first = 10.0  # alike in everything
    second = 10 / 4 * (1 / math.sqrt(2)) * math.exp(-1 / 72)  # one of two words, no longer n-gram, one word shorter
    assert cider_d(found, references) == pytest.approx([first, second])
    assert cider_d([["a"]], [[["a"]]]) == [0]  # with one image nothing is rare


def test_bleu_against_several_references() -> None:
    found = caption_scores(["A cat sat there."], [["the cat sat there", "a cat"]])
    assert found["bleu_1"] == pytest.approx(100)
    assert found["bleu_3"] == pytest.approx(100 * (1 * 1 * 1 / 2) ** (1 / 3))  # "cat sat there", not "a cat sat"
    assert found["bleu_4"] == 0
    uneven = caption_scores(["a b", "c d"], [["a b"], ["c d", "c e", "d"]])
    assert (uneven["bleu_2"], uneven["bleu_4"]) == (pytest.approx(100), 0)


def test_captions_are_read_from_every_format(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("1.jpg", "2.jpg", "bare.jpg"):
        (photos / name).touch()
    files = {
        "a.tsv": 'file\tcaption\n1.jpg\tA "dog".\n1.jpg\tA cat\n2.jpg\tx\n3.jpg\tgone\n2.jpg\t \n',
        "a.csv": 'image,caption\n1.jpg,"A ""dog""."\n1.jpg,A cat\n2.jpg,x\n3.jpg,gone\n2.jpg,\n',
        "a.jsonl": '{"file": "1.jpg", "captions": ["A \\"dog\\".", "A cat"]}\n{"image": "2.jpg", "caption": "x"}\n'
        '{"file": "3.jpg", "caption": "gone"}\n{"file": "2.jpg", "caption": ""}\n',
        "token.txt": '1.jpg#0\tA "dog".\n1.jpg#1\tA cat\n2.jpg#0\tx\n3.jpg#0\tgone\n2.jpg#1\t\n',
        "coco.json": json.dumps(
            {
                "images": [
                    {"id": 7, "file_name": "1.jpg"},
                    {"id": 8, "file_name": "2.jpg"},
                    {"id": 9, "file_name": "3.jpg"},
                ],
                "annotations": [
                    {"image_id": i, "caption": c}
                    for i, c in ((7, 'A "dog".'), (7, "A cat"), (8, "x"), (9, "gone"), (8, ""))
                ],
            }
        ),
        "karpathy.json": json.dumps(
            {
                "images": [
                    {"filename": "1.jpg", "split": "train", "sentences": [{"raw": 'A "dog".'}, {"raw": "A cat"}]},
                    {"filename": "2.jpg", "split": "val", "sentences": [{"raw": "x"}, {"raw": ""}]},
                    {"filename": "3.jpg", "split": "val", "sentences": [{"raw": "gone"}]},
                ]
            }
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = read_captions([tmp_path / name], photos)
        assert found.images == [photos / "1.jpg", photos / "2.jpg"], name
        assert found.captions == [['A "dog".', "A cat"], ["x"]], name
        assert (found.missing, found.empty, found.bare) == ([str(photos / "3.jpg")], 1, 1), name
    assert read_captions([tmp_path / "karpathy.json"], photos, split="train").captions == [['A "dog".', "A cat"]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", "1.jpg\tx\n", r"line 1: a header with the columns file and caption"),
        ("a.tsv", "file\tcaption\n1.jpg\n", "line 2: 1 fields, but the header has 2"),
        ("a.tsv", "file\tcaption\n9.jpg\tx\n", r"none of the 1 images is there; looked for .*9\.jpg.* --images"),
        ("a.tsv", "file\tcaption\n", "holds no captions"),
        ("a.tsv", "", "holds no text"),
        ("a.csv", 'image,caption\n1.jpg,a "b\n1.jpg,"c', "line 3: a row cannot be read"),
        ("a.tsv", f"file\tcaption\n{'x' * 300}\tx\n", "none of the 1 images is there"),
        ("a.jsonl", '{"file": "1.jpg", "captions": "a dog"}\n', 'or a list "captions"'),
        ("a.jsonl", '{"file": "1.jpg", "caption": "a", "split": [1]}\n', "needs the texts"),
        (
            "a.json",
            '{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}',
            r"none of the 1 images is there; looked for .*image_id 1, which no image has",
        ),
        ("a.jsonl", '{"file": 3}\n', 'line 1: needs the texts "file" and "caption"'),
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"images": [{"id": 1}]}', "expected COCO's captions .* missing: 'file_name'"),
        ("a.txt", "1.jpg#0\tx\nno\n", "line 2: expected name.jpg#0"),
    ],
)
def test_what_is_wrong_with_files_of_captions(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_captions([tmp_path / name], tmp_path)


def test_splits_must_be_there_and_apart(tmp_path: Path) -> None:
    table = papers(tmp_path)
    with pytest.raises(DataError, match=r"no split 'tran'; there is dev, train\. Did you mean 'train'"):
        read_captions([table], tmp_path / "photos", split="tran")
    flags = FLAGS | {"images": str(tmp_path / "photos"), "train_split": "train", "valid_split": "train"}
    with pytest.raises(DataError, match="30 images are among those to learn from and those to choose by"):
        next(train_captioner(caption_options(flags=flags), [table], tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="output matrix too"):
        list(train_captioner(caption_options(flags=FLAGS | {"freeze_vectors": True}), scenes(30, seed=0), tmp_path / "run"))
    with pytest.raises(DataError, match="no captioned images"):
        list(train_captioner(caption_options(flags=FLAGS), Captioned(), tmp_path / "run"))


@pytest.mark.parametrize("begins", ["state", "word"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@torch.no_grad()
def test_an_engine_captions_as_its_model(cell: str, begins: str) -> None:
    for attention in ("none",) if begins == "word" else ("none", *ATTENTIONS):
        sizes = {"embedding_size": 6, "memory_size": 10, "decoder_size": 10, "attention_size": 7, "begins": begins}
        config = CaptionerConfig(n_target=9, n_features=64, cell=cell, attention=attention, **sizes)
        model = Captioner(config, SmallEncoder()).eval()
        engine, regions = DecoderEngine(model), torch.randn(3, 4, 64)
        rows, last = torch.tensor([0, 0, 2]), torch.tensor([9, 3, 8])
        expected_memory, expected = model.start(regions)
        memory, state = engine.start(regions)
        expected, state = (map_state(lambda s: s[[0, 0, 2]], of) for of in (expected, state))
        wanted, expected = model.step(last, expected, expected_memory, rows)
        found, state = engine.step(last, state, memory, rows)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(state_tensors(state), state_tensors(expected), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_pixels_and_regions_are_the_same_image_and_bad_sizes_are_refused() -> None:
    config = CaptionerConfig(n_target=9, n_features=64, **{k: 8 for k in ("embedding_size", "memory_size", "decoder_size")})
    model, x = Captioner(config, SmallEncoder()).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(
            state_tensors(model.start(x)[1]), state_tensors(model.start(model.encoder.regions(x))[1]), strict=True
        ):
            torch.testing.assert_close(a, b)
    with pytest.raises(ConfigError, match="the encoder sees 64 features, the captioner expects 5"):
        Captioner(replace(config, n_features=5), SmallEncoder())
    with pytest.raises(ConfigError, match="first word only where nothing else enters"):
        replace(config, begins="word")


def test_it_learns_what_colour_paper_has(captioner: Path) -> None:
    found = unrolled.load(captioner)
    photos, table = captioner.parent / "photos", captioner.parent / "captions.tsv"
    assert found.caption(photos / "31.png").text in ("green paper", "a sheet of green paper")
    scores, made = found.evaluate(read_captions([table], photos, split="dev"))
    assert scores["images"] == 6
    assert scores["bleu_1"] > 95
    assert all(name in one.text for one, name in zip(made, ["red", "green", "blue"] * 2, strict=True))
    assert found.metrics["valid_cider_d"] > 1
    best = found.caption(photos / "30.png", BeamOptions(width=4, n_best=3))
    assert len(best.others) == 2
    assert best.attention is not None
    assert best.attention.shape == (len(best.symbols), 64)
    assert np.allclose(best.attention.sum(1), 1, atol=1e-5)
    alone = [found.caption(photos / f"{i}.png") for i in range(6)]
    together = list(found.captions([photos / f"{i}.png" for i in range(6)]))
    for a, b in zip(alone, together, strict=True):
        assert isinstance(b, type(a))
        assert (a.text, a.symbols) == (b.text, b.symbols)
        assert a.score == pytest.approx(b.score, abs=1e-5)


def test_images_are_prepared_alike_in_training_and_prediction(captioner: Path, tmp_path: Path) -> None:
    """A photo of another size and kind gives what the training would have given of it: the stored preparation."""
    found = unrolled.load(captioner)
    assert found.preparation.size == 64
    assert found.preparation.fit == "stretch"
    large = Image.open(captioner.parent / "photos" / "31.png").resize((300, 200))
    large.save(tmp_path / "large.png")
    square = found.preparation.read(tmp_path / "large.png")
    regions = found.model.encoder.regions(found.preparation.scaled(square[None]))
    with torch.no_grad():
        torch.testing.assert_close(found.seen(square[None]), regions)
    (searched,) = found.searched(regions.detach())
    assert found.caption(tmp_path / "large.png").score == pytest.approx(searched.hypotheses[0].score)
    config = json.loads((captioner / "best" / "config.json").read_text(encoding="utf-8"))
    config["encoder"]["preparation"]["mean"] = [0, 0, 0]
    found.save(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    other = unrolled.load(tmp_path / "other")  # prepares as its folder says
    assert other.caption(tmp_path / "large.png").score != pytest.approx(searched.hypotheses[0].score, abs=1e-6)


def test_the_commands(captioner: Path, tmp_path: Path) -> None:
    photos = captioner.parent / "photos"
    out, _ = run("predict", captioner, photos / "0.png", photos / "1.png")
    assert ["red" in out.splitlines()[0], "green" in out.splitlines()[1]] == [True, True]
    (tmp_path / "bad.jpg").write_bytes((photos / "0.png").read_bytes()[:200])
    out, said = run("predict", captioner, tmp_path / "bad.jpg", photos / "2.png", "--json", code=4)
    first, second = map(json.loads, out.splitlines())
    assert "bad.jpg" in first["error"]
    assert second["caption"].endswith("blue paper")
    assert "1 of 2 inputs could not be read" in said
    out, _ = run("predict", captioner, "--beam", 3, "--n-best", 2, stdin=f"{photos / '0.png'}\n".encode())
    assert len(out.splitlines()) == 2
    table = captioner.parent / "captions.tsv"
    out, _ = run("evaluate", captioner, table, "--images", photos, "--split", "dev")
    assert "cider-d" in out
    assert "tok:none" in out
    assert json.loads(run("evaluate", captioner, table, "--images", photos, "--split", "dev", "--json")[0])["images"] == 6
    run("explain", captioner, photos / "0.png", "--out", tmp_path / "why.html")
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page
    assert '"kind": "photo"' in page
    run("explain", captioner, photos / "0.png", "--out", tmp_path / "why.png")
    assert (tmp_path / "why.png").stat().st_size > 10_000
    _, said = run("explain", captioner, code=3)
    assert "explained on an image" in said
    _, said = run("predict", captioner, photos / "0.png", "--prefix", "a", code=2)
    assert "has no effect on a captioner" in said


@pytest.mark.parametrize("kind", ["plain", "word", "lstm", "own", "frozen"])
def test_other_captioners_train_save_and_load(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    flags = FLAGS | {"epochs": 1, "evaluations": 1, "select": "loss"}
    encoder, train = None, scenes(24, seed=1)
    assert train.captions[0] != train.captions[1]
    match kind:
        case "plain":
            flags |= {"attention": "none"}
        case "word":
            flags |= {"attention": "none", "begins": "word", "cell": "rnn"}
        case "lstm":
            flags |= {"cell": "lstm", "attention": "dot", "decoder_size": 16, "select": "bleu"}
        case "own":
            encoder = nn.Sequential(nn.AvgPool2d(32), nn.Conv2d(3, 5, 1))
        case "frozen":
            torch.save(SmallEncoder().state_dict(), tmp_path / "small.pth")
            flags |= {"encoder_weights": str(tmp_path / "small.pth")}
    idle = {"own": {"encoder", "mirror"}, "frozen": {"mirror"}}.get(kind, {"attention_size"})  # refused
    flags = {name: value for name, value in flags.items() if name not in idle}
    for _ in train_captioner(
        caption_options(flags=flags), train, tmp_path / "run", valid=scenes(8, seed=2), encoder=encoder
    ):
        pass
    if kind == "own":
        with pytest.raises(FolderError, match="an encoder of your own"):
            unrolled.load(tmp_path / "run")
    found = TrainedCaptioner.load(tmp_path / "run", encoder=encoder)
    before = found.caption(train.images[0])
    found.save(tmp_path / "copy")
    assert TrainedCaptioner.load(tmp_path / "copy", encoder=encoder).caption(train.images[0]).score == before.score
    assert (tmp_path / "copy" / "README.md").read_text(encoding="utf-8").startswith("# A captioner")


def test_an_interrupted_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    table, flags = papers(tmp_path, 24), FLAGS | {"epochs": 3, "images": str(tmp_path / "photos"), "dropout_output": 0.2}
    for name in ("whole", "parts"):
        for event in train_captioner(caption_options(flags=flags), [table], tmp_path / name):
            if name == "parts" and isinstance(event, Step) and event.step == 5:
                signal.raise_signal(signal.SIGINT)
    weights = [tmp_path / name / "last" / "model.safetensors" for name in ("whole", "parts")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    photo = tmp_path / "photos" / "3.png"
    before = photo.read_bytes()
    photo.write_bytes(b"no image")
    with pytest.raises(DataError, match="the photos are not those"):
        list(resume_captioner(tmp_path / "parts"))
    photo.write_bytes(before)
    for _ in resume_captioner(tmp_path / "parts"):
        pass
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_photos_that_cannot_be_read_are_named_and_left_out(tmp_path: Path) -> None:
    table = papers(tmp_path)
    (tmp_path / "photos" / "3.png").write_bytes(b"no image")
    (tmp_path / "photos" / "4.png").unlink()
    flags = ["--images", tmp_path / "photos", "--train-split", "train", "--valid-split", "dev", "--encoder", "small"]
    flags += ["--epochs", 1, "--min-count", 1, "--threads", 1, "--select", "loss", "--decoder-size", 16]
    _, said = run("train", "caption", table, *flags, "--out", tmp_path / "run")
    assert "28 images with 56 captions to train on, 6 images to validate on" in said
    assert "1 captioned images are not there" in said
    assert "3.png: is no image that can be read" in said
    for path in (tmp_path / "photos").iterdir():
        path.write_bytes(b"no image")
    _, said = run("train", "caption", table, *flags, "--out", tmp_path / "none", code=3)
    assert "none of the images can be read" in said


def test_scenes_are_what_their_captions_say(tmp_path: Path) -> None:
    found = scenes(40, seed=3)
    assert found.captions == scenes(40, seed=3).captions
    for pixels, (caption,) in zip(found.images, found.captions, strict=True):
        assert isinstance(pixels, np.ndarray)
        assert ("left of" in caption) != ("above" in caption)
        if "black" not in caption:
            assert (pixels.sum(2) > 100).all()
    assert [path.name for path in save_scenes(found.part(range(2)), tmp_path / "drawn")] == ["1.png", "2.png"]


def test_too_few_images_and_cells_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few images to hold some out"):
        list(train_captioner(caption_options(flags=FLAGS), scenes(1, seed=0), tmp_path / "run"))
    with pytest.raises(ConfigError, match="unknown cell"):
        caption_options(flags={"cell": "grue"})
    assert "gru" in CELLS
    with pytest.raises(ConfigError, match="no captioned images"):
        TrainedCaptioner.evaluate(None, Captioned())  # type: ignore[arg-type]
