"""Figures of the two theory chapters; each takes finished numbers and returns a Figure."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from camwall.plots.screens import for_screens, panels, width
from camwall.plots.style import FLAT_COLOUR, MARKERS, WALL_COLOUR, legend_above
from camwall.theory import HalfNormalMixture, Setting

_EXACT, _BOUND, _SHARP = "#0173b2", "#d55e00", "#029e73"
_SHADES = ListedColormap(["white", "#d9d9d9"])  # of a visible cell and of a hidden one


def _sheet(ax: Axes, x: float, y: float, size: float, shape: tuple[int, int], visible: int) -> None:
    """A map seen from the front, its hidden rows grey and at the bottom."""
    rows, columns = shape
    hidden = np.broadcast_to(np.arange(rows)[:, None] < rows - visible, shape)
    edges = np.linspace(x, x + size, columns + 1), np.linspace(y, y + size, rows + 1)
    style: dict[str, Any] = {"edgecolor": "#888888", "linewidth": 0.3, "antialiased": True}
    ax.pcolormesh(*edges, hidden, cmap=_SHADES, vmin=0, vmax=1, zorder=2, **style)
    wall = y + size * (rows - visible) / rows
    ax.plot([x, x + size], [wall, wall], color=WALL_COLOUR, linewidth=2, zorder=2)
    ax.add_patch(Rectangle((x, y), size, size, fill=False, edgecolor="black", zorder=2))


@for_screens
def simple_cnn_drawing(setting: Setting, filters: int, image: npt.ArrayLike) -> Figure:
    """The simple CNN: image, maps, pooled maps, score; the hidden part of each in grey.

    Parameters
    ----------
    setting : Setting
    filters : V, written beside the stacks; three sheets stand for them.
    image : array [H, W] in [0, 1].
    """
    figure, ax = plt.subplots(figsize=(width(), 0.39 * width()))
    size = min(9.0, 1.9 * width())
    small = max(7.0, 0.9 * size)
    rows, (h, w), (ph, pw) = setting.image_rows, setting.map_shape, setting.pooled_shape
    ax.imshow(np.asarray(image), cmap="gray", extent=(0, 2.6, 0, 2.6), vmin=0, vmax=1)
    wall = 2.6 * (rows - setting.visible_image_rows) / rows
    ax.plot([0, 2.6], [wall, wall], color=WALL_COLOUR, linewidth=2)
    (x, y), side = (1.3, 0.416), 2.6 * setting.kernel / rows
    ax.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=_BOUND, linewidth=1.6))
    ax.text(x - 0.07, y, "m", color=_BOUND, fontsize=1.2 * size, ha="right", va="bottom")
    for t in (2, 1, 0):  # from the back; what is drawn later lies before it
        _sheet(ax, 3.6 + 0.22 * t, 0.1 + 0.16 * t, 2.3, (h, w), setting.visible_map_rows)
        _sheet(ax, 7.3 + 0.17 * t, 0.55 + 0.13 * t, 1.35, (ph, pw), setting.visible_rows)
    cell, step = (4.796, 0.491), 2.3 / h
    ax.add_patch(Rectangle(cell, step, step, color=_BOUND, zorder=6))
    for edge in (y, y + side):
        ax.plot([x + side, cell[0]], [edge, cell[1]], color=_BOUND, linewidth=0.7, zorder=6)
    for start in np.linspace(1.35, 1.95, 4):
        ax.plot([8.99, 10.8], [start, 1.75], color="#555555", linewidth=0.8, zorder=1)
    for start in (0.62, 0.85):
        ax.plot([8.99, 9.35], [start, start], color="#999999", linewidth=0.8, linestyle=":")
    ax.text(9.42, 0.73, "W = 0 here", fontsize=small, va="center", color="#555555")
    ax.plot(11.0, 1.75, "o", color="white", markeredgecolor="black", markersize=1.8 * size)
    ax.text(11.0, 1.75, "f", fontsize=size, ha="center", va="center", style="italic")
    for x, text in (
        (1.3, f"image ξ\n{rows}×{setting.image_columns}"),
        (4.95, f"maps B = ReLU(F ∗ ξ)\n{filters} × {h}×{w}"),
        (8.1, f"pooled maps P\n{filters} × {ph}×{pw}"),
        (11.0, "score\nf = Σ W P"),
    ):
        ax.text(x, 3.0, text, ha="center", va="bottom", fontsize=size)
    k, p = setting.kernel, setting.pool
    for x, text in ((3.1, f"{filters} filters\n{k}×{k}"), (6.83, f"max\n{p}×{p}")):
        ax.text(x, 2.32, text, ha="center", va="bottom", fontsize=small, color="#333333")
        arrow = {"arrowstyle": "-|>", "color": "black"}
        ax.annotate("", xy=(x + 0.35, 2.2), xytext=(x - 0.35, 2.2), arrowprops=arrow)
    ax.set(xlim=(-0.1, 11.6), ylim=(-0.15, 3.75), aspect="equal")
    ax.axis("off")
    return figure


def _dots(ax: Axes, x: pd.Series, y: pd.Series, error: pd.Series, **style: Any) -> None:
    """Estimates with bars of four standard errors."""
    ax.errorbar(x, y, yerr=4 * error, markersize=4, linewidth=0.8, alpha=0.85, **style)


def _no_bound(ax: Axes, left: float, height: float, text: str) -> None:
    """Shade the numbers of filters for which the paper's bound says nothing."""
    ax.axvspan(left, 20, color=_BOUND, alpha=0.08, linewidth=0)
    ax.text(4.4, height, text, color=_BOUND, ha="center")


