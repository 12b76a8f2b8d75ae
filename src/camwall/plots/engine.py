"""Figure and table of the appendix on the engine."""

import pandas as pd
from matplotlib.figure import Figure

from camwall.plots.screens import for_screens, panels
from camwall.plots.style import legend_above


def _short(seconds: float) -> str:
    """Two digits, and all of those before the point."""
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.2g}"


def speed_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one network as they are printed: median seconds with their range, ratio, memory.

    Parameters
    ----------
    frame : DataFrame
        As ``benchmarks/engine.py`` writes it.
    """
    columns = {}
    for engine in ("grad-cam", "camwall"):
        key = engine.replace("-", "")
        parts = frame[[f"{key}_seconds", f"{key}_low", f"{key}_high"]].to_numpy()
        columns[f"{engine}, s"] = [
            f"{_short(mid)} ({_short(low)} to {_short(high)})" for mid, low, high in parts
        ]
    columns["faster"] = [f"{ratio:,.1f}×" for ratio in frame["ratio"]]
    peaks = frame[["gradcam_peak_mib", "camwall_peak_mib"]].to_numpy()
    columns["peak, MiB"] = [f"{theirs:.0f} → {ours:.0f}" for theirs, ours in peaks]
    table = pd.DataFrame(columns, index=frame["task"].to_list())
    return table.replace(" ", "\N{NO-BREAK SPACE}", regex=True)  # a cell stays on one line


@for_screens
def engine_speed(frame: pd.DataFrame) -> Figure:
    """Seconds an image of both engines, task by task, on a logarithmic axis.

    Parameters
    ----------
    frame : DataFrame
        As ``benchmarks/engine.py`` writes it: ``network``, ``task``, ``gradcam_seconds``,
        ``camwall_seconds``, ``ratio``.
    """
    networks = list(dict.fromkeys(frame["network"]))
    figure, axes = panels(len(networks), 2.8, sharey=True)
    for ax, network in zip(axes, networks, strict=True):
        rows = frame[frame["network"] == network].iloc[::-1]
        places = range(len(rows))
        ax.hlines(places, rows["camwall_seconds"], rows["gradcam_seconds"], color="0.7", zorder=1)
        ax.scatter(rows["gradcam_seconds"], places, label="grad-cam", color="C1")
        ax.scatter(rows["camwall_seconds"], places, label="camwall", color="C0")
        middle = (rows["camwall_seconds"] * rows["gradcam_seconds"]) ** 0.5
        for place, at, ratio in zip(places, middle, rows["ratio"], strict=True):
            label = f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×"
            ax.annotate(label, (at, place + 0.12), ha="center", va="bottom", fontsize=8)
        ax.set(xscale="log", yticks=list(places), yticklabels=list(rows["task"]), title=network)
        ax.margins(x=0.12)
        ax.set(xlabel="seconds an image", ylim=(-0.5, len(rows) - 0.3))
    legend_above(figure, axes[0])
    return figure
