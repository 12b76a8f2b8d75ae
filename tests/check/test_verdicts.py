"""Verdicts with causes: for each cause a method made to have it, and its rivals made not to."""

import importlib

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import camwall
from camwall.check import CAUSES, VERDICTS
from camwall.check.verdicts import TRIED
from camwall.methods import explain_each
from tests.helpers.checks import (
    ROW,
    SIZE,
    below,
    brightness,
    flat,
    nothing,
    quiet,
    small_model,
    some_images,
    walled,
)

POINTS = "points there without looking"


def occluded(model, images, target, side):
    """How the score moves with windows of so many rows set to 0, each beside the last."""
    score = model(images).gather(1, target[:, None])
    size = images.shape[2]
    maps = torch.zeros(len(images), size, size)
    for row in range(0, size, side):
        covered = images.clone()
        covered[:, :, row : row + side] = 0
        moved = score - model(covered).gather(1, target[:, None])
        maps[:, row : row + side] = moved.abs()[:, :, None]
    return maps


def straddles(model, images, target):
    return occluded(model, images, target, 3)


def aligned(model, images, target):
    return occluded(model, images, target, 4)


def blurred(model, images, target):
    """A map of the visible half, smoothed."""
    return F.avg_pool2d(aligned(model, images, target), 3, stride=1, padding=1)


def resized(model, images, target):
    """The rows that are read, on a grid of 4×4, resized."""
    grid = torch.ones(len(images), 1, 4, 4)
    grid[:, :, 2:] = 0
    return F.interpolate(grid * (1 + images[:, :1, :4, :4]), SIZE, mode="bilinear")[:, 0]


def cut_last(model, images, target):
    """The same with negative cells, cut at 0 once it is resized, as many write HiResCAM."""
    grid = torch.ones(len(images), 1, 4, 4)
    grid[:, :, :2, ::2] = -1
    grid[:, :, 2:] = 0
    raw = grid * (1 + images[:, :1, :4, :4])
    return F.interpolate(raw, SIZE, mode="bilinear")[:, 0].clamp(min=0)


def noisy(model, images, target):
    return torch.randn(len(images), SIZE, SIZE)


def absolute(model, images, target):
    return noisy(model, images, target).abs()


def veil(model, images, target):
    """A constant that differs from image to image, with a little noise."""
    level = images[:, 0, 0, 0, None, None] + 1
    return level + 0.1 * torch.rand(len(images), SIZE, SIZE)


def turning(model, images, target):
    """A veil that is cut away where the wall stands further away, as one whose sign turns."""
    maps = torch.full((len(images), SIZE, SIZE), float(model.wall.share < 0.6))
    maps[:, :2] = 2.0
    return maps


