"""The paper's table, and how another stands beside it."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import pandas as pd

from camwall.errors import CamwallError

Dataset = Literal["STACK-MIX", "STACK-GEN"]
_COLUMNS = {"STACK-MIX": "mix", "STACK-GEN": "gen"}
IMAGES = 100


@cache
def _all() -> pd.DataFrame:
    with (files("camwall.check") / "paper.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, index_col="method") / 100


def published(dataset: Dataset) -> pd.DataFrame:
    """The paper's leaks on one of its data sets: ``mean``, ``std``, ``low``, ``high``, fractions.

    The paper prints mean and standard deviation over 100 images; ``low`` to ``high`` is the normal
    95 % interval of the mean that these imply.

    Raises
    ------
    CamwallError
        A data set the paper has no table for.
    """
    if dataset not in _COLUMNS:
        raise CamwallError(f"the paper's table has {', '.join(_COLUMNS)}, not {dataset!r}")
    key = _COLUMNS[dataset]
    table = _all()[[f"{key}_mean", f"{key}_std"]].set_axis(["mean", "std"], axis=1)
    half = 1.96 * table["std"] / np.sqrt(IMAGES)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def compare(
    table: pd.DataFrame, dataset: Dataset, *, without: Sequence[str] = ()
) -> tuple[pd.DataFrame, float]:
    """Set a report's table beside the paper's, row by row.

    Parameters
    ----------
    table : DataFrame
        A report's.
    dataset : "STACK-MIX" or "STACK-GEN"
    without : sequence of str
        Methods to leave out of both: HiResCAM is last in any table by a theorem, and counts in a
        rank correlation as if it had been measured.

    Returns
    -------
    DataFrame
        By method: ``ours``, ``paper``, ``difference``, and ``low`` to ``high``, the normal 95 %
        interval of the difference for independent images; all as fractions.
    float
        Spearman's rank correlation of the two columns of means; NaN below three methods.

    Raises
    ------
    CamwallError
        A method to leave out that the paper's table has not.
    """
    theirs = published(dataset)
    unknown = [method for method in without if method not in theirs.index]
    if unknown:
        raise CamwallError(f"the paper's table has no {', '.join(unknown)} to leave out")
    methods = [m for m in theirs.index if m in table.index and m not in without]
    ours, theirs = table.loc[methods], theirs.loc[methods]
    count = ours["images"] - ours["empty"]
    half = 1.96 * np.sqrt(ours["std"] ** 2 / count + theirs["std"] ** 2 / IMAGES)
    difference = ours["mean"] - theirs["mean"]
    rows = pd.DataFrame(
        {
            "ours": ours["mean"],
            "paper": theirs["mean"],
            "difference": difference,
            "low": difference - half,
            "high": difference + half,
        }
    )
    if len(methods) < 3:
        return rows, float("nan")
    return rows, float(ours["mean"].rank().corr(theirs["mean"].rank()))  # Spearman's