_LABELS = {"filters": "filters V", "visible": "visible cells n", "patch_norm": "patch norm ‖m‖₂"}


@for_screens
def law_panels(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Exact mean, bounds and Monte Carlo, one panel for each thing that varies.

    Parameters
    ----------
    curves : ``filters`` (on logarithmic axes), ``visible`` or ``patch_norm``, the varying column
        → rows of `camwall.audit.closed_forms.montecarlo_rows`; ``bound`` is NaN where not stated.
    """
    figure, axes = panels(len(curves), 3.1)
    for ax, (name, table) in zip(axes, curves.items(), strict=True):
        x = table[name]
        ax.plot(x, table["mean_exact"], color=_EXACT, label="exact mean")
        ax.plot(x, table["lower"], color=_SHARP, linestyle=":", label="elementary bound")
        ax.plot(x, table["bound"], "d--", color=_BOUND, markersize=4, label="paper's bound")
        label = "Monte Carlo, ± 4 standard errors"
        _dots(ax, x, table["mean"], table["mean_se"], fmt="o", color="black", label=label)
        if name == "filters":
            ax.set_xscale("log")
            ax.set_yscale("log", nonpositive="mask")
            top = float(table["mean_exact"].max())
            _no_bound(ax, float(x.min()) * 0.8, 0.75 * top, "bound ≤ 0")
        ax.set_xlabel(_LABELS[name])
    axes[0].set_ylabel("E[GC] at a hidden position")
    legend_above(figure, axes[0])
    return figure


@for_screens
def looseness(table: pd.DataFrame) -> Figure:
    """Exact mean over each lower bound, against V, with the limits √2 and 1.

    Parameters
    ----------
    table : columns ``paper`` and ``elementary``, ratios, indexed by V; NaN where there is no bound.
    """
    figure, (ax,) = panels(1, 3.2)
    first, last = float(table.index.min()), float(table.index.max())
    ax.plot(table["paper"], color=_BOUND, linestyle="--", label="exact / paper's bound")
    ax.plot(table["elementary"], color=_SHARP, linestyle=":", label="exact / elementary bound")
    for level, text in ((2**0.5, "√2"), (1.0, "1")):
        ax.axhline(level, color=FLAT_COLOUR, linewidth=0.8)
        ax.text(last * 1.1, level, text, va="center", fontsize=9)
    _no_bound(ax, first, 4.4, "no bound: V ≤ 20")
    ax.set(xscale="log", xlim=(first, last), ylim=(0.9, 5), xlabel="filters V", ylabel="how loose")
    legend_above(figure, ax)
    return figure


@for_screens
def distributions(
    laws: Mapping[str, HalfNormalMixture], draws: Mapping[str, npt.NDArray]
) -> Figure:
    """For each law the density above 0 on the draws' histogram, and the atom at 0 as a bar.

    Values are in units of the law's root mean square.
    """
    figure, axes = panels(len(laws), 3.0, sharey=True)
    x, bins = np.linspace(0.01, 4, 400), np.linspace(0, 4, 41)
    for ax, (name, law) in zip(axes, laws.items(), strict=True):
        unit = law.second_moment**0.5
        values = draws[name] / unit
        above = np.histogram(values[values > 0], bins)[0] / len(values) / np.diff(bins)
        ax.stairs(above, bins, fill=True, color="#c9d8e6", label="Monte Carlo")
        ax.plot(x, unit * law.pdf(unit * x), color=_EXACT, label="exact density")
        ax.plot([0, 0], [0, law.atom], color=_EXACT, linewidth=4, solid_capstyle="butt")
        ax.plot([-0.18, 0.0], [(values == 0).mean()] * 2, color="black", linewidth=1.5)
        ax.text(0.12, law.atom, f"P(GC = 0) = {law.atom:.3g}", fontsize=9, va="center")
        ax.set(title=name, xlabel="GC / root mean square", xlim=(-0.25, 4), ylim=(0, 1))
    axes[0].set_ylabel("density; probability at 0")
    legend_above(figure, axes[0])
    return figure


def _estimates(ax: Axes, table: pd.DataFrame, kind: str, x: str, y: str, line: str = "") -> None:
    """Estimates with standard errors ``se``, a marker for each kind."""
    kinds = list(table[kind].unique())
    for name, colour, marker in zip(
        kinds, sns.color_palette("colorblind", len(kinds)), MARKERS, strict=False
    ):
        part = table[table[kind] == name]
        _dots(ax, part[x], part[y], part["se"], fmt=marker + line, color=colour, label=name)


@for_screens
def predicted_against_measured(table: pd.DataFrame) -> Figure:
    """Leak predicted from the weights' law against the leak measured over random heads.

    Parameters
    ----------
    table : columns ``method``, ``predicted``, ``measured``, ``se``, as fractions; one row for each
        method and trunk.
    """
    figure, (ax,) = panels(1, min(5.4, 1.25 * width()))
    ax.plot([0, 100], [0, 100], color=FLAT_COLOUR, linewidth=0.8)
    percent = 100 * table.set_index("method")[["predicted", "measured", "se"]]
    _estimates(ax, percent.reset_index(), "method", "predicted", "measured")
    ax.set(xlabel="leak predicted from maps and weights' law, %", xlim=(-3, 103), aspect="equal")
    ax.set(ylabel="leak measured, mean over heads, %", ylim=(-3, 103))
    legend_above(figure, ax)
    return figure


@for_screens
def head_ratios(table: pd.DataFrame) -> Figure:
    """Measured over exact mean for deeper heads, by width, one line for each kind of head.

    Parameters
    ----------
    table : columns ``head``, ``width``, ``ratio``, ``se``.
    """
    figure, (ax,) = panels(1, 3.6)
    number = table["head"].factorize()[0]
    beside = table["width"] * 1.05 ** (number - number.mean())  # so that no bar hides another
    _estimates(ax, table.assign(beside=beside), "head", "beside", "ratio", line="-")
    ax.axhline(1, color=FLAT_COLOUR, linewidth=0.8)
    ax.set(xscale="log", xlabel="width of the hidden layer", ylabel="measured mean / ReLU law")
    legend_above(figure, ax)
    return figure


@for_screens
def dial(random: pd.DataFrame, trained: pd.DataFrame) -> Figure:
    """Leak against the radius of the window over which the gradient is averaged, two panels.

    Parameters
    ----------
    random : rows of `camwall.audit.mechanisms.dial_rows` for random networks, with ``law``, the
        predicted share of energy.
    trained : the same rows for a trained network; its empty maps are drawn as a share.
    """
    figure, axes = panels(2, 3.4, sharey=True)
    drawn = {
        "random networks": (random, "energy", "law"),
        "trained on digits": (trained, "leak", "empty"),
    }
    labels = {
        "energy": "share of energy, measured",
        "law": "share of energy, predicted",
        "leak": "mean leak, maps that are not empty",
        "empty": "share of maps that are empty",
    }
    for ax, (title, (table, key, other)) in zip(axes, drawn.items(), strict=True):
        x, percent = table["radius"], 100 * table
        band = percent[f"{key}_low"], percent[f"{key}_high"]
        ax.fill_between(x, *band, color=_EXACT, alpha=0.2, linewidth=0)
        ax.plot(x, percent[key], "o-", color=_EXACT, markersize=4, label=labels[key])
        ax.plot(x, percent[other], color="black", linestyle=":", label=labels[other])
        ax.set(title=title, xlabel="window radius, positions of the map", ylim=(-10, 105))
        ax.set_xlim(-0.5, x.max() + 0.5)
        ax.annotate("HiResCAM", (0, 0), (0.5, -7), fontsize=9)
        ax.annotate("GradCAM", (x.max(), -7), ha="right", fontsize=9)
        ax.legend(frameon=False, loc="upper left")
    axes[0].set_ylabel("%")
    return figure
