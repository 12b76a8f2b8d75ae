"""Image files: which names are one's, and reading them, with one line for the user if it fails."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from camwall.errors import CamwallError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def is_image(name: str | Path) -> bool:
    """Whether a file of this name is taken for an image; hidden files (``._x.jpg``) are not."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


@contextmanager
def opened(source: str | Path | io.BytesIO, name: str | None = None) -> Iterator[Image.Image]:
    """Open an image file, or its bytes in memory, to be decoded inside the block.

    One that is missing or cannot be decoded is a CamwallError, which says its ``name``.
    """
    name = str(source) if name is None else name
    try:
        with Image.open(source) as image:
            yield image
    except FileNotFoundError:
        raise CamwallError(f"no image at {name}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's own words name the object that it was given.
        why = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise CamwallError(
            f"{name} is not an image that can be read ({why}); replace or remove it"
        ) from None


def read_image(path: str | Path) -> Image.Image:
    """Open an image file and decode it to the end."""
    with opened(path) as image:
        image.load()
    return image
