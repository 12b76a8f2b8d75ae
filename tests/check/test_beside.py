"""Tables side by side: intervals printed, differences paired, the paper's methods left out."""

import numpy as np
import pandas as pd
import pytest

from camwall import CamwallError, Wall
from camwall.check import Report, compare, published
from camwall.check.beside import between, part, printed, side_by_side


def report(leaks: dict[str, float], method: str = "GradCAM") -> Report:
    """A report on images ``group-kind``."""
    records = pd.DataFrame(
        {
            "image": list(leaks),
            "method": method,
            "leak": list(leaks.values()),
            "leak_clear": 0.0,
            "empty": False,
            "response": np.nan,
            "group": [image.split("-")[0] for image in leaks],
        }
    )
    return Report(records, Wall.rows(8, 8, 4), (method,), 0.7, {})


LEAKS = {"a-same": 0.5, "a-none": 0.1, "b-same": 0.3, "b-none": 0.1, "c-same": 0.9}


def of_kind(kind: str) -> Report:
    return part(report(LEAKS), [image for image in LEAKS if image.endswith(kind)])


def test_differences_are_paired_within_groups():
    """A group without both kinds counts in neither mean, and the interval holds the differences."""
    row = between(of_kind("same"), of_kind("none"), ["GradCAM"], on="group").loc["GradCAM"]
    assert row["mean"] == pytest.approx((0.4 + 0.2) / 2)
    assert row["pairs"] == 2
    assert row["low"] == pytest.approx(0.2)
    assert row["high"] == pytest.approx(0.4)
    with pytest.raises(CamwallError, match="the reports have no group of GradCAM in common"):
        between(of_kind("same"), of_kind("other"), ["GradCAM"], on="group")
    with pytest.raises(CamwallError, match="or one several times: take the `part`"):
        between(of_kind("same"), report(LEAKS), ["GradCAM"], on="group")


def test_two_reports_are_compared_image_by_image():
    """The same leaks less a constant differ by it, with an interval of no width."""
    less = {image: leak - 0.05 for image, leak in LEAKS.items() if image != "c-same"}
    row = between(report(LEAKS), report(less), ["GradCAM"]).loc["GradCAM"]
    assert row[["mean", "low", "high"]].tolist() == pytest.approx([0.05] * 3)
    assert row["pairs"] == 4


def test_means_are_printed_with_their_intervals():
    """In per cent, a dash for what a table has not, a plus where it is asked for."""
    table = pd.DataFrame({"mean": [0.11], "low": [0.092], "high": [0.128]}, index=["GradCAM"])
    assert printed(table, "GradCAM").split() == ["11.0", "[9.2,", "12.8]"]
    assert printed(table, "GradCAM", signed=True).startswith("+11.0")
    assert printed(table.assign(low=np.nan), "GradCAM") == "11.0"
    rows = side_by_side({"ours": table}, ["GradCAM", "ScoreCAM"])
    assert rows.loc["ScoreCAM", "ours"] == "–"


def test_part_keeps_the_images_it_is_given():
    """The mean of a part is that of its images alone."""
    some = part(report(LEAKS), ["a-same", "b-same"])
    assert some.table.loc["GradCAM", "mean"] == pytest.approx(0.4)
    assert some.table.loc["GradCAM", "images"] == 2


def test_methods_are_left_out_of_the_comparison_with_the_paper():
    """A row that is left out is in neither the rows nor the ranks."""
    theirs = published("STACK-MIX").assign(images=100, empty=0)
    ours = theirs.copy()
    ours.loc["HiResCAM", "mean"] = 1.0  # last in theirs, first in ours
    assert compare(ours, "STACK-MIX")[1] < 1
    rows, correlation = compare(ours, "STACK-MIX", without=["HiResCAM"])
    assert correlation == pytest.approx(1)
    assert "HiResCAM" not in rows.index
    with pytest.raises(CamwallError, match="no LayerCAM"):
        compare(ours, "STACK-MIX", without=["LayerCAM"])