def held(model, images, target):
    """Noise from a seed of its own."""
    return torch.rand(len(images), SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def slope(model, images, target):
    return torch.linspace(0, 1, SIZE)[:, None].expand(len(images), SIZE, SIZE)


def turns(model, images, target):
    """A veil where the wall stands, and none, its sign turned, where it stands further away."""
    maps = flat(model, images, target)
    if model.wall.share > 0.6:
        maps[:, 1:] = 0
    return maps


def buried(model, images, target):
    """A picture of its own, brighter to the right, under more noise."""
    return 0.5 * slope(model, images, target).mT + torch.rand(len(images), SIZE, SIZE)


def half_and_half(model, images, target):
    """A picture of its own and noise, none of them alone."""
    return slope(model, images, target) + 0.2 * torch.rand(len(images), SIZE, SIZE)


@pytest.mark.parametrize("construction", ["whole", "apart"])
@pytest.mark.parametrize(
    ("method", "verdict", "cause"),
    [
        (resized, "blind but for bleed", "resize bleed"),
        (cut_last, "blind but for bleed", "resize bleed"),
        (straddles, POINTS, "window straddles the wall"),
        (blurred, POINTS, "window straddles the wall"),
        (aligned, "blind", None),
        (noisy, POINTS, "estimator noise"),
        (absolute, POINTS, "estimator noise"),
        (flat, POINTS, "a constant or a veil"),
        (below, POINTS, "a constant or a veil"),
        (veil, POINTS, "a constant or a veil"),
        (turning, POINTS, "a constant or a veil"),
        ("EigenGradCAM", POINTS, "a constant or a veil"),
        (slope, POINTS, "not found"),
        (held, POINTS, "not found"),
        (half_and_half, POINTS, "not found"),
        (buried, POINTS, "not found"),
        (turns, POINTS, "a constant or a veil"),
        (nothing, "blind", None),
        (brightness, "sees through", "not found"),
        ("GradCAM", "sees through", "one signed weight a channel"),
        ("EigenCAM", "sees through", "activations alone"),
    ],
)
def test_the_cause_is_the_one_it_was_made_with(method, verdict, cause, construction):
    """And no experiment takes it for a rival's."""
    report = quiet(walled(ROW, construction), some_images(), [method])
    (row,) = report.verdicts.to_dict("records")
    assert row["verdict"] == verdict
    assert row["cause"] == cause
    assert verdict in VERDICTS
    assert row["verdict"] == report.table["verdict"].item()
    if verdict == POINTS:
        assert cause in CAUSES
        assert 0 < row["tried"] <= TRIED
    else:
        assert (row["tried"] > 0) == (verdict == "blind but for bleed")


@pytest.mark.parametrize("method", [flat, slope, noisy])
def test_behind_a_thin_wall_too(method):
    """Interpolation reaches every pixel there, and is not what put anything there."""
    thin = camwall.Wall.boxes(SIZE, SIZE, [(9, 9, 11, 11)])
    (row,) = quiet(walled(thin), some_images(), [method]).verdicts.to_dict("records")
    assert row["clear"] == 0 < row["leak"]
    assert row["verdict"] == POINTS


def test_the_figures_a_verdict_rests_on():
    """Which repaint and which images moved most, as the records say; experiments where needed."""
    report = quiet(small_model(), some_images(), ["GradCAM++", flat])
    records = report.records[report.records["method"] == "GradCAM++"]
    row, table = report.verdicts.loc["GradCAM++"], report.table.loc["GradCAM++"]
    most = records.sort_values("response", ascending=False)
    assert row["most"].split(", ") == most["image"].tolist()[:3]
    counts = dict(each.split() for each in row["repaints"].split(", "))
    assert sum(map(int, counts.values())) == row["moved"] == table["moved"]
    assert (
        row[["leak", "leak_low", "leak_high"]].tolist() == table[["mean", "low", "high"]].tolist()
    )
    assert row["tried"] == 0
    alone = quiet(small_model(), some_images(), ["GradCAM++"], repaints=["mirror"])
    assert alone.verdicts["repaints"].item() == f"mirror {alone.verdicts['moved'].item()}"
    assert report.verdicts.loc["flat", "repaints"] == ""


def test_experiments_hang_on_no_batch():
    """Images together or alone, ours or a function: the same findings."""
    methods = ["EigenGradCAM", straddles, veil]
    one, many = (quiet(small_model(), some_images(), methods, batch=b) for b in (1, 4))
    columns = ["on_grid", "retreated", "uneven", "tried", "cause"]
    pd.testing.assert_frame_equal(one.verdicts[columns], many.verdicts[columns], atol=1e-5)


def test_only_what_needs_a_cause_is_tried(tmp_path):
    """Images that show most, of methods that no repaint moves; a finished run tries none again."""
    calls = []

    def seldom(model, images, target):
        """Bleed, and on two images a constant."""
        calls.append(len(images))
        late = (images[:, 0, 0, 0] > marks[2]).float()[:, None, None]
        return resized(model, images, target) + late

    images = some_images()
    marks = images[:, 0, 0, 0].sort().values
    report = quiet(small_model(), images, ["GradCAM", "HiResCAM", seldom], run=tmp_path)
    tried = report.records.dropna(subset="retreated").set_index("method")["image"]
    late = [str(i) for i in range(5) if images[i, 0, 0, 0] > marks[2]]
    assert tried["seldom"].tolist() == late
    assert set(tried.index) == {"seldom"}
    assert report.verdicts.loc["seldom", "cause"] == "a constant or a veil"
    calls.clear()
    again = quiet(small_model(), images, ["GradCAM", "HiResCAM", seldom], run=tmp_path)
    assert calls == []
    pd.testing.assert_frame_equal(again.verdicts, report.verdicts)


def test_a_masked_network_stands_further_behind_its_wall_too():
    """The paper's kind of network, whose wall is made of weights."""
    model = camwall.simple_cnn(4, 3, image_size=18, visible_rows=4, classes=3)

    batch = torch.rand(3, 1, 18, 18, generator=torch.Generator().manual_seed(0))
    verdicts = quiet(model, batch, [straddles, "EigenGradCAM"]).verdicts
    assert verdicts["cause"].tolist() == ["window straddles the wall", "a constant or a veil"]


def test_noise_shrinks_with_the_samples_and_a_veil_does_not(monkeypatch):
    """KernelSHAP and RISE, estimates both: with eight times as many samples the cause shows."""
    captum = pytest.importorskip("camwall.methods.adapters.captum")
    rise = importlib.import_module("camwall.methods.rise")
    causes = {"KernelSHAP": "estimator noise", "RISE": "a constant or a veil"}
    model, image, clear = small_model(), some_images(1), ROW + 2  # no patch there is seen in part
    verdicts = quiet(model, image, list(causes), repaints=["grey"]).verdicts
    assert verdicts["cause"].to_dict() == causes

    def behind():
        maps = explain_each(model, image, list(causes))
        return [each[0, clear:].norm().item() for each in maps.values()]

    few = behind()
    more = captum._of_scores(captum.attr.KernelShap, n_samples=8 * captum.SETS)
    monkeypatch.setitem(captum.ATTRIBUTIONS, "KernelShap", more)
    monkeypatch.setattr(rise, "MASKS", 8 * rise.MASKS)
    kernel, veil = (many / once for many, once in zip(behind(), few, strict=True))
    assert kernel < 0.6  # of noise 1/√8
    assert veil > 0.9
