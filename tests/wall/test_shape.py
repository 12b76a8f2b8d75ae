"""Walls as masks: every way to make one by hand, cells and bleed by brute force, refusals."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from camwall import CamwallError, Wall
from camwall.config import quick

EXAMPLES = 60 if quick() else 400


def mask(*lines: str) -> torch.Tensor:
    """A mask drawn by hand: # is hidden."""
    return torch.tensor([[sign == "#" for sign in line] for line in lines])


HAND = {
    "rows": (Wall.rows(4, 3, 2), mask("...", "...", "###", "###")),
    "rows from the top": (Wall.rows(4, 3, 0, 1), mask("###", "...", "...", "...")),
    "rows between": (Wall.rows(4, 3, 1, 3), mask("...", "###", "###", "...")),
    "columns": (Wall.columns(2, 5, 3), mask("...##", "...##")),
    "columns from the left": (Wall.columns(2, 5, 0, 2), mask("##...", "##...")),
    "quadrant": (Wall.quadrant(4, 5), mask(".....", ".....", "..###", "..###")),
    "quadrant, top": (Wall.quadrant(4, 5, top=True), mask("..###", "..###", ".....", ".....")),
    "quadrant, left": (Wall.quadrant(4, 5, left=True), mask(".....", ".....", "##...", "##...")),
    "quadrant, top left": (
        Wall.quadrant(3, 4, top=True, left=True),
        mask("##..", "....", "...."),
    ),
    "border": (Wall.border(5, 4, 1), mask("####", "#..#", "#..#", "#..#", "####")),
    "boxes": (
        Wall.boxes(3, 5, [(0, 0, 2, 2), (1, 1, 3, 3), (0, 4, 1, 5)]),
        mask("##..#", "###..", ".##.."),
    ),
}


@pytest.mark.parametrize("name", HAND)
def test_every_constructor_by_hand(name: str) -> None:
    """Pixel by pixel; the share and the leak of a constant map follow."""
    wall, expected = HAND[name]
    assert torch.equal(wall.hidden, expected)
    assert wall.shape == tuple(expected.shape)
    assert wall.share == expected.sum().item() / expected.numel()
    constant = np.ones(wall.shape)
    leak = np.linalg.norm(constant[expected.numpy()]) / np.linalg.norm(constant)
    assert wall.flat_level == pytest.approx(leak, rel=1e-12)
    assert wall == Wall(expected)
    assert hash(wall) == hash(Wall(expected))


def test_the_mask_is_the_walls_own() -> None:
    """Writing into the tensor that was given moves no wall; other masks are other walls."""
    given_mask = mask("..", "##")
    wall = Wall(given_mask)
    given_mask[0] = True
    assert torch.equal(wall.hidden, mask("..", "##"))
    assert wall != Wall.rows(2, 3, 1)
    assert wall != Wall.columns(2, 2, 1)
    assert wall != "rows"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("rows", "rows 2–3 of 4×3"),
        ("rows from the top", "rows 0–0 of 4×3"),
        ("columns", "columns 3–4 of 2×5"),
        ("quadrant", "rows 2–3, columns 2–4 of 4×5"),
        ("border", "14 pixels in 4 boxes of 5×4"),
    ],
)
def test_a_wall_in_words(name: str, line: str) -> None:
    """Its rows, its columns, its box, or how many pixels."""
    wall, _ = HAND[name]
    assert str(wall) == line
    assert repr(wall) == f"Wall({line})"


@pytest.mark.parametrize("size", [(32, 32), (30, 45), (7, 64)])
def test_patches_are_whole_tiles_and_as_many_as_asked(size: tuple[int, int]) -> None:
    """Tiles that the edge cuts count as one; the same seed gives the same wall, others others."""
    for seed in range(5):
        wall = Wall.patches(*size, size=8, share=0.4, seed=seed)
        tiles = [
            [wall.hidden[r : r + 8, c : c + 8] for c in range(0, size[1], 8)]
            for r in range(0, size[0], 8)
        ]
        flat = [tile for line in tiles for tile in line]
        assert all(bool(tile.all()) or not tile.any() for tile in flat)
        assert sum(bool(tile.any()) for tile in flat) == round(0.4 * len(flat))
        assert wall == Wall.patches(*size, size=8, share=0.4, seed=seed)
    assert len({Wall.patches(*size, size=8, share=0.4, seed=seed) for seed in range(8)}) > 1


