"""Figures of stacks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from camwall.images import read_image
from camwall.plots.screens import beside, for_screens, panels, width
from camwall.plots.style import draw_wall
from camwall.stacks import Stacks
from camwall.stacks.store import HALVES


@for_screens
def contact_sheet(*sets: Stacks, columns: int = 6) -> Figure:
    """The stacks of some sets, at most ``columns`` in a line, each with its wall and animals."""
    shown = [(stacks, number) for stacks in sets for number in range(len(stacks))]
    columns = min(columns, beside(1.2))
    lines, each = -(-len(shown) // columns), width() / columns
    figure, axes = plt.subplots(
        lines, columns, figsize=(width(), (each + 0.4) * lines), squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, (stacks, number) in zip(axes.flat, shown, strict=False):
        ax.imshow(np.asarray(read_image(stacks.paths[number], "RGB")))
        if stacks.wall is not None:
            draw_wall(ax, stacks.wall)
        text = _caption(stacks.frame.iloc[number])
        ax.text(0.5, -0.04, text, transform=ax.transAxes, ha="center", va="top", fontsize=7.5)
    return figure


def _caption(entry: pd.Series) -> str:
    """Who is seen and who hides: by species where it is known, else by class."""
    names = []
    for half in HALVES:
        known = [entry.get(f"{half}_species"), entry.get(f"{half}_name")]
        if half != "beside" or known[0] is not None:
            names.append(next((str(name) for name in known if pd.notna(name)), "nothing"))
    return "\n".join(names) if names != ["nothing", "nothing"] else str(entry["file"])


@for_screens
def composition(stacks: Stacks) -> Figure:
    """Which scenes a set of STACK-OPEN has, and how large its animals are on each side."""
    figure, (left, right) = panels(2, 2.5)
    scenes = stacks.frame.drop_duplicates("group")["scene"].value_counts()
    sns.barplot(x=scenes.to_numpy(), y=scenes.index, ax=left, color=sns.color_palette()[0])
    left.set(xlabel="visible halves", ylabel="scene")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    shares = stacks.boxes.assign(share=100 * stacks.boxes["share"])
    sns.histplot(shares, x="share", hue="half", binwidth=5, ax=right)
    right.set(xlabel="share of its side that its box takes, %", ylabel="animals")
    return figure
