"""STACK-OPEN: cut-out animal photographs in painted scenes, in variants of what the wall hides."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from camwall import data
from camwall.errors import CamwallError
from camwall.images import read_image
from camwall.stacks import choices, compose, store
from camwall.stacks import texture as tx
from camwall.stacks.choices import Box, least_used
from camwall.stacks.scenes import SCENES
from camwall.stacks.store import SIDE, Painted, Row, Stacks
from camwall.stacks.texture import Random
from camwall.wall import Wall

VARIANTS = ("same", "other", "none")
"""What stands behind the wall: the same species, another one, nothing."""

EDITION = 1
"""Raised whenever the same seed gives other pixels than before."""

_LEAST = 48  # rows or columns on each side of the wall, for an animal to be recognisable


def open(
    folder: str | Path,
    n: int = 100,
    seed: int = 0,
    hidden: str = "all",
    wall: int | Tensor | Wall = 160,
    stamps: str | Path | None = None,
    progress: bool = True,
) -> Stacks:
    """Build STACK-OPEN: photographs of two animals in one place, one behind the wall.

    Each visible half comes in every variant asked for (a paired design): a model that is blind to
    the hidden side gives them the same scores, bit for bit, and their saliency maps differ by what
    stands behind the wall alone. Visible animals are drawn class by class, each class once before
    any comes again. The first stacks of a larger set are those of a smaller one.

    Parameters
    ----------
    folder
        Where to write; :func:`camwall.stacks.store.build` says what may lie there.
    n
        Number of stacks.
    seed
        Determines every choice and every pixel.
    hidden
        ``"same"``: another photograph of the visible species, or the same one mirrored and scaled;
        ``"other"``: another species, of another class, that could stand there; ``"none"``; or
        ``"all"``, the three in turn.
    wall
        First hidden row of the 224, or a wall that hides the top, the bottom, the left or the right
        of the image. Side by side, the animals stand on one ground under one horizon.
    stamps
        Folder of the stamps; by default :func:`camwall.data.stamps` fetches them.
    progress
        Show a bar on stderr.

    Returns
    -------
    Stacks

    Raises
    ------
    CamwallError
        If a parameter is out of range, the wall is of another shape, a stamp is missing or is not
        the picture that was labelled, or the folder holds something else.
    DataUnavailable
        If the stamps cannot be had.
    """
    choices.check_count(n)
    wall = choices.check_wall(wall, _LEAST)
    choices.check_choice("variant", hidden, (*VARIANTS, "all"))
    variants = VARIANTS if hidden == "all" else (hidden,)

    def stacks() -> Iterator[Painted]:
        source = data.stamps() if stamps is None else Path(stamps)
        labels = cast(list[Label], data.stamp_labels().to_dict("records"))
        for index, group in enumerate(_plan(labels, -(-n // len(variants)), seed)):
            painter = _Painter(source, labels, group, wall, (seed, 1, index))
            for variant in variants[: n - index * len(variants)]:
                image, entry = painter.stack(variant)
                yield image, {"variant": variant, "group": index, **entry}

    parameters = {"n": n, "hidden": hidden, **choices.describe_wall(wall), "edition": EDITION}
    return store.build(folder, "open", parameters, seed, stacks, n, progress)


Label = dict[str, Any]
"""A row of :func:`camwall.data.stamp_labels`."""


@dataclass(frozen=True)
class _Group:
    """The stacks that share a visible half: their scene and, by row of the labels, who is where."""

    scene: str
    visible: int
    same: int
    other: int


def _plan(labels: list[Label], number: int, seed: int) -> list[_Group]:
    """Choose scene, visible and hidden stamps for ``number`` groups."""
    rng = np.random.default_rng([seed, 0])
    shown, hid = Counter[int](), Counter[int]()
    classes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        if not pd.isna(label["imagenet"]):
            classes.setdefault(int(label["imagenet"]), []).append(index)
    groups: list[_Group] = []
    while len(groups) < number:
        for imagenet in rng.permutation(sorted(classes)):
            visible = least_used(rng, classes[int(imagenet)], shown)
            scene = str(rng.choice(labels[visible]["scenes"]))
            kin, strangers = _who_else(labels, visible, scene)
            same = least_used(rng, kin, hid) if kin else visible
            groups.append(_Group(scene, visible, same, least_used(rng, strangers, hid)))
    return groups[:number]


def _who_else(labels: list[Label], visible: int, scene: str) -> tuple[list[int], list[int]]:
    """Who could stand behind the wall in a scene: other photographs of the species, and others.

    Of the same species, photographs of the same class come first where there are any.
    """
    own = labels[visible]
    twins: list[int] = []
    kin: list[int] = []
    strangers: list[int] = []
    for index, label in enumerate(labels):
        same_class = bool(pd.notna(label["imagenet"]) and label["imagenet"] == own["imagenet"])
        if index == visible or scene not in label["scenes"]:
            continue
        if label["species"] == own["species"]:
            (twins if same_class else kin).append(index)
        elif not same_class:
            strangers.append(index)
    return twins or kin, strangers


def _room(side: Box) -> Box:
    """Where on its side of the wall an animal may be."""
    left, top, right, bottom = side
    return (
        left + 6 * (left > 0),
        top + (4 if top else 8),
        right - 6 * (right < SIDE),
        # The rows above a wall that stay free take the shadow and the grass at the feet.
        bottom - (7 if bottom == SIDE else 11),
    )


class _Painter:
    """Paints the stacks of one group: the visible half once, a hidden half for each variant.

    Each part of the picture draws from a stream of its own, so that the hidden animal moves
    nothing else.

    Parameters
    ----------
    source, labels
        The folder of stamps and what they show.
    group
        Who stands where.
    wall
        It has two sides.
    seed
        The group's own.
    """

    def __init__(
        self,
        source: Path,
        labels: list[Label],
        group: _Group,
        wall: Wall,
        seed: tuple[int, ...],
    ) -> None:
        self.source, self.labels, self.group, self.seed = source, labels, group, seed
        self.row, self.scene = wall.row, SCENES[group.scene]
        self.sides = choices.sides(wall)
        # Each animal that stands has ground under its feet: the horizon is the upper one's.
        self.upper = min(bottom for _, _, _, bottom in self.sides)
        rng = self._stream("scene")
        horizon = 2.0 * self.upper * rng.uniform(0.3, 0.5)
        canvas = tx.to_image(self.scene.paint(rng, horizon))
        ground = tx.to_array(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))
        rng = self._stream("visible")
        self.mirrored = bool(rng.integers(2))
        size = rng.uniform(0.82, 1.0)
        self.ground, self.shown = self._put(
            ground, group.visible, self.sides[0], self.mirrored, size, rng
        )

    def _stream(self, part: str) -> Random:
        number = ("scene", "visible", "grain", *VARIANTS).index(part)
        return np.random.default_rng([*self.seed, number])

    def _put(
        self,
        ground: tx.Array,
        index: int,
        side: Box,
        mirror: bool,
        size: float,
        rng: Random,
    ) -> tuple[tx.Array, Box]:
        """Paint the animal of a label row into its side of the wall; give picture and box."""
        path = self.source / self.labels[index]["file"]
        stamp = read_image(path)
        if store.sha256(path) != self.labels[index]["sha256"]:
            raise CamwallError(
                f"{path} is not the picture that was labelled: use the stamps of Tux Paint's "
                "release 2022-06-04, as camwall.data.stamps fetches them."
            )
        stands = self.scene.contact == "stands"
        room = _room(side)
        if stands and self.upper == SIDE:  # side by side, not all at the picture's lower edge
            room = (*room[:3], round(SIDE * rng.uniform(0.75, 0.94)))
        animal = compose.place(compose.cut_out(stamp), rng, room, mirror, size, stands)
        return compose.paint(ground, animal, self.scene, rng, side), animal.box

    def stack(self, variant: str) -> Painted:
        """The stack with this variant of the hidden half, and what its manifest says."""
        picture, box = self.ground, None
        hidden = {"same": self.group.same, "other": self.group.other, "none": None}[variant]
        if hidden is not None:
            rng = self._stream(variant)
            # The same photograph on both sides must not face the same way.
            mirror = not self.mirrored if hidden == self.group.visible else bool(rng.integers(2))
            size = rng.uniform(0.9, 1.0)
            picture, box = self._put(picture, hidden, self.sides[1], mirror, size, rng)
        entry: Row = {} if self.row is None else {"row": self.row}
        entry["scene"] = self.group.scene
        for half, index, place in (
            ("visible", self.group.visible, self.shown),
            ("hidden", hidden, box),
        ):
            shows: Label = {} if index is None else self.labels[index]
            imagenet = shows.get("imagenet")
            entry |= store.describe(
                half,
                None if pd.isna(imagenet) else int(imagenet),
                shows.get("file"),
                shows.get("sha256"),
                species=shows.get("species"),
                box=None if place is None else " ".join(map(str, place)),
            )
        return compose.grain(picture, self._stream("grain")), entry
