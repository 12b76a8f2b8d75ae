"""A report as one page that stands alone: no script, nothing from outside, every text escaped."""

import html
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from camwall.check.gallery import drawn
from camwall.check.verdicts import CAUSES, VERDICTS
from camwall.errors import extra
from camwall.runs import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from camwall.check.report import Report


def write_page(report: "Report", path: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the page of a report.

    Parameters
    ----------
    report : Report
    path : path
    manifest : mapping
        Its ``certificate``, ``command``, ``versions``, ``commit`` and ``date`` are shown where
        there are such.

    Raises
    ------
    CamwallError
        The extra ``plots`` is not installed.
    """
    with extra("plots"):
        import matplotlib.pyplot as plt
        from jinja2 import Environment, PackageLoader

        from camwall.plots.screens import as_html
    around = Environment(
        loader=PackageLoader("camwall.check", "."), autoescape=True, trim_blocks=True
    )

    def picture(figure: "Figure", told: str) -> str:
        text = as_html(figure) or ""
        plt.close(figure)
        return text.replace('alt=""', f'alt="{html.escape(told)}"')

    # A name with two dollars is no formula, and one in any script is no reason to warn.
    with plt.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        leaks = gallery = ""
        if report.records.loc[~report.records["empty"], "leak"].notna().any():
            leaks = picture(report.plot(), "Each image's leak, a row for each method")
        if report.gallery:
            gallery = picture(_gallery(report), "Maps over images")
    verdicts = report.verdicts
    page = around.get_template("page.html").render(
        report=report,
        said=manifest,
        table=_rows(report),
        words={
            name: told
            for known, column in ((VERDICTS, "verdict"), (CAUSES, "cause"))
            for name, told in known.items()
            if (verdicts[column] == name).any()
        },
        correlations=report.rank_correlations,
        leaks=leaks,
        gallery=gallery,
    )
    return write_atomic(path, lambda file: file.write_text(page, encoding="utf-8"))


def _rows(report: "Report") -> dict[str, dict[str, str]]:
    """The table as it is printed, with the causes, by method."""
    frame = report.formatted
    if "verdict" in frame:
        frame.insert(1, "cause", report.verdicts["cause"].fillna("–"))
    return frame.to_dict("index")  # type: ignore[return-value]


def _gallery(report: "Report") -> "Figure":
    """The maps of the gallery over their images, those of the methods that all images have."""
    from camwall.plots import heatmap_grid

    pictures, size = report.gallery, report.wall.shape
    methods = [name for name in report.methods if all(name in each for each in pictures.values())]
    leaks = report.records.set_index(["method", "image"])["leak"]
    return heatmap_grid(
        torch.stack([drawn(each[""], size) for each in pictures.values()]),
        {
            name: torch.stack([drawn(each[name], size)[0] for each in pictures.values()])
            for name in methods
        },
        report.wall,
        leaks={name: [leaks[name, image] for image in pictures] for name in methods},
    )
