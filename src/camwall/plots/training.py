"""Figures of training: accuracy and leak over the epochs, networks side by side."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from camwall.plots.screens import for_screens, panels
from camwall.plots.style import FLAT_COLOUR, colour, legend_above

_DASHED = (0, (3, 2))


def _band(ax: Axes, values: pd.DataFrame, shade: object, line: object, label: str) -> None:
    """A line at the column ``mean``, in a band from ``min`` to ``max``, over the index."""
    ax.plot(values.index, values["mean"], color=shade, linestyle=line, label=label)
    ax.fill_between(values.index, values["min"], values["max"], color=shade, alpha=0.2, lw=0)


@for_screens
def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and top-1 over the epochs: training dashed, test drawn through.

    Parameters
    ----------
    histories : name → DataFrame
        As `camwall.train.Run.history`, or several joined with a column ``seed``: then the mean,
        with a band from the least to the greatest.
    """
    figure, axes = panels(2, 2.9)
    for number, (name, history) in enumerate(histories.items()):
        by_epoch, shade = history.groupby("epoch"), colour(name, number)
        for ax, quantity, scale in zip(axes, ("loss", "top1"), (1, 100), strict=True):
            for part, line in (("train", _DASHED), ("test", "-")):
                values = scale * by_epoch[f"{part}_{quantity}"].agg(["mean", "min", "max"])
                _band(ax, values, shade, line, f"{name}, {part}")
    axes[0].set(xlabel="epoch", ylabel="cross-entropy")
    axes[1].set(xlabel="epoch", ylabel="top-1, %")
    legend_above(figure, axes[1])
    return figure


@for_screens
def leak_over_epochs(histories: Mapping[str, pd.DataFrame], flat_level: float) -> Figure:
    """Each method's mean leak over the epochs, one panel for each network.

    Parameters
    ----------
    histories : name → DataFrame
        With the columns ``leak/METHOD`` that `follow_leaks` measures: with a band of
        ``error/METHOD`` to either side for one run, for several joined the mean over these, with a
        band from the least to the greatest.
    flat_level : float
        The leak of a constant map, drawn as a line.
    """
    figure, axes = panels(len(histories), 3.2, sharey=True)
    for ax, (name, history) in zip(axes, histories.items(), strict=True):
        methods = [c.removeprefix("leak/") for c in map(str, history) if c.startswith("leak/")]
        for number, method in enumerate(methods):
            values = 100 * history.groupby("epoch")[f"leak/{method}"].agg(["mean", "min", "max"])
            if history["epoch"].is_unique and f"error/{method}" in history:
                error = 100 * history.set_index("epoch")[f"error/{method}"]
                values["min"], values["max"] = values["mean"] - error, values["mean"] + error
            # HiResCAM and LayerCAM lie on each other at 0 behind a wall: one is dashed.
            line = _DASHED if method == "HiResCAM" else "-"
            _band(ax, values, colour(method, number), line, method)
        ax.axhline(100 * flat_level, color=FLAT_COLOUR, lw=1, ls=":", label="flat map")
        ax.set(title=name, xlabel="epoch", ylim=(-2, 100))
    axes[0].set_ylabel("leak, %")
    legend_above(figure, axes[-1])
    return figure
