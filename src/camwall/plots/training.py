"""Figures of training: accuracy and leak over the epochs, networks side by side."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from camwall.plots.style import FLAT_COLOUR, draw_wall, use_style
from camwall.wall import Wall

#: One colour for each network, in every figure of this module.
NETWORK_COLOURS = {
    "baseline": sns.color_palette("colorblind")[7],
    "masked": sns.color_palette("colorblind")[0],
}


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and top-1 over the epochs: training dashed, test drawn through.

    Parameters
    ----------
    histories : name → DataFrame
        As `camwall.train.Run.history`, or several joined with a column ``seed``: then the mean,
        with a band from the least to the greatest.
    """
    use_style()
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.9))
    for number, (name, history) in enumerate(histories.items()):
        colour = NETWORK_COLOURS.get(name, sns.color_palette("colorblind")[number])
        for ax, quantity, scale in zip(axes, ("loss", "top1"), (1, 100), strict=True):
            for part, dashes in (("train", (0, (3, 2))), ("test", "-")):
                values = scale * history.groupby("epoch")[f"{part}_{quantity}"].agg(
                    ["mean", "min", "max"]
                )
                ax.plot(
                    values.index,
                    values["mean"],
                    color=colour,
                    linestyle=dashes,
                    label=f"{name}, {part}",
                )
                ax.fill_between(
                    values.index, values["min"], values["max"], color=colour, alpha=0.2, lw=0
                )
    axes[0].set(xlabel="epoch", ylabel="cross-entropy")
    axes[1].set(xlabel="epoch", ylabel="top-1, %")
    axes[1].legend(frameon=False, fontsize=8)
    return figure


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
    use_style()
    figure, axes = plt.subplots(
        1, len(histories), figsize=(1.6 + 3.6 * len(histories), 3.2), sharey=True, squeeze=False
    )
    for ax, (name, history) in zip(axes[0], histories.items(), strict=True):
        methods = [column for column in map(str, history) if column.startswith("leak/")]
        for colour, column in zip(sns.color_palette("colorblind"), methods, strict=False):
            values = 100 * history.groupby("epoch")[column].agg(["mean", "min", "max"])
            method = column.removeprefix("leak/")
            if history["epoch"].is_unique and f"error/{method}" in history:
                error = 100 * history.set_index("epoch")[f"error/{method}"]
                values["min"], values["max"] = values["mean"] - error, values["mean"] + error
            # HiResCAM and LayerCAM lie on each other at 0 behind a wall: one is dashed.
            dashes = (0, (3, 2)) if method == "HiResCAM" else "-"
            ax.plot(values.index, values["mean"], color=colour, linestyle=dashes, label=method)
            ax.fill_between(
                values.index, values["min"], values["max"], color=colour, alpha=0.2, lw=0
            )
        ax.axhline(100 * flat_level, color=FLAT_COLOUR, lw=1, ls=":", label="flat map")
        ax.set(title=name, xlabel="epoch", ylim=(-2, 100))
    axes[0, 0].set_ylabel("leak, %")
    axes[0, -1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def stack_gallery(pixels: Tensor, wall: Wall, captions: Sequence[str]) -> Figure:
    """Stacks side by side, the wall drawn.

    Parameters
    ----------
    pixels : tensor [N, C, H, W] in [0, 1]
    wall : Wall
    captions : sequence of str
        A line above each.
    """
    use_style()
    figure, axes = plt.subplots(1, len(pixels), figsize=(1.25 * len(pixels), 1.6), squeeze=False)
    for ax, image, caption in zip(axes[0], pixels, captions, strict=True):
        ax.imshow(image.permute(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
        draw_wall(ax, wall)
        ax.set(xticks=[], yticks=[])
        ax.set_title(caption, fontsize=7)
        sns.despine(ax=ax, left=True, bottom=True)
    return figure


def final_leaks(table: pd.DataFrame, flat_level: float) -> Figure:
    """The final leak of each method for each network: mean over seeds, each seed a dot.

    Parameters
    ----------
    table : DataFrame with columns ``network``, ``method``, ``seed``, ``leak``
    flat_level : float
        The leak of a constant map.
    """
    use_style()
    methods = list(dict.fromkeys(table["method"]))
    figure, ax = plt.subplots(figsize=(6.4, 0.42 * len(methods) + 1.2))
    data = table.assign(percent=100 * table["leak"])
    sns.stripplot(
        data,
        x="percent",
        y="method",
        hue="network",
        order=methods,
        palette=NETWORK_COLOURS,
        dodge=True,
        jitter=False,
        size=6,
        alpha=0.8,
        ax=ax,
    )
    ax.axvline(100 * flat_level, color=FLAT_COLOUR, lw=1, ls=":")
    ax.text(100 * flat_level, -0.75, "flat map", fontsize=8, ha="center", color=FLAT_COLOUR)
    ax.set(xlabel="leak, %", ylabel=None, xlim=(-2, 100))
    ax.legend(frameon=False, fontsize=8, title=None, loc="lower right")
    return figure


def paired_differences(each: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """How much more the baseline shows behind the wall than the masked network, seed by seed.

    Parameters
    ----------
    each, means : DataFrame
        As `paired_leaks` makes them: a dot for each seed, with its standard
        error; a bar for the mean over seeds, with its 95 % interval.
    """
    use_style()
    methods = list(means.index)
    figure, ax = plt.subplots(figsize=(6.4, 0.45 * len(methods) + 0.9))
    place = {method: number for number, method in enumerate(methods)}
    seeds = sorted(each["seed"].unique())
    for number, (seed, marker) in enumerate(zip(seeds, "osD^vP*X<>", strict=False)):
        rows = each[each["seed"] == seed]
        # One below the other, so that the seeds of a method do not hide each other.
        lift = 0.5 * (number / max(1, len(seeds) - 1) - 0.5)
        ax.errorbar(
            100 * rows["difference"],
            rows["method"].map(place).astype(float) + lift,
            xerr=100 * rows["error"],
            fmt=marker,
            ms=4.5,
            lw=1,
            color=sns.color_palette("colorblind")[number % 10],
            label=f"seed {seed}",
        )
    y = [place[method] for method in methods]
    span = means["high"] - means["low"]
    ax.barh(y, 100 * span, left=100 * means["low"], height=0.75, color="0.85", zorder=0)
    ax.scatter(100 * means["mean"], y, marker="|", s=260, color="0.35", zorder=1)
    ax.axvline(0, color=FLAT_COLOUR, lw=1)
    ax.set_yticks(y, methods)
    low, high = 100 * means["low"].min(), 100 * means["high"].max()
    margin = 0.04 * (high - low)
    ax.set(
        xlabel="leak of the baseline less that of the masked network, points",
        xlim=(low - margin, high + margin),
    )
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return figure
