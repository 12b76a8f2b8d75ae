"""The recorded study of prices, as the chapter reads it, and what it is made with."""

import numpy as np
import pandas as pd
import torch

import camwall
from camwall import metrics
from camwall.check import Report
from camwall.commands import sweep
from camwall.commands.kinds import kinds
from camwall.commands.sweep import DEAR, load_sweep, priced
from camwall.runs import recorded
from camwall.stacks import Stacks
from tests.helpers.checks import small_model, some_images

PRICE, BEYOND = (recorded(f"{name}/manifest.json").parent for name in ("price", "price-beyond"))


def test_the_table_joins_what_was_measured_apart() -> None:
    """Each method once, with every metric; the dear ones over one stack of each visible half."""
    reports = load_sweep(PRICE) | load_sweep(BEYOND)
    table = priced(reports)
    assert len(table) >= 20
    assert table.index.is_unique
    assert {"ScoreCAM", "Opti-CAM"} < set(table.index)
    memory = pd.read_csv(BEYOND / "memory.csv", index_col="method")
    assert set(memory.index) == set(table.index)
    assert (memory["peak_mib"] > 1).all()
    for name in ("response", "leak", "on_animal", "pointing", *DEAR, "seconds"):
        assert table[name].notna().all(), name
    records = reports["last layer, perturbed"].records
    one = records[records["method"] == "GradCAM"]
    np.testing.assert_allclose(table.loc["GradCAM", "deletion"], one["deletion"].mean(), rtol=1e-4)
    assert one["group"].is_unique


def test_what_is_blind_is_so_at_every_layer_and_wall() -> None:
    """Response exactly 0 for weights at the position, and not for one weight a channel."""
    for name, report in (load_sweep(PRICE) | load_sweep(BEYOND)).items():
        if "response" not in report.records or report.records["response"].isna().all():
            continue
        moved = report.records.groupby("method")["response"].max()
        for method in ("HiResCAM", "LayerCAM", "GradCAMElementWise", "EigenGradCAM"):
            assert moved.get(method, 0) == 0, (name, method)
        for method in ("GradCAM", "GradCAM++", "XGradCAM", "AblationCAM", "EigenCAM", "ScoreCAM"):
            assert moved.get(method, 1) > 0, (name, method)


def small_report(values: np.ndarray, methods: list[str]) -> Report:
    """Of values [halves, methods] of a metric."""
    halves = len(values)
    records = pd.DataFrame(
        {
            "image": np.repeat(np.arange(halves), len(methods)).astype(str),
            "group": np.repeat(np.arange(halves), len(methods)),
            "method": methods * halves,
            "empty": False,
            "seen": values.flatten(),
        }
    )
    return Report(records, camwall.Wall.rows(8, 8, 4), tuple(methods), 0.5, {})


def test_agreement_is_spearmans_of_the_means_with_methods_that_are_not_0_twice() -> None:
    """Reversed order is −1 in every resample; one swap of neighbours among four 0.8, by hand."""
    methods = ["GradCAM", "XGradCAM", "GradCAM++", "AblationCAM", "HiResCAM", "flat"]
    first = np.tile([1.0, 2.0, 3.0, 4.0, 0.0, 9.0], (5, 1))
    noise = np.linspace(-0.1, 0.1, 5)[:, None]
    told = {"reversed": [4.0, 3.0, 2.0, 1.0, 0.0, 0.0], "swapped": [2.0, 1.0, 3.0, 4.0, 0.0, 0.0]}
    reports = {"last layer": small_report(first, methods)}
    reports |= {
        name: small_report(noise * (np.array(row) > 0) + row, methods) for name, row in told.items()
    }
    found = sweep.rank_agreement(reports, "seen", resamples=50)
    assert found["methods"].tolist() == [4, 4]  # HiResCAM is 0 twice, flat of no register
    np.testing.assert_allclose(found["correlation"], [-1, 0.8])
    np.testing.assert_allclose(found[["low", "high"]], [[-1, -1], [0.8, 0.8]])
    assert found["halves"].tolist() == [5, 5]


def test_one_stack_of_each_half_with_what_is_hidden_in_turn(tmp_path) -> None:
    frame = pd.DataFrame({"file": list("abcdefg"), "group": [0, 0, 0, 1, 1, 1, 2]})
    chosen = sweep.one_of_each(Stacks(tmp_path, frame, {}))
    assert chosen.frame["file"].tolist() == ["a", "e", "g"]


def test_the_floor_sees_no_hidden_pixel() -> None:
    """Not even behind the wall, where the maps of the same network and wall do."""
    whole, images = small_model(), some_images(1)
    given = whole.layer, whole.wall, whole.visible_cells, whole.preprocessing
    floor = sweep.FloorModel(whole.trunk, *given).eval()
    assert "maps on both sides" in str(camwall.certify(floor, images))
    assert float(camwall.response(whole, images, "GradCAM++")) > 0
    assert float(camwall.response(floor, images, "GradCAM++")) == 0
    assert torch.equal(floor(images), whole(images))


def test_heads_made_here_pool_as_they_are_named() -> None:
    """By their formulas; and GradCAM is gradient times activation under neither."""
    made, images = kinds(), some_images(1).repeat(1, 1, 14, 14)
    maps = torch.rand(1, 512, 7, 7)
    generalised, attention = (made[f"{name} on ResNet-18"][0] for name in ("GeM", "attention"))
    mean = maps.pow(3).mean((2, 3), keepdim=True).pow(1 / 3)
    np.testing.assert_allclose(generalised.avgpool(maps) / mean, 49 ** (1 / 3), rtol=1e-4)
    cells = maps[0].flatten(1)
    weights = torch.exp(attention.avgpool.query[0] @ cells)
    wanted = (cells @ weights / weights.sum()).detach()
    np.testing.assert_allclose(attention.avgpool(maps)[0].detach(), wanted, rtol=1e-4)
    for network in (generalised, attention):
        assert metrics.distances(network, [None], images, ["GradCAM"]).iloc[0, 0] > 0.1


def test_distances_without_a_wall_are_0_under_averages_alone() -> None:
    """In the record, at the last layers: of GradCAM and XGradCAM, and of no other method."""
    grid = sweep.by_layer(load_sweep(recorded("distance/manifest.json").parent))
    ends = grid.groupby("network", sort=False).tail(1).droplevel("layer")
    averages = ends.index.str.startswith(("Efficient", "ResNet", "ConvNeXt"))
    assert averages.sum() == 4 < len(ends)
    zero = ends < 1e-3
    assert zero.loc[averages, ["GradCAM", "XGradCAM"]].all().all()
    assert zero.sum().sum() == 8
