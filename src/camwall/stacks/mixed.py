"""STACK-MIX: two photographs of an ImageNet-style folder, one on each side of the wall."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from camwall import data
from camwall.errors import CamwallError, check_count, check_path, in_one_line
from camwall.images import images_below, read_image
from camwall.stacks import design, store
from camwall.stacks.design import SIDE
from camwall.stacks.store import Painted, Stacks
from camwall.wall import AnyWall, Wall

VARIANTS = design.VARIANTS[:2]  # no photograph shows nothing
EDITION = 1  # raised whenever the same seed gives other pixels than before
_LEAST = 16  # rows or columns on each side of the wall
# Where the kept rows lie in what the crop leaves over; animals hold their heads above the middle.
_HEIGHT = 0.4

Classes = dict[int, list[Path]]
"""ImageNet index of each animal class found, with its photographs."""


def mix(
    source: str | Path,
    out: str | Path,
    n: int = 100,
    seed: int = 0,
    hidden: str = "other",
    wall: AnyWall = 170,
    progress: bool = True,
) -> Stacks:
    """Build STACK-MIX from any ImageNet-style folder, in the manner of CutMix (Yun et al. 2019).

    CutMix puts a rectangle of one photograph in place of the same rectangle of another. Here it is
    all that lies behind the wall, and each photograph is first scaled to cover its own side,
    keeping its proportions, and cropped to it (at mid-width, and a little above mid-height): an
    animal does not lose its legs to the wall. Every pixel comes from a photograph.

    Parameters
    ----------
    source
        Folder with one subfolder a class, named by its WordNet id (``n02119022``), below it or
        below its ``val`` or ``train``. Classes that are no animals are left out.
    out
        Folder to write; :func:`camwall.stacks.store.build` says what may lie there.
    n
        Number of stacks.
    seed
        Determines every choice.
    hidden
        ``"same"``: another photograph of the same class; ``"other"``: one of another class;
        ``"all"``: each visible half with the one, then with the other.
    wall
        First hidden row of the 224, or a wall that hides one side of the image; 170 is the paper's
        VGG16.
    progress
        Show a bar on stderr.

    Raises
    ------
    CamwallError
        If a parameter is out of range, the folder has no animal classes or too few photographs of
        them, or a photograph cannot be read.

    Notes
    -----
    **Departs from the paper**, whose choice of photographs and of what is cut from them is not
    published; its 100 images are read by :func:`camwall.stacks.load`.
    """
    groups, seed = design.groups(n, hidden, VARIANTS), check_count("seed", seed, 0)
    wall, root = design.check_wall(wall, _LEAST), check_path("source", source)
    classes = animal_classes(root)
    if hidden != "same" and len(classes) < 2:
        raise CamwallError(f"{root} has one animal class: hidden animals of another need two.")
    least = 1 if hidden == "other" else 2  # photographs of a class that can be visible
    usable = sorted(label for label, files in classes.items() if len(files) >= least)
    if not usable:
        raise CamwallError(
            f"a hidden animal of the same class needs two photographs of it, and none of the "
            f"{len(classes)} animal classes in {root} has two: take hidden='other'."
        )
    names = "\n".join(str(p.relative_to(root)) for c in sorted(classes) for p in classes[c])
    parameters = {
        "n": n,
        "hidden": hidden,
        **design.describe(wall),
        "edition": EDITION,
        "source": root.resolve().name,
        "source_files": hashlib.sha256(names.encode()).hexdigest(),
    }

    def describe(half: str, label: int, path: Path) -> dict[str, Any]:
        return store.describe(half, label, path.relative_to(root).as_posix(), store.sha256(path))

    def stacks() -> Iterator[Painted]:
        rng, hid = np.random.default_rng([seed, 0]), Counter[int]()
        row = {} if wall.row is None else {"row": wall.row}
        labels = design.in_turn(rng, usable)
        for group, (variants, label) in enumerate(zip(groups, labels, strict=False)):
            visible = classes[label][int(rng.integers(len(classes[label])))]
            shown = describe("visible", label, visible)
            for variant in variants:
                own = np.random.default_rng([seed, 1, group, VARIANTS.index(variant)])
                behind = label
                if variant == "other":
                    behind = design.least_used(own, classes.keys() - {label}, hid)
                others = [path for path in classes[behind] if path != visible]
                below = others[int(own.integers(len(others)))]
                entry = {"variant": variant, "group": group, **row, **shown}
                yield halves(visible, below, wall), entry | describe("hidden", behind, below)

    return store.build(out, "mix", parameters, seed, stacks, n, progress)


def animal_classes(root: str | Path) -> Classes:
    """Find the animal classes of an ImageNet-style folder and their photographs, one at least."""
    root = Path(root)
    with in_one_line(f"the folder {str(root)[:200]!r} cannot be read", "give another"):
        if not root.is_dir():
            raise CamwallError(f"no folder {root}.")
    table = data.imagenet_classes().set_index("wnid")
    for base in (root, root / "val", root / "train"):
        found = [p for p in sorted(base.glob("n*")) if p.is_dir() and p.name in table.index]
        if found:
            break
    else:
        raise CamwallError(
            f"{root} has no class subfolders: it needs one a class, named like n02119022, with the "
            "photographs in it."
        )
    classes = {
        int(table["index"][p.name]): files
        for p in found
        if table["animal"][p.name] and (files := [p / name for name in images_below(p, deep=False)])
    }
    if not classes:
        raise CamwallError(
            f"none of the {len(found)} classes in {root} has photographs of animals."
        )
    return classes


def halves(visible: str | Path, hidden: str | Path, wall: Wall) -> Image.Image:
    """One photograph on the visible side of a wall that has two sides, the other behind it."""
    image = Image.new("RGB", (SIDE, SIDE))
    for path, (left, top, right, bottom) in zip((visible, hidden), design.sides(wall), strict=True):
        photograph = read_image(path, "RGB")
        size = right - left, bottom - top
        fitted = ImageOps.fit(photograph, size, Image.Resampling.BICUBIC, centering=(0.5, _HEIGHT))
        image.paste(fitted, (left, top))
    return image
