"""Stacks that need no photograph."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from camwall.stacks import Stacks
from camwall.stacks.cutouts import VARIANTS
from camwall.wall import Wall


def blots(rng: np.random.Generator, side: int = 224) -> np.ndarray:
    """A picture of coloured blots, [side, side, 3] of uint8."""
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def made(folder: Path, wall: Wall, seed: int) -> Stacks:
    """Three pictures of blots that differ behind the wall alone."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    seen, rows = blots(rng), []
    for variant in VARIANTS:
        picture = np.where(wall.hidden.numpy()[..., None], blots(rng), seen)
        Image.fromarray(picture).save(folder / "images" / f"{variant}.png")
        rows.append(
            {
                "file": f"images/{variant}.png",
                "variant": variant,
                "group": 0,
                "visible_species": "a blot",
                "visible_index": 0,
                "hidden_species": None if variant == "none" else "another blot",
            }
        )
    return Stacks(folder, pd.DataFrame(rows), {"parameters": {"wall": wall.as_json()}})
