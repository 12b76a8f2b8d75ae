"""Metrics: the register, and one of one's own from a check to its table, saved and taken up."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import camwall
from camwall.check import Report
from camwall.errors import CamwallError
from camwall.methods import Evidence, Saliency
from camwall.metrics import METRICS, Metric
from tests.helpers import networks
from tests.helpers.checks import ROW, SIZE, brightness, image_files, quiet, some_images


def top_left(evidence: Evidence, maps: Saliency) -> Tensor:
    """The map's first value."""
    return maps.shown[:, 0, 0]


def completeness(evidence: Evidence, maps: Saliency) -> Tensor:
    """How far the raw map's sum is from the score."""
    if maps.raw is None:
        return torch.full((len(evidence.images),), torch.nan)
    score = evidence.target_scores(evidence.scores)
    return (maps.raw.sum(dim=(1, 2)) - score).abs() / score.abs()


def blackened(evidence: Evidence, maps: Saliency) -> Tensor:
    """How far the score falls when all pixels are 0."""
    scores = evidence.target_scores(evidence.scores)
    return scores - evidence.target_scores(evidence.scores_of([torch.zeros_like(evidence.images)]))


def moved(evidence: Evidence, maps: Saliency) -> Tensor:
    """How many repaints there are."""
    return torch.tensor([float(len(list(evidence.repaints)))] * len(evidence.images))


def on_the_animal(evidence: Evidence, maps: Saliency) -> Tensor:
    """The share of the map within the mask."""
    mask = torch.stack(list(evidence.annotations["animal"]))
    return (maps.shown * mask).sum(dim=(1, 2)) / maps.shown.sum(dim=(1, 2))


OWN = [
    Metric("top left", "", top_left),
    Metric("completeness", "", completeness),
    Metric("blackened", "", blackened),
    Metric("moved maps", "", moved, repaints=True),
    Metric("on the animal", "", on_the_animal, annotation="animal"),
]
METHODS = ["GradCAM++", "HiResCAM", brightness]


@pytest.fixture
def masks():
    return torch.rand(5, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) > 0.7


def test_the_register() -> None:
    """Each is known by its name and says what it is; the leak and the response are its first."""
    assert list(METRICS)[:2] == ["response", "leak"]
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.measures
    assert METRICS["response"].repaints
    assert not METRICS["leak"].repaints


def test_metrics_are_those_of_the_functions(model, images) -> None:
    """Leak and response of a pass, as `camwall.leak` and `camwall.response` give them."""
    with torch.no_grad():
        evidence = Evidence(model.eval(), images)
        maps = Saliency(evidence, camwall.METHODS["GradCAM++"])
        found = METRICS["leak"](evidence, maps), METRICS["leak_clear"](evidence, maps)
    shown = camwall.explain(model, images, "GradCAM++")
    assert torch.equal(found[0], camwall.leak(shown, model.wall))
    assert torch.equal(found[1], camwall.leak(shown, model.wall, clear_of=model.visible_cells))


def test_other_shares_behind_the_wall(model) -> None:
    """Of literal maps: l1, squares, the largest value; ties count by their share."""
    literal = torch.zeros(3, SIZE, SIZE)
    literal[0, 0, :2], literal[0, ROW, 0] = 2.0, 4.0
    literal[1, ROW - 1 : ROW + 3, 0] = 1.0  # of four largest values three

    def drawn(model, images, target):
        return literal

    names = ["leak_l1", "leak_energy", "maximum"]
    records = quiet(model, some_images(3), [drawn], metrics=names, batch=3).records
    assert records["leak_l1"].tolist() == [0.5, 0.75, 0]
    assert records["leak_energy"].tolist() == pytest.approx([16 / 24, 0.75, 0])
    assert records["maximum"][:2].tolist() == [1, 0.75]
    assert np.isnan(records["maximum"][2])


def test_ones_own_from_check_to_table(model, images, masks) -> None:
    """Each is a column of the records, by hand, and its mean and interval columns of the table."""
    metrics = ["response", "leak", *OWN]
    report = quiet(model, images, METHODS, metrics=metrics, annotations={"animal": masks})
    records = report.records.set_index(["method", "image"])
    maps = camwall.explain(model, images, "GradCAM++")
    raw = camwall.explain(model, images, "HiResCAM", normalize=False)
    with torch.no_grad():
        scores, black = model(images), model(torch.zeros_like(images))
    top, classes = scores.max(dim=1)

    def column(method: str, name: str) -> np.ndarray:
        return records.loc[method, name].to_numpy(float)

    np.testing.assert_allclose(column("GradCAM++", "top left"), maps[:, 0, 0], atol=1e-6)
    share = (maps * masks).sum(dim=(1, 2)) / maps.sum(dim=(1, 2))
    np.testing.assert_allclose(column("GradCAM++", "on the animal"), share, atol=1e-6)
    fall = top - black.gather(1, classes[:, None])[:, 0]
    np.testing.assert_allclose(column("HiResCAM", "blackened"), fall, atol=1e-6)
    assert (column("HiResCAM", "moved maps") == 4).all()
    assert np.isnan(column("brightness", "completeness")).all()
    assert (column("HiResCAM", "completeness") >= 0).all()
    assert raw.shape == (5, 4, 4)
    table = report.table
    assert table.loc["GradCAM++", "on the animal"] == pytest.approx(share.mean().item())
    assert (table["top left_low"] <= table["top left"]).all()
    assert (table["top left"] <= table["top left_high"]).all()
    assert np.isnan(table.loc["brightness", "completeness"])
    said = str(report)
    assert "on the animal, %" in said
    assert said.endswith(f"hidden: {model.wall}; maps of {model.layer}")
    alone = quiet(model, images, METHODS).table
    pd.testing.assert_frame_equal(table[list(alone)], alone)


