"""The check: what it measures, by hand; what it takes and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import camwall
from camwall.check import VERDICTS, check, default_methods
from camwall.errors import BlindnessError, CamwallError
from camwall.methods import STUDIED
from camwall.metrics import REPAINTS
from tests.helpers import networks
from tests.helpers.checks import (
    ROW,
    SIZE,
    below,
    brightness,
    flat,
    nothing,
    quiet,
    small_model,
    walled,
)


def sometimes(model, images, target):
    """Nothing where the first pixel is below one half, else a flat map."""
    return (images[:, :1, :1, 0] >= 0.5).float().expand(-1, SIZE, SIZE)


def test_leaks_of_known_maps(model, images):
    """A flat map scores the flat level, a map all behind the wall 1, no map is counted apart."""
    table = quiet(model, images, [flat, below, nothing]).table
    assert table.loc["flat", "mean"] == pytest.approx(np.sqrt((SIZE - ROW) / SIZE))
    assert table.loc["flat", "std"] == pytest.approx(0)
    assert table.loc["below", ["mean", "low", "high"]].tolist() == [1, 1, 1]
    assert table.loc["nothing", "empty"] == 5
    assert np.isnan(table.loc["nothing", "mean"])
    without_looking = "points there without looking"
    assert table["verdict"].tolist() == [without_looking, without_looking, "blind"]


def test_empty_maps_stay_out_of_the_mean(model, images):
    """The mean is over images with a map; the others are counted."""
    images[:2, 0, 0, 0], images[2:, 0, 0, 0] = 0.1, 0.9
    row = quiet(model, images, [sometimes]).table.loc["sometimes"]
    assert row["empty"] == 2
    assert row["images"] == 5
    assert row["mean"] == pytest.approx(model.wall.flat_level)


def test_cells_equal_explain_and_leak(model, images):
    """Every cell is the leak of the map `explain` gives for that image alone, and of the rest."""
    report = quiet(model, images)
    for name in default_methods():
        maps = torch.cat([camwall.explain(model, image[None], name) for image in images])
        records = report.records[report.records["method"] == name]
        for column, without in (("leak", None), ("leak_clear", model.visible_cells)):
            expected = camwall.leak(maps, model.wall, clear_of=without)
            torch.testing.assert_close(torch.tensor(records[column].to_numpy()), expected)


def test_batches_and_files_change_nothing(model, folder):
    """Whether images come as files or a tensor, singly or together, the leaks are the same."""
    paths = sorted(folder.iterdir())
    methods = ["GradCAM", "ScoreCAM", "AblationCAM"]
    one = quiet(model, paths, methods)
    many = quiet(model, model.preprocessing.load(paths), methods, batch=3)
    np.testing.assert_allclose(one.table["mean"], many.table["mean"], rtol=1e-5)
    assert one.records["image"].tolist()[0] == "0.png"


def test_a_method_of_ones_own_spoils_nothing_for_the_next(model, images):
    """Its images are its own; gradients, hidden in the model, and modes are given back."""

    def rude(model, images, target):
        images.mul_(0.1)
        target.zero_()
        model.train()
        model(images).sum().backward()
        return torch.ones(len(images), SIZE, SIZE)

    names = ["GradCAM", "ScoreCAM", "Opti-CAM"]
    alone = quiet(model, images, names).table
    beside = quiet(model, images, [rude, *names]).table
    pd.testing.assert_frame_equal(beside.loc[names], alone)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_folder_and_one_target_for_all(model, folder):
    """As `stacks.load` and `explain` take them; a single file is not a folder."""
    report = quiet(model, folder, ["GradCAM++"], target=2)
    assert report.records["target"].tolist() == [2] * 5
    listed = quiet(model, sorted(folder.iterdir()), ["GradCAM++"], target=[2] * 5)
    pd.testing.assert_frame_equal(report.table, listed.table)
    with pytest.raises(CamwallError, match="no folder"):
        quiet(model, str(folder / "nowhere"))


def test_a_map_that_is_no_number_names_its_method_and_image(model, images):
    """One of many, found at once."""

    def holed(model, images, target):
        maps = torch.ones(len(images), SIZE, SIZE)
        return maps / (images[:, :1, 0, 0, None] != hole)

    hole = images[3, 0, 0, 0]
    with pytest.raises(CamwallError, match="holed's map of image 3 holds NaN or infinite"):
        quiet(model, images, [holed])


def test_a_score_of_zero_leaves_an_empty_map():
    """A black image's AblationCAM, 0/0, is 0 like its other maps, and is counted."""
    model = camwall.simple_cnn(4, 3, image_size=18, visible_rows=4, classes=3)
    batch = torch.cat([torch.rand(1, 1, 18, 18), torch.zeros(1, 1, 18, 18)])
    names = ["GradCAM", "AblationCAM", "AblationCAM (absolute)"]
    report = quiet(model, batch, names, target=0)
    empty = report.records.set_index(["image", "method"])["empty"]
    assert empty["1"].all()


