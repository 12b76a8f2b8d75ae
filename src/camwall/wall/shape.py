"""The wall: which pixels of an image are hidden."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.errors import CamwallError, check_count, check_list, check_number, in_one_line
from camwall.images import read_image

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Wall:
    """A mask of hidden pixels.

    Parameters
    ----------
    hidden : bool tensor [H, W]
        True where a pixel is hidden, which some are, and some are not.

    Examples
    --------
    >>> Wall.rows(224, 224, 160)
    Wall(rows 160–223 of 224×224)
    """

    hidden: Tensor

    def __post_init__(self) -> None:
        given = self.hidden
        if not isinstance(given, Tensor) or given.dtype != torch.bool or given.ndim != 2:
            what = f"{given.dtype} {list(given.shape)}" if isinstance(given, Tensor) else given
            raise CamwallError(f"a wall is a bool tensor [H, W] of the hidden pixels, not {what}")
        if given.all() or not given.any():
            raise CamwallError(
                f"a wall hides some pixels and leaves some visible; this one hides "
                f"{int(given.sum())} of {given.numel()}"
            )
        object.__setattr__(self, "hidden", given.detach().cpu().clone())

    @staticmethod
    def boxes(height: int, width: int, boxes: Iterable[Sequence[int]]) -> "Wall":
        """Hide rectangles, each (top, left, bottom, right) with the last two exclusive."""
        height, width = check_count("height", height), check_count("width", width)
        hidden = torch.zeros(height, width, dtype=torch.bool, device="cpu")
        for box in check_list("boxes", boxes):
            edges = [check_count("a box's edge", edge, 0) for edge in check_list("a box", box)]
            top, left, bottom, right = edges if len(edges) == 4 else (0, 0, 0, 0)
            if not (0 <= top < bottom <= height and 0 <= left < right <= width):
                raise CamwallError(
                    f"the box {tuple(edges)} is not (top, left, bottom, right) within an image of "
                    f"{height}×{width}"
                )
            hidden[top:bottom, left:right] = True
        return Wall(hidden)

    @staticmethod
    def rows(height: int, width: int, first: int, end: int | None = None) -> "Wall":
        """Hide the rows from ``first`` up to, not with, ``end``; by default down to the last."""
        return Wall.boxes(height, width, [(first, 0, height if end is None else end, width)])

    @staticmethod
    def columns(height: int, width: int, first: int, end: int | None = None) -> "Wall":
        """Hide the columns from ``first`` up to, not with, ``end``; by default to the last."""
        return Wall.boxes(height, width, [(0, first, height, width if end is None else end)])

    @staticmethod
    def quadrant(height: int, width: int, *, top: bool = False, left: bool = False) -> "Wall":
        """Hide a quarter: the one at the bottom right unless ``top`` or ``left`` is asked for."""
        height, width = check_count("height", height, 2), check_count("width", width, 2)
        first, end = (0, height // 2) if top else (height // 2, height)
        start, stop = (0, width // 2) if left else (width // 2, width)
        return Wall.boxes(height, width, [(first, start, end, stop)])

    @staticmethod
    def border(height: int, width: int, thickness: int) -> "Wall":
        """Hide a frame of so many pixels along all four sides."""
        height, width = check_count("height", height), check_count("width", width)
        thickness = check_count("thickness", thickness, 0)
        inner = height - thickness, width - thickness
        if not 0 < thickness < min(inner):
            raise CamwallError(f"a border of {thickness} does not fit {height}×{width}")
        return Wall(~Wall.boxes(height, width, [(thickness, thickness, *inner)]).hidden)

    @staticmethod
    def patches(
        height: int, width: int, size: int = 32, share: float = 0.3, seed: int = 0
    ) -> "Wall":
        """Hide a random share of the tiles of ``size`` × ``size`` pixels."""
        height, width = check_count("height", height), check_count("width", width)
        size, seed = check_count("size", size), check_count("seed", seed, 0)
        tiles = -(-height // size), -(-width // size)
        count = tiles[0] * tiles[1]
        check_number("share", share, above=0)
        if not 0 < round(share * count) < count:
            raise CamwallError(f"a share of {share} of {count} tiles hides none or all of them")
        gen = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(count, generator=gen, device="cpu")
        hidden = torch.zeros(count, dtype=torch.bool, device="cpu")
        hidden[chosen[: round(share * count)]] = True
        large = hidden.view(tiles).repeat_interleave(size, 0).repeat_interleave(size, 1)
        return Wall(large[:height, :width])

    @staticmethod
    def of(given: "AnyWall", height: int, width: int) -> "Wall":
        """The wall that a row, a bool mask, a text or a wall stands for, on images of this size.

        A text names one of the shapes, and its numbers: ``160`` or ``rows:160`` hides the rows from
        there on, ``rows:0:64`` those up to, not with, the second; ``columns:160``, ``columns:0:64``
        and ``columns:64:left`` likewise; ``border:32``; ``quadrant``, or with ``:top`` and
        ``:left`` another; ``box:TOP:LEFT:BOTTOM:RIGHT``; ``patches:32:0.3``. Any other is the file
        of a picture of the images' size, brighter than mid-grey where they are hidden.

        Examples
        --------
        >>> Wall.of("columns:64:left", 224, 224)
        Wall(columns 0–63 of 224×224)
        """
        if isinstance(given, str):
            row = given.isdecimal() and len(given) < 10
            given = int(given) if row else _written(given, height, width)
        if isinstance(given, bool) or not isinstance(given, int | Tensor | Wall):
            raise CamwallError(
                "a wall is its first hidden row, a bool mask [H, W], a text or a camwall.Wall, not "
                f"{given!r}"
            )
        if isinstance(given, int) and not 0 < given < height:
            raise CamwallError(
                f"the wall row must lie within the image, 1 to {height - 1}, not {given}"
            )
        if isinstance(given, int):
            return Wall.rows(height, width, given)
        wall = given if isinstance(given, Wall) else Wall(given)
        if wall.shape != (height, width):
            raise CamwallError(
                f"the wall is made for images of {wall.shape[0]}×{wall.shape[1]}, the network "
                f"takes {height}×{width}"
            )
        return wall

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.hidden.shape[0], self.hidden.shape[1]

    @property
    def share(self) -> float:
        """Hidden pixels over all pixels."""
        return float(self.hidden.double().mean())

    @property
    def flat_level(self) -> float:
        """The leak of a constant map, √(hidden pixels / pixels)."""
        return sqrt(self.share)

    @property
    def cut(self) -> tuple[int, int, bool] | None:
        """Where a wall with one side hidden and one visible runs; None for others.

        Along rows or columns (0, 1), from which of these the second side begins, and whether that
        side is the hidden one.
        """
        for axis in (0, 1):
            line = self.hidden.any(dim=1 - axis)
            if not torch.equal(line, self.hidden.all(dim=1 - axis)):
                continue
            change = (line[1:] != line[:-1]).nonzero()
            if len(change) == 1:
                return axis, int(change[0]) + 1, bool(line[-1])
        return None

    @property
    def row(self) -> int | None:
        """The first hidden row, where all that is hidden is the rows from there on; else None."""
        cut = self.cut
        return cut[1] if cut is not None and cut[0] == 0 and cut[2] else None

    def parts(self) -> list[Box]:
        """The hidden pixels as disjoint boxes (top, left, bottom, right), the fewest by rows."""
        found: list[Box] = []
        open_: dict[tuple[int, int], int] = {}
        for row, edge in enumerate(F.pad(self.hidden.int(), (1, 1, 0, 1)).diff(dim=1)):
            starts, ends = ((edge == step).nonzero()[:, 0].tolist() for step in (1, -1))
            runs = set(zip(starts, ends, strict=True))
            for run in [run for run in open_ if run not in runs]:
                found.append((open_.pop(run), run[0], row, run[1]))
            for run in runs - open_.keys():
                open_[run] = row
        return sorted(found)

    def cells(self, height: int, width: int) -> Tensor:
        """Which cells of a map [height, width] are hidden: a hidden pixel lies in their own block.

        Cell (r, c) owns the rows ⌊r·H/h⌋ to ⌈(r+1)·H/h⌉ − 1, and columns likewise.
        """
        return F.adaptive_max_pool2d(self.hidden[None, None].float(), (height, width))[0, 0] > 0

    def bleed(self, visible_cells: Tensor) -> Tensor:
        """Hidden pixels that bilinear upsampling fills in part from visible cells: bool [H, W].

        Half-pixel centres: row y of the image reads the map rows next to (y + ½)·h/H − ½
        (`torch.nn.functional.interpolate` with ``align_corners=False``, and ``cv2.resize``).
        """
        cells = visible_cells[None, None].cpu().double()
        return self.hidden & (F.interpolate(cells, self.shape, mode="bilinear")[0, 0] > 1e-9)

    def __str__(self) -> str:
        parts, (height, width) = self.parts(), self.shape
        top, left, bottom, right = parts[0]
        said = [f"rows {top}–{bottom - 1}"] if bottom - top < height else []
        said += [f"columns {left}–{right - 1}"] if right - left < width else []
        if len(parts) > 1:
            said = [f"{int(self.hidden.sum())} pixels in {len(parts)} boxes"]
        return f"{', '.join(said)} of {height}×{width}"

    def __repr__(self) -> str:
        return f"Wall({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wall) and torch.equal(self.hidden, other.hidden)

    def __hash__(self) -> int:
        return hash((self.shape, *self.parts()))

    def as_json(self) -> dict[str, Any]:
        """The wall as `from_json` takes it: the size and the hidden boxes."""
        return {"shape": list(self.shape), "hidden": [list(box) for box in self.parts()]}

    @staticmethod
    def from_json(given: dict[str, Any]) -> "Wall":
        """The wall that `as_json` wrote down."""
        with in_one_line(f"{str(given)[:80]} is no wall", "give what Wall.as_json gave"):
            height, width = given["shape"]
            return Wall.boxes(height, width, given["hidden"])


#: What stands for a wall: its first hidden row, a mask [H, W] of hidden pixels, a text, or one.
AnyWall = int | str | Tensor | Wall

_SHAPES: dict[str, Callable[..., Wall]] = {
    "rows": Wall.rows,
    "columns": Wall.columns,
    "border": Wall.border,
    "patches": Wall.patches,
    "quadrant": lambda height, width, *sides: Wall.quadrant(
        height, width, **dict.fromkeys(sides, True)
    ),
    "box": lambda height, width, *box: Wall.boxes(height, width, [box]),
}


def _written(text: str, height: int, width: int) -> Wall:
    """The wall of a text that is no bare row: a shape and its numbers, or a picture's file."""
    name, *given = text.split(":")
    what, then = f"{text[:80]!r} is no wall", "write it as rows:160, columns:64:left or border:32"
    if name not in _SHAPES:
        with in_one_line(what, then):
            picture = Path(text).is_file()
        if not picture:
            raise CamwallError(
                f"{what}: write its first hidden row, rows:160, columns:64:left, border:32, "
                "quadrant:top:left, box:TOP:LEFT:BOTTOM:RIGHT or patches:32:0.3, or name a picture "
                "that is white where pixels are hidden"
            )
        return Wall(torch.from_numpy(np.array(read_image(text).convert("L")) > 127))
    if given[1:] in (["below"], ["right"]):
        del given[1]
    elif given[1:] in (["above"], ["left"]) and name != "quadrant":
        given = ["0", given[0]]
    with in_one_line(what, then, ours=True):
        numbers = [
            float(word) if "." in word else int(word) for word in given if name != "quadrant"
        ]
        return _SHAPES[name](height, width, *(numbers or given))