@st.composite
def walls(draw: st.DrawFn, largest: int = 14) -> Wall:
    """A random mask: noise, a few boxes, or one side of a cut."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(2, largest))
    kind = draw(st.sampled_from(["noise", "boxes", "cut"]))
    hidden = torch.zeros(height, width, dtype=torch.bool)
    if kind == "noise":
        values = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        hidden = torch.tensor(values).view(height, width)
    elif kind == "boxes":
        for _ in range(draw(st.integers(1, 3))):
            top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            hidden[top : draw(st.integers(top, height)), left : draw(st.integers(left, width))] = (
                True
            )
    else:
        axis = draw(st.sampled_from([0, 1])) if height > 1 else 1
        at = draw(st.integers(1, hidden.shape[axis] - 1))
        hidden.narrow(axis, at, hidden.shape[axis] - at).fill_(True)
        if draw(st.booleans()):
            hidden = ~hidden
    if hidden.all() or not hidden.any():
        hidden[0, 0] = not hidden[0, 0]
    return Wall(hidden)


@settings(max_examples=EXAMPLES, deadline=None)
@given(walls())
def test_cut_row_parts_and_json_tell_the_mask(wall: Wall) -> None:
    """Each against the mask: the cut among all cuts, boxes that are disjoint and the fewest."""
    height, width = wall.shape
    cuts = []
    for axis in (0, 1):
        line = torch.arange(wall.shape[axis]).unsqueeze(1 - axis)
        for at in range(1, wall.shape[axis]):
            for hidden_last in (False, True):
                side = ((line >= at) == hidden_last).expand(height, width)
                if torch.equal(side, wall.hidden):
                    cuts.append((axis, at, hidden_last))
    assert cuts == ([] if wall.cut is None else [wall.cut])
    by_rows = [at for axis, at, last in cuts if axis == 0 and last]
    assert wall.row == (by_rows[0] if by_rows else None)

    painted = torch.zeros(height, width, dtype=torch.int)
    for top, left, bottom, right in wall.parts():
        painted[top:bottom, left:right] += 1
    assert torch.equal(painted, wall.hidden.int())
    # By rows: a run of hidden pixels opens a box unless the same run stands in the row above.
    runs = []
    for line in wall.hidden.tolist():
        edges = [at for at, (a, b) in enumerate(pairwise([False, *line, False])) if a != b]
        runs.append(set(zip(edges[::2], edges[1::2], strict=True)))
    assert len(wall.parts()) == sum(len(b - a) for a, b in pairwise([set(), *runs]))

    assert Wall.from_json(json.loads(json.dumps(wall.as_json()))) == wall
    assert wall.as_json()["shape"] == [height, width]
    assert Wall.of(wall, height, width) == wall == Wall.of(wall.hidden, height, width)


@settings(max_examples=EXAMPLES, deadline=None)
@given(walls(), st.integers(1, 9), st.integers(1, 9))
def test_hidden_cells_have_a_hidden_pixel_in_their_block(wall: Wall, h: int, w: int) -> None:
    """Block by block, with sizes that do not divide, and maps larger than the image."""
    height, width = wall.shape
    expected = [
        [
            any(
                bool(wall.hidden[y, x])
                for y in range(height)
                for x in range(width)
                # row y meets the block [r·H/h, (r+1)·H/h) of the cell
                if y + 1 > Fraction(r * height, h)
                and y < Fraction((r + 1) * height, h)
                and x + 1 > Fraction(c * width, w)
                and x < Fraction((c + 1) * width, w)
            )
            for c in range(w)
        ]
        for r in range(h)
    ]
    assert wall.cells(h, w).tolist() == expected


def weights(cells: int, pixels: int) -> list[list[Fraction]]:
    """How much pixel y reads of cell r: linear interpolation between half-pixel centres."""
    found = []
    for y in range(pixels):
        at = max(Fraction(0), (y + Fraction(1, 2)) * Fraction(cells, pixels) - Fraction(1, 2))
        low = int(at)
        high = min(low + 1, cells - 1)
        line = [Fraction(0)] * cells
        line[low] += 1 - (at - low)
        line[high] += at - low
        found.append(line)
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(walls(), st.data())
def test_bleed_is_where_interpolation_reads_a_visible_cell(wall: Wall, data: st.DataObject) -> None:
    """For any visible cells: an indicator upsampled as torch does it, and by exact fractions."""
    h, w = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    cells = data.draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w))
    visible = torch.tensor(cells).view(h, w)
    large = F.interpolate(
        visible[None, None].double(), wall.shape, mode="bilinear", align_corners=False
    )[0, 0]
    assert torch.equal(wall.bleed(visible), wall.hidden & (large > 1e-12))
    down, across = weights(h, wall.shape[0]), weights(w, wall.shape[1])
    for y, x in wall.hidden.nonzero().tolist():
        reads = any(
            visible[r, c] and down[y][r] > 0 and across[x][c] > 0
            for r in range(h)
            for c in range(w)
        )
        assert bool(wall.bleed(visible)[y, x]) == reads


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.data())
def test_bleed_rows_are_those_that_interpolation_fills(
    map_rows: int, scale: int, data: st.DataObject
) -> None:
    """For a wall of rows, they lie between the wall and the last row that is touched."""
    image_rows = map_rows * scale + data.draw(st.integers(0, map_rows - 1))
    visible = data.draw(st.integers(1, map_rows - 1))
    wall = Wall.rows(image_rows, 3, image_rows - data.draw(st.integers(1, image_rows - 1)))
    cells = (torch.arange(map_rows) < visible)[:, None].expand(map_rows, 2)
    indicator = cells[:, :1].double().view(1, 1, map_rows, 1)
    large = F.interpolate(indicator, (image_rows, 1), mode="bilinear", align_corners=False)
    touched = np.flatnonzero(large[0, 0, :, 0].numpy() > 1e-12)
    rows = wall.bleed(cells)
    assert torch.equal(rows.any(dim=1), rows.all(dim=1))
    assert int(rows.any(dim=1).sum()) == max(0, int(touched[-1]) + 1 - wall.row)


def test_a_bleed_by_hand() -> None:
    """Four rows from two: weights 1, ¾, ¼, 0 of the upper cell."""
    wall, upper = Wall.rows(4, 4, 2), mask("##", "..")
    assert torch.equal(wall.bleed(upper), mask("....", "....", "####", "...."))
    assert not wall.bleed(~mask("##", "##")).any()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Wall(torch.zeros(2, 2)), r"a bool tensor \[H, W\].*not torch.float32 \[2, 2\]"),
        (lambda: Wall(torch.ones(4, dtype=torch.bool)), r"not torch.bool \[4\]"),
        (lambda: Wall(160), "of the hidden pixels, not 160"),
        (lambda: Wall(mask("..", "..")), "this one hides 0 of 4"),
        (lambda: Wall(mask("##", "##")), "this one hides 4 of 4"),
        (lambda: Wall.boxes(4, 4, []), "this one hides 0 of 16"),
        (lambda: Wall.rows(4, 4, 0), "this one hides 16 of 16"),
        (lambda: Wall.rows(4, 4, 4), r"the box \(4, 0, 4, 4\) is not .* within an image of 4×4"),
        (lambda: Wall.rows(4, 4, -1), "edge must be a whole number of at least 0, not -1"),
        (lambda: Wall.rows(4, 4, 1.5), "edge must be a whole number of at least 0, not 1.5"),
        (lambda: Wall.rows(4, 4, 2, 5), "is not .* within an image"),
        (lambda: Wall.rows(4, 4, 3, 2), "is not .* within an image"),
        (lambda: Wall.columns(4, 6, 6), r"within an image of 4×6"),
        (lambda: Wall.quadrant(1, 4, top=True), "height must be a whole number of at least 2"),
        (lambda: Wall.border(4, 6, 0), "a border of 0 does not fit 4×6"),
        (lambda: Wall.border(4, 6, 2), "a border of 2 does not fit 4×6"),
        (lambda: Wall.patches(4, 4, 2, 0.1), "a share of 0.1 of 4 tiles hides none or all"),
        (lambda: Wall.patches(4, 4, 2, 0.9), "a share of 0.9 of 4 tiles hides none or all"),
        (lambda: Wall.patches(4, 4, 0), "size must be a whole number of at least 1, not 0"),
        (lambda: Wall.of(True, 4, 4), "a wall is its first hidden row, .* not True"),
        (lambda: Wall.of("rows", 4, 4), "'rows' is no wall .*: write it as rows:160"),
        (lambda: Wall.of("fence:3", 4, 4), "'fence:3' is no wall: write its first hidden row"),
        (lambda: Wall.of("border:thin", 4, 4), "'border:thin' is no wall"),
        (lambda: Wall.of(2.0, 4, 4), "a wall is its first hidden row, .* not 2.0"),
        (lambda: Wall.of(0, 4, 4), "must lie within the image, 1 to 3, not 0"),
        (lambda: Wall.of(4, 4, 4), "must lie within the image, 1 to 3, not 4"),
        (lambda: Wall.of(Wall.rows(4, 4, 2), 4, 5), "images of 4×4, the network takes 4×5"),
        (lambda: Wall.of(mask("..", "##"), 4, 4), "images of 2×2, the network takes 4×4"),
    ],
)
def test_impossible_walls(make, match: str) -> None:
    """A wall has pixels on both sides, within the image; one line says what is wrong."""
    with pytest.raises(CamwallError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("3", Wall.rows(6, 8, 3)),
        ("rows:3", Wall.rows(6, 8, 3)),
        ("rows:3:below", Wall.rows(6, 8, 3)),
        ("rows:3:above", Wall.rows(6, 8, 0, 3)),
        ("rows:1:3", Wall.rows(6, 8, 1, 3)),
        ("columns:5:right", Wall.columns(6, 8, 5)),
        ("columns:5:left", Wall.columns(6, 8, 0, 5)),
        ("border:2", Wall.border(6, 8, 2)),
        ("quadrant", Wall.quadrant(6, 8)),
        ("quadrant:left", Wall.quadrant(6, 8, left=True)),
        ("quadrant:top:left", Wall.quadrant(6, 8, top=True, left=True)),
        ("box:1:2:3:4", Wall.boxes(6, 8, [(1, 2, 3, 4)])),
        ("patches:2:0.5:7", Wall.patches(6, 8, 2, 0.5, 7)),
    ],
)
def test_a_text_stands_for_a_shape(text: str, wall: Wall) -> None:
    """As it is written on a command line."""
    assert Wall.of(text, 6, 8) == wall


def test_a_row_stands_for_the_wall_below_it() -> None:
    """An int is the first hidden row."""
    assert Wall.of(3, 5, 7) == Wall.rows(5, 7, 3)
    assert Wall.of(3, 5, 7).row == 3
