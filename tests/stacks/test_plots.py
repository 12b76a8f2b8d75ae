"""Figures of stacks: where the wall is drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from PIL import Image

from camwall import Wall
from camwall.errors import CamwallError
from camwall.plots import draw_wall, row_profile
from camwall.plots.stacks import contact_sheet
from camwall.plots.style import wall_outline
from camwall.stacks import store


@pytest.fixture(autouse=True)
def _closed():
    """No figure outlives its test."""
    yield
    plt.close("all")


def test_outlines_counted_by_hand():
    """A frame has its inner rectangle; of boxes that meet at a corner, sides in line are one."""
    frame = wall_outline(Wall.border(4, 5, 1))  # visible: rows 1 and 2, columns 1 to 3
    assert sorted(map(sorted, frame)) == [
        [(0.5, 0.5), (0.5, 2.5)],
        [(0.5, 0.5), (3.5, 0.5)],
        [(0.5, 2.5), (3.5, 2.5)],
        [(3.5, 0.5), (3.5, 2.5)],
    ]
    checks = wall_outline(Wall.boxes(4, 4, [(0, 0, 2, 2), (2, 2, 4, 4)]))
    assert sorted(map(sorted, checks)) == [[(-0.5, 1.5), (3.5, 1.5)], [(1.5, -0.5), (1.5, 3.5)]]
    steps = wall_outline(Wall.boxes(4, 4, [(0, 0, 1, 4), (1, 0, 3, 2)]))
    assert sorted(map(sorted, steps)) == [
        [(-0.5, 2.5), (1.5, 2.5)],
        [(1.5, 0.5), (1.5, 2.5)],
        [(1.5, 0.5), (3.5, 0.5)],
    ]


def test_outlines_separate_hidden_from_visible():
    """As many sides of pixels as neighbours that differ, on a wall without order."""
    hidden = torch.rand(9, 7, generator=torch.Generator().manual_seed(0)) > 0.5
    pieces = np.array(wall_outline(Wall(hidden)))
    sides = np.abs(pieces[:, 1] - pieces[:, 0]).sum()
    assert sides == (hidden[1:] != hidden[:-1]).sum() + (hidden[:, 1:] != hidden[:, :-1]).sum()


@pytest.mark.parametrize("shown", [3, Wall.rows(8, 6, 3)])
def test_a_row_is_drawn_as_a_dashed_line_above_it(shown):
    """Whether as a number or as a wall, over the whole width, and the limits stay."""
    figure, ax = plt.subplots()
    ax.imshow(np.zeros((8, 6)))
    limits = ax.get_xlim(), ax.get_ylim()
    draw_wall(ax, shown)
    assert (ax.get_xlim(), ax.get_ylim()) == limits
    figure.canvas.draw()
    if isinstance(shown, Wall):
        (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
        np.testing.assert_array_equal(lines.get_segments(), [[[-0.5, 2.5], [5.5, 2.5]]])
        assert lines.get_linestyle()[0][1] is not None
    else:
        assert list(ax.lines[0].get_ydata()) == [2.5, 2.5]
        assert ax.lines[0].is_dashed()


def test_a_contact_sheet_draws_each_sets_own_wall(tmp_path):
    """Sets one after another; a folder without a wall is shown without one."""
    walls = {"row": Wall.rows(224, 224, 150), "left": Wall.columns(224, 224, 0, 90), "none": None}
    sets = []
    for name, wall in walls.items():
        parameters = {} if name != "left" else {"wall": wall.as_json()}
        entry = {"row": 150} if name == "row" else {}
        pictures = [(Image.new("RGB", (224, 224)), entry)] * 2
        sets.append(
            store.build(tmp_path / name, "mix", parameters, 0, lambda p=pictures: p, 2, False)
        )
    assert [found.wall for found in sets] == list(walls.values())
    figure = contact_sheet(*sets, columns=2)
    drawn = [
        [np.array(line.get_segments()).tolist() for line in ax.collections] for ax in figure.axes
    ]
    expected = [[wall_outline(wall)] if wall else [] for wall in walls.values() for _ in range(2)]
    assert drawn == [[[list(map(list, s)) for s in p] for p in pieces] for pieces in expected]


def test_a_row_profile_shades_the_rows_that_bleed():
    """Of four map rows, eight image rows each, three are visible: half a map row bleeds."""
    wall, cells = Wall.rows(32, 32, 24), torch.arange(4)[:, None].expand(4, 4) < 3
    figure = row_profile({"a": torch.rand(2, 32, 32)}, wall, cells)
    (band,) = figure.axes[0].patches
    assert (band.get_x(), band.get_x() + band.get_width()) == (23.5, 27.5)
    assert not row_profile({"a": torch.rand(2, 32, 32)}, wall, cells & False).axes[0].patches
    with pytest.raises(CamwallError, match="needs a wall that hides the lower rows, not columns"):
        row_profile({"a": torch.rand(2, 32, 32)}, Wall.columns(32, 32, 9), cells)
