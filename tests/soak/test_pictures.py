"""Picture files are read as a viewer shows them, or refused in one line; none is left out."""

import io
import os
import resource
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camwall.config import quick
from camwall.errors import CamwallError
from camwall.images import images_below, opaque, opened
from camwall.models import Preprocessing
from camwall.stacks import load
from camwall.train import sources
from camwall.train.shrink import shrink_folder
from tests.helpers.checks import quiet, small_model

SIZE = 16
AS_IT_IS = Preprocessing((0.5,) * 3, (0.5,) * 3, None, SIZE)
LIGHT = np.random.default_rng(0).random((SIZE, SIZE))
#: How a camera that was held in one of eight ways stores a picture, and its mark for that.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def halves() -> np.ndarray:
    """Three quarters, each another colour, one black."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[:8, 8:, 0], pixels[8:, :8, 1], pixels[8:, 8:, 2] = 255, 255, 255
    return pixels


def write(folder: Path) -> dict[str, np.ndarray]:
    """Files, and the pixels [H, W, 3] in [0, 1] that a viewer shows of each."""
    shown = {}
    grey = np.repeat(LIGHT[..., None], 3, axis=2)
    Image.fromarray((LIGHT * 65535).astype(np.uint16)).save(folder / "16.png")
    Image.fromarray((LIGHT * 65535).astype(">u2")).save(folder / "16.tiff")
    shown |= {"16.png": grey, "16.tiff": grey}
    for mark, stored in STORED.items():
        image = Image.fromarray(np.ascontiguousarray(stored(halves())))
        exif = image.getexif()
        exif[0x0112] = mark
        image.save(folder / f"turned-{mark}.png", exif=exif)
        shown[f"turned-{mark}.png"] = halves() / 255
    # 65535 less the light, of which the file says that its 0 is white; one level that is clear.
    dark = Image.fromarray(65535 - (LIGHT * 65535).astype(np.uint16))
    dark.save(folder / "white0.tiff", tiffinfo={262: 0})
    shown["white0.tiff"] = grey
    deep = np.full((SIZE, SIZE), 300, np.uint16)
    deep[8:] = 40_000
    Image.fromarray(deep).save(folder / "16-clear.png", transparency=300)
    shown["16-clear.png"] = np.where(deep[..., None] == 300, 1, deep[..., None] / 65535)
    hidden = np.full((SIZE, SIZE), 255, np.uint8)
    hidden[:8] = 0
    white = halves() / 255
    white[:8] = 1
    Image.fromarray(np.dstack([halves(), hidden])).save(folder / "clear.png")
    few = Image.fromarray(halves()).quantize(4)
    few.save(folder / "palette.png", transparency=few.getpixel((0, 0)))
    shown["clear.png"] = white
    shown["palette.png"] = np.where(halves().any(axis=2, keepdims=True), halves() / 255, 1)
    Image.fromarray(np.dstack([(LIGHT * 255).astype(np.uint8), hidden]), "LA").save(
        folder / "grey-clear.png"
    )
    shown["grey-clear.png"] = np.where(hidden[..., None] > 0, grey, 1)
    return shown


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_pictures_are_read_as_they_are_shown(tmp_path, record_property):
    """16 bits, eight ways to hold a camera, transparency: in a check, training and shrinking."""
    shown = write(tmp_path)
    for name, wanted in shown.items():
        found = {
            "check": AS_IT_IS.pixels(tmp_path / name).permute(1, 2, 0).numpy(),
            "train": sources.decode(tmp_path / name, name).permute(1, 2, 0).numpy() / 255,
        }
        for where, pixels in found.items():
            assert np.abs(pixels - wanted).max() < 1 / 255, (where, name)
    (tmp_path / "clear.png").rename(tmp_path / f"{'a' * 251}.png")
    shown["a" * 251 + ".png"] = shown.pop("clear.png")
    shrink_folder(tmp_path, tmp_path.with_name("small"), size=SIZE, quality=95, progress=False)
    for name in filter(lambda name: name.endswith("png"), shown):
        with opened(tmp_path.with_name("small") / f"{Path(name).stem}.jpg") as image:
            pixels = np.asarray(opaque(image)) / 255
        apart = np.abs(pixels[:8].mean((0, 1)) - shown[name][:8].mean((0, 1)))
        assert apart.max() < 0.05, name
    record_property("pictures as shown", 3 * len(shown))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_a_white_are_refused(kind, tmp_path):
    """Of floats and 32-bit pixels no file says how much is white: they are not guessed."""
    Image.fromarray((LIGHT * 200).astype(kind)).save(tmp_path / "x.tiff")
    with pytest.raises(CamwallError, match=r"x.tiff .*how much is white: save it with 8 or 16"):
        AS_IT_IS.pixels(tmp_path / "x.tiff")


@pytest.mark.parametrize("shape", [(2, 6000), (1, 60000), (60000, 1), (3, 5001)])
def test_a_strip_costs_no_more_than_a_picture(shape, tmp_path):
    """It is cut before it is enlarged, its centre where it was."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    file = tmp_path / "strip.png"
    Image.fromarray(pixels).save(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = Preprocessing().pixels(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    wide = shape[1] > shape[0]
    scale = 256 / min(shape)
    long, short = (shape[wide] - 224 / scale) / 2, 16 / scale  # left out on each side
    box = (long, short) if wide else (short, long)
    box += (shape[1] - box[0], shape[0] - box[1])
    wanted = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR, box)
    assert (
        np.abs(found.permute(1, 2, 0).numpy() - np.asarray(wanted) / 255).max() < 3 / 255
    )  # ½ pixel


@settings(max_examples=30 if quick() else 300, deadline=None, derandomize=quick())
@given(data=st.data())
def test_a_damaged_picture_is_refused_or_read(data):
    """A flipped, cut or stuffed file of any format ends in one line, or is a picture."""
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]))
    Image.fromarray(halves()).save(file := io.BytesIO(), kind)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    content += data.draw(st.binary(max_size=20))
    with suppress(CamwallError), opened(bytes(content), "x") as image:
        assert opaque(image).mode == "RGB"


def test_what_a_folder_holds_is_read_or_refused(tmp_path, monkeypatch):
    """A folder named as an image is none; a pipe, a broken link, a name in Latin-1 are lines."""
    Image.fromarray(halves()).save(tmp_path / "1.png")
    (tmp_path / "2.png").mkdir()
    assert [path.name for path in load(tmp_path).paths] == ["1.png"]
    model = small_model()

    def refused(message: str) -> None:
        with pytest.raises(CamwallError, match=message):
            quiet(model, tmp_path, ["GradCAM"])

    os.mkfifo(tmp_path / "3.png")
    refused("3.png is no file but a pipe")
    (tmp_path / "3.png").unlink()
    (tmp_path / "3.png").symlink_to("nowhere")
    refused("no image at .*3.png")
    (tmp_path / "3.png").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe4.png")).touch()
    refused(r"'\\udce4.png' is not UTF-8: rename")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe4.png")).rename(tmp_path / "a\rb.png")
    refused(r"'a\\rb.png' holds the end of a line: rename")
    (tmp_path / "a\rb.png").rename(tmp_path / "a\nb.png")
    refused("a b.png is not an image")

    def denied(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(CamwallError, match="cannot be read: Permission denied"):
        images_below(tmp_path)
