"""The look of every figure: fonts, colours, the wall, a picture."""

from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from camwall.wall import Wall

#: Saliency: perceptually uniform, dark is nothing.
SALIENCY_CMAP = "inferno"
#: The wall, in every picture and plot.
WALL_COLOUR = "#00c2d1"
FLAT_COLOUR = "#555555"
#: Every choice of a figure keeps its marker, so that it can be read without its colours.
MARKERS = "osD^vP*X<>"
#: What has the same colour in every figure: the two networks of training, the constant map.
_FIXED = {"baseline": 7, "masked": 0, "flat map": 7}
Segment = list[tuple[float, float]]


def use_style() -> None:
    """Set matplotlib's defaults for the book's figures; `for_screens` does it for each of them."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.8)
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


def colour(label: str, number: int) -> tuple[float, float, float]:
    """The colour of choice ``number`` of a figure; that of the label where it has one."""
    palette = sns.color_palette("colorblind")
    return palette[_FIXED.get(label, number) % len(palette)]


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
    style: dict[str, Any] = {"color": WALL_COLOUR, "linewidth": 1.5, "linestyle": dashes}
    if isinstance(wall, Wall):
        ax.add_collection(LineCollection(wall_outline(wall), label=label, **style), autolim=False)
    else:
        ax.axhline(wall - 0.5, label=label, **style)


def picture(ax: Axes, pixels: Tensor, wall: Wall) -> None:
    """Show an image [C, H, W] of pixels in [0, 1], with the wall and without axes."""
    shown = pixels.permute(1, 2, 0).squeeze().clamp(0, 1).cpu().numpy()
    ax.imshow(shown, cmap="gray", vmin=0, vmax=1)
    draw_wall(ax, wall)
    ax.set(xticks=[], yticks=[])
    sns.despine(ax=ax, left=True, bottom=True)


def legend_above(figure: Figure, ax: Axes) -> None:
    """One legend for all panels, over them, of what one of them shows."""
    handles, labels = ax.get_legend_handles_labels()
    points = mpl.rcParams["legend.fontsize"]
    # A letter is about half as wide as high; the marker and the gap take the room of six.
    each = (6 + max(map(len, labels))) * 0.56 * points / 72
    lines = -(-len(labels) // max(1, int(figure.get_figwidth() / each)))
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=-(-len(labels) // lines),
        frameon=False,
    )