def test_a_model_without_a_wall_is_refused_with_a_way_out(images):
    """By everything that takes a walled model."""
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2))
    for call in (
        lambda: quiet(bare, images),
        lambda: camwall.explain(bare, images, "GradCAM"),
        lambda: camwall.explain(bare, images, "GradCAM", engine="grad-cam"),
        lambda: camwall.certify(bare),
    ):
        with pytest.raises(CamwallError, match="build_wall"):
            call()


def test_inference_mode_changes_nothing(model, images):
    """Gradients are taken all the same, of images made inside too."""
    names = ["GradCAM", "HiResCAM", "ScoreCAM"]
    expected, certificate = quiet(model, images, names).table, str(camwall.certify(model))
    with torch.inference_mode():
        found = quiet(model, images.clone(), names)
        assert str(camwall.certify(model)) == certificate
        theirs = camwall.explain(model, images.clone(), "GradCAM", engine="grad-cam")
        target = model(images).argmax(1)
        ours = camwall.explain(model, images.clone(), "GradCAM", target)
        assert torch.is_inference_mode_enabled()
    pd.testing.assert_frame_equal(found.table, expected)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["GradCAMM"]}, "unknown method 'GradCAMM'; known: "),
        ({"methods": []}, "the list is empty"),
        ({"methods": [3]}, "a name, a Method or a function, not 3"),
        ({"methods": ["GradCAM", "GradCAM"]}, "asked for twice"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"target": [0]}, "5 images need 5 targets, not 1"),
        ({"target": [0, 1, 2, 3, 4]}, "target 4 is not one of the model's classes 0 to 3"),
        ({"labels": [0, 1]}, "5 images have 2 labels"),
        ({"labels": [9] * 5}, "label 9 of image 0 is not one of the model's 4 classes"),
        ({"methods": [lambda m, x, t: torch.ones(1, 2, 2)]}, "returns \\[1, 16, 16\\]"),
        ({"methods": [lambda m, x, t: torch.full((1, 16, 16), torch.nan)]}, "NaN"),
        ({"metrics": ["leek"]}, "unknown metric 'leek'; known: response, leak, "),
        ({"metrics": []}, "no metrics to check: the list is empty; known: response, leak, "),
        ({"metrics": ["leak", "leak"]}, "the metric leak is asked for twice"),
        ({"metrics": [3]}, "a metric is a name, a Metric or a function, not 3"),
        ({"repaints": []}, "at least one repaint"),
        ({"repaints": ["pink"]}, "unknown repaint 'pink'; known: other, zero, "),
    ],
)
def test_bad_input_costs_one_line(model, images, arguments, message):
    """Each mistake has an error of one line that names it."""
    with pytest.raises(CamwallError, match=message) as caught:
        quiet(model, images, **arguments)
    assert "\n" not in str(caught.value)


def test_bad_images_cost_one_line(model, folder):
    """No images, a missing one, a corrupt one, one of another shape."""
    with pytest.raises(CamwallError, match="the set is empty"):
        quiet(model, [])
    with pytest.raises(CamwallError, match="no image at"):
        quiet(model, [folder / "6.png"])
    with pytest.raises(CamwallError, match="given twice"):
        quiet(model, [folder / "1.png", folder / "1.png"])
    Image.new("1", (14_000, 14_000)).save(folder / "3.png")
    with pytest.raises(CamwallError, match=r"3\.png is not an image that can be read \(Image size"):
        quiet(model, sorted(folder.iterdir()), [flat])
    (folder / "3.png").unlink()
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    with pytest.raises(CamwallError, match=r"2\.png is not an image that can be read"):
        quiet(model, sorted(folder.iterdir()), [flat])
    with pytest.raises(CamwallError, match=r"takes images of shape \[N, 3, 16, 16\]"):
        quiet(model, torch.zeros(1, 3, 20, 20), [flat])
    for wrong in (torch.zeros(1, 3, 16, 16).double(), torch.zeros(1, 3, 16, 16).byte()):
        with pytest.raises(CamwallError, match=r"images are torch\."):
            quiet(model, wrong, [flat])


