"""Every figure of the book, one function each; they take data and return a figure."""

from camwall.plots.saliency import (
    heatmap_grid,
    leak_bars,
    leak_distribution,
    row_profile,
)
from camwall.plots.style import draw_wall, use_style

__all__ = [
    "draw_wall",
    "heatmap_grid",
    "leak_bars",
    "leak_distribution",
    "row_profile",
    "use_style",
]