def test_a_function_is_a_metric(model, images) -> None:
    """Its column has its name; one metric alone need not stand in a list."""
    report = quiet(model, images, ["GradCAM++"], metrics=top_left)
    whole = quiet(model, images, ["GradCAM++"], metrics=OWN[:1])
    np.testing.assert_array_equal(report.records["top_left"], whole.records["top left"])


def test_ones_own_saved_and_loaded(model, images, masks, tmp_path) -> None:
    """The table of the report that is read back is the same."""
    report = quiet(model, images, METHODS, metrics=OWN, annotations={"animal": masks})
    report.save(tmp_path, {})
    again = Report.load(tmp_path)
    pd.testing.assert_frame_equal(again.table, report.table)
    assert str(again) == str(report)
    assert report.table["verdict"].isna().all()


def test_ones_own_taken_up(model, images, masks, tmp_path) -> None:
    """What is there is not measured again; other metrics or annotations are another run."""
    calls = []

    def counted(evidence: Evidence, maps: Saliency) -> Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("pulled the plug")
        return on_the_animal(evidence, maps)

    own = Metric("counted", "", counted, annotation="animal")

    def run(metrics: list, masks: Tensor = masks) -> Report:
        annotations = {"animal": masks}
        methods = ["GradCAM++", "HiResCAM"]
        return quiet(model, images, methods, metrics=metrics, annotations=annotations, run=tmp_path)

    with pytest.raises(RuntimeError, match="plug"):
        run(["leak", own])
    report = run(["leak", own])
    assert len(calls) == 4 + 7
    whole = quiet(
        model,
        images,
        ["GradCAM++", "HiResCAM"],
        metrics=["leak", OWN[-1]],
        annotations={"animal": masks},
    )
    np.testing.assert_array_equal(report.records["counted"], whole.records["on the animal"])
    with pytest.raises(CamwallError, match=r'another run \(metrics \["leak", "counted"\], not'):
        run([own])
    with pytest.raises(CamwallError, match=r"another annotations\.animal"):
        run(["leak", own], ~masks)
    assert json.loads((tmp_path / "run.json").read_text())["metrics"] == ["leak", "counted"]


def test_images_bring_their_annotations(model, masks, tmp_path) -> None:
    """A set of stacks hands them on; those that are given stand in their place."""
    paths = sorted(image_files(tmp_path).iterdir())
    stacks = SimpleNamespace(
        paths=paths, labels_visible=None, groups=None, annotations={"animal": masks}
    )
    brought = quiet(model, stacks, ["GradCAM++"], metrics=[OWN[-1]]).records
    given = quiet(model, paths, ["GradCAM++"], metrics=[OWN[-1]], annotations={"animal": masks})
    pd.testing.assert_series_equal(brought["on the animal"], given.records["on the animal"])
    other = quiet(model, stacks, ["GradCAM++"], metrics=[OWN[-1]], annotations={"animal": ~masks})
    assert not brought["on the animal"].equals(other.records["on the animal"])


def test_a_metric_that_draws_draws_the_same(model, images) -> None:
    """For every method and batch, and the caller's own numbers go on after it."""
    noise = Metric("noise", "", lambda evidence, maps: torch.rand(len(evidence.images)))
    state = torch.get_rng_state()
    found = quiet(model, images, ["GradCAM", "HiResCAM"], metrics=[noise]).records["noise"]
    assert found.nunique() == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_a_metric_without_repaints_takes_any_model() -> None:
    """Only one that reads them needs a model that is blind behind its wall."""
    baseline = networks.vgg_like(0, masked=False)
    images = networks.images(baseline, 2)
    assert quiet(baseline, images, ["HiResCAM"], metrics=[OWN[0]]).records["top left"].notna().all()
    with pytest.raises(camwall.BlindnessError, match="moves the scores"):
        quiet(baseline, images, ["HiResCAM"], metrics=[OWN[3]])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (OWN[-1], "the metric on the animal needs the images' animal: give check annotations="),
        (Metric("std", "", top_left), "a table has a column std: give the metric another name"),
        (
            Metric("wide", "", lambda e, m: m.shown),
            r"the metric wide gave \[1, 16, 16\], not one n",
        ),
        (Metric("none", "", lambda e, m: None), "the metric none gave NoneType, not one number"),
    ],
)
def test_what_is_no_metric_costs_one_line(model, images, metric, message, tmp_path: Path) -> None:
    """An annotation that nobody gives, a name that is taken, a function that gives no numbers."""
    with pytest.raises(CamwallError, match=message) as caught:
        quiet(model, images, ["GradCAM"], metrics=[metric])
    assert "\n" not in str(caught.value)
    with pytest.raises(CamwallError, match="5 images have 2 animal"):
        quiet(model, images, ["GradCAM"], annotations={"animal": [1, 2]})