def test_each_engine_checks_its_own_methods(model, images):
    """Without names, each engine runs what it has; one name need not stand in a list."""
    report = check(model, images[:1], engine="grad-cam", progress=False)
    assert set(report.methods) == {
        n for n, m in camwall.METHODS.items() if "grad-cam" in m.packages
    }
    assert report.methods == tuple(default_methods("grad-cam"))
    assert check(model, images[:1], "HiResCAM", progress=False).methods == ("HiResCAM",)


def test_lower_precision_runs_every_method(model, images):
    """autocast gives a leak for each method, those of the package included, near the table's."""
    names = list(STUDIED)
    with torch.autocast("cpu", torch.bfloat16):
        low = check(model, images, names, progress=False).records
    full = check(model, images, names, progress=False).records
    assert np.isfinite(low["leak"]).all()
    exact = ["FEM", "KPCA-CAM", "ShapleyCAM"]  # the package runs them in full precision
    rows = full["method"].isin(exact)
    np.testing.assert_allclose(low["leak"][rows], full["leak"][rows], atol=1e-6)
    assert abs(low["leak"].mean() - full["leak"].mean()) < 0.1


def test_maps_with_a_graph_are_taken_as_they_are(model, images):
    """A method of one's own need not detach what it returns."""

    def own(model, images, target):
        images = images.clone().requires_grad_()
        return (images * 2).mean(dim=1)

    report = check(model, images, [own], progress=False)
    assert report.methods == ("own",)


def test_nan_scores_are_refused(model, images):
    """A model whose scores are NaN gets no table."""
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(CamwallError, match="not finite"):
        quiet(model, images, ["GradCAM"])


def visible(model, images, target):
    """The visible pixels' brightness."""
    return brightness(model, images, target).masked_fill(model.wall.hidden, 0.0)


def spread(model, images, target):
    """The visible cells, carried across the wall by interpolation."""
    cells = model.visible_cells[None, None].float()
    maps = torch.nn.functional.interpolate(cells, model.wall.shape, mode="bilinear")
    return maps[0].expand(len(images), -1, -1)


def noise(model, images, target):
    return torch.rand(len(images), *model.wall.shape)


def elsewhere(model, images, target):
    """As bright above the wall as the image is behind it."""
    behind = images.square()[:, :, model.wall.hidden].mean(dim=(1, 2))
    return behind[:, None, None] * (~model.wall.hidden)


#: A function for each verdict, and what its response and leaks are.
MADE = {
    visible: "blind",
    nothing: "blind",
    spread: "blind but for bleed",
    flat: "points there without looking",
    noise: "points there without looking",
    brightness: "sees through",
    elsewhere: "changes elsewhere",
}


@pytest.mark.parametrize("construction", ["whole", "apart"])
def test_the_two_by_two(images, construction):
    """Response and leak, each 0 or not, tell the five verdicts apart."""
    assert set(MADE.values()) == set(VERDICTS)
    table = quiet(walled(ROW, construction), images, list(MADE)).table
    assert table["verdict"].to_dict() == {f.__name__: verdict for f, verdict in MADE.items()}
    looks = table["verdict"].isin(["sees through", "changes elsewhere"])
    assert (table["moved"] == np.where(looks, 5, 0)).all()
    assert ((table["response"] > 0) == looks)[table["empty"] == 0].all()
    assert (table["repainted"] == 5).all()
    beyond = table["verdict"].isin(["sees through", "points there without looking"])
    assert ((table["clear"] > 0) == beyond)[table["empty"] == 0].all()
    assert table.loc["spread", "mean"] > 0
    assert table.loc[["visible", "elsewhere"], "mean"].tolist() == [0, 0]


def test_the_verdict_on_every_method(images, model):
    """That of the register: who sees through, who is blind, EigenGradCAM's veil."""
    methods = [name for name in STUDIED if name != "Opti-CAM"]
    table = quiet(model, images, methods).table
    for name in methods:
        verdict = table.loc[name, "verdict"]
        if camwall.METHODS[name].sees_through:
            assert verdict == "sees through", name
        elif name == "EigenGradCAM":
            assert verdict == "points there without looking"
        else:
            assert verdict.startswith("blind"), name


