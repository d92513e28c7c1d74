"""A trained captioner: `captions`, `evaluate`, `explain`, `save`. Made by `unrolled.load`.

captioner = unrolled.load("runs/captions")
captioner.caption("photo.jpg").text                          # 'a dog runs through the grass'
captioner.caption(["one.jpg", "two.jpg"])                    # a list of two captions
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.captions import Captioned, read_captions
from unrolled.decoding.beam import Found, Hypothesis, beam_search
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.pair_codec import Side
from unrolled.features.pixels import Preparation
from unrolled.folders import header, open_model, prepare_model, write_json, write_text
from unrolled.layers.convolution import ENCODERS, ImageEncoder, as_encoder
from unrolled.metrics.captions import caption_scores, plain
from unrolled.models.captioner import Captioner, CaptionerConfig
from unrolled.models.decoder_engine import DecoderEngine
from unrolled.tasks.card import captioner_card
from unrolled.tasks.inputs import IMAGES, evaluation_paths, iter_inputs, map_inputs
from unrolled.tasks.media_inputs import Image, input_name, to_pixels
from unrolled.training.weights import load_weights, save_weights
from unrolled.types import Stepper

__all__ = ["NAME", "Caption", "TrainedCaptioner"]

NAME = "caption"
#: Images looked at together. Changes no result.
_TOGETHER = 32


class Caption(NamedTuple):
    """text, its score (see `decoding.scoring`), its symbols and log P of each; attention (T, S): how much each symbol
    looked at each region, row by row from the top left; optimal: nothing that the beam could have reached is better;
    others: the next.
    """

    image: str
    text: str
    score: float
    symbols: list[str]
    token_scores: list[float]
    attention: np.ndarray | None
    optimal: bool
    others: tuple[Caption, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        scored = zip(self.symbols, self.token_scores, strict=True)
        found: dict[str, Any] = {"image": self.image, "caption": self.text, "score": self.score}
        found["tokens"] = [{"token": symbol, "log_probability": round(p, 6)} for symbol, p in scored]
        found["optimal_in_beam"] = self.optimal
        if self.attention is not None:
            found["attention"] = [[round(float(a), 4) for a in row] for row in self.attention]
        return found | ({"others": [other.to_json() for other in self.others]} if self.others else {})


class TrainedCaptioner:
    """side: how captions become ids; preparation: how images become what the encoder takes; encoder: its name, or "own"
    for a module given from Python; as_plain: captions are in lower case, without punctuation; longest: symbols of a caption
    at most, the end not counted, unless options of a search say otherwise.
    """

    def __init__(
        self,
        model: Captioner,
        side: Side,
        preparation: Preparation,
        *,
        encoder: str,
        as_plain: bool = True,
        search: BeamOptions | None = None,
        metrics: dict[str, Any] | None = None,
        longest: int = 60,
    ) -> None:
        self.model, self.side, self.preparation = model, side, preparation
        self.encoder, self.as_plain = encoder, as_plain
        self.search, self.metrics = search or BeamOptions(), metrics or {}
        self.longest = longest

    @staticmethod
    def load(path: str | Path, encoder: nn.Module | None = None) -> TrainedCaptioner:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind.

        encoder: the module that it was trained with, where that was given from Python.
        """
        folder, config = open_model(path, NAME, "a captioner")
        given: ImageEncoder | None = None if encoder is None else as_encoder(encoder)
        try:
            name, pooled = config["encoder"]["name"], config["encoder"]["pooled"]
            if name not in ENCODERS and given is None:
                raise FolderError(
                    f"{folder}: was trained with an encoder of your own: TrainedCaptioner.load(folder, encoder=...)"
                )
            preparation = Preparation.from_json(config["encoder"]["preparation"])
            model = Captioner(
                CaptionerConfig(**config["model"]), ENCODERS[name](pooled=pooled).trimmed() if given is None else given
            )
            search, longest = BeamOptions(**config["search"]), int(config["longest"])
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a captioner ({error}).") from None
        side = Side.load(folder, "caption")
        if len(side.vocabulary) != model.config.n_target:
            raise FolderError(f"{folder}: the vocabulary is not that of config.json. Copy the folder again.")
        load_weights(model, folder / "model.safetensors")
        return TrainedCaptioner(
            model.eval(),
            side,
            preparation,
            encoder=name,
            as_plain=bool(config.get("plain", True)),
            search=search,
            metrics=config.get("metrics"),
            longest=longest,
        )

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        search = {name: getattr(self.search, name) for name in ("width", "norm", "alpha", "reward", "coverage")}
        encoder = {"name": self.encoder, "pooled": self.model.encoder.pooled, "preparation": self.preparation.to_json()}
        config = header(NAME) | {"model": self.model.config.to_json(), "encoder": encoder, "plain": self.as_plain}
        config |= {"longest": self.longest}
        config |= {"search": search, "metrics": self.metrics} | (extra or {})
        save_weights(self.model, folder / "model.safetensors")
        self.side.save(folder, "caption")
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", captioner_card(config))
        write_json(folder / "config.json", config)

    @cached_property
    def stepper(self) -> Stepper:
        """What is searched with: the decoder's engine, where it has one."""
        return cast(Stepper, DecoderEngine(self.model) if DecoderEngine.serves(self.model) else self.model)

    def caption(self, image: Image, options: BeamOptions | None = None, *, batch_size: int = _TOGETHER) -> Any:
        """Return the best `Caption` of an image, with `options.n_best` - 1 others; of an iterable of images, a list.

        image: a path, bytes of a file, a PIL image, or an array (height, width[, 3]). batch_size: images computed at once.
        Raises TypeError for what is neither image nor images, DataError for the first image that cannot be read.
        """
        return map_inputs(IMAGES, image, lambda some: self.captions(some, options, batch_size))

    def captions(
        self, images: Iterable[Image], options: BeamOptions | None = None, batch_size: int = _TOGETHER
    ) -> Iterator[Caption | DataError]:
        """The best caption of each image, with `options.n_best` - 1 others; the error of each that cannot be read."""
        remaining = iter_inputs(IMAGES, images)
        while group := list(islice(remaining, batch_size)):
            read = [self._read(image) for image in group]
            good = [one for one in read if isinstance(one, np.ndarray)]
            searched = iter(self.searched(self.seen(np.stack(good)), options) if good else ())
            for image, one in zip(group, read, strict=True):
                yield one if isinstance(one, DataError) else self.told(image, next(searched))

    def _read(self, image: Image) -> np.ndarray | DataError:
        try:
            return self.read_pixels(image)
        except DataError as error:
            return error

    def read_pixels(self, image: Image) -> np.ndarray:
        """Return an image as the encoder takes it, uint8 (size, size, 3). DataError if it cannot be read."""
        pixels = to_pixels(image)
        return self.preparation.read(Path(pixels) if isinstance(pixels, str) else pixels)

    @torch.no_grad()
    def seen(self, squares: np.ndarray) -> Tensor:
        """Prepared images, uint8 (B, size, size, 3) -> regions (B, S, F)."""
        self.model.eval()
        x = self.preparation.scaled(squares).to(self.model.device, memory_format=torch.channels_last)
        return self.model.encoder.regions(x)

    def searched(self, seen: Tensor, options: BeamOptions | None = None, *, keep_tree: bool = False) -> list[Found]:
        """What the beam finds for regions (B, S, F), or prepared pixels."""
        self.model.eval()
        chosen = options or self.search
        chosen = chosen if chosen.max_length else replace(chosen, max_length=max(self.longest, chosen.min_length))
        vocabulary, begin = self.side.vocabulary, torch.full((len(seen),), self.side.vocabulary.begin)
        forbidden = [vocabulary.unknown]
        return beam_search(self.stepper, seen, begin, chosen, end=vocabulary.end, forbidden=forbidden, keep_tree=keep_tree)

    def told(self, image: Image, found: Found) -> Caption:
        """What was found as captions."""
        name = input_name(image, "pixels")
        best, *others = [self._told(name, one, optimal=found.optimal_in_beam) for one in found.hypotheses]
        return best._replace(others=tuple(others))

    def _told(self, name: str, one: Hypothesis, *, optimal: bool) -> Caption:
        symbols = self.side.vocabulary.decode(one.symbols)
        return Caption(name, self.side.join(symbols), one.score, symbols, one.token_scores, one.attention, optimal=optimal)

    def encode(self, caption: str) -> np.ndarray:
        """The ids of a caption, its end last."""
        return self.side.encode(plain(caption) if self.as_plain else caption)

    def evaluate(
        self,
        captioned: Any,
        options: BeamOptions | None = None,
        *,
        images: str | Path | None = None,
        split: str | None = None,
        batch_size: int = _TOGETHER,
    ) -> tuple[dict[str, Any], list[Caption]]:
        """BLEU, ROUGE-L and CIDEr-D of the captions of images against all that people wrote; those images that cannot be
        read are named and left out.

        captioned: `Captioned` images, or one or several paths of files of captions; images, split: of these files, their
        folder of images (by default their own) and the lines that are used. batch_size: images computed at once.
        """
        if not isinstance(captioned, Captioned):
            folder = None if images is None else Path(images)
            captioned = read_captions(evaluation_paths(captioned, NAME), folder, split=split)
        if not len(captioned):
            raise ConfigError("there are no captioned images to evaluate on")
        caption_scores(["a"], [["a"]])  # before the long work: is sacrebleu there?
        made = list(self.captions(captioned.images, options, batch_size))
        unread = [str(one) for one in made if isinstance(one, DataError)]
        pairs = [(one, some) for one, some in zip(made, captioned.captions, strict=True) if isinstance(one, Caption)]
        if not pairs:
            raise DataError("\n".join(["none of the images can be read:", *unread[:10]]))
        good = [one for one, _ in pairs]
        found: dict[str, Any] = {"images": len(good), "captions": sum(len(some) for _, some in pairs)}
        found |= {"unread": unread, "missing": captioned.missing, "empty_captions": captioned.empty}
        found |= caption_scores([one.text for one in good], [some for _, some in pairs])
        found["different"] = len({one.text for one in good})
        found["not_proved_optimal"] = sum(not one.optimal for one in good)
        return found, good

    def explain(self, image: Image, options: BeamOptions | None = None) -> Any:
        """Where each word looked, what it cost, and what else was in the beam. An iterable of images gives a list."""
        from unrolled.tasks.explain_captioner import explain_caption

        search = options or self.search
        return map_inputs(IMAGES, image, lambda some: (explain_caption(self, one, search) for one in some))
