"""The look of every figure: fonts, colours, the wall."""

from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from camwall.wall import Wall

#: Saliency: perceptually uniform, dark is nothing.
SALIENCY_CMAP = "inferno"
#: The wall, in every picture and plot.
WALL_COLOUR = "#00c2d1"
FLAT_COLOUR = "#555555"
Segment = list[tuple[float, float]]


def use_style() -> None:
    """Set matplotlib's defaults for the book's figures; called by every figure function."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
        }
    )


def wall_outline(wall: Wall) -> list[Segment]:
    """The straight pieces of the line between hidden and visible pixels.

    Returns
    -------
    list of [(x, y), (x, y)]
        In the coordinates of ``imshow``, where pixel (0, 0) has its centre at (0, 0).
    """
    hidden = wall.hidden.numpy()
    pieces: list[Segment] = []
    for upright, mask in ((False, hidden), (True, hidden.T)):
        # Where a pixel and the one below it differ; each run of such places is a piece.
        changes = np.diff(mask, axis=0).astype(int)
        ends = np.diff(changes, axis=1, prepend=0, append=0)
        for (line, first), (_, last) in zip(
            np.argwhere(ends == 1), np.argwhere(ends == -1), strict=True
        ):
            piece = [(float(at) - 0.5, float(line) + 0.5) for at in (first, last)]
            pieces.append([(y, x) for x, y in piece] if upright else piece)
    return pieces


def draw_wall(ax: Axes, wall: float | Wall, *, label: str | None = None) -> None:
    """Draw a wall's outline over an image shown with ``imshow``.

    Parameters
    ----------
    ax
        Its limits stay as they are.
    wall
        The first hidden row of the image or map that is shown, or a wall of any shape on it.
    label
        For a legend.
    """
    dashes = (0, (4, 1.5))
    style: dict[str, Any] = {"color": WALL_COLOUR, "linewidth": 2.0, "linestyle": dashes}
    if isinstance(wall, Wall):
        ax.add_collection(LineCollection(wall_outline(wall), label=label, **style), autolim=False)
    else:
        ax.axhline(wall - 0.5, label=label, **style)
