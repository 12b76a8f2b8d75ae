"""Image files: which names are one's, and reading them, with one line for the user if it fails."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from camwall.errors import CamwallError, check_file, in_one_line

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def is_image(name: str | Path) -> bool:
    """Whether a file of this name is taken for an image; hidden files (``._x.jpg``) are not."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def images_below(folder: str | Path, deep: bool = True) -> list[str]:
    """The images of a folder by their names in it, sorted; of the folders in it too if ``deep``.

    Links to folders are followed, but for one to a folder that it lies in.

    Raises
    ------
    CamwallError
        A folder that is not there or cannot be read, and names that are not UTF-8.
    """

    def refuse(error: OSError) -> None:
        where = error.filename or folder
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise CamwallError(f"no folder {where}.") from None
        raise CamwallError(f"the folder {where} cannot be read: {error.strerror}") from None

    found: list[str] = []
    with in_one_line(f"the folder {str(folder)!r} cannot be read", "give another"):
        for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            path, images = Path(here).absolute(), filter(is_image, names)
            found += [os.path.relpath(Path(here) / name, folder) for name in images]
            above = {above.resolve() for above in (path, *path.parents)}
            inner = [name for name in folders if (path / name).resolve() not in above]
            folders[:] = inner if deep else []
    for name in found:
        require_plain_name(name)
    return sorted(found)


def require_plain_name(name: str) -> None:
    """Refuse a file's name that no table could be written with."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise CamwallError(f"the file name {name!r} is not UTF-8: rename the file") from None
    if "\r" in name:
        raise CamwallError(f"the file name {name!r} holds the end of a line: rename the file")


def contents(path: str | Path) -> bytes:
    """The bytes of a file."""
    check_file(path)
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CamwallError(f"no image at {path}") from None
    except OSError as error:
        raise CamwallError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CamwallError(f"{str(path)!r} is no path") from None


@contextmanager
def opened(source: str | Path | bytes, name: str | None = None) -> Iterator[Image.Image]:
    """Open an image file, or its bytes in memory, to be decoded inside the block.

    One that is missing or cannot be decoded is a CamwallError, which says its ``name``.
    """
    name = str(source) if name is None else name
    content = source if isinstance(source, bytes) else contents(source)
    try:
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except CamwallError:
        raise
    except Exception as error:  # a damaged file brings out any kind
        # Pillow's own words name the object that it was given.
        why = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise CamwallError(
            f"{name} is not an image that can be read ({why}); replace or remove it"
        ) from None


def upright(image: Image.Image) -> Image.Image:
    """An `opened` image decoded as a viewer shows it: turned as its camera says, 8 bits a channel.

    Transparency is kept. ValueError for pixels of 32 bits or floats, of which no file says how much
    is white.
    """
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        levels = np.rint(pixels / 257).astype(np.uint8)
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
            levels = 255 - levels  # its 0 is white, which Pillow minds at 8 bits alone
        clear = image.info.get("transparency")  # one level, by a chunk of PNG
        if clear is None:
            return Image.fromarray(levels)
        return Image.fromarray(np.dstack([levels, np.where(pixels == clear, 0, 255)]).astype("u1"))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"of values of mode {image.mode} no file says how much is white: save it with 8 or 16 "
            "bits a channel"
        )
    return image


def opaque(image: Image.Image, mode: str = "RGB") -> Image.Image:
    """An image as `upright` gives it in RGB, or grey (``L``); what is transparent is white."""
    image = upright(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def read_image(path: str | Path, mode: str | None = None) -> Image.Image:
    """Read an image file to the end: as `upright` gives it, or, in a ``mode``, as `opaque` does."""
    with opened(path) as image:
        return upright(image) if mode is None else opaque(image, mode)
