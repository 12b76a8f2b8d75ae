"""Figures of images and of saliency maps over them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods.saliency import upsample
from camwall.metrics import Twins, leak
from camwall.plots.screens import beside, for_screens, panels, width
from camwall.plots.style import SALIENCY_CMAP, WALL_COLOUR, colour, legend_above, picture
from camwall.wall import Wall

_GAP = 0.06  # inches between pictures
_POINTS = 9.0  # of titles: no smaller, so that they can be read on a phone
_LETTER = 0.56 * _POINTS / 72  # inches, about


@for_screens
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
        A text for each image, at the left of its maps or over them.
    leaks : method name → N leaks, optional
        Printed into the corner of each map, in %.
    overlay : float
        How much of the map's colour covers the image, 0 to 1.
    """
    norm, names = Normalize(0, 1), ["image", *maps]
    # As wide as the longest word of a name in letters of 9 points.
    longest = max(len(word) for name in names for word in name.split())
    lines = -(-len(names) // beside(max(0.8, longest * _LETTER)))
    columns = -(-len(names) // lines)
    # Captions stand at the left where there is room, else over the pictures.
    left = 1.3 if captions is not None and width() - 1.3 > 1.2 * columns else 0.0
    over = 0.0 if left or captions is None else 0.2 * max(c.count("\n") + 1 for c in captions)
    size = min(1.7, (width() - left) / columns - _GAP)
    high = size * pixels.shape[2] / pixels.shape[3]
    fit = int(size / _LETTER)
    folded = [textwrap.fill(name, fit, break_long_words=False) for name in names]
    room = 0.06 + 1.2 * _POINTS / 72 * max(text.count("\n") + 1 for text in folded)
    titles = [room * (lines > 1 or i == 0) for i in range(len(pixels))]  # over the first, or all
    heights = [over + lines * (high + _GAP + title) for title in titles]
    page = left + columns * (size + _GAP), sum(heights) + 0.25
    figure = plt.figure(figsize=page)
    figure.set_layout_engine("none")  # after the fact: a figure made without one is given one late
    for i, title in enumerate(titles):
        top = page[1] - sum(heights[:i])
        if captions is not None:
            at = (0.0, top - 0.02) if over else (left - 0.1, top - title - high / 2)
            where: dict[str, Any] = {
                "ha": "left" if over else "right",
                "va": "top" if over else "center",
            }
            figure.text(at[0] / page[0], at[1] / page[1], captions[i], fontsize=9, **where)
        for k, name in enumerate(names):
            line, column = divmod(k, columns)
            x = left + column * (size + _GAP)
            y = top - over - (line + 1) * (title + high) - line * _GAP
            box = x / page[0], y / page[1], size / page[0], high / page[1]
            ax = figure.add_axes(box)
            picture(ax, pixels[i] if k == 0 else pixels[i].mean(dim=0, keepdim=True), wall)
            if title:
                ax.set_title(folded[k], fontsize=_POINTS, pad=3)
            if k == 0:
                continue
            shown = maps[name][i].cpu().numpy()
            ax.imshow(shown, alpha=overlay, norm=norm, cmap=SALIENCY_CMAP)
            if leaks is not None:
                _note(ax, (0.97, 0.03), f"{100 * leaks[name][i]:.0f} %", ha="right", va="bottom")
    across = min(1.4, page[0] / 2)
    scale = figure.add_axes(
        ((page[0] - across - 0.15) / page[0], 0, across / page[0], 0.1 / page[1])
    )
    scale.imshow([[k / 255 for k in range(256)]], cmap=SALIENCY_CMAP, aspect="auto")
    scale.axis("off")
    for x, text, side in ((-0.04, "saliency 0", "right"), (1.04, "1", "left")):
        scale.text(x, 0.5, text, transform=scale.transAxes, ha=side, va="center", fontsize=8)
    return figure


def _note(ax: Axes, at: tuple[float, float], text: str, **aligned: Any) -> None:
    """White letters on a dark ground, at a place within a picture."""
    box = {"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0}
    ax.text(*at, text, fontsize=8, color="white", transform=ax.transAxes, bbox=box, **aligned)


@for_screens
def twins_grid(pixels: Tensor, found: Mapping[str, Twins]) -> Figure:
    """A picture above its copy, and each method's map of both: cut at 0, the halves resized apart.

    Parameters
    ----------
    pixels : tensor [C, H, W] in [0, 1]
    found : method name → Twins, along rows
        Printed are the leaks of what is shown.
    """
    size, maps = (pixels.shape[1], pixels.shape[2]), {}
    wall = Wall.rows(2 * size[0], size[1], size[0])
    for name, each in found.items():
        halves = torch.stack([each.original, each.copy]).clamp(min=0).float()
        maps[name] = upsample(halves / halves.max(), size).flatten(0, 1)[None]
    leaks = {name: leak(shown, wall).tolist() for name, shown in maps.items()}
    figure = heatmap_grid(torch.cat([pixels, pixels], dim=1)[None], maps, wall, leaks=leaks)
    for height, text in ((0.98, "read"), (0.48, "a copy, not read")):
        _note(figure.axes[0], (0.03, height), text, va="top")
    return figure


@for_screens
def stack_gallery(pixels: Tensor, wall: Wall, captions: Sequence[str]) -> Figure:
    """Stacks side by side, the wall drawn.

    Parameters
    ----------
    pixels : tensor [N, C, H, W] in [0, 1]
    wall : Wall
    captions : sequence of str
        A line above each.
    """
    lines = -(-len(pixels) // beside(1.0))
    columns = -(-len(pixels) // lines)
    size = (width(), lines * (width() / columns + 0.3))
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, caption in zip(axes.flat, pixels, captions, strict=False):
        picture(ax, image, wall)
        ax.set_title(caption, fontsize="small")
    return figure


@for_screens
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
    figure, (ax,) = panels(1, 3.2)
    for number, (name, values) in enumerate(maps.items()):
        line = "--" if name == "HiResCAM" else "-"  # it lies on others on the visible side
        mean = values.mean(dim=(0, 2)).cpu().numpy()
        ax.plot(mean, color=colour(name, number), linestyle=line, label=name)
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
    legend_above(figure, ax)
    return figure
