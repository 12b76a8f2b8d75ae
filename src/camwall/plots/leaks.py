"""Figures of leaks and responses: image by image, and as means beside one another."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from camwall.plots.screens import for_screens, panels
from camwall.plots.style import FLAT_COLOUR, MARKERS, colour, legend_above

#: What a panel of means shows: its label, the columns of mean and interval, the limits.
_PANELS: dict[str, tuple[str, list[str], tuple[float | None, float | None]]] = {
    "leak": ("mean leak, %", ["mean", "low", "high"], (-2, 102)),
    "response": (
        "mean response, %",
        ["response", "response_low", "response_high"],
        (-4, None),
    ),
    "difference": (
        "leak of the baseline less that of the masked network, points",
        ["difference", "low", "high"],
        (None, None),
    ),
}


@for_screens
def leak_distribution(
    records: pd.DataFrame, methods: Sequence[str], flat_level: float, random_level: float
) -> Figure:
    """The leaks of all images, a row for each method; lines at the flat and the random level.

    Parameters
    ----------
    records : DataFrame with columns ``method`` and ``leak``
    methods : sequence of str
        Rows, from the top.
    flat_level, random_level : float
        The leak of a constant map, and the mean leak of maps that are noise.
    """
    figure, (ax,) = panels(1, 0.42 * len(methods) + 1.2)
    data = records.assign(percent=100 * records["leak"])
    black = dict.fromkeys(("markerfacecolor", "markeredgecolor"), "black")
    with warnings.catch_warnings():  # seaborn 0.13 asks Matplotlib 3.11 in its old way
        warnings.filterwarnings("ignore", message="vert: bool was deprecated")
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
            meanprops={"marker": "D", "markersize": 4, **black},
        )
    # apart by chance, but the same in each kernel: seaborn's jitter is of NumPy's global state
    data = data[data["method"].isin(methods)]
    rows = data["method"].map({name: row for row, name in enumerate(methods)})
    off = np.random.default_rng(0).uniform(-0.28, 0.28, len(data))
    ax.scatter(
        data["percent"], rows + off, s=2.5**2, alpha=0.45, lw=0, color=colour("", 0), zorder=0.5
    )
    levels = {"flat map": (flat_level, "--"), "random map": (random_level, ":")}
    if abs(flat_level - random_level) < 0.01:  # one line, at this scale
        levels = {"flat or random map": (flat_level, "--")}
    for label, (level, line) in levels.items():
        ax.axvline(100 * level, color=FLAT_COLOUR, linestyle=line, label=label)
    ax.set(xlabel="leak, % of the map's norm behind the wall", ylabel="", xlim=(-2, 102))
    legend_above(figure, ax)
    return figure


@for_screens
def means(
    tables: Mapping[str, pd.DataFrame],
    rows: Sequence[str],
    levels: Mapping[str, float],
    show: Sequence[str] = ("leak",),
) -> Figure:
    """Means with their intervals, in %: the tables beside one another in each row.

    Parameters
    ----------
    tables : label → DataFrame by row
        As `Report.table`. A row without an interval is a point alone, one that a table has not is
        left out.
    rows : sequence of str
        From the top.
    levels : label → leak of a constant map, or another value
        Drawn as a dashed line, in the colour of the table of that label if there is one.
    show : sequence of "leak", "response" and "difference"
        A panel for each; of a difference there are the columns ``difference``, ``low``, ``high``.
    """
    figure, axes = panels(
        len(show), 0.5 * len(rows) + 1.2, sharey=True, width_ratios=(3, 2)[: len(show)]
    )
    for ax, name in zip(axes, show, strict=True):
        label, columns, limits = _PANELS[name]
        _intervals(ax, tables, list(rows), columns)
        ax.set(xlabel=label, xlim=limits)
    for label, level in levels.items():
        known = label in tables
        shade = colour(label, list(tables).index(label)) if known else FLAT_COLOUR
        name = f"flat map ({label})" if known else label
        axes[0].axvline(100 * level, color=shade, linestyle="--", linewidth=1, label=name)
    legend_above(figure, axes[0])
    return figure


@for_screens
def medians(records: pd.DataFrame, along: str, by: str, flat_level: float) -> Figure:
    """Median leaks and responses with the middle half of them, in the order of the records.

    Parameters
    ----------
    records : DataFrame
        With columns ``leak``, ``response``, and the two of
    along, by : str
        the rows from the top, and what is set beside one another in each.
    flat_level : float
        The leak of a constant map.
    """
    rows = list(records[along].unique())
    figure, axes = panels(2, 0.5 * len(rows) + 1.2, sharey=True)
    for ax, what in zip(axes, ("leak", "response"), strict=True):
        spread = records.groupby([by, along])[what].describe()
        tables = {str(label): spread.loc[label] for label in records[by].unique()}
        _intervals(ax, tables, rows, ["50%", "25%", "75%"])
        ax.set(xlabel=f"median {what}, %")
    axes[0].axvline(100 * flat_level, color=FLAT_COLOUR, linestyle="--", linewidth=1)
    axes[0].set_xlim(-2, 102)
    axes[1].set_xscale("symlog", linthresh=1)  # a map near 0 moves by many times its norm
    axes[1].set_xlim(-0.4, None)
    legend_above(figure, axes[0])
    return figure


def _intervals(
    ax: Axes, tables: Mapping[str, pd.DataFrame], rows: list[str], columns: list[str]
) -> None:
    step = min(0.22, 0.8 / len(tables))
    for k, (label, table) in enumerate(tables.items()):
        shown = 100 * table.reindex(index=rows, columns=columns).astype(float)
        mean, low, high = shown.to_numpy().T
        ax.errorbar(
            mean,
            np.arange(len(rows)) + step * (k - (len(tables) - 1) / 2),
            xerr=np.nan_to_num(np.stack([mean - low, high - mean])).clip(min=0),
            fmt=MARKERS[k % len(MARKERS)],
            color=colour(label, k),
            label=label,
            markersize=4.5,
            capsize=2,
            linewidth=1.2,
        )
    for row in range(1, len(rows)):
        ax.axhline(row - 0.5, color="0.93", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
