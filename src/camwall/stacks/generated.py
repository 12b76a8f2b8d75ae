"""STACK-GEN: two animals in one picture by a text-to-image model, from a folder of images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from camwall import data
from camwall.errors import CamwallError
from camwall.images import read_image
from camwall.stacks import choices, store
from camwall.stacks.store import SIDE, Painted, Stacks

VARIANTS = ("same", "other")
"""What stands behind the wall: an animal of the same class, as in the paper, or of another."""

PROMPTS = "prompts.csv"
"""The table of prompts that lies beside generated images."""

_RESIZE = 256


def prompts(n: int = 100, seed: int = 0, hidden: str = "same") -> pd.DataFrame:
    """Write the prompts for ``n`` stacks, one a pair of ImageNet's animal classes.

    Parameters
    ----------
    n
        Number of prompts.
    seed
        Determines the pairs; each class stands above once before any comes again.
    hidden
        ``"same"``: both animals of one class, as in the paper's published examples; ``"other"``:
        of two; ``"all"``: each visible class with the one, then with the other.

    Returns
    -------
    DataFrame
        ``prompt``, ``variant``, ``visible_index``, ``visible_name``, ``hidden_index``,
        ``hidden_name``.
    """
    choices.check_count(n)
    choices.check_choice("variant", hidden, (*VARIANTS, "all"))
    variants = VARIANTS if hidden == "all" else (hidden,)
    animals = data.imagenet_classes().query("animal")["index"].to_numpy()
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < n:
        for visible in rng.permutation(animals):
            other = int(rng.choice(animals[animals != visible]))
            for variant in variants:
                below = int(visible) if variant == "same" else other
                above_name, below_name = store.class_name(int(visible)), store.class_name(below)
                rows.append(
                    {
                        "prompt": f"A realistic photograph of two animals, one above the other: "
                        f"{_a(above_name)} in the upper two thirds of the picture, and "
                        f"{_a(below_name, below == visible)} in the lower third, "
                        "each of them whole, none in front of the other.",
                        "variant": variant,
                        "visible_index": int(visible),
                        "visible_name": above_name,
                        "hidden_index": below,
                        "hidden_name": below_name,
                    }
                )
    return pd.DataFrame(rows[:n])


def _a(name: str, second: bool = False) -> str:
    article = "another" if second else "an" if name[0].lower() in "aeiou" else "a"
    return f"{article} {name}"


def gen(folder: str | Path, source: str | Path, progress: bool = True) -> Stacks:
    """Build STACK-GEN from a folder of generated images.

    Each image gets the paper's preprocessing: bilinear resizing of the shorter side to 256, and the
    central 224×224. Nothing is random.

    Parameters
    ----------
    folder
        Where to write; :func:`camwall.stacks.store.build` says what may lie there.
    source
        Folder of images. A table ``prompts.csv`` in it (:func:`camwall.stacks.generate` writes
        one) gives the labels by the column ``file``; without one they are unknown.
    progress
        Show a bar on stderr.

    Returns
    -------
    Stacks

    Raises
    ------
    CamwallError
        If the source has no images, one cannot be read or is not in the table.
    """
    source = Path(source)
    files = store.image_files(source)
    checksums = {file.name: store.sha256(file) for file in files}
    labels = _labels(source, list(checksums))

    def stacks() -> Iterator[Painted]:
        for file in files:
            label = labels.get(file.name, {})
            row = {"source": file.name, "source_sha256": checksums[file.name]}
            yield crop(read_image(file)), {**row, **label}

    parameters = {"source": source.resolve().name, "checksums": checksums, "labels": labels}
    return store.build(folder, "gen", parameters, None, stacks, len(files), progress)


def _labels(source: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """The rows of the table of prompts by file, empty without a table."""
    if not (source / PROMPTS).is_file():
        return {}
    try:
        frame = pd.read_csv(source / PROMPTS).set_index("file")
        frame = frame.astype({name: "Int64" for name in store.LABELS if name in frame})
        table = frame.astype(object).where(frame.notna(), None).to_dict("index")
        return {name: {str(key): value for key, value in table[name].items()} for name in names}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CamwallError(
            f"{source / PROMPTS} needs a row for each image, by the column file, and whole "
            f"numbers for classes: {error}."
        ) from None


def crop(image: Image.Image) -> Image.Image:
    """The central 224×224 of an image whose shorter side is resized to 256 first."""
    width, height = image.size
    short = min(width, height)
    size = (_RESIZE * width // short, _RESIZE * height // short)
    image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    return image.crop((left, top, left + SIDE, top + SIDE))
