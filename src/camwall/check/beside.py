"""Tables side by side: every mean with its interval, differences on the same stacks paired."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from camwall.check.report import Report, bootstrap
from camwall.errors import CamwallError


def printed(table: pd.DataFrame, method: str, what: str = "leak", *, signed: bool = False) -> str:
    """One mean of a table with its interval, in %: ``11.0 [9.2, 12.8]``; a dash where it has none.

    Parameters
    ----------
    table : DataFrame
        `Report.table`, `published`'s, or what `between` gives.
    method : str
    what : str
        A metric.
    signed : bool
        Write a plus before what is positive.
    """
    columns = {"leak": ("mean", "low", "high")}.get(what, (what, f"{what}_low", f"{what}_high"))
    mean, low, high = table.reindex([method])[[*columns]].to_numpy(float)[0]
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

    Parameters
    ----------
    report, reference : Report
    methods : sequence of str
    on : "image" or "group"
        Of what the differences are taken, wherever both have one: of the same image, or of two that
        share a visible half and are, in each report, the only ones with it.

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