def test_responses_are_those_of_the_set(model, images):
    """Of `camwall.response` on all images at once; the size of the batches does not matter."""
    names = ["GradCAM", "HiResCAM", "EigenGradCAM", "AblationCAM", "EigenCAM", "ScoreCAM"]
    methods = [*names, brightness]
    singly = quiet(model, images, methods).records
    for batch in (2, 5):
        together = quiet(model, images, methods, batch=batch).records
        np.testing.assert_allclose(together["response"], singly["response"], rtol=1e-5)
        assert ((together["response"] == 0) == (singly["response"] == 0)).all()
    for method in methods:
        name = method if isinstance(method, str) else method.__name__
        expected = camwall.response(model, images, method).numpy()
        found = together[together["method"] == name]["response"]
        np.testing.assert_array_equal(found, expected)  # five together, as here
        assert (expected == 0).all() == (name in ("HiResCAM", "EigenGradCAM"))
    alone = quiet(model, images[:1], names).records["response"]
    np.testing.assert_array_equal(
        alone, torch.cat([camwall.response(model, images[:1], name) for name in names])
    )


def test_double_precision_keeps_its_digits(images):
    """A response below the rounding of single precision is there, and counts."""
    model = small_model().double()

    def faint(model, images, target):
        return 1 + 1e-12 * brightness(model, images, target)

    records = quiet(model, images.double(), [faint, "GradCAM"]).records.set_index("method")
    assert (records.loc["faint", "response"] > 0).all()
    assert (records.loc["faint", "response"] < 1e-9).all()
    expected = camwall.response(model, images.double(), "GradCAM").numpy()
    np.testing.assert_allclose(records.loc["GradCAM", "response"], expected, rtol=1e-9)


def test_one_metric_alone_gives_no_verdict(model, images):
    """What is not asked for is not measured: NaN, in records as in the table, and no verdict."""
    both = quiet(model, images, ["GradCAM", brightness])
    for metric, missing in (("leak", "response"), ("response", "leak")):
        report = quiet(model, images, ["GradCAM", brightness], metrics=[metric])
        assert report.records[missing].isna().all()
        pd.testing.assert_series_equal(report.records[metric], both.records[metric])
        assert report.table["verdict"].isna().all()
        columns = {"leak": ["mean", "low", "high"], "response": ["response", "response_low"]}
        assert report.table[columns[missing]].isna().all(axis=None)
        pd.testing.assert_frame_equal(report.table[columns[metric]], both.table[columns[metric]])
        assert "GradCAM" in str(report)
    asked = []

    def counting(model, images, target):
        asked.append(len(images))
        return brightness(model, images, target)

    quiet(model, images, [counting], metrics=["leak"])
    assert len(asked) == 5
    quiet(model, images, [counting], repaints=["grey"])
    assert len(asked) == 5 + 5 * 3


def test_each_repaint_by_itself(model, images):
    """The response is the largest over the repaints that are asked for."""
    each = [quiet(model, images, ["GradCAM"], repaints=[name]).records for name in REPAINTS]
    largest = np.max([records["response"] for records in each], axis=0)
    np.testing.assert_array_equal(quiet(model, images, ["GradCAM"]).records["response"], largest)


def test_a_model_that_sees_behind_its_wall_has_a_leak_and_no_response():
    """The baseline is refused with the response, measured without."""
    baseline = networks.vgg_like(0, masked=False)
    images = networks.images(baseline, 3)
    with pytest.raises(BlindnessError, match="moves the scores"):
        quiet(baseline, images, ["HiResCAM"])
    assert (
        quiet(baseline, images, ["HiResCAM"], metrics=["leak"]).table.loc["HiResCAM", "clear"] > 0
    )


def test_a_function_that_draws_from_a_source_of_its_own_gets_no_verdict(model, images):
    """It is refused, like by `response`; its leak alone can be had."""
    source = np.random.default_rng()

    def restless(model, images, target):
        return torch.from_numpy(source.random((len(images), SIZE, SIZE)))

    with pytest.raises(CamwallError, match="restless gives another map from call to call"):
        quiet(model, images, [restless])
    assert quiet(model, images, [restless], metrics=["leak"]).table["mean"].notna().all()


def test_walls_of_any_shape(images):
    """A quadrant and a border: flat maps score their level, HiResCAM is blind, GradCAM++ not."""
    for wall in (camwall.Wall.quadrant(SIZE, SIZE), camwall.Wall.border(SIZE, SIZE, 4)):
        table = quiet(walled(wall), images, [flat, "HiResCAM", "GradCAM++"]).table
        assert table.loc["flat", "mean"] == pytest.approx(wall.flat_level)
        assert table.loc["flat", "verdict"] == "points there without looking"
        assert table.loc["HiResCAM", "verdict"].startswith("blind")
        assert table.loc["HiResCAM", ["response", "clear"]].tolist() == [0, 0]
        assert table.loc["GradCAM++", "verdict"] == "sees through"
