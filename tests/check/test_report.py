"""The report: means with their uncertainty, levels, accuracy; saved and read back; many in one."""

import importlib
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import camwall
from camwall.check import Report, bootstrap, compare, default_methods, published
from camwall.errors import CamwallError
from camwall.metrics import random_level
from camwall.stacks import store
from tests.helpers.checks import (
    ROW,
    SIZE,
    brightness,
    flat,
    nothing,
    quiet,
    small_model,
    some_images,
    walled,
)


def test_std_is_unbiased_and_interval_holds_the_mean(model, images):
    """Standard deviation over n − 1, as the paper; the bootstrap interval contains the mean."""
    report = quiet(model, images, [brightness])
    leaks = report.records["leak"].to_numpy()
    row = report.table.loc["brightness"]
    assert row["std"] == pytest.approx(np.sqrt(((leaks - leaks.mean()) ** 2).sum() / 4))
    assert row["low"] <= row["mean"] <= row["high"]


def test_bootstrap_covers_as_often_as_it_says():
    """Of 95 % intervals of 60 normal values' means, about 95 % hold the true mean."""
    rng = np.random.default_rng(3)
    intervals = [bootstrap(rng.normal(2, 1, 60), resamples=800, seed=i) for i in range(300)]
    covered = np.mean([low <= 2 <= high for low, high in intervals])
    assert 0.90 < covered < 0.985


