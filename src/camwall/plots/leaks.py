"""Figures of leaks and responses: image by image, and as means beside one another."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from camwall.plots.screens import beside, for_screens, panels, width
from camwall.plots.style import FLAT_COLOUR, colour, intervals, legend_above

#: The columns of a report's table that a panel shows, by its label.
_PANELS = {
    "mean leak, %": ("mean", "low", "high"),
    "mean response, %": ("response", "response_low", "response_high"),
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
    shown = {"x": "percent", "y": "method", "order": methods, "ax": ax}
    data = records.assign(percent=100 * records["leak"])
    sns.stripplot(data, **shown, size=2.5, alpha=0.45, jitter=0.28, color=colour("", 0))
    black = dict.fromkeys(("markerfacecolor", "markeredgecolor"), "black")
    sns.boxplot(
        data,
        **shown,
        fliersize=0,
        width=0.6,
        boxprops={"facecolor": "none"},
        linewidth=1.0,
        showmeans=True,
        meanprops={"marker": "D", "markersize": 4, **black},
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
def mean_leaks(
    tables: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    levels: Mapping[str, float],
    *,
    responses: bool = False,
) -> Figure:
    """Mean leaks with their intervals, several tables beside one another.

    Parameters
    ----------
    tables : label → table as `Report.table`
    methods : sequence of str
        From the top.
    levels : label → leak of a constant map
        Drawn as a dashed line, in the colour of the table of that label if there is one.
    responses : bool
        The mean responses too, in a panel of their own.
    """
    labels = list(_PANELS)[: 1 + responses]
    figure, axes = panels(
        len(labels), 0.5 * len(methods) + 1.2, sharey=True, width_ratios=(3, 2)[: len(labels)]
    )
    for ax, label in zip(axes, labels, strict=True):
        intervals(ax, tables, methods, _PANELS[label])
        ax.set(xlabel=label, xlim=(-4, None))
    for label, level in levels.items():
        known = label in tables
        shade = colour(label, list(tables).index(label)) if known else FLAT_COLOUR
        name = f"flat map ({label})" if known else label
        axes[0].axvline(100 * level, color=shade, linestyle="--", linewidth=1, label=name)
    axes[0].set_xlim(-2, 102)
    legend_above(figure, axes[0])
    return figure


@for_screens
def leaks_by_wall(
    tables: Mapping[str, Mapping[str, pd.DataFrame]],
    methods: Sequence[str],
    flat_levels: Mapping[str, float],
) -> Figure:
    """Mean leaks and responses with 95 % intervals by where the wall stands.

    Parameters
    ----------
    tables : construction → wall → `Report.table`
        For each construction a panel of leaks, then one of responses.
    methods : sequence of str
    flat_levels : wall → leak of a constant map
        In the order of the walls from the left.
    """
    across = len(tables) if len(tables) <= beside(2.3) else 1
    lines = 2 * len(tables) // across
    figure, grid = plt.subplots(
        lines, across, figsize=(width(), 2.8 * lines), sharex=True, squeeze=False
    )
    axes = grid if across > 1 else grid.reshape(len(tables), 2).T
    for column, (construction, by_wall) in enumerate(tables.items()):
        by_method = {
            name: pd.DataFrame({wall: table.loc[name] for wall, table in by_wall.items()}).T
            for name in methods
        }
        for ax, label in zip(axes[:, column], _PANELS, strict=True):
            intervals(ax, by_method, list(flat_levels), _PANELS[label], upright=True)
        axes[0, column].set_title(construction)
        for x, level in enumerate(flat_levels.values()):
            name = None if x else "flat map"
            ends = 100 * level, x - 0.42, x + 0.42
            axes[0, column].hlines(*ends, color=FLAT_COLOUR, linestyle="--", label=name)
    top = max(ax.get_ylim()[1] for ax in axes[1])
    for line, label, most in zip(axes, _PANELS, (102, top), strict=True):
        for ax in line:
            ax.set(ylim=(-4, most), ylabel=label if ax in grid[:, 0] else "")
    legend_above(figure, axes[0, 0])
    return figure


@for_screens
def medians(records: pd.DataFrame, along: str, by: str, flat_level: float) -> Figure:
    """Median leaks and responses with the middle half of them, in the order of the records.

    Parameters
    ----------
    records : DataFrame
        With columns ``leak``, ``response``, and the two of
    along, by : str
        what lies from the left to the right, and what is set beside one another there.
    flat_level : float
        The leak of a constant map.
    """
    figure, axes = plt.subplots(2, 1, figsize=(width(), 6), sharex=True)
    for ax, what in zip(axes, ("leak", "response"), strict=True):
        spread = records.groupby([by, along])[what].describe()
        tables = {str(label): spread.loc[label] for label in records[by].unique()}
        intervals(ax, tables, list(records[along].unique()), ("50%", "25%", "75%"), upright=True)
        ax.set(ylabel=f"median {what}, %")
    axes[0].axhline(100 * flat_level, color=FLAT_COLOUR, linestyle="--", linewidth=1)
    axes[0].set_ylim(-4, 102)
    axes[1].set_yscale("symlog", linthresh=1)  # a map near 0 moves by many times its norm
    axes[1].set_ylim(-0.4, None)
    legend_above(figure, axes[0])
    return figure


@for_screens
def paired_differences(each: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """How much more the baseline shows behind the wall than the masked network, seed by seed.

    Parameters
    ----------
    each, means : DataFrame
        As `paired_leaks` makes them: a point for each seed, with its standard error; a bar for the
        interval of the mean over seeds.
    """
    figure, (ax,) = panels(1, 0.45 * len(means) + 0.9)
    ends = {"low": each["difference"] - each["error"], "high": each["difference"] + each["error"]}
    by_seed = each.assign(**ends).set_index("method").groupby("seed")
    intervals(
        ax,
        {f"seed {seed}": rows for seed, rows in by_seed},
        list(means.index),
        ("difference", "low", "high"),
    )
    at, low, high = range(len(means)), 100 * means["low"], 100 * means["high"]
    ax.barh(at, high - low, left=low, height=0.75, color="0.85", zorder=0)
    ax.scatter(100 * means["mean"], at, marker="|", s=260, color="0.35", zorder=1)
    ax.axvline(0, color=FLAT_COLOUR, lw=1)
    ax.set(xlabel="leak of the baseline less that of the masked network, points")
    legend_above(figure, ax)
    return figure
