"""Figures of the chapter on which method to use: distance by layer, response and place."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from camwall.plots.screens import for_screens, panels
from camwall.plots.style import MARKERS, legend_above


@for_screens
def distance_by_layer(table: pd.DataFrame, method: str = "GradCAM") -> Figure:
    """How far a method's map is from gradient times activation, layer by layer, for each network.

    Parameters
    ----------
    table : DataFrame
        Of `camwall.metrics.distances`, indexed by ``network`` and ``layer``, layers from early to
        last.
    method : str
    """
    figure, (ax,) = panels(1, 3.8)
    networks = table[method].groupby("network", sort=False)
    for marker, (network, part) in zip(MARKERS, networks, strict=False):
        ax.plot(range(-len(part) + 1, 1), part, marker=marker, label=network)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(ylim=(-0.03, 1.03), ylabel=f"distance of {method}\nfrom gradient × activation")
    ax.set_xlabel("layer, counted back from the last one with a map (0)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(figure, ax)
    return figure


@for_screens
def response_against_place(table: pd.DataFrame, where: str = "on_animal") -> Figure:
    """Each method by how far repaints move its map and how much of the map is on the animal.

    Parameters
    ----------
    table : DataFrame
        By method: ``response``, ``where`` and its interval ``where_low`` to ``where_high``, as
        fractions.
    where : str
        The metric on the vertical axis.
    """
    figure, (ax,) = panels(1, max(4.6, 0.19 * len(table)))
    blind = table["response"] == 0
    for rows, colour, label in (
        (table[blind], "#029e73", "no repaint moves the map"),
        (table[~blind], "#d55e00", "a repaint moves the map"),
    ):
        middle = 100 * rows[where]
        spread = [middle - 100 * rows[f"{where}_low"], 100 * rows[f"{where}_high"] - middle]
        at = 100 * rows["response"]
        ax.errorbar(
            at, middle, spread, fmt="o" if colour == "#029e73" else "D", color=colour, label=label
        )
    # Names beside their points, never one over another: pushed down from the top, then up again.
    rows, (low, high) = table.sort_values(where, ascending=False), ax.get_ylim()
    step, beside = (high - low) / len(rows), [100 * value for value in rows[where]]
    for i in range(1, len(rows)):
        beside[i] = min(beside[i], beside[i - 1] - step)
    for i in reversed(range(len(rows))):
        beside[i] = max(beside[i], low + step * (len(rows) - 1 - i))
    for y, (name, row) in zip(beside, rows.iterrows(), strict=True):
        ax.annotate(
            str(name),
            (100 * row["response"], 100 * row[where]),
            xytext=(1.02, (y - low) / (high - low)),
            textcoords="axes fraction",
            fontsize=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6},
        )
    ax.set(xlabel="response, %", ylabel="of the map on the visible animal, %")
    legend_above(figure, ax)
    return figure
