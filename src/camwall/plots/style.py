"""The look of every figure: fonts, colours, the wall."""

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes

#: Saliency: perceptually uniform, dark is nothing.
SALIENCY_CMAP = "inferno"
#: The wall, in every picture and plot.
WALL_COLOUR = "#00c2d1"
FLAT_COLOUR = "#555555"


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


def draw_wall(ax: Axes, row: float, *, label: str | None = None) -> None:
    """Draw the wall above pixel row ``row`` of an image shown with ``imshow``."""
    ax.axhline(row - 0.5, color=WALL_COLOUR, linewidth=2.0, linestyle=(0, (4, 1.5)), label=label)
