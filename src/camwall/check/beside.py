"""Tables side by side: ours, the paper's; means with intervals, differences paired by image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Literal

import numpy as np
import pandas as pd

from camwall.check.report import Report, bootstrap, columns
from camwall.errors import CamwallError

Dataset = Literal["STACK-MIX", "STACK-GEN"]
_COLUMNS: dict[Dataset, str] = {"STACK-MIX": "mix", "STACK-GEN": "gen"}
#: The paper's data sets.
PUBLISHED = tuple(_COLUMNS)
#: Stacks of each in the paper.
IMAGES = 100


def printed(table: pd.DataFrame, method: str, what: str = "leak", *, signed: bool = False) -> str:
    """One mean of a table with its interval, in %: ``11.0 [9.2, 12.8]``; a dash where it has none.

    ``table`` is `Report.table`, `published`'s or what `between` gives, ``what`` a metric; what is
    positive has a plus before it if ``signed``.
    """
    mean, low, high = table.reindex([method])[[*columns(what)]].to_numpy(float)[0]
    if np.isnan(mean):
        return "–"
    shown = f"{100 * mean:{'+' if signed else ''}.1f}"
    # On one line: a table breaks at plain spaces.
    between = f"\N{NO-BREAK SPACE}[{100 * low:.1f}, {100 * high:.1f}]"
    return shown if np.isnan(low) else shown + between


def side_by_side(
    tables: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    what: str = "leak",
    *,
    signed: bool = False,
) -> pd.DataFrame:
    """One column for each table by its title, one row for each method, each entry as `printed`."""
    rows = {
        title: [printed(table, method, what, signed=signed) for method in methods]
        for title, table in tables.items()
    }
    return pd.DataFrame(rows, index=pd.Index(methods, name="method"))


def part(report: Report, images: Sequence[str]) -> Report:
    """The report on some of its images."""
    return replace(report, records=report.records[report.records["image"].isin(list(images))])


def between(
    report: Report,
    reference: Report,
    methods: Sequence[str],
    on: Literal["image", "group"] = "image",
) -> pd.DataFrame:
    """How much more a method leaks in one report than in another.

    Differences are taken wherever both reports have one: of the same image, or of two that share a
    visible half (their group) and are, in each report, the only ones with it.

    Returns
    -------
    DataFrame
        By method: ``mean`` of the differences, their 95 % bootstrap interval ``low`` to ``high``
        (images that share a visible half are drawn together), and ``pairs``; fractions.

    Raises
    ------
    CamwallError
        The two have none in common, or one has several images of a group.
    """
    rows = {}
    for method in methods:
        one, other = (
            records[(records["method"] == method) & ~records["empty"]]
            for records in (report.records, reference.records)
        )
        joined = one.merge(other, on=on, suffixes=("", "_other"))
        if joined.empty or joined[on].duplicated().any():
            raise CamwallError(
                f"the reports have no {on} of {method} in common, or one several times: take the "
                "`part` of each that is to be compared"
            )
        gaps = (joined["leak"] - joined["leak_other"]).to_numpy()
        low, high = bootstrap(gaps, joined["group"].to_numpy())
        rows[method] = {"mean": gaps.mean(), "low": low, "high": high, "pairs": len(gaps)}
    return pd.DataFrame.from_dict(rows, orient="index")


def published(dataset: Dataset) -> pd.DataFrame:
    """The paper's leaks on one of its data sets, fractions.

    ``mean`` and ``std`` over 100 images are printed there; ``low`` to ``high`` is the normal 95 %
    interval of the mean that these imply. CamwallError for a data set without a table there.
    """
    if dataset not in _COLUMNS:
        raise CamwallError(f"the paper's table has {', '.join(_COLUMNS)}, not {dataset!r}")
    with (files("camwall.check") / "paper.csv").open(encoding="utf-8") as file:
        whole = pd.read_csv(file, index_col="method") / 100
    key = _COLUMNS[dataset]
    mean, std = whole[f"{key}_mean"], whole[f"{key}_std"]
    half = 1.96 * std / np.sqrt(IMAGES)
    return pd.DataFrame({"mean": mean, "std": std, "low": mean - half, "high": mean + half})


def compare(
    table: pd.DataFrame, dataset: Dataset, *, without: Sequence[str] = ()
) -> tuple[pd.DataFrame, float]:
    """Set a report's table beside the paper's, row by row.

    ``without`` leaves methods out of both: HiResCAM is last in any table by a theorem, and counts
    in a rank correlation as if it had been measured.

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
