"""What is measured of a saliency method behind a wall: its leak, and its response to a repaint."""

from camwall.metrics.leak import is_empty, leak, mean_leak, random_level
from camwall.metrics.response import REPAINTS, change, repaint, response

__all__ = [
    "REPAINTS",
    "change",
    "is_empty",
    "leak",
    "mean_leak",
    "random_level",
    "repaint",
    "response",
]
