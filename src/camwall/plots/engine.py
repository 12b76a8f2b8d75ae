"""Figures of the appendix on the engine."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from camwall.plots.style import use_style


def engine_speed(frame: pd.DataFrame) -> Figure:
    """Seconds an image of both engines, task by task, on a logarithmic axis.

    Parameters
    ----------
    frame : DataFrame
        As ``benchmarks/engine.py`` writes it: ``network``, ``task``, ``gradcam_seconds``,
        ``camwall_seconds``, ``ratio``.
    """
    use_style()
    networks = list(dict.fromkeys(frame["network"]))
    fig, axes = plt.subplots(1, len(networks), figsize=(5 * len(networks), 2.6), squeeze=False)
    for ax, network in zip(axes[0], networks, strict=True):
        rows = frame[frame["network"] == network].iloc[::-1]
        places = range(len(rows))
        ax.hlines(places, rows["camwall_seconds"], rows["gradcam_seconds"], color="0.7", zorder=1)
        ax.scatter(rows["gradcam_seconds"], places, label="grad-cam", color="C1")
        ax.scatter(rows["camwall_seconds"], places, label="camwall", color="C0")
        middle = (rows["camwall_seconds"] * rows["gradcam_seconds"]) ** 0.5
        for place, at, ratio in zip(places, middle, rows["ratio"], strict=True):
            ax.annotate(f"{ratio:.3g}×", (at, place + 0.12), ha="center", va="bottom", fontsize=8)
        ax.set(xscale="log", yticks=list(places), yticklabels=list(rows["task"]), title=network)
        ax.set(xlabel="seconds an image", ylim=(-0.5, len(rows) - 0.3))
    handles, labels = axes[0][0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig
