"""Figures of the two theory chapters; each takes finished numbers and returns a Figure."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

from camwall.plots.style import FLAT_COLOUR, SALIENCY_CMAP, WALL_COLOUR, draw_wall, use_style
from camwall.theory import HalfNormalMixture, Setting

_EXACT, _BOUND, _SHARP = "#0173b2", "#d55e00", "#029e73"
_HIDDEN = "#d9d9d9"


def _sheet(
    ax: Axes, corner: tuple[float, float], size: float, rows: int, visible: int, level: int
) -> None:
    """A map seen from the front, its hidden rows grey; a higher ``level`` lies before a lower."""
    step, (x, y), z = size / rows, corner, 2.0 + level
    hidden = (rows - visible) * step
    ax.add_patch(Rectangle(corner, size, size, facecolor="white", zorder=z))
    ax.add_patch(Rectangle(corner, size, hidden, facecolor=_HIDDEN, zorder=z + 0.1))
    for t in range(1, rows):
        ax.plot([x, x + size], [y + t * step] * 2, color="#888888", linewidth=0.3, zorder=z + 0.2)
        ax.plot([x + t * step] * 2, [y, y + size], color="#888888", linewidth=0.3, zorder=z + 0.2)
    ax.plot([x, x + size], [y + hidden] * 2, color=WALL_COLOUR, linewidth=2, zorder=z + 0.3)
    ax.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="black", zorder=z + 0.4))


def simple_cnn_drawing(setting: Setting, filters: int, image: npt.ArrayLike) -> Figure:
    """The simple CNN: image, maps, pooled maps, score; the hidden part of each in grey.

    Parameters
    ----------
    setting : Setting
    filters : V, written beside the stacks; three sheets stand for them.
    image : array [H, W] in [0, 1].
    """
    use_style()
    figure, ax = plt.subplots(figsize=(9.2, 3.5))
    rows = setting.image_rows
    ax.imshow(np.asarray(image), cmap="gray", extent=(0, 2.6, 0, 2.6), vmin=0, vmax=1, zorder=1)
    wall = 2.6 * (rows - setting.visible_image_rows) / rows
    ax.plot([0, 2.6], [wall, wall], color=WALL_COLOUR, linewidth=2)
    side = 2.6 * setting.kernel / rows
    patch = (2.6 * 0.5, 2.6 * 0.16)
    ax.add_patch(Rectangle(patch, side, side, fill=False, edgecolor=_BOUND, linewidth=1.6))
    ax.text(patch[0] - 0.07, patch[1], "m", color=_BOUND, fontsize=12, ha="right", va="bottom")
    map_rows, pooled_rows = setting.map_shape[0], setting.pooled_shape[0]
    for t in (2, 1, 0):
        maps_at, pooled_at = (3.6 + 0.22 * t, 0.1 + 0.16 * t), (7.3 + 0.17 * t, 0.55 + 0.13 * t)
        _sheet(ax, maps_at, 2.3, map_rows, setting.visible_map_rows, 2 - t)
        _sheet(ax, pooled_at, 1.35, pooled_rows, setting.visible_rows, 2 - t)
    cell = (3.6 + 2.3 * 0.52, 0.1 + 2.3 * 0.17)
    step = 2.3 / map_rows
    ax.add_patch(Rectangle(cell, step, step, facecolor=_BOUND, edgecolor=_BOUND, zorder=6))
    for corner in ((side, 0), (side, side)):
        start = (patch[0] + corner[0], patch[1] + corner[1])
        ax.add_patch(
            ConnectionPatch(start, cell, "data", "data", color=_BOUND, linewidth=0.7, zorder=5.5)
        )
    score = (11.0, 1.75)
    for y in np.linspace(1.35, 1.95, 4):
        ax.plot([8.66, score[0] - 0.2], [y, score[1]], color="#555555", linewidth=0.8, zorder=1)
    for y in (0.62, 0.85):
        ax.plot([8.66, 9.35], [y, y], color="#999999", linewidth=0.8, linestyle=":", zorder=1)
    ax.text(9.42, 0.73, "W = 0 here", fontsize=9, va="center", color="#555555")
    ax.plot(*score, "o", color="white", markeredgecolor="black", markersize=18)
    ax.text(*score, "f", ha="center", va="center", style="italic")
    h, w = setting.map_shape
    ph, pw = setting.pooled_shape
    size = f"{setting.image_columns}"
    k, p = setting.kernel, setting.pool
    titles = (
        (1.3, f"image ξ\n{rows}×{size}"),
        (4.95, f"maps B = ReLU(F ∗ ξ)\n{filters} × {h}×{w}"),
        (8.1, f"pooled maps P\n{filters} × {ph}×{pw}"),
        (11.0, "score\nf = Σ W P"),
    )
    for x, text in titles:
        ax.text(x, 3.0, text, ha="center", va="bottom", fontsize=10)
    for x, y, text in ((3.1, 2.2, f"{filters} filters\n{k}×{k}"), (6.83, 2.2, f"max\n{p}×{p}")):
        ax.text(x, y + 0.12, text, ha="center", va="bottom", fontsize=9, color="#333333")
        arrow = {"arrowstyle": "-|>", "color": "black"}
        ax.annotate("", xy=(x + 0.35, y), xytext=(x - 0.35, y), arrowprops=arrow, zorder=5)
    ax.set(xlim=(-0.1, 11.6), ylim=(-0.15, 3.75), aspect="equal")
    ax.axis("off")
    return figure


def law_panels(
    curves: Mapping[str, pd.DataFrame], labels: Mapping[str, str], log: Sequence[str] = ()
) -> Figure:
    """Exact mean, bounds and Monte Carlo, one panel for each thing that varies.

    Parameters
    ----------
    curves : name of the varying column → rows of :func:`camwall.theory.montecarlo_rows`; ``bound``
        is NaN where it is not stated.
    labels : the same names → axis label.
    log : the names whose panel has logarithmic axes.
    """
    use_style()
    figure, axes = plt.subplots(1, len(curves), figsize=(max(6.5, 2.9 * len(curves)), 3.3))
    for ax, (name, table) in zip(np.atleast_1d(axes), curves.items(), strict=True):
        x = table[name]
        ax.plot(x, table["mean_exact"], color=_EXACT, label="exact mean")
        ax.plot(x, table["lower"], color=_SHARP, linestyle=":", label="elementary bound")
        shown = table["bound"] > 0 if name in log else table["bound"].notna()
        ax.plot(
            x[shown],
            table["bound"][shown],
            color=_BOUND,
            linestyle="--",
            marker="D" if shown.sum() == 1 else None,  # a line through one point is not seen
            label="paper's bound",
        )
        ax.errorbar(
            x,
            table["mean"],
            yerr=4 * table["mean_se"],
            fmt="o",
            color="black",
            markersize=3,
            linewidth=1,
            label="Monte Carlo, ± 4 standard errors",
        )
        if name in log:
            ax.set(xscale="log", yscale="log")
            ax.axvspan(float(x.min()) * 0.8, 20, color=_BOUND, alpha=0.08, linewidth=0)
            ax.text(
                4.4, float(table["mean_exact"].max()) * 0.75, "bound ≤ 0", color=_BOUND, ha="center"
            )
        ax.set(xlabel=labels[name])
    np.atleast_1d(axes)[0].set_ylabel("E[GC] at a hidden position")
    handles, names = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(4, 2 * len(curves)), frameon=False
    )
    return figure


def looseness(table: pd.DataFrame) -> Figure:
    """Exact mean over each lower bound, against V, with the limits √2 and 1.

    Parameters
    ----------
    table : columns ``paper`` and ``elementary``, ratios, indexed by V; NaN where there is no bound.
    """
    use_style()
    figure, ax = plt.subplots(figsize=(6.4, 3.2))
    ax.plot(
        table.index,
        table["paper"],
        color=_BOUND,
        linestyle="--",
        label="exact / paper's bound",
    )
    ax.plot(
        table.index,
        table["elementary"],
        color=_SHARP,
        linestyle=":",
        label="exact / elementary bound",
    )
    for level, text in ((2**0.5, "√2"), (1.0, "1")):
        ax.axhline(level, color=FLAT_COLOUR, linewidth=0.8)
        ax.text(float(table.index.max()) * 1.1, level, text, va="center", fontsize=9)
    ax.axvspan(float(table.index.min()), 20, color=_BOUND, alpha=0.08, linewidth=0)
    ax.text(4.4, 4.4, "no bound: V ≤ 20", color=_BOUND, ha="center")
    ax.set(xscale="log", ylim=(0.9, 5), xlabel="filters V", ylabel="how loose")
    ax.set_xlim(float(table.index.min()), float(table.index.max()))
    ax.legend(frameon=False)
    return figure


def distributions(
    laws: Mapping[str, HalfNormalMixture], draws: Mapping[str, npt.NDArray]
) -> Figure:
    """For each law the density above 0 on the draws' histogram, and the atom at 0 as a bar.

    Values are in units of the law's root mean square.
    """
    use_style()
    figure, axes = plt.subplots(1, len(laws), figsize=(2.9 * len(laws), 3.1), sharey=True)
    for ax, (name, law) in zip(axes, laws.items(), strict=True):
        unit = law.second_moment**0.5
        x = np.linspace(0.01, 4, 400)
        values = draws[name] / unit
        bins = np.linspace(0, 4, 41)
        above = np.histogram(values[values > 0], bins)[0] / len(values) / np.diff(bins)
        ax.stairs(above, bins, fill=True, color="#c9d8e6", label="Monte Carlo")
        ax.plot(x, unit * law.pdf(unit * x), color=_EXACT, label="exact density")
        ax.plot([0, 0], [0, law.atom], color=_EXACT, linewidth=4, solid_capstyle="butt")
        ax.plot([-0.18, 0.0], [(values == 0).mean()] * 2, color="black", linewidth=1.5)
        ax.text(0.12, law.atom, f"P(GC = 0) = {law.atom:.3g}", fontsize=9, va="center")
        ax.set(title=name, xlabel="GC / root mean square", xlim=(-0.25, 4), ylim=(0, 1))
    axes[0].set_ylabel("density; probability at 0")
    axes[-1].legend(frameon=False, loc="upper right")
    return figure


def maps_on_one_scale(
    maps: Mapping[str, npt.ArrayLike], wall_rows: Mapping[str, float], label: str
) -> Figure:
    """Maps side by side on one scale with one colour bar, each with its wall.

    Parameters
    ----------
    maps : title → array [h, w]; one titled ``image`` is shown in grey on a scale of its own.
    wall_rows : title → first hidden row.
    label : of the colour bar.
    """
    use_style()
    arrays = {title: np.asarray(values) for title, values in maps.items()}
    high = max(values.max() for title, values in arrays.items() if title != "image")
    figure, axes = plt.subplots(1, len(arrays), figsize=(2.3 * len(arrays) + 0.5, 2.6))
    for ax, (title, values) in zip(axes, arrays.items(), strict=True):
        if title == "image":
            ax.imshow(values, cmap="gray", vmin=0, vmax=1)
        else:
            ax.imshow(values, cmap=SALIENCY_CMAP, vmin=0, vmax=high)
        draw_wall(ax, wall_rows[title])
        ax.set(xticks=[], yticks=[], title=title)
        sns.despine(ax=ax, left=True, bottom=True)
    scale = ScalarMappable(Normalize(0, high), SALIENCY_CMAP)
    figure.colorbar(scale, ax=axes, fraction=0.02, pad=0.01, label=label)
    return figure


def predicted_against_measured(table: pd.DataFrame) -> Figure:
    """Leak predicted from the weights' law against the leak measured over random heads.

    Parameters
    ----------
    table : columns ``method``, ``predicted``, ``measured``, ``se``, as fractions; one row for each
        method and trunk.
    """
    use_style()
    figure, ax = plt.subplots(figsize=(5.4, 4.6))
    methods = list(table["method"].unique())
    markers = ["o", "s", "D", "^", "v", "P", "X", "*", "<", ">"]
    colours = sns.color_palette("colorblind", len(methods))
    ax.plot([0, 100], [0, 100], color=FLAT_COLOUR, linewidth=0.8)
    for method, marker, colour in zip(methods, markers, colours, strict=False):
        part = table[table["method"] == method]
        ax.errorbar(
            100 * part["predicted"],
            100 * part["measured"],
            yerr=400 * part["se"],
            fmt=marker,
            color=colour,
            markersize=5,
            linewidth=0.8,
            alpha=0.85,
            label=method,
        )
    ax.set(
        xlabel="leak predicted from maps and weights' law, %",
        ylabel="leak measured, mean over heads, %",
        xlim=(-3, 103),
        ylim=(-3, 103),
        aspect="equal",
    )
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def dial(random: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Leak against the radius of the window over which the gradient is averaged, two panels.

    Parameters
    ----------
    random : rows of :func:`camwall.theory.dial_rows` for random networks, with ``law``, the
        predicted share of energy.
    trained : the same rows for a trained network; its empty maps are drawn as a share.
    """
    use_style()
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.5), sharey=True)
    for ax, table, key, label in (
        (axes[0], random, "energy", "share of energy, measured"),
        (axes[1], trained, "leak", "mean leak, maps that are not empty"),
    ):
        x = table["radius"]
        low, high = 100 * table[f"{key}_low"], 100 * table[f"{key}_high"]
        ax.fill_between(x, low, high, color=_EXACT, alpha=0.2, linewidth=0)
        ax.plot(x, 100 * table[key], "o-", color=_EXACT, markersize=4, label=label)
        ax.set(xlabel="window radius, positions of the map", xlim=(-0.5, x.max() + 0.5))
        ax.annotate("HiResCAM", (0, 0), (0.5, -7), fontsize=9)
        ax.annotate("GradCAM", (x.max(), -7), ha="right", fontsize=9)
    axes[0].plot(
        random["radius"], 100 * random["law"], color="black", linestyle=":", label="predicted"
    )
    axes[1].plot(
        trained["radius"],
        100 * trained["empty"],
        color=FLAT_COLOUR,
        linestyle="--",
        label="share of maps that are empty",
    )
    axes[0].set(title="random networks", ylabel="%", ylim=(-10, 105))
    axes[1].set_title("trained on digits")
    for ax in axes:
        ax.legend(frameon=False, loc="upper left")
    return figure


def head_ratios(table: pd.DataFrame) -> Figure:
    """Measured over exact mean for deeper heads, by width, one line for each kind of head.

    Parameters
    ----------
    table : columns ``head``, ``width``, ``ratio``, ``se``.
    """
    use_style()
    figure, ax = plt.subplots(figsize=(6.4, 3.4))
    heads = list(table["head"].unique())
    for k, (head, colour) in enumerate(
        zip(heads, sns.color_palette("colorblind", len(heads)), strict=True)
    ):
        part = table[table["head"] == head]
        ax.errorbar(
            part["width"] * 1.05 ** (k - len(heads) / 2),
            part["ratio"],
            yerr=4 * part["se"],
            fmt="o-",
            color=colour,
            markersize=4,
            linewidth=1,
            label=head,
        )
    ax.axhline(1, color=FLAT_COLOUR, linewidth=0.8)
    ax.set(xscale="log", xlabel="width of the hidden layer", ylabel="measured mean / ReLU law")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
