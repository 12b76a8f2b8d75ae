"""A report's folder: one step, files that belong together, one line for each that is damaged."""

import importlib
import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from camwall.check import Report, bootstrap
from camwall.errors import CamwallError
from camwall.methods import METHODS
from tests.helpers.checks import below, flat, quiet, small_model, some_images

NAME = '<script>alert("1")</script> $x_1$'


def hostile(model, images, target):
    return flat(model, images, target)


hostile.__name__ = NAME


@pytest.fixture(scope="module")
def report():
    na = METHODS["GradCAM"].variant("NA", "the mean", METHODS["GradCAM"].raw)
    return quiet(small_model(), some_images(5), [na, hostile, below])


@pytest.fixture(scope="module")
def written(report, tmp_path_factory):
    command = "camwall check '=1+1' <b>"
    return report.save(tmp_path_factory.mktemp("out"), {"command": command, "seed": None})


@pytest.fixture
def saved(written, tmp_path):
    return shutil.copytree(written, tmp_path / "out")


def test_a_saved_report_has_its_verdicts(report, saved):
    """Causes, figures and pictures too, and a method called NA."""
    again = Report.load(saved)
    assert again.methods == ("NA", NAME, "below")
    pd.testing.assert_frame_equal(again.verdicts, report.verdicts)
    assert again.gallery == report.gallery
    assert [len(maps) for maps in again.gallery.values()] == [4] * 4  # of five images


def test_what_else_belongs_to_a_report(report, tmp_path):
    """A table more is written and watched with the others."""
    report.save(tmp_path, {}, tables={"stacks.csv": pd.DataFrame({"image": ["0"]})})
    (tmp_path / "stacks.csv").write_text("image\n1\n")
    with pytest.raises(CamwallError, match=r"stacks\.csv is not the file that manifest\.json"):
        Report.load(tmp_path)


def test_a_save_that_ends_early_leaves_no_report(report, saved, monkeypatch):
    """The old manifest goes first: new files never stand beside it."""

    def ends(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("camwall.check.folder"), "write_page", ends)
    with pytest.raises(KeyboardInterrupt):
        report.save(saved, {})
    with pytest.raises(CamwallError, match=r"no report in .*: it has no manifest\.json"):
        Report.load(saved)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("manifest.json", "{", "manifest.json cannot be read (Expecting property name"),
        ("manifest.json", "[]", "manifest.json cannot be read (it is no JSON object)"),
        ("manifest.json", '{"wall": 3}', "manifest.json cannot be read (it has no random_level)"),
        ("manifest.json", "{}", "manifest.json cannot be read (it has no wall)"),
        ("table.csv", "method\n", "table.csv is not the file that manifest.json was written with"),
        ("table.csv", None, "it has no table.csv"),
        ("records.csv", None, "records.csv cannot be read ([Errno 2] No such file"),
        ("records.csv", "", "records.csv cannot be read (it is empty"),
        (
            "records.csv",
            "image,method\n0,a,b,c\n0,a\n",
            "records.csv cannot be read (a line has more",
        ),
        ("records.csv", '"image,method\n', "records.csv cannot be read (unexpected end of data"),
        ("gallery.json", "{", "gallery.json cannot be read (Expecting property name"),
    ],
)
def test_damage_costs_one_line(saved, file, content, message):
    """Whatever is missing, cut or of another run; with its checksum as without."""
    path = saved / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    if file in ("records.csv", "gallery.json"):  # as if an older version had written it so
        manifest = json.loads((saved / "manifest.json").read_text())
        del manifest["files"]
        (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CamwallError, match=re.escape(message)) as caught:
        Report.load(saved)
    assert "\n" not in str(caught.value)


def test_the_page_stands_alone_and_escapes_what_it_shows(saved):
    """No script, nothing from elsewhere; names and commands are text."""
    page = (saved / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; $x_1$" in page
    assert "camwall check &#39;=1+1&#39; &lt;b&gt;" in page
    assert not re.search(r"""(src|srcset|href)=["'](?!data:)""", page)
    assert "url(" not in page
    for cause in ("one signed weight a channel", "a constant or a veil"):
        assert f'<td data-label="cause">{cause}</td>' in page


def test_without_what_draws_there_is_no_page_and_a_line_says_so(report, tmp_path, monkeypatch):
    """The tables are written all the same."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.warns(UserWarning, match=r"no report\.html was written: .*camwall\[plots\]"):
        report.save(tmp_path, {})
    assert not (tmp_path / "report.html").exists()
    pd.testing.assert_frame_equal(Report.load(tmp_path).table, report.table)


def test_an_image_without_a_group_is_refused():
    """It would drop out of the interval."""
    with pytest.raises(CamwallError, match="1 of 3 images have no group"):
        bootstrap(np.arange(3.0), np.array([0, 1, np.nan]))


@pytest.mark.parametrize("values", [None, "ab", 3, [[1.0]], [1.0, np.nan], ["a"], [1.0, None]])
def test_what_is_no_list_of_numbers_is_refused(values):
    """A gap would leave the mean with fewer images and no word of it."""
    with pytest.raises(CamwallError, match="values must be"):
        bootstrap(values)
    with pytest.raises(CamwallError, match="groups must be a list of 3"):
        bootstrap([1.0, 2.0, 3.0], [0, 1])


def test_ranks_against_the_paper():
    """Leaks in the paper's order correlate by 1, two methods do not correlate."""
    report = quiet(small_model(), some_images(3), ["GradCAM", "GradCAM++", "XGradCAM", "HiResCAM"])
    order = {"GradCAM": 0.1, "XGradCAM": 0.2, "GradCAM++": 0.3, "HiResCAM": 0.9}
    report.records["leak"] = report.records["method"].map(order)
    assert report.rank_correlations == {"STACK-MIX": 1.0, "STACK-GEN": 1.0}
    few = quiet(small_model(), some_images(3), ["GradCAM", "GradCAM++", "HiResCAM"])
    assert all(np.isnan(list(few.rank_correlations.values())))
