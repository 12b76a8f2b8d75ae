"""Tables side by side: every mean with its interval, differences on the same stacks paired."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from camwall.check.report import Report, bootstrap
from camwall.errors import CamwallError


def with_interval(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """A fraction in % as it is printed: ``11.0 [9.2, 12.8]``, a dash where nothing was measured."""
    if np.isnan(mean):
        return "–"
    sign = "+" if signed else ""
    shown = f"{100 * mean:{sign}.1f}"
    # On one line: a table breaks at plain spaces.
    return (
        shown if np.isnan(low) else f"{shown}\N{NO-BREAK SPACE}[{100 * low:.1f}, {100 * high:.1f}]"
    )


def printed(table: pd.DataFrame, method: str, what: str = "leak", *, signed: bool = False) -> str:
    """One mean of a table with its interval, in %, or a dash for a method it has not.

    Parameters
    ----------
    table : DataFrame
        `Report.table`, `published`'s, or what `paired` and `between` give.
    method : str
    what : "leak" or "response"
    signed : bool
        Write a plus before what is positive.
    """
    columns = {"leak": ("mean", "low", "high")}.get(what, (what, f"{what}_low", f"{what}_high"))
    if method not in table.index:
        return with_interval(np.nan, np.nan, np.nan)
    mean, low, high = map(float, table.loc[method, [*columns]].to_numpy())
    return with_interval(mean, low, high, signed=signed)


def side_by_side(
    tables: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    what: str = "leak",
    *,
    signed: bool = False,
) -> pd.DataFrame:
    """One column for each table, one row for each method, each entry as `printed`.

    Parameters
    ----------
    tables : title → table
    methods : sequence of str
    what : "leak" or "response"
    signed : bool
    """
    rows = {
        title: [printed(table, method, what, signed=signed) for method in methods]
        for title, table in tables.items()
    }
    return pd.DataFrame(rows, index=pd.Index(methods, name="method"))


def part(report: Report, images: Sequence[str]) -> Report:
    """The report on some of its images."""
    return replace(report, records=report.records[report.records["image"].isin(list(images))])


def paired(
    report: Report, about: pd.Series, one: str, other: str, methods: Sequence[str]
) -> pd.DataFrame:
    """How much more a method leaks on one kind of stacks than on another, group by group.

    Parameters
    ----------
    report : Report
    about : Series, image → kind
        A group has at most one image of a kind; groups without both are left out.
    one, other : str
    methods : sequence of str

    Returns
    -------
    DataFrame
        By method: ``mean`` of the differences, their 95 % bootstrap interval ``low`` to ``high``,
        and ``pairs``; fractions.

    Raises
    ------
    CamwallError
        No group has both.
    """
    kept = report.records[~report.records["empty"]]
    kept = kept.assign(kind=kept["image"].map(about))
    rows = {}
    for method in methods:
        records = kept[kept["method"] == method]
        leaks = records.pivot(index="group", columns="kind", values="leak")
        if not {one, other} <= set(leaks):
            raise CamwallError(f"{method} has no group with both {one!r} and {other!r}")
        gaps = (leaks[one] - leaks[other]).dropna().to_numpy()
        low, high = bootstrap(gaps)
        rows[method] = {"mean": gaps.mean(), "low": low, "high": high, "pairs": len(gaps)}
    return pd.DataFrame.from_dict(rows, orient="index")


def between(report: Report, reference: Report, methods: Sequence[str]) -> pd.DataFrame:
    """How much more a method leaks in one report than in another, image by image.

    Returns
    -------
    DataFrame
        As `paired`; groups of images that share a visible half are resampled whole.
    """
    rows = {}
    for method in methods:
        both = [
            r.records[(r.records["method"] == method) & ~r.records["empty"]]
            for r in (report, reference)
        ]
        joined = both[0].merge(both[1][["image", "leak"]], on="image", suffixes=("", "_reference"))
        gaps = (joined["leak"] - joined["leak_reference"]).to_numpy()
        low, high = bootstrap(gaps, joined["group"].to_numpy())
        rows[method] = {"mean": gaps.mean(), "low": low, "high": high, "pairs": len(gaps)}
    return pd.DataFrame.from_dict(rows, orient="index")
