"""Every figure of the book, one function each; they take data and return a figure."""

from camwall.plots.leaks import leak_distribution, means, medians
from camwall.plots.saliency import heatmap_grid, row_profile, stack_gallery, twins_grid
from camwall.plots.style import draw_wall, use_style
from camwall.plots.training import leak_over_epochs, learning_curves

__all__ = [
    "draw_wall",
    "heatmap_grid",
    "leak_distribution",
    "leak_over_epochs",
    "learning_curves",
    "means",
    "medians",
    "row_profile",
    "stack_gallery",
    "twins_grid",
    "use_style",
]
