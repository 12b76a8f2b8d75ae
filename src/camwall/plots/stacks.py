"""Figures of stacks."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from camwall.plots.style import draw_wall, use_style
from camwall.stacks import Stacks


def contact_sheet(
    stacks: Stacks,
    *,
    columns: int = 6,
    row: int | None = None,
    captions: Sequence[str] | None = None,
) -> Figure:
    """All stacks side by side, the wall drawn across each.

    Parameters
    ----------
    stacks
        As many as fit a figure.
    columns
        Images in a line.
    row
        Where the wall is; by default the manifest's column ``row``, and none is drawn without it.
    captions
        A line under each; by default the animals above and below, where the manifest names them.
    """
    use_style()
    lines = -(-len(stacks) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(1.55 * columns, 1.75 * lines), squeeze=False
    )
    rows = stacks.frame["row"] if "row" in stacks.frame else pd.Series([None] * len(stacks))
    for ax in axes.flat:
        ax.axis("off")
    for number, (ax, path) in enumerate(zip(axes.flat, stacks.paths, strict=False)):
        with Image.open(path) as image:
            ax.imshow(np.asarray(image.convert("RGB")))
        wall = rows.iloc[number] if row is None else row
        if wall is not None:
            draw_wall(ax, wall)
        text = _caption(stacks.frame.iloc[number]) if captions is None else captions[number]
        ax.text(0.5, -0.04, text, transform=ax.transAxes, ha="center", va="top", fontsize=6.5)
    return figure


def _caption(entry: pd.Series) -> str:
    """The two animals: by species where it is known, else by class."""
    names = []
    for half in ("visible", "hidden"):
        known = [entry.get(f"{half}_species"), entry.get(f"{half}_name")]
        names.append(next((str(name) for name in known if pd.notna(name)), "nothing"))
    return "\n".join(names) if names != ["nothing", "nothing"] else str(entry["file"])


def sources(frame: pd.DataFrame) -> Figure:
    """How often each photograph stands above the wall and behind it.

    Parameters
    ----------
    frame
        The manifest of one or more sets of stacks: ``visible_source``, ``hidden_source``,
        ``variant``.
    """
    use_style()
    figure, (above, below) = plt.subplots(
        1, 2, figsize=(7.2, 2.5), gridspec_kw={"width_ratios": [1, 1.6]}
    )
    scenes = frame.drop_duplicates("group")["scene"].value_counts()
    sns.barplot(x=scenes.to_numpy(), y=scenes.index, ax=above, color=sns.color_palette()[0])
    above.set(xlabel="visible halves", ylabel="", title="scene")
    counts = frame.groupby(["variant", "hidden_source"]).size().rename("times").reset_index()
    sns.countplot(counts, x="times", hue="variant", ax=below)
    below.set(xlabel="times behind the wall", ylabel="photographs", title="hidden animals")
    return figure
