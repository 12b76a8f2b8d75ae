"""Reading image files, with one line for the user where that fails."""

from pathlib import Path

from PIL import Image

from camwall.errors import CamwallError


def read_image(path: str | Path) -> Image.Image:
    """Open and decode an image file.

    Raises
    ------
    CamwallError
        If the file is missing or cannot be decoded to the end.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise CamwallError(f"no image at {path}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise CamwallError(
            f"{path} is not an image that can be read ({error}); replace or remove it"
        ) from None
