"""Figures that set choices of wall side by side: how it is built, where it stands."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from camwall.plots.style import FLAT_COLOUR, use_style

#: Every choice keeps its marker, so that a figure can be read without its colours.
_MARKERS = "osD^vP*X"


def _means(
    ax: Axes, tables: Mapping[str, pd.DataFrame], methods: Sequence[str], what: Sequence[str]
) -> None:
    """Means with their intervals, a row for each method; tables one under the other in a row."""
    colours = sns.color_palette("colorblind", len(tables))
    step = min(0.22, 0.8 / len(tables))
    for k, (label, table) in enumerate(tables.items()):
        mean, low, high = (100 * table.reindex(list(methods))[[*what]].astype(float)).to_numpy().T
        at = np.arange(len(methods)) + step * (k - (len(tables) - 1) / 2)
        # A method without an interval stands as a point alone, one that was not asked not at all.
        errors = np.nan_to_num(np.stack([mean - low, high - mean])).clip(min=0)
        ax.errorbar(
            mean,
            at,
            xerr=errors,
            fmt=_MARKERS[k % len(_MARKERS)],
            color=colours[k],
            label=label,
            markersize=4.5,
            capsize=2,
            linewidth=1.2,
        )
    ax.set_yticks(range(len(methods)), methods)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    for row in range(1, len(methods)):
        ax.axhline(row - 0.5, color="0.93", linewidth=0.8, zorder=0)


def leaks_and_responses(
    tables: Mapping[str, pd.DataFrame], methods: Sequence[str], flat_level: float
) -> Figure:
    """Mean leak and mean response of each method under each choice, with 95 % intervals.

    Parameters
    ----------
    tables : choice → `Report.table`
        One without responses has no points at the right.
    methods : sequence of str
        From the top.
    flat_level : float
        The leak of a constant map.
    """
    use_style()
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 0.5 * len(methods) + 1.2), sharey=True, width_ratios=(3, 2)
    )
    _means(left, tables, methods, ("mean", "low", "high"))
    _means(right, tables, methods, ("response", "response_low", "response_high"))
    left.axvline(100 * flat_level, color=FLAT_COLOUR, linestyle="--", linewidth=1, label="flat map")
    left.set(xlabel="mean leak, %", xlim=(-2, 102))
    right.set(xlabel="mean response, %", xlim=(-4, None))
    right.tick_params(axis="y", length=0)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9
    )
    return figure


def leaks_by_wall(
    tables: Mapping[str, Mapping[str, pd.DataFrame]],
    methods: Sequence[str],
    flat_levels: Mapping[str, float],
) -> Figure:
    """Mean leaks and responses with 95 % intervals by where the wall stands.

    Parameters
    ----------
    tables : construction → wall → `Report.table`
        A column of panels for each construction: leaks above, responses below.
    methods : sequence of str
    flat_levels : wall → leak of a constant map
        In the order of the walls from the left.
    """
    use_style()
    walls = list(flat_levels)
    figure, axes = plt.subplots(
        2, len(tables), figsize=(8, 5.6), sharex=True, sharey="row", squeeze=False
    )
    colours = sns.color_palette("colorblind", len(methods))
    kinds = {
        "leak": ("mean", "low", "high"),
        "response": ("response", "response_low", "response_high"),
    }
    for column, (construction, by_wall) in enumerate(tables.items()):
        for ax, (kind, columns) in zip(axes[:, column], kinds.items(), strict=True):
            for k, method in enumerate(methods):
                rows = pd.DataFrame({wall: by_wall[wall].loc[method, [*columns]] for wall in walls})
                mean, low, high = 100 * rows.astype(float).to_numpy()
                ax.errorbar(
                    np.arange(len(walls)) + 0.11 * (k - (len(methods) - 1) / 2),
                    mean,
                    yerr=np.nan_to_num(np.stack([mean - low, high - mean])).clip(min=0),
                    fmt=_MARKERS[k % len(_MARKERS)],
                    color=colours[k],
                    label=method,
                    markersize=4,
                    linewidth=1.1,
                )
            for x, wall in enumerate(walls):
                ax.axvline(x + 0.5, color="0.93", linewidth=0.8, zorder=0)
                if kind == "leak":
                    level = 100 * flat_levels[wall]
                    ax.hlines(
                        level, x - 0.42, x + 0.42, color=FLAT_COLOUR, linestyle="--", linewidth=1.2,
                        label="flat map" if x == 0 else None,
                    )  # fmt: skip
            ax.set_xlim(-0.5, len(walls) - 0.5)
        axes[0, column].set_title(construction)
        axes[1, column].set_xticks(range(len(walls)), walls, rotation=45, ha="right", fontsize=8)
    axes[0, 0].set(ylabel="mean leak, %", ylim=(-2, 102))
    axes[1, 0].set(ylabel="mean response, %", ylim=(-4, None))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8
    )
    return figure
