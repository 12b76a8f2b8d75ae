"""Figures of saliency maps and of their leaks."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from camwall.errors import CamwallError
from camwall.plots.style import FLAT_COLOUR, SALIENCY_CMAP, WALL_COLOUR, draw_wall, use_style
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
    norm = Normalize(0, 1)
    columns = len(maps) + 1
    points = 4 + 0.8 * columns  # a page shrinks a wide grid, and its letters with it
    count = len(pixels)
    labels = 0.0 if captions is None else 0.4  # beside the images, not instead of them
    size = (1.25 * columns + 0.6 + labels, 1.16 * count + 0.3)
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False)
    for i, row in enumerate(axes):
        picture = np.clip(pixels[i].permute(1, 2, 0).cpu().numpy(), 0, 1)
        row[0].imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1)
        if captions is not None:
            row[0].set_ylabel(captions[i], fontsize=points, rotation=0, ha="right", va="center")
        grey = picture.mean(axis=2)
        for ax, (name, values) in zip(row[1:], maps.items(), strict=True):
            ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
            ax.imshow(values[i].cpu().numpy(), alpha=overlay, norm=norm, cmap=SALIENCY_CMAP)
            if leaks is not None:
                ax.text(
                    0.97,
                    0.03,
                    f"{100 * leaks[name][i]:.0f} %",
                    transform=ax.transAxes,
                    ha="right",
                    va="bottom",
                    fontsize=0.9 * points,
                    color="white",
                    bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0},
                )
        for ax, name in zip(row, ["image", *maps], strict=True):
            draw_wall(ax, wall)
            ax.set(xticks=[], yticks=[])
            sns.despine(ax=ax, left=True, bottom=True)
            if i == 0:
                ax.set_title(name.replace(" (", "\n("), fontsize=points)
    scale = ScalarMappable(norm, SALIENCY_CMAP)
    bar = figure.colorbar(scale, ax=axes, fraction=0.012, pad=0.01)
    bar.set_label("saliency", fontsize=points)
    bar.ax.tick_params(labelsize=0.8 * points)
    return figure


def leak_distribution(
    cells: pd.DataFrame, methods: Sequence[str], flat_level: float, random_level: float
) -> Figure:
    """The leaks of all images, a row for each method; lines at the flat and the random level.

    Parameters
    ----------
    cells : DataFrame with columns ``method`` and ``leak``
    methods : sequence of str
        Rows, from the top.
    flat_level, random_level : float
        The leak of a constant map, and the mean leak of maps that are noise.
    """
    use_style()
    figure, ax = plt.subplots(figsize=(7, 0.42 * len(methods) + 1.2))
    data = cells.assign(percent=100 * cells["leak"])
    sns.stripplot(
        data,
        x="percent",
        y="method",
        order=methods,
        ax=ax,
        size=2.5,
        alpha=0.45,
        jitter=0.28,
        color=sns.color_palette("colorblind")[0],
    )
    sns.boxplot(
        data,
        x="percent",
        y="method",
        order=methods,
        ax=ax,
        fliersize=0,
        width=0.6,
        boxprops={"facecolor": "none"},
        linewidth=1.0,
        showmeans=True,
        meanprops={
            "marker": "D",
            "markerfacecolor": "black",
            "markeredgecolor": "black",
            "markersize": 4,
        },
    )
    ax.axvline(100 * flat_level, color=FLAT_COLOUR, linestyle="--", label="flat map")
    ax.axvline(100 * random_level, color=FLAT_COLOUR, linestyle=":", label="random map")
    ax.set(xlabel="leak, % of the map's norm behind the wall", ylabel="", xlim=(-2, 102))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2, frameon=False)
    return figure


def leak_bars(
    rows: Mapping[str, pd.DataFrame], methods: Sequence[str], levels: Mapping[str, float]
) -> Figure:
    """Mean leaks with their 95 % intervals, several tables side by side.

    Parameters
    ----------
    rows : label → table with columns ``mean``, ``low``, ``high`` by method, as fractions
        Tables without an interval give their ``std`` nothing to draw: the point stands alone.
    methods : sequence of str
        From the top.
    levels : label → flat level
        Drawn as a line of the label's colour.
    """
    use_style()
    figure, ax = plt.subplots(figsize=(7, 0.42 * len(methods) + 1.2))
    colours = sns.color_palette("colorblind", len(rows))
    for k, ((label, table), colour) in enumerate(zip(rows.items(), colours, strict=True)):
        at = np.arange(len(methods)) + 0.22 * (k - (len(rows) - 1) / 2)
        table = 100 * table.reindex(list(methods))[["mean", "low", "high"]].astype(float)
        errors = np.stack([table["mean"] - table["low"], table["high"] - table["mean"]])
        ax.errorbar(
            table["mean"],
            at,
            xerr=np.nan_to_num(errors),
            fmt="o",
            color=colour,
            label=label,
            markersize=4.5,
            capsize=2.5,
        )
        if label in levels:
            ax.axvline(100 * levels[label], color=colour, linestyle="--", linewidth=1, alpha=0.7)
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.set(xlabel="mean leak, %  (dashed: flat map)", xlim=(-2, 102))
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=len(rows))
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
