"""STACK-OPEN: cut-out animal photographs in painted scenes, in variants of what the wall hides."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from camwall import data
from camwall.errors import CamwallError, check_count, check_kind, check_path, in_one_line
from camwall.images import read_image
from camwall.stacks import compose, design, store
from camwall.stacks.design import SIDE, VARIANTS, Box, least_used
from camwall.stacks.scenes import SCENES, Array, Random, to_array, to_image
from camwall.stacks.store import Painted, Stacks
from camwall.wall import AnyWall, Wall

EDITION = 1  # raised whenever the same seed gives other pixels than before
_LEAST = 48  # rows or columns on each side of the wall, for an animal to be recognisable


def open(
    out: str | Path,
    n: int = 100,
    seed: int = 0,
    hidden: str = "all",
    wall: AnyWall = 160,
    beside: bool = False,
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
    out
        Folder to write; :func:`camwall.stacks.store.build` says what may lie there.
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
    beside
        Put a second animal on the visible side, of another species and class, to the left of the
        first or to the right in turn: is the map for the one's class on the one, and for the
        other's on the other? Each stays in its half of that side.
    stamps
        Folder of the stamps; by default :func:`camwall.data.stamps` fetches them.
    progress
        Show a bar on stderr.

    Raises
    ------
    CamwallError
        If a parameter is out of range, the wall is of another shape, a stamp is missing or is not
        the picture that was labelled, or the folder holds something else.
    DataUnavailable
        If the stamps cannot be had.
    """
    groups, seed = design.groups(n, hidden, VARIANTS), check_count("seed", seed, 0)
    wall = design.check_wall(wall, _LEAST)
    parameters = {"n": n, "hidden": hidden, **design.describe(wall), "edition": EDITION}
    if beside:
        side = design.sides(wall)[0]
        if side.right - side.left < 2 * _LEAST:
            raise CamwallError(
                f"a visible side of {side.right - side.left} columns has no room for two animals "
                f"side by side: take a wall that leaves {2 * _LEAST}."
            )
        parameters["beside"] = True

    def stacks() -> Iterator[Painted]:
        source = data.stamps() if stamps is None else check_path("stamps", stamps)
        for number, (variants, cast) in enumerate(zip(groups, _plan(seed, beside), strict=False)):
            yield from _paint(source, cast, variants, wall, seed, number)

    return store.build(out, "open", parameters, seed, stacks, n, progress)


def outlines(
    stacks: Stacks, animal: str = "visible", stamps: str | Path | None = None
) -> NDArray[np.bool_]:
    """Which pixels an animal of each stack of STACK-OPEN takes, cut out anew from its photograph.

    Its shadow is not part of it; its feet are where grass stands before them. A stack has the size
    that a network takes, so the masks fit its input and its saliency maps.

    Parameters
    ----------
    stacks
        From :func:`open`, or read from its folder.
    animal
        ``"visible"``, ``"hidden"`` or, where there are two visible ones, ``"beside"``.
    stamps
        As for :func:`open`.

    Returns
    -------
    bool array [N, 224, 224]
        All False where nothing stands behind the wall.

    Raises
    ------
    CamwallError
        If the stacks are not STACK-OPEN's or have no such animal, or a stamp is missing or is not
        the picture that was labelled.
    DataUnavailable
        If the stamps cannot be had.
    """
    check_kind("stacks", stacks, Stacks)
    edition = stacks.info.get("parameters", {}).get("edition")
    if (stacks.info.get("builder"), edition) != ("open", EDITION):
        raise CamwallError(f"{stacks.folder} has no outlines: stacks.open builds sets that have.")
    if f"{animal}_box" not in stacks.frame:
        raise CamwallError(
            f"{stacks.folder} has no {animal!r} animals: take 'visible', 'hidden' or, in a set "
            "made with beside=True, 'beside'."
        )
    source = data.stamps() if stamps is None else Path(stamps)
    found = np.zeros((len(stacks), SIDE, SIDE), bool)
    then = "build the stacks again"
    with in_one_line(f"the manifest in {stacks.folder} cannot be read", then, ours=True):
        seed = check_count("seed", stacks.info["seed"], 0)
    for mask, row in zip(found, store.records(stacks.frame), strict=True):
        with in_one_line(f"the manifest in {stacks.folder} cannot be read", then):
            file, checksum, box = (row[f"{animal}_{name}"] for name in ("source", "sha256", "box"))
            if box is not None:
                part = row["variant"] if animal == "hidden" else animal
                copy = part == "same" and file == row["visible_source"]
                mirror, _ = _facing(seed, row["group"], part, copy)
                stamp, place = _stamp(source, file, checksum), Box(*map(int, box.split()))
                mask[:] = compose.fill(stamp, mirror, place).outline
    return found


Label = dict[str, Any]
"""A row of :func:`camwall.data.stamp_labels`, None where it has no value."""


Cast = tuple[str, dict[str, Label], dict[str, Label]]
"""Of one group: the scene, who is seen in which half, and who hides in which variant."""