def test_bootstrap_draws_whole_groups():
    """Each value three times over, in groups of three: the interval of the values themselves."""
    values = np.random.default_rng(4).normal(size=40)
    grouped = bootstrap(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    assert grouped == pytest.approx(bootstrap(values))
    low, high = bootstrap(np.repeat(values, 3))
    assert high - low < 0.7 * (grouped[1] - grouped[0])


def test_the_bootstrap_in_blocks_is_the_bootstrap():
    """Memory does not grow with the number of images, and the interval stays the same."""
    values = np.random.default_rng(0).random(3000)
    rng = np.random.default_rng(0)
    means = values[rng.integers(3000, size=(2000, 3000))].mean(axis=1)
    np.testing.assert_allclose(
        bootstrap(values, resamples=2000), np.quantile(means, [0.025, 0.975]), rtol=1e-12
    )


def test_random_level_is_near_the_flat_one(model):
    """Noise without preference for a side leaks about as a constant map, and not exactly."""
    level = random_level(model.wall, (SIZE, SIZE), draws=2000)
    assert level == pytest.approx(model.wall.flat_level, abs=0.02)
    assert level == random_level(model.wall, (SIZE, SIZE), draws=2000)
    report = quiet(model, some_images(1), [flat])
    assert report.random_level == random_level(model.wall, (4, 4))  # on the map's own cells


def test_accuracy_ranks_the_labels(model, images):
    """With the predictions as labels top 1 is 1; with the least likely classes it is 0."""
    with torch.no_grad():
        scores = model(images)
    best, worst = scores.argmax(1).tolist(), scores.argmin(1).tolist()
    assert quiet(model, images, [flat], labels=best).accuracy == {"top1": 1.0, "top5": 1.0}
    report = quiet(model, images, [flat], labels=worst)
    assert report.accuracy == {"top1": 0.0, "top5": 1.0}
    assert (report.records["rank"] == 3).all()
    with pytest.raises(CamwallError, match="no labels"):
        _ = quiet(model, images, [flat]).accuracy


def test_report_survives_saving(model, images, tmp_path):
    """A saved report read back has the same table."""
    report = quiet(model, images, ["GradCAM", "HiResCAM", nothing])
    report.save(tmp_path, {"seed": 0})
    again = Report.load(tmp_path)
    pd.testing.assert_frame_equal(again.table, report.table)
    assert again.wall == report.wall
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == 0
    assert "GradCAM" in str(again)
    with pytest.raises(CamwallError, match="no report"):
        Report.load(tmp_path / "elsewhere")


def test_comparison_with_the_paper():
    """The paper's own numbers differ from themselves by 0 and rank alike."""
    theirs = published("STACK-MIX")
    assert theirs.loc["GradCAM", "mean"] == pytest.approx(0.227)
    rows, correlation = compare(theirs.assign(images=100, empty=0), "STACK-MIX")
    assert (rows["difference"] == 0).all()
    assert (rows["low"] <= 0).all()
    assert correlation == pytest.approx(1)
    with pytest.raises(CamwallError, match="STACK-MIX, STACK-GEN"):
        published("STACK-OPEN")


def test_stacks_for_another_wall_are_noticed(tmp_path, monkeypatch):
    """Halves put together at row 12 do not meet at a wall at row 8: said, and measured."""
    module = importlib.import_module("camwall.commands.check")
    library = importlib.import_module("camwall.models.library")
    monkeypatch.setattr(library, "named_model", lambda *_, **__: small_model())
    for row in (ROW, 12):
        pictures = [(Image.new("RGB", (SIZE, SIZE), "green"), {"row": row})]
        wall = {"wall": camwall.Wall.rows(SIZE, SIZE, row).as_json()}
        store.build(tmp_path / f"at{row}", "mix", wall, 0, lambda p=pictures: p, 1, progress=False)
    arguments = {"methods": ["GradCAM++"], "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.check_named(images=tmp_path / f"at{ROW}", out=tmp_path / "out8", **arguments)
    with pytest.warns(
        UserWarning, match="wall that hides rows 12–15 of 16×16, the model's hides rows 8–"
    ):
        module.check_named(images=tmp_path / "at12", out=tmp_path / "out12", **arguments)


@pytest.fixture
def stacks(tmp_path):
    """Eight stacks of noise, two of each visible half."""
    rng = np.random.default_rng(3)
    halves = [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(8)]
    for number in range(1, 8, 2):
        halves[number][:ROW] = halves[number - 1][:ROW]
    pictures = [
        (Image.fromarray(pixels), {"group": number // 2, "visible_name": f"animal {number // 2}"})
        for number, pixels in enumerate(halves)
    ]
    wall = {"wall": camwall.Wall.rows(SIZE, SIZE, ROW).as_json()}
    return store.build(tmp_path / "stacks", "mix", wall, 0, lambda: pictures, 8, progress=False)


def test_a_study_of_several_choices(stacks, tmp_path, monkeypatch):
    """One table of all, the slow methods on fewer stacks; read back, every choice has its own."""
    module = importlib.import_module("camwall.commands.sweep")
    asked = []

    def few_choices(network, images, slow):
        asked.append(slow)
        yield module.Variant("whole", small_model(), images, slow=slow)
        apart = walled(ROW, "apart")
        yield module.Variant("apart", apart, images.head(3))
        yield module.Variant("leaks alone", apart, images.head(3), metrics=["leak"])

    monkeypatch.setitem(module.STUDIES, "few", few_choices)
    out = module.sweep("few", stacks, tmp_path / "out", slow=7, command="as typed")
    assert asked == [7]
    reports = module.load_sweep(out)
    assert list(reports) == ["whole", "apart", "leaks alone"]
    whole = reports["whole"]
    assert whole.methods == tuple(default_methods())
    table = whole.table
    counted = table["images"].to_dict(), table["repainted"].to_dict()
    slow = {"ScoreCAM": (7, 6), "Opti-CAM": (7, 6)}
    for name in whole.methods:
        assert (counted[0][name], counted[1][name]) == slow.get(name, (8, 8)), name
    fast = [name for name in whole.methods if name not in slow]
    assert reports["apart"].methods == tuple(fast)
    plain = quiet(small_model(), stacks, fast)
    pd.testing.assert_frame_equal(
        table.loc[fast], plain.table, check_exact=False, rtol=1e-5, atol=0, check_dtype=False
    )
    pd.testing.assert_series_equal(table.loc[fast, "moved"] == 0, plain.table["moved"] == 0)
    assert reports["leaks alone"].table["verdict"].isna().all()
    assert whole.wall == small_model().wall
    assert whole.random_level == plain.random_level
    written = pd.read_csv(out / "table.csv")
    assert written["variant"].unique().tolist() == list(reports)
    assert written["method"].tolist() == [n for r in reports.values() for n in r.methods]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == "as typed"
    assert "proved by construction" in manifest["variants"]["apart"]["certificate"]
    shown = pd.read_csv(out / "stacks.csv")
    assert shown["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    again = {name: report.table for name, report in module.load_sweep(out).items()}
    module.sweep("few", stacks, out, slow=7)  # from the records that are there
    for name, report in module.load_sweep(out).items():
        pd.testing.assert_frame_equal(report.table, again[name])


def test_a_study_that_there_is_not(stacks, tmp_path):
    """Is named, with those there are."""
    module = importlib.import_module("camwall.commands.sweep")
    with pytest.raises(CamwallError, match="unknown study 'heights'; known: construction, both"):
        module.sweep("heights", stacks, tmp_path / "out")
    assert not (tmp_path / "out").exists()
