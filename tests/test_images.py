"""Images from files of all kinds, encoders against independent definitions, and what is kept of images on disk."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import references
from unrolled.data.images import read_image
from unrolled.errors import ConfigError, DataError, FolderError, ShapeError
from unrolled.features.image_store import ImageStore, content_key
from unrolled.features.pixels import Preparation, shifted
from unrolled.layers.convolution import AlexNet, EfficientNetLite0, as_encoder
from unrolled.tasks.image_encoders import Looked, encoder_for, look, read_weights

RED = (200, 30, 40)


def saved(path: Path, mode: str, colour: object, size: tuple[int, int] = (40, 20), **options: object) -> Path:
    Image.new(mode, size, colour).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("name", "mode", "colour", "expected"),
    [
        ("rgb.png", "RGB", RED, RED),
        ("grey.png", "L", 77, (77, 77, 77)),
        ("deep.png", "I;16", 257 * 90, (90, 90, 90)),
        ("alpha.png", "RGBA", (*RED, 0), (255, 255, 255)),
        ("greyalpha.png", "LA", (77, 255), (77, 77, 77)),
        ("bits.png", "1", 1, (255, 255, 255)),
        ("palette.gif", "P", 0, (0, 0, 0)),
        ("print.tif", "CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("float.tif", "F", 60.0, (60, 60, 60)),
        ("unit.tif", "F", 0.5, (127, 127, 127)),
        ("dark.png", "I;16", 255, (0, 0, 0)),
        ("photo.webp", "RGB", (255, 255, 255), (255, 255, 255)),
    ],
)
def test_every_kind_of_image(tmp_path: Path, name: str, mode: str, colour: object, expected: tuple[int, int, int]) -> None:
    found = read_image(saved(tmp_path / name, mode, colour))
    assert found.dtype == np.uint8
    assert found.shape == (20, 40, 3)
    assert (found == expected).all()


def test_a_transparent_palette_and_a_camera_that_was_turned(tmp_path: Path) -> None:
    saved(tmp_path / "clear.gif", "P", 0, transparency=0)
    assert (read_image(tmp_path / "clear.gif") == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    saved(tmp_path / "turned.jpg", "RGB", RED, exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (40, 20, 3)


def test_what_is_no_image(tmp_path: Path) -> None:
    saved(tmp_path / "whole.jpg", "RGB", RED, (300, 300))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    (tmp_path / "text.jpg").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.jpg").touch()
    for name, said in (("cut", "is damaged or cut off"), ("text", "is no image"), ("empty", "is empty")):
        with pytest.raises(DataError, match=rf"{name}\.jpg: {said}"):
            read_image(tmp_path / f"{name}.jpg")
    with pytest.raises(DataError, match=r"missing\.jpg: cannot be read"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)
    (tmp_path / "program.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # would start Ghostscript
    with pytest.raises(DataError, match="is no image"):
        read_image(tmp_path / "program.jpg")


def test_huge_images_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    (tmp_path / "huge.png").write_bytes(huge + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
    with pytest.raises(DataError, match=r"huge\.png: has .*pixels; at most 50 million"):
        read_image(tmp_path / "huge.png")
    monkeypatch.setattr("unrolled.data.images._MOST", 100_000)
    saved(tmp_path / "large.jpg", "RGB", RED, (1600, 1200))
    assert read_image(tmp_path / "large.jpg").shape == (150, 200, 3)  # an eighth of each side
    saved(tmp_path / "larger.jpg", "RGB", RED, (8000, 6000))
    with pytest.raises(DataError, match="has 1,000 x 750 pixels"):
        read_image(tmp_path / "larger.jpg")


_TURNED = {1: "RGBY", 2: "GRYB", 3: "YBGR", 4: "BYRG", 5: "RBGY", 6: "BRYG", 7: "YGBR", 8: "GYRB"}


@pytest.mark.parametrize("kind", ["tif", "jpg", "png", "webp", "mpo"])
@pytest.mark.parametrize("orientation", [*_TURNED, 9])
def test_an_image_is_turned_once_whatever_its_format(tmp_path: Path, kind: str, orientation: int) -> None:
    pixels, colors = (
        np.zeros((40, 60, 3), np.uint8),
        {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "Y": (255, 255, 0)},
    )
    corners = [np.s_[:20, :30], np.s_[:20, 30:], np.s_[20:, :30], np.s_[20:, 30:]]
    for corner, color in zip(corners, colors.values(), strict=True):
        pixels[corner] = color
    exif, image = Image.Exif(), Image.fromarray(pixels)
    exif[0x0112] = orientation
    options = {"save_all": True, "append_images": [Image.new("RGB", (60, 40))]} if kind == "mpo" else {}
    image.save(tmp_path / f"a.{kind}", exif=exif, **options)
    found = read_image(tmp_path / f"a.{kind}")
    seen = [found[y, x] > 127 for y in (3, -4) for x in (3, -4)]
    names = {tuple(value > 127 for value in color): name for name, color in colors.items()}
    assert "".join(names[tuple(map(bool, color))] for color in seen) == _TURNED.get(orientation, "RGBY")
    assert found.shape == ((60, 40, 3) if 5 <= orientation <= 8 else (40, 60, 3))
    with Image.open(tmp_path / f"a.{kind}") as opened:
        np.testing.assert_array_equal(read_image(opened), found)


def test_images_come_as_files_bytes_file_objects_and_pillow_images(tmp_path: Path) -> None:
    latin = str(tmp_path / os.fsdecode(b"\xe9.png"))
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(latin)
    data = Path(latin).read_bytes()
    with Path(latin).open("rb") as file, Image.open(io.BytesIO(data)) as opened:
        for source in (latin, Path(latin), data, bytearray(data), io.BytesIO(data), file, opened, Image.fromarray(pixels)):
            np.testing.assert_array_equal(read_image(source), pixels)
    with pytest.raises(DataError, match=r"<bytes>: is damaged or cut off"):
        read_image(data[:60])
    with pytest.raises(DataError, match=r"\\xe9\.jpg: is no image"):
        read_image(b"text", name=r"\xe9.jpg")
    with pytest.raises(TypeError, match="expected a file's name, bytes or a file object"):
        read_image(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mode 'rb'"):
        read_image(io.StringIO("text"))


def test_grey_of_sixteen_bits_layers_and_frames(tmp_path: Path) -> None:
    grey = np.array([[0, 256 * 100], [65535, 7]], np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(grey).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name)[..., 1], [[0, 99], [255, 0]])
    Image.fromarray(grey).save(tmp_path / "clear.png", transparency=7)
    assert read_image(tmp_path / "clear.png")[1, 1].tolist() == [255, 255, 255]
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "ink.tif")
    assert read_image(tmp_path / "ink.tif")[0, 0].tolist() == [255, 0, 0]
    Image.new("LA", (4, 4), (10, 0)).save(tmp_path / "clear_grey.png")
    assert read_image(tmp_path / "clear_grey.png")[0, 0].tolist() == [255, 255, 255]
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("gif", "webp", "png", "tif"):
        options = {"lossless": True} if kind == "webp" else {}
        frames[0].save(tmp_path / f"many.{kind}", save_all=True, append_images=frames[1:], **options)
        assert read_image(tmp_path / f"many.{kind}")[0, 0].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_rectangle_becomes_a_square(fit: str) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    prepare = Preparation(10, (100.0, 100.0, 100.0), (50.0, 50.0, 50.0), fit)  # type: ignore[arg-type]
    square = prepare.square(pixels)
    assert square.shape == (10, 10, 3)
    assert (square.mean() > 199) == (fit == "crop")
    if fit == "pad":
        assert (square[0] == 100).all()
    x = prepare.scaled(square[None])
    torch.testing.assert_close(x, (torch.tensor(square[None]).float().permute(0, 3, 1, 2) - 100) / 50)
    assert Preparation.from_json(prepare.to_json()) == prepare
    assert prepare.key() != Preparation(11, prepare.mean, prepare.deviation, prepare.fit).key()
    assert prepare.square(np.zeros((2, 4000, 3), np.uint8)).shape == (10, 10, 3)
    for wrong in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3))):
        with pytest.raises(DataError, match=r"pixels are uint8 \(height, width, 3\)"):
            prepare.square(wrong)
    with pytest.raises(ConfigError, match="unknown fit"):
        Preparation(10, prepare.mean, prepare.deviation, "cut")  # type: ignore[arg-type]


def test_shifted_images_are_the_same_for_the_same_seed() -> None:
    squares = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    a, b = (shifted(squares, np.random.default_rng(5), 0.2, mirror=True) for _ in range(2))
    assert (a == b).all()
    assert not (a == squares).all()
    assert (shifted(squares, np.random.default_rng(5), 0, mirror=False) == squares).all()


def test_alexnet_is_torchvisions() -> None:
    torch.manual_seed(1)
    model = AlexNet().eval()
    assert sum(p.numel() for p in model.parameters()) == 61_100_840
    assert list(model.state_dict())[:2] == ["features.0.weight", "features.0.bias"]
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), references.alexnet(x, model.state_dict()), rtol=1e-5, atol=1e-5)
        regions = model.regions(x)
        assert regions.shape == (2, 36, 256)
        torch.testing.assert_close(regions[0, 7], model.features(x)[0, :, 1, 1])
        pooled = AlexNet(pooled=True).eval()
        pooled.load_state_dict(model.state_dict())
        seen = pooled.regions(x)
        torch.testing.assert_close(pooled.trimmed().regions(x), seen)
        torch.testing.assert_close(model.trimmed().regions(x), regions)
    assert sum(p.numel() for p in model.parameters()) < 3_000_000
    assert seen.shape == (2, 1, 4096)
    assert (seen >= 0).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_lite0_sees_as_its_definition_says(pooled: bool) -> None:
    encoder, ready = encoder_for("lite0", None, pooled=pooled)
    assert ready
    assert isinstance(encoder.train(), EfficientNetLite0)
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        expected = references.lite0(x, encoder.state_dict())
        found = encoder.regions(x)  # in training mode: its norms stay as they are
    expected = expected.mean((2, 3), keepdim=True) if pooled else expected
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_weights_from_files_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = EfficientNetLite0().state_dict()
    torch.save({"state_dict": tensors}, tmp_path / "a.pth")
    np.savez(tmp_path / "a.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    for name in ("a.pth", "a.npz"):
        encoder, ready = encoder_for("lite0", str(tmp_path / name), pooled=False)
        assert ready
        assert torch.equal(encoder.state_dict()["_conv_head.weight"], tensors["_conv_head.weight"])
        assert "_fc.weight" not in encoder.state_dict()  # nobody asks for ImageNet's classes
    with pytest.raises(DataError, match=r"a\.pth: are not the weights of alexnet: there is no 'features\.0\.weight'"):
        encoder_for("alexnet", str(tmp_path / "a.pth"), pooled=True)
    tensors["_bn0.weight"] = torch.zeros(7)
    torch.save(tensors, tmp_path / "b.pth")
    with pytest.raises(DataError, match=r"'_bn0\.weight' is \(7,\), not \(32,\)"):
        encoder_for("lite0", str(tmp_path / "b.pth"), pooled=False)
    (tmp_path / "c.pth").write_text("weights", encoding="utf-8")
    torch.save(nn.Linear(2, 2), tmp_path / "d.pth")  # a whole module: code would have to be run
    for name in ("c.pth", "d.pth"):
        with pytest.raises(DataError, match="is no file of weights"):
            read_weights(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_weights(tmp_path / "e.pth")
    assert encoder_for("small", None, pooled=False)[1] is False


@pytest.mark.parametrize("give", ["map", "regions", "vector", "pixels"])
def test_an_encoder_of_ones_own(give: str) -> None:
    class Mine(nn.Module):
        size, mean, deviation = 8, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shapes = {"map": x[:, :2], "regions": x.flatten(2), "vector": x.mean((2, 3)), "pixels": x.flatten()}
            return shapes[give]

    if give == "pixels":
        with pytest.raises(ShapeError, match=r"an encoder gives \(B, F\)"):
            as_encoder(Mine())
        return
    encoder = as_encoder(Mine())
    assert encoder.size == 8
    seen = encoder.regions(torch.randn(2, 3, 8, 8))
    assert seen.shape == {"map": (2, 64, 2), "regions": (2, 3, 64), "vector": (2, 1, 3)}[give]
    assert encoder.n_features == seen.shape[2]


def test_records_are_kept_by_content_whole_or_not_at_all(tmp_path: Path) -> None:
    keys = [content_key(bytes([i])) for i in range(5)]
    first, second = (ImageStore(tmp_path / "store", (3,), np.float16) for _ in range(2))
    assert first.rows(keys[:2]).tolist() == [-1, -1]
    assert first.records.shape == (0, 3)
    first.add(keys[:2], np.arange(6).reshape(2, 3))
    first.add([keys[1]], np.zeros((1, 3)))  # it is there already
    with pytest.raises(ValueError, match="16 bytes"):
        first.add([b""], np.zeros((1, 3)))
    second.add(keys[2:3], np.full((1, 3), 9))  # it did not know of the first two
    assert ImageStore(tmp_path / "store", (3,), np.float16).rows(keys).tolist() == [0, 1, 2, -1, -1]
    with (tmp_path / "store" / "records").open("ab") as file:
        file.write(b"half of a")  # a crash while it was written
    first.add(keys[3:4], np.full((1, 3), 7))
    again = ImageStore(tmp_path / "store", (3,), np.float16)
    assert again.rows(keys).tolist() == [0, 1, 2, 3, -1]
    assert again.records[again.rows([keys[3], keys[0]])].tolist() == [[7, 7, 7], [0, 1, 2]]
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="cannot be written"):
        ImageStore(tmp_path / "file" / "store", (3,), np.float16)


def test_images_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    paths: list[Path | np.ndarray] = [saved(tmp_path / f"{i}.png", "RGB", (i, 2 * i, 3 * i)) for i in range(3)]
    (tmp_path / "bad.png").write_bytes(b"bad")
    paths.insert(1, tmp_path / "bad.png")
    encoder, _ = encoder_for("small", None, pooled=False)
    prepare = Preparation(64, encoder.mean, encoder.deviation)

    def looked() -> tuple[Looked, list[tuple[int, int]]]:
        *steps, last = look(paths, prepare, encoder)
        assert isinstance(last, Looked)
        return last, steps  # type: ignore[return-value]

    found, steps = looked()
    assert steps == [(0, 4), (4, 4)]
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 1
    assert found.rows.tolist() == [0, -1, 1, 2]
    assert "bad.png: is no image" in found.problems[0]
    x = prepare.scaled(prepare.read(paths[2])[None])
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found.records[[1]]).float(), encoder.regions(x), rtol=1e-2, atol=1e-3)
    paths[0] = saved(tmp_path / "again.png", "RGB", (0, 0, 0))  # another name, the same content
    monkeypatch.setattr("unrolled.tasks.image_encoders._records", None)  # nothing is looked at again
    assert looked()[0].rows.tolist() == [0, -1, 1, 2]
    assert looked()[0].digest == found.digest
    monkeypatch.undo()
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    looked()  # another encoder
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 2


def test_a_photo_is_read_at_the_size_that_is_needed(tmp_path: Path) -> None:
    gradient = np.tile(np.arange(0, 2000, dtype=np.float32)[:, None, None] * (255 / 2000), (1, 1600, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(gradient).save(file, "JPEG", quality=95)
    (tmp_path / "large.jpg").write_bytes(file.getvalue())
    assert read_image(tmp_path / "large.jpg").shape == (2000, 1600, 3)
    small = read_image(tmp_path / "large.jpg", 224)
    assert 224 <= small.shape[1] < 800
    prepare = Preparation(224, (0.0,) * 3, (1.0,) * 3)
    whole = prepare.square(read_image(tmp_path / "large.jpg")).astype(int)
    assert np.abs(prepare.square(small).astype(int) - whole).max() <= 6