def _plan(seed: int, beside: bool) -> Iterator[Cast]:
    """Choose scene, visible and hidden stamps for one group after another."""
    labels, rng = data.stamp_labels(), np.random.default_rng([seed, 0])
    animals, known = store.records(labels), labels["imagenet"].dropna()
    shown, hid, second = Counter[int](), Counter[int](), Counter[int]()
    rng_beside = np.random.default_rng([seed, 2])  # of its own: who is beside moves nobody else
    for imagenet in design.in_turn(rng, sorted(set(known))):
        visible = least_used(rng, known.index[known == imagenet], shown)
        scene = str(rng.choice(animals[visible]["scenes"]))
        kin, strangers = _who_else(labels, visible, scene)
        same = least_used(rng, kin, hid) if kin else visible
        hidden = {"same": animals[same], "other": animals[least_used(rng, strangers, hid)]}
        seen = {"visible": animals[visible]}
        if beside:
            labelled = known.index.intersection(strangers)
            seen["beside"] = animals[least_used(rng_beside, labelled, second)]
        yield scene, seen, hidden


def _who_else(labels: pd.DataFrame, visible: int, scene: str) -> tuple[list[int], list[int]]:
    """Who could stand behind the wall in a scene: other photographs of the species, and others.

    Of the same species, photographs of the same class come first where there are any.
    """
    there = labels["scenes"].map(lambda scenes: scene in scenes) & (labels.index != visible)
    species = labels["species"] == labels["species"][visible]
    same_class = (labels["imagenet"] == labels["imagenet"][visible]).fillna(False)
    twins, kin, strangers = (
        labels.index[there & who].tolist()
        for who in (species & same_class, species, ~species & ~same_class)
    )
    return twins or kin, strangers


def _paint(
    source: Path, cast: Cast, variants: Sequence[str], wall: Wall, seed: int, number: int
) -> Iterator[Painted]:
    """The stacks of one group: what is seen is painted once, a hidden half for each variant."""
    place, seen, hidden = cast
    scene = SCENES[place]
    sides = dict(zip(("visible", "hidden"), design.sides(wall), strict=True))
    if "beside" in seen:
        side = sides["visible"]
        middle = (side.left + side.right) // 2
        halves = [side._replace(right=middle), side._replace(left=middle)]
        sides["visible"], sides["beside"] = halves[::-1] if number % 2 else halves
    # Each animal that stands has ground under its feet: the horizon is the upper one's.
    upper = min(side.bottom for side in sides.values())
    stands = scene.contact == "stands"

    def put(
        picture: Array, half: str, label: Label | None, part: str
    ) -> tuple[Array, dict[str, Any]]:
        """The picture with an animal in its half, and what the manifest says of it."""
        if label is None:
            return picture, store.describe(half, None, None, None, species=None, box=None)
        copy = part == "same" and label["file"] == seen["visible"]["file"]
        mirror, rng = _facing(seed, number, part, copy)
        size = rng.uniform(0.9 if half == "hidden" else 0.82, 1.0)
        room = _room(sides[half])
        if stands and upper == SIDE:  # side by side, not all at the picture's lower edge
            room = room._replace(bottom=round(SIDE * rng.uniform(0.75, 0.94)))
        file, checksum = label["file"], label["sha256"]
        animal = compose.place(_stamp(source, file, checksum), rng, room, mirror, size, stands)
        more = {"species": label["species"], "box": " ".join(map(str, animal.box))}
        entry = store.describe(half, label["imagenet"], file, checksum, **more)
        return compose.paint(picture, animal, scene, rng, sides[half]), entry

    rng = _stream(seed, number, "scene")
    canvas = to_image(scene.paint(rng, 2.0 * upper * rng.uniform(0.3, 0.5)))
    ground = to_array(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))
    entry: dict[str, Any] = {} if wall.row is None else {"row": wall.row}
    entry["scene"] = place
    for half, label in seen.items():
        ground, shown = put(ground, half, label, half)
        entry |= shown
    for variant in variants:
        picture, behind = put(ground, "hidden", hidden.get(variant), variant)
        image = compose.grain(picture, _stream(seed, number, "grain"))
        yield image, {"variant": variant, "group": number, **entry, **behind}


def _stream(seed: int, group: int, part: str) -> Random:
    """Each part of a picture draws from a stream of its own: who hides moves nothing else."""
    parts = ("scene", "visible", "grain", *VARIANTS, "beside")
    return np.random.default_rng([seed, 1, group, parts.index(part)])


def _facing(seed: int, group: int, part: str, copy: bool) -> tuple[bool, Random]:
    """Whether an animal is mirrored, and the stream that draws the rest of its place.

    A copy, the same photograph on both sides, must not face the same way.
    """
    rng = _stream(seed, group, part)
    if copy:
        return not _facing(seed, group, "visible", False)[0], rng
    return bool(rng.integers(2)), rng


def _stamp(source: Path, file: str, checksum: str) -> Image.Image:
    """The cut-out of a stamp, if it is the picture that was labelled and lies there."""
    store.require_below(source, file)
    image = read_image(source / file)
    if store.sha256(source / file) != checksum:
        raise CamwallError(
            f"{source / file} is not the picture that was labelled: use the stamps of Tux Paint's "
            "release 2022-06-04, as camwall.data.stamps fetches them."
        )
    return compose.cut_out(image)


def _room(side: Box) -> Box:
    """Where on its side of the wall an animal may be."""
    left, top, right, bottom = side
    # The rows above a wall that stay free take the shadow and the grass at the feet.
    bottom -= 7 if bottom == SIDE else 11
    left, right = left + 6 * (left > 0), right - 6 * (right < SIDE)
    return Box(left, top + (4 if top else 8), right, bottom)
