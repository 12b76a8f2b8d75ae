"""Figures of images and of saliency maps over them."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods.saliency import upsample
from camwall.metrics import Twins, leak
from camwall.plots.style import SALIENCY_CMAP, WALL_COLOUR, picture, use_style
from camwall.wall import Wall


def heatmap_grid(
    pixels: Tensor,
    maps: Mapping[str, Tensor],
    wall: Wall,
    *,
    captions: Sequence[str] | None = None,
    leaks: Mapping[str, Sequence[float]] | None = None,
    overlay: float = 0.6,
) -> Figure:
    """Images × methods: each saliency map over its image, on one scale, with the wall drawn.

    Parameters
    ----------
    pixels : tensor [N, C, H, W] in [0, 1]
    maps : method name → tensor [N, H, W] in [0, 1]
    wall : Wall
    captions : sequence of str, optional
        A line for each image, left of its row.
    leaks : method name → N leaks, optional
        Printed into the corner of each map, in %.
    overlay : float
        How much of the map's colour covers the image, 0 to 1.
    """
    use_style()
    norm, count, columns = Normalize(0, 1), len(pixels), len(maps) + 1
    points = 4 + 0.8 * columns  # a page shrinks a wide grid, and its letters with it
    labels = 0.0 if captions is None else 0.4  # beside the images, not instead of them
    size = (1.25 * columns + 0.6 + labels, 1.16 * count + 0.3)
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False)
    for i, row in enumerate(axes):
        picture(row[0], pixels[i], wall)
        if captions is not None:
            row[0].set_ylabel(captions[i], fontsize=points, rotation=0, ha="right", va="center")
        for ax, (name, values) in zip(row[1:], maps.items(), strict=True):
            picture(ax, pixels[i].mean(dim=0, keepdim=True), wall)
            ax.imshow(values[i].cpu().numpy(), alpha=overlay, norm=norm, cmap=SALIENCY_CMAP)
            if leaks is not None:
                _note(
                    ax,
                    (0.97, 0.03),
                    f"{100 * leaks[name][i]:.0f} %",
                    0.9 * points,
                    ha="right",
                    va="bottom",
                )
    for ax, name in zip(axes[0], ["image", *maps], strict=True):
        ax.set_title(name.replace(" (", "\n("), fontsize=points)
    scale = ScalarMappable(norm, SALIENCY_CMAP)
    bar = figure.colorbar(scale, ax=axes, fraction=0.012, pad=0.01)
    bar.set_label("saliency", fontsize=points)
    bar.ax.tick_params(labelsize=0.8 * points)
    return figure


def _note(ax: Axes, at: tuple[float, float], text: str, points: float, **aligned: Any) -> None:
    """White letters on a dark ground, at a place within a picture."""
    box = {"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0}
    ax.text(*at, text, fontsize=points, color="white", transform=ax.transAxes, bbox=box, **aligned)


def twins_grid(pixels: Tensor, found: Mapping[str, Twins], columns: int = 4) -> Figure:
    """A picture above its copy, and each method's map of both: cut at 0, the halves resized apart.

    Parameters
    ----------
    pixels : tensor [C, H, W] in [0, 1]
    found : method name → Twins, along rows
        Printed are the leaks of what is shown.
    columns : int
        Panels beside one another, the picture's among them.
    """
    use_style()
    size, pair = (pixels.shape[1], pixels.shape[2]), torch.cat([pixels, pixels], dim=1)
    wall, scale = Wall.rows(2 * size[0], size[1], size[0]), Normalize(0, 1)
    rows = -(-(len(found) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.45 * columns, 3.0 * rows), squeeze=False)
    for ax, name in zip_longest(axes.flat, ["image", *found]):
        if name not in found:
            picture(ax, pair, wall) if name else ax.axis("off")
            continue
        halves = torch.stack([found[name].original, found[name].copy]).clamp(min=0).float()
        shown = upsample(halves / halves.max(), size).flatten(0, 1)
        picture(ax, pair.mean(dim=0, keepdim=True), wall)
        ax.imshow(shown, alpha=0.6, norm=scale, cmap=SALIENCY_CMAP)
        _note(ax, (0.97, 0.02), f"{100 * leak(shown[None], wall).item():.0f} %", 10, ha="right")
        ax.set_title(name, fontsize=10)
    for height, text in ((0.98, "read"), (0.48, "a copy, not read")):
        _note(axes[0, 0], (0.03, height), text, 10, va="top")
    bar = ScalarMappable(scale, SALIENCY_CMAP)
    figure.colorbar(bar, ax=axes, fraction=0.02, pad=0.02, label="saliency")
    return figure


def stack_gallery(pixels: Tensor, wall: Wall, captions: Sequence[str]) -> Figure:
    """Stacks side by side, the wall drawn.

    Parameters
    ----------
    pixels : tensor [N, C, H, W] in [0, 1]
    wall : Wall
    captions : sequence of str
        A line above each.
    """
    use_style()
    figure, axes = plt.subplots(1, len(pixels), figsize=(1.25 * len(pixels), 1.6), squeeze=False)
    for ax, image, caption in zip(axes[0], pixels, captions, strict=True):
        picture(ax, image, wall)
        ax.set_title(caption, fontsize=7)
    return figure


def row_profile(maps: Mapping[str, Tensor], wall: Wall, visible_cells: Tensor) -> Figure:
    """Mean saliency of each image row, a line for each method, around the wall.

    Parameters
    ----------
    maps : method name → tensor [N, H, W] in [0, 1]
    wall : Wall
        Of rows, the lower ones hidden.
    visible_cells : bool tensor [h, w]
        The cells that bleed: the rows that upsampling fills in part from them are shaded.

    Raises
    ------
    CamwallError
        For a wall of another shape.
    """
    if wall.row is None:
        raise CamwallError(f"a profile by rows needs a wall that hides the lower rows, not {wall}")
    use_style()
    figure, ax = plt.subplots(figsize=(7, 3.2))
    for name, values in maps.items():
        ax.plot(values.mean(dim=(0, 2)).cpu().numpy(), label=name)
    bleeding = int(wall.bleed(visible_cells).any(dim=1).sum())
    if bleeding:
        ax.axvspan(
            wall.row - 0.5,
            wall.row + bleeding - 0.5,
            color=WALL_COLOUR,
            alpha=0.2,
            linewidth=0,
            label="bleed rows",
        )
    ax.axvline(wall.row - 0.5, color=WALL_COLOUR, linestyle=(0, (4, 1.5)), label="wall")
    last = wall.shape[0] - 1
    ax.set(xlabel="image row", ylabel="mean saliency", xlim=(0, last), ylim=(0, None))
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
