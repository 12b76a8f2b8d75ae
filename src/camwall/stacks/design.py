"""What the builders share: variants in groups, a wall with two sides, whose turn it is."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from camwall.errors import CamwallError, check_count
from camwall.wall import AnyWall, Wall

SIDE = 224  # rows and columns of a stack
VARIANTS = ("same", "other", "none")  # the animal behind the wall: of the same kind, another, none


class Box(NamedTuple):
    """A rectangle of pixels in Pillow's order: the last two are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not among the known ones."""
    if value not in known:
        raise CamwallError(f"unknown {name} {value!r}: take one of {', '.join(known)}.")


def groups(n: int, hidden: str, known: Sequence[str]) -> list[Sequence[str]]:
    """The variants of each group, ``n`` in all: those that are known in turn, or one of them.

    The stacks of a group differ by what stands behind the wall alone.
    """
    check_count("n", n)
    check_choice("variant", hidden, (*known, "all"))
    asked = known if hidden == "all" else (hidden,)
    return [asked[: n - before] for before in range(0, n, len(asked))]


def check_wall(wall: AnyWall, least: int) -> Wall:
    """The wall that was asked for, if it has two sides of ``least`` rows or columns or more."""
    cut: tuple[int, int, bool] | None
    if isinstance(wall, int) and not isinstance(wall, bool):
        cut = 0, wall, True
    else:
        wall = Wall(wall) if isinstance(wall, Tensor) else wall
        if isinstance(wall, Wall) and wall.shape != (SIDE, SIDE):
            raise CamwallError(
                f"stacks have {SIDE}×{SIDE} pixels, and the wall is for {wall.shape}."
            )
        cut = Wall.of(wall, SIDE, SIDE).cut
    if cut is None:
        raise CamwallError(
            "a stack has one animal on each side of its wall: take a wall that hides the top, the "
            f"bottom, the left or the right of the image, not {wall}."
        )
    line, at = ("row", "column")[cut[0]], cut[1]
    if not least <= at <= SIDE - least:
        raise CamwallError(
            f"the wall at {line} {at} leaves no room for two animals in an image of {SIDE} "
            f"{line}s: take a {line} between {least} and {SIDE - least}."
        )
    return Wall.of(wall, SIDE, SIDE)


def sides(wall: Wall) -> tuple[Box, Box]:
    """The visible and the hidden side of a wall that has two."""
    ((top, left, bottom, right),), (behind,) = Wall(~wall.hidden).parts(), wall.parts()
    hidden = Box(top=behind[0], left=behind[1], bottom=behind[2], right=behind[3])
    return Box(left, top, right, bottom), hidden


def describe(wall: Wall) -> dict[str, Any]:
    """What a builder's parameters say of the wall: its ``row`` where it has one, else its JSON."""
    return {"wall": wall.as_json()} if wall.row is None else {"row": wall.row}


def in_turn(rng: np.random.Generator, items: Sequence[int]) -> Iterator[int]:
    """Each of the items once, in random order, before any comes again; without end."""
    while True:
        yield from map(int, rng.permutation(items))


def least_used(rng: np.random.Generator, candidates: Iterable[int], used: Counter[int]) -> int:
    """One of the candidates that were used least so far, now used once more."""
    ordered = sorted(candidates)
    fewest = min(used[candidate] for candidate in ordered)
    chosen = int(rng.choice([candidate for candidate in ordered if used[candidate] == fewest]))
    used[chosen] += 1
    return chosen
