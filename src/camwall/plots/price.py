"""Figures of the chapter on which method to use: distance by layer, response and place."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from camwall.plots.screens import for_screens, panels, width
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
    """Each method's row: how far repaints move its map, and how much of the map is on the animal.

    The methods that no repaint moves stand first.

    Parameters
    ----------
    table : DataFrame
        By method: ``response``, ``where`` and its interval ``where_low`` to ``where_high``, as
        fractions.
    where : str
        The metric at the right.
    """
    rows = (
        table.assign(blind=table["response"] == 0)
        .sort_values(["blind", where])  # the first is the lowest
        .assign(y=range(len(table)))
    )
    size = (width(), 0.9 + 0.2 * len(rows))
    figure, (moves, places) = plt.subplots(1, 2, figsize=size, sharey=True)
    for blind, colour, marker, label in (
        (True, "#029e73", "o", "no repaint moves the map"),
        (False, "#d55e00", "D", "a repaint moves the map"),
    ):
        some = rows[rows["blind"] == blind]
        middle = 100 * some[where]
        ends = [middle - 100 * some[f"{where}_low"], 100 * some[f"{where}_high"] - middle]
        moves.plot(100 * some["response"], some["y"], marker, color=colour, label=label, ms=5)
        places.errorbar(middle, some["y"], xerr=ends, fmt=marker, color=colour, ms=5)
    moves.set(xlabel="response, %", yticks=rows["y"], yticklabels=rows.index)
    places.set(xlabel="on animal, %", xlim=(0, None))
    for ax in (moves, places):
        ax.grid(axis="y", linewidth=0.5)
        ax.tick_params(axis="y", length=0)
    legend_above(figure, moves)
    return figure
